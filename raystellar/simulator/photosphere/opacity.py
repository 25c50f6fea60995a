"""Continuous opacity of a stellar photosphere [cm-1]: absorption plus scattering.

* H- bound-free and free-free: John 1988, A&A 193, 189.
* Hydrogen bound-free and free-free: Kramers with the Gaunt factors of Menzel & Pekeris 1935 as given by Gray 2005,
  Sec. 8.4, with dissolved levels after Dappen, Anderson & Mihalas 1987, ApJ 319, 195.
* Rayleigh scattering on hydrogen: Dalgarno 1962 as given by Kurucz 1970.
* Thomson scattering on electrons.

Bound-free edges of metals are left out: most of them lie below 3000 angstrom.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.constants import (
    BOHR_RADIUS_CM,
    BOLTZMANN_ERG_K,
    BOLTZMANN_EV_K,
    HC_OVER_K_ANGSTROM_K,
    HYDROGEN_IONISATION_EV,
    HYDROGEN_LIMIT_ANGSTROM,
)

H_MINUS_BF = np.array([152.519, 49.534, -118.858, 92.536, -34.194, 4.982])
"""Coefficients of the bound-free cross section of H-. Source: John 1988."""

H_MINUS_FF_RED = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [2483.3460, 285.8270, -2054.2910, 2827.7760, -1341.5370, 208.9520],
        [-3449.8890, -1158.3820, 8746.5230, -11485.6320, 5303.6090, -812.9390],
        [2200.0400, 2427.7190, -13651.1050, 16755.5240, -7510.4940, 1132.7380],
        [-696.2710, -1841.4000, 8624.9700, -10051.5300, 4400.0670, -655.0200],
        [88.2830, 444.5170, -1863.8640, 2095.2880, -901.7880, 132.9850],
    ]
)
"""Coefficients of the free-free opacity of H- above 0.3645 micron: rows n = 1 to 6, columns A to F.

