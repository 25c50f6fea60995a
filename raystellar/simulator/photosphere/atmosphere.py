"""Temperature and pressure of a plane-parallel photosphere on a fixed scale of Rosseland optical depth.

Temperature: T^4 = 3/4 Teff^4 (tau + q(tau)). q is the grey Hopf function plus a term for line blanketing, which cools
the skin and warms the layers below (`blanketing`), shaped after the solar relation of Krishna Swamy 1966, ApJ 145, 174.
Where the gradient exceeds the adiabatic one, the temperature follows mixing-length theory (Kippenhahn & Weigert 1990,
Sec. 7.2).

Pressure: hydrostatic equilibrium dP/dtau = g / kappa_Ross, integrated inwards by trapezia in ln tau.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.atoms import IONISATION_EV, MASS_AMU
from raystellar.simulator.photosphere.constants import (
    ATOMIC_MASS_G,
    BOLTZMANN_ERG_K,
    BOLTZMANN_EV_K,
    HC_OVER_K_ANGSTROM_K,
    SPEED_OF_LIGHT_CM_S,
    STEFAN_BOLTZMANN_CGS,
)
from raystellar.simulator.photosphere.ionisation import gas_state
from raystellar.simulator.photosphere.opacity import continuum, depth_factors, h_minus_table

LN_TAU = np.linspace(math.log(10.0**-5.2), math.log(10.0**1.8), 36)
"""Natural logarithms of `TAU_ROSS`."""

TAU_ROSS = np.exp(LN_TAU)
"""Rosseland optical depths (depths,) of every model."""

LN_STEP = LN_TAU[1] - LN_TAU[0]
"""Spacing of `LN_TAU`."""

MIXING_LENGTH = 1.25
"""Mixing length [pressure scale heights]. Source: ATLAS9, Castelli, Gratton & Kurucz 1997."""

RADIATION_CONSTANT_CGS = 4.0 * STEFAN_BOLTZMANN_CGS / SPEED_OF_LIGHT_CM_S
"""Radiation constant a [erg/cm3/K4]."""


def _rosseland_grid() -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths [A] for the Rosseland mean, denser at the hydrogen edges, and their spacing [A]."""
    edges = [500.0, 911.0, 912.5, 3640.0, 3660.0, 8180.0, 8230.0, 14500.0, 14700.0, 60000.0]
    counts = [3, 1, 14, 1, 12, 1, 6, 1, 12]
    pieces = [np.geomspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    wave = np.concatenate([*pieces, [edges[-1]]])
    return wave, np.gradient(wave)


ROSSELAND_WAVE, ROSSELAND_WEIGHT = _rosseland_grid()
"""Wavelengths of the Rosseland mean and their spacing [A]."""

ROSSELAND_TABLE = h_minus_table(ROSSELAND_WAVE)
"""Table of the H- opacity at `ROSSELAND_WAVE`."""


@njit(cache=True, nogil=True)
def rosseland(temperature: float, ne: float, neutral: float) -> float:
    """Return the Rosseland mean of the continuous opacity [cm-1]: the harmonic mean, weighted by dB/dT.

    Parameters
    ----------
    temperature : [K]
    ne, neutral : electrons and neutral hydrogen atoms [cm-3]
    """
    factors = depth_factors(temperature, ne)
    top, bottom = 0.0, 0.0
    for j in range(ROSSELAND_WAVE.size):
        wave = ROSSELAND_WAVE[j]
        x = HC_OVER_K_ANGSTROM_K / (wave * temperature)
        if x > 60.0:
            continue
        e = math.exp(x)
        weight = ROSSELAND_WEIGHT[j] * x * e / (e - 1.0) ** 2 / wave**5
        alpha = continuum(wave, ROSSELAND_TABLE[j], temperature, ne, neutral, factors)
        top += weight
        bottom += weight / alpha
    return top / bottom


@njit(cache=True, nogil=True)
def blanketing(teff: float, logg: float, feh: float) -> tuple[float, float]:
    """Return the strengths of the skin and the warm term of `hopf`, both 1 for the Sun and less in metal-poor stars.

    In A stars the Balmer lines and the Balmer jump warm the deep layers at any metallicity. Molecules cool the skin of
    red giants, whose resonance lines are also darker than in LTE. Chromospheres warm the skin of K dwarfs, whose
    Ca II K line is weak. The numbers are calibrated on stars of the MILES library.

    Parameters
    ----------
    teff, logg, feh : [K], [dex, cgs], [dex]
    """
    metal = 1.0 / (1.0 + math.exp(-1.6 * (feh + 1.0))) / 0.832
    hot = 1.0 / (1.0 + math.exp((8000.0 - teff) / 500.0))
    cool = 1.0 / (1.0 + math.exp((teff - 4900.0) / 300.0))
    dwarf = 1.0 / (1.0 + math.exp((3.9 - logg) / 0.25))
    late = dwarf / (1.0 + math.exp((teff - 4500.0) / 150.0))
    giant = cool * (1.0 - dwarf)
    skin = metal * (1.0 - hot - giant - 2.4 * late) + 1.5 * giant + 0.6 * hot
    return skin, (0.5 + 0.5 * metal) * (1.0 - hot) + 0.95 * hot


@njit(cache=True, nogil=True)
def hopf(tau: float, strength: tuple[float, float]) -> float:
    """Return q(tau) of T^4 = 3/4 Teff^4 (tau + q): the grey solution plus blanketing.

    Parameters
    ----------
    tau : Rosseland optical depth
    strength : strengths of the skin and the warm term, from `blanketing`
    """
    grey = 0.7104 - 0.1331 * math.exp(-3.4488 * tau)
    skin = -0.10 * math.exp(-tau / 0.003) - 0.06 * math.exp(-tau / 0.05)
    warm = 0.50 * (1.0 - math.exp(-tau / 0.6))
    return grey + strength[0] * skin + strength[1] * warm


@njit(cache=True, nogil=True)
def adiabatic(temperature: float, ionised: float) -> tuple[float, float]:
    """Return the adiabatic gradient and the heat capacity c_P [k per heavy particle] of partially ionised hydrogen.

    Source: Kippenhahn & Weigert 1990, Sec. 14.3.

    Parameters
    ----------
    temperature : [K]
    ionised : ionised share of hydrogen
    """
    y = 2.5 + IONISATION_EV[0, 0] / (BOLTZMANN_EV_K * temperature)
    mixed = ionised * (1.0 - ionised)
    gradient = (2.0 + mixed * y) / (5.0 + mixed * y * y)
    heat = (1.0 + ionised) * (2.5 + 0.5 * mixed * y * y)
    return gradient, heat


@njit(cache=True, nogil=True)
def flux_share(
    nabla_rad: float,
    temperature: float,
    pressure: float,
    gravity: float,
    rho: float,
    alpha: float,
    ionised: float,
    nuclei: float,
) -> float:
    """Return the share of the flux that radiation carries, nabla / nabla_rad <= 1, by mixing-length theory.

    Newton steps solve (xi - U)^3 + 8U/9 (xi^2 - U^2 - W) = 0 with W = nabla_rad - nabla_ad.

    Source: Kippenhahn & Weigert 1990, Sec. 7.2.

    Parameters
    ----------
    nabla_rad : gradient d ln T / d ln P if radiation carried all the flux
    temperature, pressure : [K], [dyn/cm2]
    gravity : [cm/s2]
    rho : density [g/cm3]
    alpha : Rosseland opacity [cm-1]
    ionised : ionised share of hydrogen
    nuclei : hydrogen nuclei [cm-3]
    """
    nabla_ad, heat = adiabatic(temperature, ionised)
    excess = nabla_rad - nabla_ad
    if excess <= 0.0:
        return 1.0
    scale = pressure / (rho * gravity)
    heat_per_gram = heat * BOLTZMANN_ERG_K * nuclei / rho
    length = MIXING_LENGTH * scale
    u = 3.0 * RADIATION_CONSTANT_CGS * SPEED_OF_LIGHT_CM_S * temperature**3
    u *= math.sqrt(8.0 * scale / gravity) / (heat_per_gram * rho * alpha * length * length)
    xi = math.sqrt(u * u + excess)
    for _ in range(40):
        a = xi - u
        value = a * a * a + 8.0 * u / 9.0 * (xi * xi - u * u - excess)
        xi -= value / (3.0 * a * a + 16.0 * u * xi / 9.0)
    return (nabla_ad + xi * xi - u * u) / nabla_rad


@njit(cache=True, nogil=True)
def _opacity_at(temperature: float, pressure: float, abundance: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return Rosseland opacity [cm-1], electrons, hydrogen nuclei, neutral atoms [cm-3], ionised share of hydrogen."""
    ne, nuclei, neutral, _, saha = gas_state(temperature, pressure, abundance)
    alpha = rosseland(temperature, ne, neutral)
    return alpha, ne, nuclei, neutral, neutral * saha[0, 0] / ne / nuclei


@njit(cache=True, nogil=True)
def _top_pressure(temperature: float, mass_per_h: float, gravity: float, abundance: np.ndarray) -> float:
    """Return the gas pressure [dyn/cm2] at the first depth: P = g tau / kappa(P), solved by bisection of ln P."""
    low, high = -12.0, 14.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        alpha, _, nuclei, _, _ = _opacity_at(temperature, math.exp(middle), abundance)
        target = gravity * TAU_ROSS[0] * nuclei * mass_per_h / alpha
        if target > math.exp(middle):
            low = middle
        else:
            high = middle
    return math.exp(0.5 * (low + high))


@njit(cache=True, nogil=True)
def structure(teff: float, logg: float, feh: float, abundance: np.ndarray) -> np.ndarray:
    """Return the structure of a photosphere, integrated inwards from the first of `TAU_ROSS` to the last.

    Parameters
    ----------
    teff, logg, feh : [K], [dex, cgs], [dex]
    abundance : atoms per hydrogen atom (elements,), from `atoms.abundances`

    Returns
    -------
    (6, depths): temperature [K]; gas pressure [dyn/cm2]; electrons, hydrogen nuclei and neutral hydrogen atoms [cm-3];
    Rosseland opacity [cm-1]
    """
    gravity = 10.0**logg
    strength = blanketing(teff, logg, feh)
    mass_per_h = 0.0
    for e in range(abundance.size):
        mass_per_h += abundance[e] * MASS_AMU[e] * ATOMIC_MASS_G
    out = np.empty((6, TAU_ROSS.size))
    front = 0.75 * teff**4
    t4 = front * (TAU_ROSS[0] + hopf(TAU_ROSS[0], strength))
    temperature = t4**0.25
    pressure = _top_pressure(temperature, mass_per_h, gravity, abundance)
    share = 1.0
    for i in range(TAU_ROSS.size):
        tau = TAU_ROSS[i]
        if i > 0:
            rise = tau + hopf(tau, strength) - TAU_ROSS[i - 1] - hopf(TAU_ROSS[i - 1], strength)
            temperature = (t4 + front * rise * share) ** 0.25
            before = gravity * TAU_ROSS[i - 1] * out[3, i - 1] * mass_per_h / out[5, i - 1]
            guess = pressure * math.exp(LN_STEP * before / pressure)
        else:
            guess, before = pressure, 0.0
        share_next = share
        for _ in range(3):
            alpha, ne, nuclei, neutral, ionised = _opacity_at(temperature, guess, abundance)
            if i == 0:
                break
            slope = gravity * tau * nuclei * mass_per_h / alpha
            nabla_rad = rise / (LN_STEP * 4.0 * temperature**4) * front / (slope / guess)
            share_next = flux_share(nabla_rad, temperature, guess, gravity, nuclei * mass_per_h, alpha, ionised, nuclei)
            guess = pressure * math.exp(0.5 * LN_STEP * (before / pressure + slope / guess))
            temperature = (t4 + front * rise * 0.5 * (share + share_next)) ** 0.25
        pressure = guess
        t4 = temperature**4
        share = share_next
        alpha, ne, nuclei, neutral, ionised = _opacity_at(temperature, pressure, abundance)
        out[0, i], out[1, i], out[2, i] = temperature, pressure, ne
        out[3, i], out[4, i], out[5, i] = nuclei, neutral, alpha
    return out
