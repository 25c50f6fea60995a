"""Synthetic spectra on one fixed lattice: atmosphere, opacity, emergent flux.

This module holds the public names of the package: `synthesize`, `white_dwarf`, `microturbulence`, `SYNTHESIS_LOGLAM`.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere import lattice
from raystellar.simulator.photosphere.atmosphere import LN_STEP, TAU_ROSS, structure
from raystellar.simulator.photosphere.atoms import abundances
from raystellar.simulator.photosphere.hydrogen import HYDROGEN_LINES, add_hydrogen_lines
from raystellar.simulator.photosphere.ionisation import gas_state, stage_fractions
from raystellar.simulator.photosphere.lattice import SYNTHESIS_LOGLAM
from raystellar.simulator.photosphere.lines import ATOMIC_LINES, LINE_MASS_G, add_lines
from raystellar.simulator.photosphere.molecules import absorbers, band_table
from raystellar.simulator.photosphere.opacity import THOMSON_CM2, continuum, depth_factors, h_minus_table, rayleigh
from raystellar.simulator.photosphere.radiation import emergent_flux, planck, scattering_excess

__all__ = ["SYNTHESIS_LOGLAM", "microturbulence", "synthesize", "white_dwarf"]

LIMITS = {
    "teff": (3900.0, 11000.0, "K"),
    "logg": (0.0, 5.2, "dex (cgs)"),
    "feh": (-4.5, 0.8, "dex"),
    "alpha": (-0.2, 0.6, "dex"),
    "vmicro": (0.3, 6.0, "km/s"),
}
"""Lowest value, highest value and unit of each parameter of `synthesize`: the ranges whose physics was checked."""

COARSE_TABLE = h_minus_table(lattice.COARSE_WAVE)
"""Table of the H- opacity on the coarse lattice."""

BAND_TABLE = band_table(lattice.COARSE_WAVE)
"""Cross sections of the molecular bands on the coarse lattice."""

FINE_INDEX, FINE_FRACTION = lattice.interpolation(lattice.COARSE_WAVE, lattice.FINE_WAVE)
"""Interpolation from the coarse to the fine lattice."""

LINE_INDEX, LINE_FRACTION = lattice.interpolation(lattice.COARSE_WAVE, ATOMIC_LINES[:, 0])
"""Interpolation from the coarse lattice to the centres of the atomic lines."""

LINE_DEPTHS = np.searchsorted(TAU_ROSS, [1e-4, 1.5])
"""Indices of the depths between which the strength of a line is compared with the continuum."""


def microturbulence(teff: float, logg: float) -> float:
    """Return the microturbulence [km/s] at teff [K] and logg: about 1 in the Sun, 2 in giants and A stars.

    The relation is smooth and follows the values used for dwarfs (Bruntt et al. 2010), red giants (Holtzman et al.
    2018) and A stars (Landstreet et al. 2009).
    """
    giants = 1.0 / (1.0 + math.exp((logg - 2.3) / 0.6))
    warm = 1.0 / (1.0 + math.exp((6900.0 - teff) / 450.0))
    hot = 1.0 / (1.0 + math.exp((teff - 9300.0) / 500.0))
    return 1.0 + 0.9 * giants + 1.6 * warm * (0.35 + 0.65 * hot)


def _check(**values: float) -> None:
    """Raise ValueError if a parameter is outside `LIMITS` or not finite."""
    for name, value in values.items():
        low, high, unit = LIMITS[name]
        if not low <= value <= high:
            raise ValueError(f"{name} = {value} is outside [{low}, {high}] {unit}")


@njit(cache=True, nogil=True)
def _populations(model: np.ndarray, abundance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return density over partition function (elements, 3, depths) and absorbers of bands (depths, 6), both [cm-3]."""
    depths = model.shape[1]
    populations = np.empty((abundance.size, 3, depths))
    bands = np.empty((depths, 6))
    for d in range(depths):
        _, nuclei, neutral, u, saha = gas_state(model[0, d], model[1, d], abundance)
        fractions = stage_fractions(saha, model[2, d])
        bands[d] = absorbers(model[0, d], nuclei, neutral, abundance, u, fractions)
        for e in range(abundance.size):
            for s in range(3):
                populations[e, s, d] = nuclei * abundance[e] * fractions[e, s] / u[e, s]
    return populations, bands


