"""Balmer and Paschen lines of hydrogen: Stark, Doppler and self broadening; lines merge at the series limit.

Stark broadening: the quasi-static Holtsmark wing of ions and electrons, S(beta) = 3 beta^(-5/2) with
beta = |dlambda| / (F0 K), as in Hubeny, Hummer & Lanz 1994, A&A 282, 151, with constants K after Edmonds, Schluter &
Wells 1967. A core closes the wing, so that the profile is normalised:

    phi = (1 - p) Voigt + 3 (K F0)^(3/2) (d^2 + s^2)^(-5/4),  s^2 = (b K F0)^2 + (2 Doppler)^2,

where p is the share of the second term and b makes p = 1 in the pure Stark limit.

Self broadening of the Balmer lines: Barklem, Piskunov & O'Mara 2000, A&A 363, 1091.

Populations of levels contain the occupation probability of Hummer & Mihalas 1988, so high lines fade as their
pseudo-continuum rises.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.constants import (
    ATOMIC_MASS_G,
    BOHR_RADIUS_CM,
    BOLTZMANN_ERG_K,
    BOLTZMANN_EV_K,
    CLASSICAL_CROSS_SECTION_CM,
    FINE_STRUCTURE,
    HC_OVER_K_ANGSTROM_K,
    HYDROGEN_ATOM_G,
    HYDROGEN_IONISATION_EV,
    HYDROGEN_LIMIT_ANGSTROM,
    SPEED_OF_LIGHT_CM_S,
)
from raystellar.simulator.photosphere.opacity import occupation

HIGHEST_LEVEL = 40
"""Highest upper level whose lines are computed."""

REACH_DEX = 0.030
"""Half width of the window of a line in log10 wavelength [dex]. The profile is tapered to zero there."""

REACH_HIGH_DEX = 0.012
"""Half width of the window of a line whose upper level is above 8 [dex]."""

HOLTSMARK_NORM = 2.3963
"""Integral of (1 + x^2)^(-5/4) over the real line."""

CHROMOSPHERE_K = 5200.0
"""Least excitation temperature of excited levels in the chromosphere [K], calibrated on H-alpha of K giants."""

CHROMOSPHERE_TAU = 0.01
"""Rosseland optical depth of the bottom of the chromosphere, calibrated on H-alpha of K giants."""

STARK_K = {
    (2, 3): 0.0125,
    (2, 4): 0.0177,
    (2, 5): 0.028,
    (2, 6): 0.0348,
    (2, 7): 0.0493,
    (3, 4): 0.124,
    (3, 5): 0.171,
    (3, 6): 0.223,
    (3, 7): 0.261,
    (3, 8): 0.342,
}
"""Stark constant K by (lower level, upper level). Source: Edmonds, Schluter & Wells 1967.

