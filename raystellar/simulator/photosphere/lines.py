"""Atomic lines: the table of lines, damping constants, and line opacity on a lattice of wavelengths.

``lines.csv`` has vacuum wavelengths and oscillator strengths; its header names their sources. A line is a Voigt
profile. Its Doppler width is thermal and microturbulent; its damping is radiative, quadratic Stark and van der Waals.
"""

import math
from importlib.resources import files

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.atoms import INDEX_OF_Z, IONISATION_EV, MASS_AMU
from raystellar.simulator.photosphere.constants import (
    ATOMIC_MASS_G,
    BOLTZMANN_ERG_K,
    BOLTZMANN_EV_K,
    CLASSICAL_CROSS_SECTION_CM,
    HC_OVER_K_ANGSTROM_K,
    RYDBERG_EV,
    SPEED_OF_LIGHT_CM_S,
)

UNSOLD_FACTOR = 2.0
"""Ratio of van der Waals widths to Unsoeld's, about 2 for lines of the iron group.

Source: Barklem et al. 2000, A&AS 142, 467.
"""

FAINTEST_LINE = 1e-3
"""Ratio of line to continuous opacity at which a line is cut off. Profiles reach zero there smoothly."""

GAUSS_REACH = 4.2
"""Least half window of a line [Doppler widths]; exp(-4.2^2) = 2e-8."""

VOIGT_STEP = 0.05
"""Step of v in the table of the Voigt function."""

VOIGT_END = 12.0
"""End of the table in v; beyond it the Voigt function is that of the Lorentz wing."""

BROAD = 0.1
"""Voigt parameter a above which Harris's series in a is not accurate enough."""


def read_lines() -> np.ndarray:
    """Return the rows of lines.csv: vacuum wavelength [A], species, excitation [eV], log gf, log10 of gamma6/N.

    log10 of gamma6/N is NaN where the file has no value.
    """
    with (files("raystellar.simulator.photosphere") / "lines.csv").open("r") as handle:
        rows = [line.rstrip("\n").split(",") for line in handle if not line.startswith("#")]
    return np.array([[float(v) if v else np.nan for v in row] for row in rows[1:]])


def line_table(rows: np.ndarray) -> np.ndarray:
    """Return the columns of `ATOMIC_LINES` (lines, 8) for the rows of `read_lines`.

    The columns are wavelength [A], index of the element, stage, excitation [eV], gf, and three damping constants
    [rad/s]: gamma_rad, gamma_4/n_e, gamma_6/n_H. gamma_rad is the classical 0.2223e16 / lambda^2 with lambda in
    angstrom. gamma_4/n_e is 1e-8 n_eff^5 (Cowley 1971). gamma_6 at 10,000 K is the value of lines.csv (Barklem,
    Piskunov & O'Mara 2000) or, without one, from Unsoeld's C6 (Gray 2005, Sec. 11.3) times `UNSOLD_FACTOR`; it grows
    as T^0.38.
    """
    wave, species, excitation, log_gf, log_gamma6 = rows.T
    z = np.floor(species + 0.01).astype(int)
    stage = np.rint((species - z) * 10).astype(int)
    element = np.array([INDEX_OF_Z[k] for k in z])
    limit = IONISATION_EV[element, stage]
    charge2 = (stage + 1.0) ** 2
    upper = np.minimum(excitation + 12398.42 / wave, limit - 0.3)
    n_eff2 = RYDBERG_EV * charge2 / (limit - upper)
    c6 = 0.3e-30 * charge2 * (1.0 / (limit - upper) ** 2 - 1.0 / np.maximum(limit - excitation, 0.4) ** 2)
    unsold = 10.0**19.6 * np.abs(c6) ** 0.4 * BOLTZMANN_ERG_K * 1e4**0.3 * UNSOLD_FACTOR
    gamma6 = np.where(np.isfinite(log_gamma6), 10.0 ** np.nan_to_num(log_gamma6), unsold)
    gamma4 = 1e-8 * n_eff2**2.5 / charge2
    return np.stack([wave, element, stage, excitation, 10.0**log_gf, 2.223e15 / wave**2, gamma4, gamma6], 1)


def _voigt_table() -> np.ndarray:
    """Return exp(-v^2) and H1(v) = (2/sqrt(pi)) (2 v D(v) - 1) with Dawson's D, at steps of `VOIGT_STEP`."""
    from scipy.special import dawsn

    v = np.arange(0.0, VOIGT_END + 2 * VOIGT_STEP, VOIGT_STEP)
    return np.stack([np.exp(-(v**2)), 2.0 / math.sqrt(math.pi) * (2.0 * v * dawsn(v) - 1.0)], axis=1)


