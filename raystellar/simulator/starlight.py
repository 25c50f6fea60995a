"""The light of a star on the pixels of the spectrograph, without noise and without errors of calibration.

All arrays have the pixels of one lattice, log10(vacuum wavelength) = k * 1e-4 with k from ``K_FIRST`` on.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from astropy import units

from raystellar.simulator.optics import shift_and_blur
from raystellar.simulator.photosphere.constants import SPEED_OF_LIGHT_CM_S
from raystellar.simulator.population import Star
from raystellar.spectra.record import LATTICE_STEP, SPEED_OF_LIGHT_KM_S

K_FIRST, N_LATTICE = 35780, 3881
"""First k and number of pixels of the lattice on which every fibre is computed."""

SDSS_LOGLAM = np.arange(K_FIRST, K_FIRST + N_LATTICE) * LATTICE_STEP
"""log10 of the vacuum wavelengths [A] of the pixels (N_LATTICE,)."""

SDSS_WAVE = 10.0**SDSS_LOGLAM
"""Vacuum wavelengths [A] of the pixels (N_LATTICE,)."""

MEAN_R_V = 3.1
"""Ratio A(V) / E(B-V) of the mean reddening law."""

G_BAND = ((3780, 4080, 4380, 4680, 4980, 5280, 5380, 5480, 5580), (0.0, 0.19, 0.33, 0.37, 0.39, 0.40, 0.25, 0.03, 0.0))
"""Wavelengths [A] and throughput of the g band of SDSS, on a coarse grid. Source: Doi et al. 2010, AJ 139, 1628."""


def rest_spectrum(star: Star) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 of the vacuum wavelengths [A] and the flux of a star at rest."""
    # its tables take a second to load
    from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, synthesize

    return SYNTHESIS_LOGLAM, synthesize(star.teff, star.logg, star.feh, alpha=star.alpha, vmicro=star.vmicro)


def star_light(loglam: np.ndarray, rest: np.ndarray, star: Star, sigma: np.ndarray) -> np.ndarray:
    """Return the spectrum of a star without noise and without errors of calibration.

    The spectrum is shifted by the velocity of the star, blurred, reddened and scaled to the magnitude of the star.

    Parameters
    ----------
    loglam : log10 of evenly spaced vacuum wavelengths [A] (m,)
    rest : flux F_lambda at rest at these wavelengths (m,), on any scale
    star : star that gives velocity, reddening and magnitude
    sigma : sigma of the line spread function (N_LATTICE,) [pixels], greater than 0

    Returns
    -------
    (N_LATTICE,) flux [1e-17 erg/s/cm2/A]
    """
    beta = star.rv / SPEED_OF_LIGHT_KM_S
    log_doppler = 0.5 * math.log10((1.0 + beta) / (1.0 - beta))
    step = (loglam[-1] - loglam[0]) / (len(loglam) - 1)
    start = (SDSS_LOGLAM[0] - log_doppler - loglam[0]) / step
    seen = shift_and_blur(np.asarray(rest, dtype=np.float64), float(start), float(1e-4 / step), sigma)
    seen *= np.exp(-0.4 * math.log(10.0) * star.ebv * _extinction())
    weight = _g_weight()
    # the AB magnitude is that of the mean of F_nu over photons, with F_nu = F_lambda * wave^2 / c
    wanted = 10.0 ** (-0.4 * (star.g + 48.6)) * (SPEED_OF_LIGHT_CM_S * 1e8) / 1e-17
    return np.asarray(seen * (wanted / np.dot(weight, seen)))


@functools.lru_cache(maxsize=1)
def _extinction() -> np.ndarray:
    """Return A(lambda) / E(B-V) [mag] of every pixel (N_LATTICE,), by the mean law of the Milky Way.

    Source: O'Donnell 1994, ApJ 422, 158; beyond 9091 A Cardelli, Clayton & Mathis 1989, ApJ 345, 245.
    """
    from dust_extinction.parameter_averages import O94  # its import takes 0.7 s, and only this job needs it

    return np.asarray(MEAN_R_V * O94(Rv=MEAN_R_V)(1e4 / SDSS_WAVE / units.micron))


@functools.lru_cache(maxsize=1)
def _g_weight() -> np.ndarray:
    """Return weights (N_LATTICE,) whose product with F_lambda is the mean F_nu of the g band times c [A/s]."""
    photons = np.interp(SDSS_WAVE, *G_BAND)  # all pixels have the same d(log wave), which is d(nu) / nu
    return np.asarray(photons * SDSS_WAVE**2 / photons.sum())