Source: John 1988.
"""

H_MINUS_FF_BLUE = np.array(
    [
        [518.1021, -734.8666, 1021.1775, -479.0721, 93.1373, -6.4285],
        [473.2636, 1443.4137, -1977.3395, 922.3575, -178.9275, 12.3600],
        [-482.2089, -737.1616, 1096.8827, -521.1341, 101.7963, -7.0571],
        [115.5291, 169.6374, -245.6490, 114.2430, -21.9972, 1.5097],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
"""Coefficients of the free-free opacity of H- from 0.1823 to 0.3645 micron. Source: John 1988."""

H_MINUS_LIMIT_MICRON = 1.6419
"""Longest wavelength that ionises H- [micron]."""

KRAMERS_CM2 = 1.0449e-26
"""Bound-free cross section of hydrogen [cm2] over lambda^3 / n^3, with lambda in angstrom."""

THOMSON_CM2 = 6.6524587e-25
"""Thomson cross section of an electron [cm2]."""

HYDROGEN_LEVELS = 12
"""Number of levels whose bound-free edges are summed one by one; the higher edges lie in the far infrared."""


@njit(cache=True, nogil=True)
def h_minus_table(wavelength: np.ndarray) -> np.ndarray:
    """Return the part of the H- opacity that depends on wavelength [A] alone, shape (wavelengths, 7).

    The opacity per hydrogen atom is P_e (0.750 T^(-5/2) exp(a/(l0 T)) (1 - exp(-a/(l T))) sigma_bf
    + 1e-29 sum_n theta^((n+1)/2) c_n). The columns are sigma_bf [cm2] and c_1 to c_6.
    """
    out = np.zeros((wavelength.size, 7))
    for j in range(wavelength.size):
        micron = wavelength[j] * 1e-4
        if micron < H_MINUS_LIMIT_MICRON:
            root = math.sqrt(1.0 / micron - 1.0 / H_MINUS_LIMIT_MICRON)
            series = 0.0
            for n in range(5, -1, -1):
                series = series * root + H_MINUS_BF[n]
            out[j, 0] = 1e-18 * (micron * root) ** 3 * series
        table = H_MINUS_FF_RED if micron > 0.3645 else H_MINUS_FF_BLUE
        x = max(micron, 0.1823)
        for n in range(6):
            c = table[n]
            inner = (c[2] + (c[3] + (c[4] + c[5] / x) / x) / x) / x
            out[j, n + 1] = x * x * c[0] + c[1] + inner
    return out


@njit(cache=True, nogil=True)
def occupation(n: float, ne: float, neutral: float) -> float:
    """Return the occupation probability w of a level of hydrogen, which neighbouring particles dissolve.

    ln w = -(4 pi/3) [ n_H (r_n + r_1)^3 + 16 (e^2 / (K_n^(1/2) chi_n))^3 n_ion ]

    Source: Hummer & Mihalas 1988, ApJ 331, 794, eq. 4.71, with K_n from their eq. 4.24.

    Parameters
    ----------
    n : level, a real number above 0
    ne, neutral : electrons and hydrogen atoms [cm-3]
    """
    k = 1.0
    if n > 3.0:
        k = 16.0 / 3.0 * (n / (n + 1.0)) ** 2 * (n + 7.0 / 6.0) / (n * n + n + 0.5)
    # e^2/chi_n = 2 a0 n^2
    charged = 16.0 * (2.0 * BOHR_RADIUS_CM * n * n) ** 3 / (k * math.sqrt(k)) * ne
    atoms = (BOHR_RADIUS_CM * (n * n + 1.0)) ** 3 * neutral
    return math.exp(-4.18879 * (charged + atoms))


@njit(cache=True, nogil=True)
def depth_factors(temperature: float, ne: float) -> np.ndarray:
    """Return the factors of the opacity that do not depend on wavelength, for `hydrogen` and `continuum`.

    The factors are: H- bound-free; six powers of 5040 K / T for H- free-free; of hydrogen the high levels, free-free,
    and the levels 1, 2, ...

    Parameters
    ----------
    temperature, ne : [K], electrons [cm-3]
    """
    out = np.empty(9 + HYDROGEN_LEVELS)
    alpha = HC_OVER_K_ANGSTROM_K * 1e-4
    pe = ne * BOLTZMANN_ERG_K * temperature
    out[0] = pe * 0.750 * temperature**-2.5
    out[0] *= math.exp(alpha / (H_MINUS_LIMIT_MICRON * temperature))
    theta = 5040.0 / temperature
    for n in range(6):
        out[1 + n] = pe * 1e-29 * theta ** (0.5 * (n + 2))
    beta = HYDROGEN_IONISATION_EV / (BOLTZMANN_EV_K * temperature)
    # the levels above HYDROGEN_LEVELS are summed as an integral
    last = beta / (HYDROGEN_LEVELS + 0.5) ** 2
    out[7] = math.exp(-beta) * (math.exp(last) - 1.0) / (2.0 * beta)
    out[8] = math.exp(-beta) / (2.0 * beta)
    for n in range(1, HYDROGEN_LEVELS + 1):
        out[8 + n] = math.exp(-beta * (1.0 - 1.0 / (n * n))) / n**3
    return out


@njit(cache=True, nogil=True)
def hydrogen(wavelength: float, temperature: float, ne: float, neutral: float, factors: np.ndarray) -> float:
    """Return the bound-free and free-free cross section per hydrogen atom [cm2], its edges smeared by dissolved levels.

    Parameters
    ----------
    wavelength, temperature : [A in vacuum], [K]
    ne, neutral : electrons and hydrogen atoms [cm-3]
    factors : from `depth_factors`
    """
    x = wavelength / HYDROGEN_LIMIT_ANGSTROM
    slope = 0.3456 / x ** (1.0 / 3.0)
    total = factors[7]
    for n in range(1, HYDROGEN_LEVELS + 1):
        n2 = float(n * n)
        reach, dissolved = x / n2, 1.0
        if x > n2:  # to the red of the edge, transitions end in dissolved levels
            upper = 1.0 / math.sqrt(1.0 / n2 - 1.0 / x)
            if upper < n + 1.0:
                continue
            dissolved = 1.0 - occupation(upper, ne, neutral)
            reach = 1.0
        total += (1.0 - slope * (reach - 0.5)) * dissolved * factors[8 + n]
    free = 1.0 + slope * (wavelength * temperature / HC_OVER_K_ANGSTROM_K + 0.5)
    stimulated = 1.0 - math.exp(-HC_OVER_K_ANGSTROM_K / (wavelength * temperature))
    return KRAMERS_CM2 * wavelength**3 * (total + free * factors[8]) * stimulated


@njit(cache=True, nogil=True)
def rayleigh(wavelength: float) -> float:
    """Return the Rayleigh cross section of hydrogen in its ground state [cm2] at a wavelength [A]."""
    inverse = 1.0 / max(wavelength, 1700.0) ** 2
    return inverse * inverse * (5.799e-13 + inverse * (1.422e-6 + inverse * 2.784))


@njit(cache=True, nogil=True)
def continuum(
    wavelength: float, table: np.ndarray, temperature: float, ne: float, neutral: float, factors: np.ndarray
) -> float:
    """Return the continuous opacity [cm-1], with scattering, corrected for stimulated emission.

    Parameters
    ----------
    wavelength, temperature : [A in vacuum], [K]
    table : row of `h_minus_table` at this wavelength
    ne, neutral : electrons and hydrogen atoms [cm-3]
    factors : from `depth_factors`
    """
    stimulated = 1.0 - math.exp(-HC_OVER_K_ANGSTROM_K / (wavelength * temperature))
    per_atom = table[0] * factors[0] * stimulated + rayleigh(wavelength)
    for n in range(6):
        per_atom += table[n + 1] * factors[n + 1]
    per_atom += hydrogen(wavelength, temperature, ne, neutral, factors)
    return neutral * per_atom + ne * THOMSON_CM2
