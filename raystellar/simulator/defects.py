"""Defects of an exposure: mask bits, cosmic rays and dead columns, as often as in real SDSS files.

All arrays have the pixels of the lattice (N_LATTICE,). The functions draw all random numbers from ``rng``.
"""

from __future__ import annotations

import numpy as np

from raystellar.simulator.starlight import N_LATTICE, SDSS_WAVE
from raystellar.spectra.bitmasks import (
    BADFLUXFACTOR,
    BADSKYCHI,
    BRIGHTSKY,
    COMBINEREJ,
    FULLREJECT,
    LOWFLAT,
    MANYBADCOLUMNS,
    NEARBADPIXEL,
    PARTIALREJECT,
    SCATTEREDLIGHT,
)

BAD_COLUMNS_SHARE, COSMIC_RAYS = 0.02, 1.9
"""Share of fibres with a block of dead columns; mean number of cosmic rays that are left in a spectrum."""

CAUGHT_SHARE = 0.65
"""Share of the cosmic rays whose pixels have ivar = 0."""

ARM_BORDER = int(np.searchsorted(SDSS_WAVE, 5800.0))
"""Index of the first pixel of the red arm in the masks."""


def sky_masks(
    flux: np.ndarray, sky: np.ndarray, variance: np.ndarray, continuum: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return and_mask and or_mask with bits that follow from the sky and chance; these bits do not change ivar.

    Parameters
    ----------
    flux : flux with noise, of star and residual sky
    sky, continuum : flux of the sky that was subtracted, and of its continuum alone
    variance : variance of the flux
    rng : generator of the random numbers
    """
    excess = sky - flux - 10.0 * np.sqrt(variance)
    and_mask = np.where((excess > 0) & (sky > 1.25 * continuum), BRIGHTSKY, 0).astype(np.int32)
    u = rng.random(N_LATTICE)
    or_mask = np.where((excess > -0.3 * sky) & (sky > 1.1 * continuum), BRIGHTSKY, 0).astype(np.int32)
    or_mask[u < 0.011] |= NEARBADPIXEL
    or_mask[(u > 0.02) & (u < 0.036)] |= COMBINEREJ
    or_mask[(u > 0.04) & (u < 0.043)] |= FULLREJECT | PARTIALREJECT
    or_mask[(u > 0.1) & (u < 0.5) & (SDSS_WAVE < 4600.0)] |= SCATTEREDLIGHT
    or_mask[(u < 0.5) & (sky > 5.0 * continuum)] |= BADSKYCHI
    or_mask[: int(rng.integers(5, 20))] |= BADFLUXFACTOR
    return and_mask, or_mask


def add_cosmic_rays(
    flux: np.ndarray, ivar: np.ndarray, or_mask: np.ndarray, variance: np.ndarray, rng: np.random.Generator
) -> None:
    """Add a few cosmic rays: pixels with too much flux, most but not all of them with ivar = 0."""
    for _ in range(rng.poisson(COSMIC_RAYS)):
        start = int(rng.integers(0, N_LATTICE - 2))
        hit = slice(start, start + int(rng.integers(1, 3)))
        or_mask[hit] |= COMBINEREJ | PARTIALREJECT
        caught = rng.random() < CAUGHT_SHARE
        # the pipeline misses faint cosmic rays
        flux[hit] += np.sqrt(variance[hit]) * rng.uniform(5.0, 60.0 if caught else 20.0)
        if caught:
            ivar[hit] = 0.0


def add_bad_columns(
    flux: np.ndarray, ivar: np.ndarray, sigma: np.ndarray, and_mask: np.ndarray, rng: np.random.Generator
) -> None:
    """Set a block of columns to zero in a few fibres; the whole blue arm gets MANYBADCOLUMNS, as in real files."""
    if rng.random() >= BAD_COLUMNS_SHARE:
        return
    start, length = int(rng.integers(100, N_LATTICE - 500)), int(rng.integers(40, 360))
    block = slice(start, start + length)
    and_mask[:ARM_BORDER] |= MANYBADCOLUMNS
    and_mask[block] |= NEARBADPIXEL | LOWFLAT
    flux[block], ivar[block], sigma[block] = 0.0, 0.0, 0.0


def arm(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the blue or the red part of ``values``, drawn by chance."""
    return values[:ARM_BORDER] if rng.random() < 0.5 else values[ARM_BORDER:]