VOIGT = _voigt_table()
"""Table of the Voigt function by v: the terms in a^0 and a^1."""

ATOMIC_LINES = line_table(read_lines())
"""Atomic lines, with the columns of `line_table`."""

LINE_MASS_G = MASS_AMU[ATOMIC_LINES[:, 1].astype(int)] * ATOMIC_MASS_G
"""Mass of the atom of each line [g]."""


@njit(cache=True, nogil=True)
def _voigt_broad(a: float, v: float) -> float:
    """Return the Voigt function H(a, v) of broad lines, to a relative error of 1e-4.

    Source: Humlicek 1982, JQSRT 27, 437 (algorithm w4).
    """
    t = complex(a, -v)
    s = v + a
    u = t * t
    if s >= 15.0:
        return (t * 0.5641896 / (0.5 + u)).real
    if s >= 5.5:
        return (t * (1.410474 + u * 0.5641896) / (0.75 + u * (3.0 + u))).real
    if a >= 0.195 * v - 0.176:
        top = 16.4955 + t * (20.20933 + t * (11.96482 + t * (3.778987 + t * 0.5642236)))
        low = 38.82363 + t * (39.27121 + t * (21.69274 + t * (6.699398 + t)))
        return (top / (16.4955 + t * low)).real
    top = 1540.787 - u * (219.0313 - u * (35.76683 - u * (1.320522 - u * 0.56419)))
    top = t * (36183.31 - u * (3321.9905 - u * top))
    low = 2186.181 - u * (364.2191 - u * (61.57037 - u * (1.841439 - u)))
    low = 32066.6 - u * (24322.84 - u * (9022.228 - u * low))
    return (np.exp(u) - top / low).real


@njit(cache=True, nogil=True, inline="always")
def voigt(a: float, v: float) -> float:
    """Return the Voigt function H(a, v) for v >= 0, normalised so that H(0, v) = exp(-v^2).

    For a up to `BROAD` the function is Harris's series to a^2 (Mihalas 1978, eq. 9-44), above it `_voigt_broad`.
    """
    if v > VOIGT_END:
        return a * 0.5641896 / (v * v + a * a) * (1.0 + 1.5 / (v * v))
    if a > BROAD:
        return _voigt_broad(a, v)
    position = v * (1.0 / VOIGT_STEP)
    i = int(position)
    t = position - i
    h0 = VOIGT[i, 0] + t * (VOIGT[i + 1, 0] - VOIGT[i, 0])
    h1 = VOIGT[i, 1] + t * (VOIGT[i + 1, 1] - VOIGT[i, 1])
    return h0 * (1.0 + a * a * (1.0 - 2.0 * v * v)) + a * h1


@njit(cache=True, nogil=True)
def doppler_velocities(temperature: np.ndarray, vmicro_km_s: float) -> tuple[np.ndarray, float]:
    """Return (2kT)^(1/2) [g^(1/2) cm/s] (depths,) and microturbulence xi [cm/s]: v_D^2 = 2kT/m + xi^2."""
    return np.sqrt(2.0 * BOLTZMANN_ERG_K * temperature), vmicro_km_s * 1e5


@njit(cache=True, nogil=True)
def _centre_strength(
    line: np.ndarray,
    mass: float,
    populations: np.ndarray,
    temperature: np.ndarray,
    thermal: np.ndarray,
    micro: float,
    strength: np.ndarray,
    doppler: np.ndarray,
) -> None:
    """Fill ``strength`` and ``doppler`` with values of a line at each depth.

    The strength is the opacity [cm-1] at the centre for a Voigt function of 1; the Doppler width has the unit angstrom.
    """
    wave, excitation = line[0], line[3]
    element, stage = int(line[1]), int(line[2])
    front = CLASSICAL_CROSS_SECTION_CM * 1e-8 * wave * wave * line[4] / 1.7724539
    for d in range(temperature.size):
        speed = math.sqrt(thermal[d] * thermal[d] / mass + micro * micro)
        doppler[d] = wave * speed / SPEED_OF_LIGHT_CM_S
        t = temperature[d]
        level = populations[element, stage, d] * math.exp(-excitation / (BOLTZMANN_EV_K * t))
        level *= 1.0 - math.exp(-HC_OVER_K_ANGSTROM_K / (wave * t))
        strength[d] = front * level / doppler[d]


