"""Three lattices of wavelengths: output pixels, a fine lattice for line cores, a coarse lattice for smooth opacities.

Output pixels (17 km/s) are far wider than the core of a metal line (2 to 4 km/s), and hardly narrower than the
saturated hydrogen core of a cool giant. The fine lattice has every edge of a pixel and a fixed pattern of points around
each line; the flux of a pixel is the exact integral of the piecewise linear flux. The coarse lattice has the smooth
opacities: continuum, hydrogen, bands. No lattice depends on the stellar parameters, so spectra are smooth in them.
"""

import numpy as np

from raystellar.simulator.photosphere.hydrogen import HYDROGEN_LINES
from raystellar.simulator.photosphere.lines import ATOMIC_LINES
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

STEP_DEX = 2.5e-5
"""Width of an output pixel [dex of wavelength]."""

FIRST, LAST = 142_058, 159_381
"""First and last k of the output pixels log10(lambda) = k * STEP_DEX, 3560 to 9650 angstrom."""

SYNTHESIS_LOGLAM = np.arange(FIRST, LAST + 1) * STEP_DEX
"""log10 of the vacuum wavelengths [A] of the output pixels of the synthesis."""

CORE_KM_S = (0.0, 1.6, 3.2, 5.0, 8.0, 13.0)
"""Offsets of fine points from the centre of a metal line.

Equivalent widths agree to 1 or 2 % with those on a lattice ten times finer.
"""

CLOSEST_KM_S = 0.8
"""Least distance of a fine point from its neighbour; closer points are left out."""

HYDROGEN_CORE_KM_S = (0.0, 4.0, 8.0, 12.0, 16.0, 19.0, 22.0, 25.0, 28.0, 31.0, 35.0, 40.0, 46.0, 55.0)
"""Offsets of fine points from the centre of a hydrogen line."""

HYDROGEN_KM_S = (0.0, 5.0, 10.0, 16.0, 23.0, 32.0, 45.0, 65.0, 100.0, 150.0, 220.0, 320.0)
"""Offsets of coarse points from the centre of a hydrogen line."""

COARSE_DEX = 2.5e-4
"""Step of the coarse lattice away from hydrogen lines [dex]."""

REFINED_LEVEL = 16
"""Highest upper level of the hydrogen lines around which both lattices are refined."""


def _around(centres: np.ndarray, offsets_km_s: tuple[float, ...]) -> np.ndarray:
    """Return the wavelengths [A] at plus and minus each offset from each centre [A]."""
    beta = np.array(offsets_km_s) / SPEED_OF_LIGHT_KM_S
    return np.concatenate([np.outer(centres, 1.0 + beta).ravel(), np.outer(centres, 1.0 - beta).ravel()])


def _thin(fixed: np.ndarray, extra: np.ndarray, closest_km_s: float) -> np.ndarray:
    """Return fixed and extra points, sorted, without extra points closer than ``closest_km_s`` to a neighbour."""
    low, high = fixed.min(), fixed.max()
    extra = np.unique(extra[(extra > low) & (extra < high)])
    wave = np.concatenate([fixed, extra])
    keep = np.concatenate([np.ones(fixed.size, bool), np.zeros(extra.size, bool)])
    order = np.argsort(wave, kind="stable")
    wave, keep = wave[order], keep[order]
    kept: list[tuple[float, bool]] = []
    for w, must in zip(wave, keep, strict=True):
        near = bool(kept) and (w / kept[-1][0] - 1.0) * SPEED_OF_LIGHT_KM_S < closest_km_s
        if near and must and not kept[-1][1]:
            kept[-1] = (w, True)
        elif must or not near:
            kept.append((w, must))
    return np.array([w for w, _ in kept])


def _hydrogen_centres() -> np.ndarray:
    """Return the wavelengths [A] of the hydrogen lines around which the lattices are refined."""
    return HYDROGEN_LINES[HYDROGEN_LINES[:, 1] <= REFINED_LEVEL, 2]


def fine_lattice(loglam: np.ndarray, line_centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the wavelengths [A] of the fine lattice and the index of each edge of a pixel among them (pixels + 1,).

    Pixel i spans the points index[i] to index[i + 1], both included.

    Parameters
    ----------
    loglam : log10 of the pixels' wavelengths [A], at steps of `STEP_DEX`
    line_centres : wavelengths of the metal lines [A]
    """
    edges = 10.0 ** (loglam[0] + STEP_DEX * (np.arange(loglam.size + 1) - 0.5))
    cores = [_around(line_centres, CORE_KM_S), _around(_hydrogen_centres(), HYDROGEN_CORE_KM_S)]
    wave = _thin(edges, np.concatenate(cores), CLOSEST_KM_S)
    return wave, np.searchsorted(wave, edges)


def coarse_lattice() -> np.ndarray:
    """Return the wavelengths [A] of the coarse lattice: regular in log10, refined at the hydrogen cores."""
    base = 10.0 ** np.arange(SYNTHESIS_LOGLAM[0] - 4 * COARSE_DEX, SYNTHESIS_LOGLAM[-1] + 5 * COARSE_DEX, COARSE_DEX)
    return _thin(base, _around(_hydrogen_centres(), HYDROGEN_KM_S), 2.0)


def interpolation(coarse: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return index and fraction (points,) of a linear interpolation from ``coarse`` to ``points`` [A], both sorted."""
    index = np.clip(np.searchsorted(coarse, points) - 1, 0, coarse.size - 2)
    return index, (points - coarse[index]) / (coarse[index + 1] - coarse[index])


FINE_WAVE, PIXEL_EDGE = fine_lattice(SYNTHESIS_LOGLAM, ATOMIC_LINES[:, 0])
"""Wavelengths [A] of the fine lattice, and the indices of the edges of pixels among them."""

COARSE_WAVE = coarse_lattice()
"""Wavelengths [A] of the coarse lattice."""