Lines that are not listed have K = 5.5e-5 (n m)^4 / (m^2 - n^2).
"""

SELF_BROADENING = {3: (1180.0, 0.677), 4: (2320.0, 0.455), 5: (4208.0, 0.380)}
"""Cross section at 10 km/s [a0^2] and velocity exponent, by the upper level of a Balmer line."""


def line_wavelength(n: int, m: int) -> float:
    """Return the vacuum wavelength [A] of the centroid of the line n -> m.

    Fine structure lowers a level by R alpha^2 (5/4 - 1/n) / n^4, the mean of Dirac's energies over its
    states (Bethe & Salpeter 1957, Sec. 17): 0.09 angstrom in H-alpha.
    """
    low, high = (1.0 / k**2 + FINE_STRUCTURE**2 * (1.25 - 1.0 / k) / k**4 for k in (n, m))
    return HYDROGEN_LIMIT_ANGSTROM / (low - high)


def oscillator_strength(n: int, m: int) -> float:
    """Return the absorption oscillator strength f of n -> m, for n = 2 and above.

    The value of Kramers times the Gaunt factor of Johnson 1972, ApJ 174, 227, is at most 0.07 % below the exact value.
    """
    x = 1.0 - (n / m) ** 2
    if n == 2:
        g0, g1, g2 = 1.0785, -0.2319, 0.02947
    else:
        g0 = 0.9935 + 0.2328 / n - 0.1296 / n**2
        g1 = -(0.6282 - 0.5598 / n + 0.5299 / n**2) / n
        g2 = (0.3887 - 1.181 / n + 1.470 / n**2) / n**2
    gaunt = g0 + g1 / x + g2 / x**2
    return 32.0 / (3.0 * math.pi * math.sqrt(3.0)) * gaunt / (n**5 * m**3) / (1 / n**2 - 1 / m**2) ** 3


def _line_table(blue: float, red: float) -> np.ndarray:
    """Return the rows of `HYDROGEN_LINES` between two wavelengths [A], with lines whose wings reach in."""
    rows = []
    for n in (2, 3):
        for m in range(n + 1, HIGHEST_LEVEL + 1):
            wave = line_wavelength(n, m)
            if not blue * 10**-REACH_DEX < wave < red * 10**REACH_DEX:
                continue
            k = STARK_K.get((n, m), 5.5e-5 * (n * m) ** 4 / (m * m - n * n))
            # in higher lines the cross section grows as the area of the upper orbit
            sigma, power = SELF_BROADENING.get(m, (4208.0 * (m / 5.0) ** 2.6, 0.35))
            rows.append((n, m, wave, oscillator_strength(n, m), k, sigma, power))
    return np.array(rows)


HYDROGEN_LINES = _line_table(3560.0, 9650.0)
"""Rows of n, m, wavelength [A in vacuum], f, K of `STARK_K`, cross section [a0^2] and exponent of self broadening."""


@njit(cache=True, nogil=True)
def excitation_temperature(temperature: float, tau: float) -> float:
    """Return the temperature [K] that populates the excited levels, (T^16 + T_c^16 / (1 + (tau/tau_c)^2))^(1/16).

    The H-alpha cores of real cool stars form in a chromosphere, which a photosphere in radiative equilibrium lacks.
    Without this term H-alpha vanishes in K giants, where it is always observed.

    Parameters
    ----------
    temperature : T [K]
    tau : Rosseland optical depth
    """
    floor = CHROMOSPHERE_K**16 / (1.0 + (tau / CHROMOSPHERE_TAU) ** 2)
    return (temperature**16 + floor) ** 0.0625


@njit(cache=True, nogil=True)
def self_width(temperature: float, neutral: float, sigma: float, power: float) -> float:
    """Return the Lorentz half width at half maximum [rad/s] from collisions with hydrogen atoms.

    w/N = (4/pi)^(a/2) Gamma((4-a)/2) v0 sigma (v/v0)^(1-a) with v0 = 10 km/s.

    Source: Anstee & O'Mara 1995, MNRAS 276, 859.

    Parameters
    ----------
    temperature : [K]
    neutral : hydrogen atoms [cm-3]
    sigma, power : cross section at v0 [a0^2] and exponent a
    """
    speed = math.sqrt(8.0 * BOLTZMANN_ERG_K * temperature / (math.pi * 0.504 * ATOMIC_MASS_G))
    area = sigma * BOHR_RADIUS_CM * BOHR_RADIUS_CM
    shape = (4.0 / math.pi) ** (0.5 * power) * math.gamma(2.0 - 0.5 * power)
    return shape * 1e6 * area * (speed / 1e6) ** (1.0 - power) * neutral


@njit(cache=True, nogil=True)
def _profile(offset: float, doppler: float, lorentz: float, stark: float, share: float, soft2: float) -> float:
    """Return the line profile per angstrom at an offset [A]: Doppler core, Lorentz and Stark wings."""
    v2 = (offset / doppler) ** 2
    core = math.exp(-v2) if v2 < 40.0 else 0.0
    gauss = (1.0 - share) * core / (1.7724539 * doppler)
    wing = lorentz / math.pi / (offset * offset + lorentz * lorentz + doppler * doppler)
    d2 = offset * offset + soft2
    root = math.sqrt(d2)
    return gauss + wing + stark / (d2 * math.sqrt(root))


@njit(cache=True, nogil=True)
def add_hydrogen_lines(
    opacity: np.ndarray,
    wavelength: np.ndarray,
    lines: np.ndarray,
    tau: np.ndarray,
    temperature: np.ndarray,
    ne: np.ndarray,
    neutral: np.ndarray,
    vmicro: float,
) -> None:
    """Add the opacity of the hydrogen lines to ``opacity``, in place.

    Parameters
    ----------
    opacity : [cm-1] (wavelengths, depths), changed in place
    wavelength : increasing (wavelengths,) [A in vacuum]
    lines : rows of `HYDROGEN_LINES`
    tau : Rosseland optical depth (depths,)
    temperature, ne, neutral : [K], electrons and hydrogen atoms [cm-3] (depths,)
    vmicro : microturbulence [km/s]
    """
    for d in range(temperature.size):
        t = temperature[d]
        field = 1.25e-9 * ne[d] ** (2.0 / 3.0)
        speed = math.sqrt(2.0 * BOLTZMANN_ERG_K * t / HYDROGEN_ATOM_G + (vmicro * 1e5) ** 2)
        level_beta = HYDROGEN_IONISATION_EV / (BOLTZMANN_EV_K * excitation_temperature(t, tau[d]))
        for line in range(lines.shape[0]):
            n, m, centre, f = lines[line, 0], lines[line, 1], lines[line, 2], lines[line, 3]
            w = occupation(m, ne[d], neutral[d])
            if w < 1e-4:
                continue
            lower = neutral[d] * n * n * math.exp(-level_beta * (1.0 - 1.0 / (n * n)))
            stimulated = 1.0 - math.exp(-HC_OVER_K_ANGSTROM_K / (centre * t))
            # pi e^2 / (m c^2) f lambda^2 with lambda in angstrom has the unit cm2 angstrom
            front = CLASSICAL_CROSS_SECTION_CM * 1e-8 * f * centre * centre * lower * w * stimulated
            doppler = centre * speed / SPEED_OF_LIGHT_CM_S
            shift = lines[line, 4] * field
            soft2 = (3.7250 * shift) ** 2 + (2.0 * doppler) ** 2
            stark = 3.0 * shift * math.sqrt(shift)
            share = stark * HOLTSMARK_NORM / soft2**0.75
            width = self_width(t, neutral[d], lines[line, 5], lines[line, 6])
            lorentz = width * centre * centre * 1e-8 / (2.0 * math.pi * SPEED_OF_LIGHT_CM_S)
            edge = centre * 2.302585 * (REACH_DEX if m <= 8.0 else REACH_HIGH_DEX)
            first = np.searchsorted(wavelength, centre - edge)
            last = np.searchsorted(wavelength, centre + edge)
            for j in range(first, last):
                offset = wavelength[j] - centre
                taper = 1.0 - (offset / edge) ** 2
                opacity[j, d] += front * taper * _profile(offset, doppler, lorentz, stark, share, soft2)