@njit(cache=True, nogil=True)
def _damping(
    line: np.ndarray, doppler: np.ndarray, temperature: np.ndarray, ne: np.ndarray, neutral: np.ndarray, a: np.ndarray
) -> None:
    """Fill ``a`` with the Voigt parameter gamma lambda^2 / (4 pi c Doppler) of a line at each depth."""
    front = line[0] * line[0] * 1e-8 / (4.0 * math.pi * SPEED_OF_LIGHT_CM_S)
    for d in range(temperature.size):
        gamma = line[5] + line[6] * ne[d] + line[7] * neutral[d] * (temperature[d] * 1e-4) ** 0.38
        a[d] = front * gamma / doppler[d]


@njit(cache=True, nogil=True, fastmath=True)
def _add_profile(
    ratio: np.ndarray,
    wavelength: np.ndarray,
    centre: float,
    edge: float,
    far: float,
    strength: np.ndarray,
    inverse_doppler: np.ndarray,
    a: np.ndarray,
    wing1: np.ndarray,
    wing2: np.ndarray,
) -> None:
    """Add a line to ``ratio`` between centre - edge and centre + edge; beyond ``far`` [A] by the series of the wing."""
    depths = strength.size
    for j in range(np.searchsorted(wavelength, centre - edge), np.searchsorted(wavelength, centre + edge)):
        offset = abs(wavelength[j] - centre)
        s = (offset / edge) ** 2
        taper = 1.0 - s * s * s
        if offset > far:
            first = taper / (offset * offset)
            second = first / (offset * offset)
            for d in range(depths):
                ratio[j, d] += first * wing1[d] + second * wing2[d]
        else:
            for d in range(depths):
                ratio[j, d] += taper * strength[d] * voigt(a[d], offset * inverse_doppler[d])


@njit(cache=True, nogil=True)
def add_lines(
    ratio: np.ndarray,
    wavelength: np.ndarray,
    lines: np.ndarray,
    masses: np.ndarray,
    populations: np.ndarray,
    temperature: np.ndarray,
    ne: np.ndarray,
    neutral: np.ndarray,
    reference: np.ndarray,
    norm: np.ndarray,
    vmicro: float,
    first_depth: int,
    last_depth: int,
) -> None:
    """Add the opacity of atomic lines to ``ratio``, in place.

    The window of a line ends where its wing falls below `FAINTEST_LINE` of the continuum.

    Parameters
    ----------
    ratio : opacity over ``norm`` (wavelengths, depths), changed in place
    wavelength : increasing (wavelengths,) [A in vacuum]
    lines, masses : rows of `ATOMIC_LINES` and their `LINE_MASS_G`
    populations : density over partition function (elements, 3, depths) [cm-3]
    temperature, ne, neutral : [K], electrons and hydrogen atoms [cm-3] (depths,)
    reference : opacity without lines at the centres of the lines, over ``norm`` (lines, depths)
    norm : Rosseland opacity (depths,) [cm-1]
    vmicro : microturbulence [km/s]
    first_depth, last_depth : range of depths at which the strength of a line is compared with the continuum
    """
    depths = temperature.size
    thermal, micro = doppler_velocities(temperature, vmicro)
    strength, doppler, a = np.empty(depths), np.empty(depths), np.empty(depths)
    wing1, wing2 = np.empty(depths), np.empty(depths)
    for line in range(lines.shape[0]):
        _centre_strength(lines[line], masses[line], populations, temperature, thermal, micro, strength, doppler)
        peak = 0.0
        for d in range(first_depth, last_depth):
            peak = max(peak, strength[d] / norm[d] / reference[line, d])
        if peak <= FAINTEST_LINE:
            continue
        _damping(lines[line], doppler, temperature, ne, neutral, a)
        reach2, width = 0.0, 0.0
        for d in range(first_depth, last_depth):
            wing = strength[d] / norm[d] / reference[line, d] * a[d] * 0.5642 * doppler[d] ** 2
            reach2 = max(reach2, wing / FAINTEST_LINE)
            width = max(width, doppler[d])
        edge = math.sqrt(reach2 + (GAUSS_REACH * width) ** 2)
        edge = edge / (1.0 + edge / 300.0)
        soft = (1.0 - FAINTEST_LINE / peak) ** 2
        for d in range(depths):
            strength[d] *= soft / norm[d]
            wing1[d] = strength[d] * a[d] * 0.5641896 * doppler[d] ** 2
            wing2[d] = wing1[d] * (1.5 - a[d] * a[d]) * doppler[d] ** 2
            doppler[d] = 1.0 / doppler[d]
        _add_profile(
            ratio, wavelength, lines[line, 0], edge, VOIGT_END / doppler.min(), strength, doppler, a, wing1, wing2
        )