@njit(cache=True, nogil=True)
def _smooth_opacity(
    wavelength: np.ndarray, table: np.ndarray, band_cross_section: np.ndarray, bands: np.ndarray, model: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the opacity of continuum and bands and its scattering part, both (wavelengths, depths) [cm-1]."""
    out = np.empty((wavelength.size, model.shape[1]))
    scattering = np.empty(out.shape)
    for d in range(model.shape[1]):
        factors = depth_factors(model[0, d], model[2, d])
        for j in range(wavelength.size):
            alpha = continuum(wavelength[j], table[j], model[0, d], model[2, d], model[4, d], factors)
            for b in range(bands.shape[1]):
                alpha += band_cross_section[j, b] * bands[d, b]
            out[j, d] = alpha
            scattering[j, d] = model[4, d] * rayleigh(wavelength[j]) + model[2, d] * THOMSON_CM2
    return out, scattering


@njit(cache=True, nogil=True)
def _interpolate(table: np.ndarray, index: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Return the rows of ``table`` (coarse, depths), interpolated at index + fraction."""
    out = np.empty((index.size, table.shape[1]))
    for j in range(index.size):
        low, high, t = table[index[j]], table[index[j] + 1], fraction[j]
        for d in range(table.shape[1]):
            out[j, d] = low[d] + t * (high[d] - low[d])
    return out


@njit(cache=True, nogil=True)
def _planck_table(wavelength: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Return the Planck function (wavelengths, depths) [erg/s/cm2/A/sr]."""
    out = np.empty((wavelength.size, temperature.size))
    for j in range(wavelength.size):
        for d in range(temperature.size):
            out[j, d] = planck(wavelength[j], temperature[d])
    return out


@njit(cache=True, nogil=True)
def _flux(
    ratio: np.ndarray, thermal: np.ndarray, excess: np.ndarray, index: np.ndarray, fraction: np.ndarray
) -> np.ndarray:
    """Return the emergent flux [erg/s/cm2/A] at every wavelength.

    Parameters
    ----------
    ratio : opacity over the Rosseland opacity (wavelengths, depths)
    thermal, excess : B and sigma (J - B) on the coarse lattice (coarse, depths)
    index, fraction : interpolation from the coarse lattice to the wavelengths
    """
    out = np.empty(index.size)
    source = np.empty(ratio.shape[1])
    for j in range(index.size):
        i, t = index[j], fraction[j]
        for d in range(source.size):
            shift = excess[i, d] + t * (excess[i + 1, d] - excess[i, d])
            source[d] = thermal[i, d] + t * (thermal[i + 1, d] - thermal[i, d]) + shift / ratio[j, d]
        out[j] = emergent_flux(ratio[j], source, TAU_ROSS, 0.5 * LN_STEP)
    return out


@njit(cache=True, nogil=True)
def _pixels(wavelength: np.ndarray, flux: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Return the mean flux of every pixel, by trapezia over the fine points between its edges."""
    out = np.empty(edge.size - 1)
    for i in range(out.size):
        total = 0.0
        for j in range(edge[i], edge[i + 1]):
            total += 0.5 * (flux[j] + flux[j + 1]) * (wavelength[j + 1] - wavelength[j])
        out[i] = total / (wavelength[edge[i + 1]] - wavelength[edge[i]])
    return out


def _emergent(
    teff: float,
    logg: float,
    feh: float,
    alpha: float,
    vmicro: float,
    wavelength: np.ndarray,
    index: np.ndarray,
    fraction: np.ndarray,
) -> np.ndarray:
    """Return the flux [erg/s/cm2/A] at fine wavelengths, with their interpolation from the coarse lattice."""
    abundance = abundances(feh, alpha)
    model = structure(teff, logg, feh, abundance)
    populations, bands = _populations(model, abundance)
    coarse = lattice.COARSE_WAVE
    smooth, scattering = _smooth_opacity(coarse, COARSE_TABLE, BAND_TABLE, bands, model)
    add_hydrogen_lines(smooth, coarse, HYDROGEN_LINES, TAU_ROSS, model[0], model[2], model[4], vmicro)
    smooth /= model[5]
    scattering /= model[5]
    excess = scattering_excess(smooth, scattering, coarse, model[0], TAU_ROSS, 0.5 * LN_STEP)
    ratio = _interpolate(smooth, index, fraction)
    reference = _interpolate(smooth, LINE_INDEX, LINE_FRACTION)
    add_lines(
        ratio,
        wavelength,
        ATOMIC_LINES,
        LINE_MASS_G,
        populations,
        model[0],
        model[2],
        model[4],
        reference,
        model[5],
        vmicro,
        LINE_DEPTHS[0],
        LINE_DEPTHS[1],
    )
    return _flux(ratio, _planck_table(coarse, model[0]), excess, index, fraction)


def synthesize(teff: float, logg: float, feh: float, alpha: float = 0.0, vmicro: float | None = None) -> np.ndarray:
    """Return the flux F_lambda at the surface of a star at rest, averaged over each pixel of `SYNTHESIS_LOGLAM`.

    Parameters
    ----------
    teff : effective temperature [K]
    logg : log10 of the surface gravity [cm/s2]
    feh, alpha : [Fe/H] and [alpha/Fe] [dex], relative to the solar abundances of Asplund et al. 2009
    vmicro : microturbulence [km/s]; None for the value of `microturbulence`

    Returns
    -------
    (pixels,) [erg/s/cm2/A]

    Raises
    ------
    ValueError : a parameter is outside `LIMITS`
    """
    teff, logg, feh, alpha = float(teff), float(logg), float(feh), float(alpha)
    _check(teff=teff, logg=logg, feh=feh, alpha=alpha)
    vmicro = microturbulence(teff, logg) if vmicro is None else float(vmicro)
    _check(vmicro=vmicro)
    return _averaged(teff, logg, feh, alpha, vmicro)


def white_dwarf(teff: float, logg: float) -> np.ndarray:
    """Return the flux of a DA white dwarf, a hydrogen atmosphere, as `synthesize` does.

    The parameters are outside the range whose physics was checked. The widths of the Balmer lines agree to a third
    with those of real DA stars. There are no Lyman lines.

    Parameters
    ----------
    teff : effective temperature [K], 8,000 to 17,000, as of most DA stars; the tables end there
    logg : log10 of the surface gravity [cm/s2], 7 to 8.3

    Raises
    ------
    ValueError : a parameter is out of range
    """
    if not (8000.0 <= teff <= 17000.0 and 7.0 <= logg <= 8.3):
        raise ValueError(f"teff = {teff} K and logg = {logg} must lie in 8000 to 17000 and 7 to 8.3")
    return _averaged(teff, logg, LIMITS["feh"][0], 0.0, 1.0)


def _averaged(teff: float, logg: float, feh: float, alpha: float, vmicro: float) -> np.ndarray:
    """Return the flux [erg/s/cm2/A] averaged over each output pixel."""
    flux = _emergent(teff, logg, feh, alpha, vmicro, lattice.FINE_WAVE, FINE_INDEX, FINE_FRACTION)
    return _pixels(lattice.FINE_WAVE, flux, lattice.PIXEL_EDGE)
