"""Balmer and Paschen lines of hydrogen: Stark, Doppler and self broadening, merging at the limit.

Stark: the quasi-static Holtsmark wing of ions and electrons, S(beta) = 3 beta^(-5/2) with
beta = |dlambda| / (F0 K), as used by Hubeny, Hummer & Lanz 1994, A&A 282, 151 (constants K after
Edmonds, Schluter & Wells 1967), closed at the centre so that the profile is normalised:

    phi = (1 - p) Voigt + 3 (K F0)^(3/2) (d^2 + s^2)^(-5/4),  s^2 = (b K F0)^2 + (2 Doppler)^2,

where p is the share of the second term and b makes p = 1 in the pure Stark limit. Self broadening
of the Balmer lines: Barklem, Piskunov & O'Mara 2000, A&A 363, 1091. Level populations carry the
occupation probability of Hummer & Mihalas 1988, so high lines fade as their pseudo-continuum rises.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulate.photosphere.constants import (
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
from raystellar.simulate.photosphere.opacity import occupation

HIGHEST_LEVEL = 40
REACH_DEX = 0.030
REACH_HIGH_DEX = 0.012
"""Half width of the window of a line in log10 wavelength (upper level above 8: the second); the
profile is tapered to zero there."""
HOLTSMARK_NORM = 2.3963
"""Integral of (1 + x^2)^(-5/4) over the real line."""
CHROMOSPHERE_K = 5200.0
CHROMOSPHERE_TAU = 0.01
"""Excitation temperature and Rosseland depth of the n = 2 floor, set by H-alpha of K giants."""
STARK_K = {  # Edmonds, Schluter & Wells 1967; elsewhere K = 5.5e-5 (n m)^4 / (m^2 - n^2)
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
SELF_BROADENING = {3: (1180.0, 0.677), 4: (2320.0, 0.455), 5: (4208.0, 0.380)}
"""Upper level of a Balmer line -> cross section at 10 km/s [a0^2], velocity exponent."""


def line_wavelength(n: int, m: int) -> float:
    """Vacuum wavelength [A] of the centroid of n -> m.

    Fine structure lowers a level by R alpha^2 (5/4 - 1/n) / n^4, the mean of Dirac's energies over its
    states (Bethe & Salpeter 1957, Sec. 17): 0.09 angstrom in H-alpha.
    """
    low, high = (1.0 / k**2 + FINE_STRUCTURE**2 * (1.25 - 1.0 / k) / k**4 for k in (n, m))
    return HYDROGEN_LIMIT_ANGSTROM / (low - high)


def oscillator_strength(n: int, m: int) -> float:
    """Absorption oscillator strength f of n -> m: Kramers times the Gaunt factor of Johnson 1972, ApJ 174, 227.

    For n = 2 and more; 0.07 per cent below the exact values at most.
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
    """Rows n, m, wavelength [A], f, K, self-broadening cross section [a0^2], exponent."""
    rows = []
    for n in (2, 3):
        for m in range(n + 1, HIGHEST_LEVEL + 1):
            wave = line_wavelength(n, m)
            if not blue * 10**-REACH_DEX < wave < red * 10**REACH_DEX:
                continue
            k = STARK_K.get((n, m), 5.5e-5 * (n * m) ** 4 / (m * m - n * n))
            # higher lines: the cross section grows like the area of the upper orbit
            sigma, power = SELF_BROADENING.get(m, (4208.0 * (m / 5.0) ** 2.6, 0.35))
            rows.append((n, m, wave, oscillator_strength(n, m), k, sigma, power))
    return np.array(rows)


HYDROGEN_LINES = _line_table(3560.0, 9650.0)
"""Rows n, m, wavelength [A, vacuum], f, K of `STARK_K`, cross section [a0^2] and exponent of self broadening."""


@njit(cache=True, nogil=True)
def excitation_temperature(temperature: float, tau: float) -> float:
    """Temperature [K] that sets the excited levels: (T^16 + T_c^16 / (1 + (tau/tau_c)^2))^(1/16).

    Real H-alpha cores of cool stars form in a chromosphere which a photosphere in radiative
    equilibrium lacks; without this term the line vanishes in K giants, where it is always seen.
    """
    floor = CHROMOSPHERE_K**16 / (1.0 + (tau / CHROMOSPHERE_TAU) ** 2)
    return (temperature**16 + floor) ** 0.0625


@njit(cache=True, nogil=True)
def self_width(temperature: float, neutral: float, sigma: float, power: float) -> float:
    """Lorentz half width at half maximum [rad/s] from collisions with hydrogen atoms.

    w/N = (4/pi)^(a/2) Gamma((4-a)/2) v0 sigma (v/v0)^(1-a), v0 = 10 km/s: Anstee & O'Mara 1995,
    MNRAS 276, 859.

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
    """Line profile per angstrom at an offset [A]: Doppler core, Lorentz and Stark wings."""
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
    """Add the opacity of hydrogen lines, in place.

    Parameters
    ----------
    opacity : [cm-1] (wavelengths, depths), changed in place
    wavelength : increasing [A, vacuum]
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
            # pi e^2/(m c^2) f lambda^2, wavelength in angstrom: cm2 angstrom
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
