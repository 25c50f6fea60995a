"""Wavelength lattices: the output, the fine one that resolves line cores, the coarse one between.

Output pixels are far wider (17 km/s) than a metal line core (2-4 km/s), and hardly narrower than the
saturated hydrogen core of a cool giant. The fine lattice has every pixel edge plus a fixed pattern of
points around each line; a pixel is the exact integral of the piecewise linear flux. The coarse lattice
carries what is smooth: continuum, hydrogen, bands. None depends on the stellar parameters, so the
spectrum is smooth in them.
"""

import numpy as np

from raystellar.simulate.photosphere.hydrogen import HYDROGEN_LINES
from raystellar.simulate.photosphere.lines import ATOMIC_LINES
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

STEP_DEX = 2.5e-5
FIRST, LAST = 142_058, 159_381
"""Integers k such that log10(lambda) = k * STEP_DEX: 3560 to 9650 angstrom."""
SYNTHESIS_LOGLAM = np.arange(FIRST, LAST + 1) * STEP_DEX
"""log10 of the vacuum wavelengths [A] of the output pixels."""
CORE_KM_S = (0.0, 1.6, 3.2, 5.0, 8.0, 13.0)
"""Offsets of fine points from a line centre: equivalent widths to 1-2 % of a ten times finer run."""
CLOSEST_KM_S = 0.8
"""Fine points that lie closer to their neighbour are left out."""
HYDROGEN_CORE_KM_S = (0.0, 4.0, 8.0, 12.0, 16.0, 19.0, 22.0, 25.0, 28.0, 31.0, 35.0, 40.0, 46.0, 55.0)
HYDROGEN_KM_S = (0.0, 5.0, 10.0, 16.0, 23.0, 32.0, 45.0, 65.0, 100.0, 150.0, 220.0, 320.0)
COARSE_DEX = 2.5e-4
REFINED_LEVEL = 16
"""Highest upper level of hydrogen around whose lines both lattices are refined."""


def _around(centres: np.ndarray, offsets_km_s: tuple[float, ...]) -> np.ndarray:
    """Wavelengths at +- the offsets from every centre."""
    beta = np.array(offsets_km_s) / SPEED_OF_LIGHT_KM_S
    return np.concatenate([np.outer(centres, 1.0 + beta).ravel(), np.outer(centres, 1.0 - beta).ravel()])


def _thin(fixed: np.ndarray, extra: np.ndarray, closest_km_s: float) -> np.ndarray:
    """Sorted union of fixed and extra points, dropping extra ones closer than closest_km_s."""
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
    return HYDROGEN_LINES[HYDROGEN_LINES[:, 1] <= REFINED_LEVEL, 2]


def fine_lattice(loglam: np.ndarray, line_centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths [A] and the index among them of each pixel's lower edge (pixels + 1,).

    Pixel i spans the points index[i] to index[i + 1], both included.

    Parameters
    ----------
    loglam : log10 of the pixels' wavelengths [A], at steps of `STEP_DEX`
    line_centres : [A]
    """
    edges = 10.0 ** (loglam[0] + STEP_DEX * (np.arange(loglam.size + 1) - 0.5))
    cores = [_around(line_centres, CORE_KM_S), _around(_hydrogen_centres(), HYDROGEN_CORE_KM_S)]
    wave = _thin(edges, np.concatenate(cores), CLOSEST_KM_S)
    return wave, np.searchsorted(wave, edges)


def coarse_lattice() -> np.ndarray:
    """Return wavelengths [A] for the smooth opacity: regular in log10, refined at the hydrogen cores."""
    base = 10.0 ** np.arange(SYNTHESIS_LOGLAM[0] - 4 * COARSE_DEX, SYNTHESIS_LOGLAM[-1] + 5 * COARSE_DEX, COARSE_DEX)
    return _thin(base, _around(_hydrogen_centres(), HYDROGEN_KM_S), 2.0)


def interpolation(coarse: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return index and fraction (points,) of linear interpolation from coarse to points, both [A] and sorted."""
    index = np.clip(np.searchsorted(coarse, points) - 1, 0, coarse.size - 2)
    return index, (points - coarse[index]) / (coarse[index + 1] - coarse[index])


FINE_WAVE, PIXEL_EDGE = fine_lattice(SYNTHESIS_LOGLAM, ATOMIC_LINES[:, 0])
COARSE_WAVE = coarse_lattice()
