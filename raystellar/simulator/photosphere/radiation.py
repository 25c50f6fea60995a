"""Emergent flux of a plane-parallel atmosphere, exact for a piecewise linear source function.

Absorption is in LTE. Continuous scattering is coherent and isotropic: S = B + (sigma/chi)(J - B). In metal-poor giants
Rayleigh scattering is about as strong as H- in the blue; counted as absorption, it would darken 4000 angstrom by 12 %.
"""

import math

import numpy as np
from numba import njit
from scipy.special import expn

from raystellar.simulator.photosphere.constants import HC_OVER_K_ANGSTROM_K, PLANCK_ERG_S, SPEED_OF_LIGHT_CM_S

PLANCK_FRONT = 2.0 * PLANCK_ERG_S * SPEED_OF_LIGHT_CM_S**2 * 1e32
"""2 h c^2 in the units that give B_lambda [erg/s/cm2/A/sr] for a wavelength in angstrom."""

TAU_STEP = 0.02
"""Step of optical depth in `E4_TABLE`."""

TAU_DEEP = 18.0
"""Optical depth of the deepest layer that contributes to the flux: E4 < 1e-9 below it."""

_TAU = np.arange(0.0, TAU_DEEP + 2.0 * TAU_STEP, TAU_STEP)
E4_TABLE = np.stack([expn(4, _TAU), -expn(3, _TAU) * TAU_STEP], axis=1)
"""E4 and its slope per step, for cubic Hermite interpolation with an error below 1e-7."""


@njit(cache=True, nogil=True, inline="always")
def planck(wavelength: float, temperature: float) -> float:
    """Return the Planck function B_lambda [erg/s/cm2/A/sr] at a wavelength [A] and temperature [K]."""
    x = HC_OVER_K_ANGSTROM_K / (wavelength * temperature)
    return PLANCK_FRONT / wavelength**5 / (math.exp(x) - 1.0)


@njit(cache=True, nogil=True, inline="always")
def e4(tau: float) -> float:
    """Return the exponential integral E4 by Hermite interpolation, for 0 <= tau < `TAU_DEEP`."""
    position = tau * (1.0 / TAU_STEP)
    i = int(position)
    t = position - i
    a, da = E4_TABLE[i, 0], E4_TABLE[i, 1]
    b, db = E4_TABLE[i + 1, 0], E4_TABLE[i + 1, 1]
    c2 = 3.0 * (b - a) - 2.0 * da - db
    c3 = 2.0 * (a - b) + da + db
    return a + t * (da + t * (c2 + t * c3))


@njit(cache=True, nogil=True, inline="always")
def emergent_flux(ratio: np.ndarray, source: np.ndarray, tau_ross: np.ndarray, half_step: float) -> float:
    """Return the emergent flux [erg/s/cm2/A] at one wavelength.

    F = pi S_0 + 2 pi sum_i (dS/dtau)_i [E4(tau_i) - E4(tau_{i+1})]. This is the integral of 2 pi S E2 by parts, for S
    linear in tau between depths. tau is integrated by trapezia in ln tau_Ross.

    Parameters
    ----------
    ratio : opacity over the Rosseland opacity (depths,)
    source : source function [erg/s/cm2/A/sr] (depths,)
    tau_ross : Rosseland optical depth (depths,), evenly spaced in its logarithm
    half_step : half of the spacing of ln(tau_ross)
    """
    last = source.size - 1
    weight = ratio[0] * tau_ross[0]
    tau = weight
    flux = 0.5 * source[0]
    before = 1.0 / 3.0
    if tau < TAU_DEEP:
        before = e4(tau)
    for i in range(last):
        if tau >= TAU_DEEP:
            break
        weight_next = ratio[i + 1] * tau_ross[i + 1]
        step = half_step * (weight + weight_next)
        tau += step
        after = e4(tau) if tau < TAU_DEEP else 0.0
        flux += (source[i + 1] - source[i]) / step * (before - after)
        before = after
        weight = weight_next
    return 2.0 * math.pi * flux


@njit(cache=True, nogil=True)
def scattering_excess(
    ratio: np.ndarray,
    scattering: np.ndarray,
    wavelength: np.ndarray,
    temperature: np.ndarray,
    tau_ross: np.ndarray,
    half_step: float,
) -> np.ndarray:
    """Return the scattering term sigma (J - B) over the Rosseland opacity, shape (wavelengths, depths).

    J solves the Eddington equation (1/3) d2J/dtau2 = epsilon (J - B), with dJ/dtau = sqrt(3) J at the top and J = B at
    the bottom, by forward elimination and back substitution.

    Parameters
    ----------
    ratio, scattering : total and scattering opacity over the Rosseland opacity (wavelengths, depths)
    wavelength, temperature : (wavelengths,) [A], (depths,) [K]
    tau_ross, half_step : as in `emergent_flux`
    """
    depths = temperature.size
    out = np.zeros(ratio.shape)
    step, b = np.empty(depths), np.empty(depths)
    gain, rest = np.empty(depths), np.empty(depths)
    for j in range(wavelength.size):
        for d in range(depths):
            b[d] = planck(wavelength[j], temperature[d])
        for d in range(depths - 1):
            step[d] = half_step * (ratio[j, d] * tau_ross[d] + ratio[j, d + 1] * tau_ross[d + 1])
        thermal = 1.0 - scattering[j, 0] / ratio[j, 0]
        low = 1.7320508 + 1.5 * step[0] * thermal
        diagonal = 1.0 / step[0] + low
        gain[0] = 1.0 / step[0] / diagonal
        rest[0] = 1.5 * step[0] * thermal * b[0] / diagonal
        for d in range(1, depths - 1):
            thermal = 1.0 - scattering[j, d] / ratio[j, d]
            source = 1.5 * (step[d - 1] + step[d]) * thermal
            before, after = 1.0 / step[d - 1], 1.0 / step[d]
            diagonal = before * (1.0 - gain[d - 1]) + after + source
            gain[d] = after / diagonal
            rest[d] = (source * b[d] + before * rest[d - 1]) / diagonal
        mean = b[depths - 1]
        for d in range(depths - 2, -1, -1):
            mean = rest[d] + gain[d] * mean
            out[j, d] = scattering[j, d] * (mean - b[d])
    return out
