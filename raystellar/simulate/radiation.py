"""Emergent flux of a plane-parallel atmosphere in LTE: exact for a piecewise linear source."""

import math

import numpy as np
from numba import njit
from scipy.special import expn

from raystellar.simulate.constants import HC_OVER_K_ANGSTROM_K, LIGHT_CM_S, PLANCK_ERG_S

PLANCK_FRONT = 2.0 * PLANCK_ERG_S * LIGHT_CM_S**2 * 1e32
"""2 h c^2 such that B_lambda is in erg/s/cm2/A/sr for a wavelength in angstrom."""
TAU_STEP = 0.02
TAU_DEEP = 18.0
"""Below this optical depth E4 < 1e-9: nothing of the deeper layers is seen."""
_TAU = np.arange(0.0, TAU_DEEP + 2.0 * TAU_STEP, TAU_STEP)
E4_TABLE = np.stack([expn(4, _TAU), -expn(3, _TAU) * TAU_STEP], axis=1)
"""E4 and its slope per step, for cubic Hermite interpolation (error < 1e-7)."""


@njit(cache=True, nogil=True, inline="always")
def planck(wavelength, temperature):
    """Planck function B_lambda [erg/s/cm2/A/sr]."""
    x = HC_OVER_K_ANGSTROM_K / (wavelength * temperature)
    return PLANCK_FRONT / wavelength**5 / (math.exp(x) - 1.0)


@njit(cache=True, nogil=True, inline="always")
def e4(tau):
    """Exponential integral E4 by Hermite interpolation; 0 <= tau < TAU_DEEP."""
    position = tau * (1.0 / TAU_STEP)
    i = int(position)
    t = position - i
    a, da = E4_TABLE[i, 0], E4_TABLE[i, 1]
    b, db = E4_TABLE[i + 1, 0], E4_TABLE[i + 1, 1]
    c2 = 3.0 * (b - a) - 2.0 * da - db
    c3 = 2.0 * (a - b) + da + db
    return a + t * (da + t * (c2 + t * c3))


@njit(cache=True, nogil=True, inline="always")
def emergent_flux(ratio, source, tau_ross, half_step):
    """Flux [erg/s/cm2/A] from opacity relative to the Rosseland mean and source at each depth.

    F = pi S_0 + 2 pi sum_i (dS/dtau)_i [E4(tau_i) - E4(tau_{i+1})], the integral of 2 pi S E2
    by parts for S linear in tau between depths; tau by trapezia in ln tau_Ross.
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
