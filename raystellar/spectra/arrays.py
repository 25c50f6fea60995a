"""Spectra that a user passes as arrays by name: their units, masks and uncertainties -> records.

    wavelength or loglam   vacuum wavelength, or its log10
    flux                   flux per wavelength, or in a unit that astropy converts to it
    NOISE                  exactly one array that says how noisy the flux is
    mask                   True where a pixel is bad
    SCALARS                velocity, name, position and numbers of the spectrum

Arrays of numpy, masked arrays, Quantities and table columns are taken alike, see ``quantities``. ``containers`` makes
such arrays of tables and spectra of other libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units

from raystellar.config import nearest
from raystellar.errors import InputError, SpectrumError
from raystellar.spectra.quantities import MISSING, Values, f_lambda, factor, noise_of, unit_needed
from raystellar.spectra.record import Spectrum, check_loglam, median_sn, near_one

WAVELENGTHS = ("wavelength", "loglam")
"""Names of the wavelengths, of which a spectrum has one."""

NOISE: Mapping[str, int] = {"ivar": -2, "variance": 2, "sigma": 1, "error": 1, "uncertainty": 1}
"""Names of the noise, of which a spectrum has one, with the power of the unit of the flux that is its unit.

An ``error`` or ``uncertainty`` is a standard deviation, unless it is an uncertainty of astropy that says otherwise.
"""

SCALARS = ("rv", "spec_id", "ra", "dec", "catalogid", "obs_id")
"""Names of the values that are not arrays. All may be left out."""

NAMES = (*WAVELENGTHS, "flux", *NOISE, "mask", *SCALARS)
"""All names."""


@dataclass(slots=True)
class ArraySpectrum(Spectrum):
    """A spectrum that the user passed as arrays."""

    rv: float = math.nan
    """Heliocentric radial velocity [km/s]; NaN where it is unknown."""


def read_arrays(arrays: Mapping[str, Any], first: int) -> Iterator[ArraySpectrum | SpectrumError]:
    """Yield the spectra of a mapping of arrays, or a SpectrumError for each whose arrays cannot be used.

    Parameters
    ----------
    arrays : arrays and values by their ``NAMES``; None for a name that is left out. A flux with two axes has a spectrum
        in each row; the other arrays and values are then common to all, or have a row for each spectrum too
    first : number of the first spectrum in the call, its name where it has none

    Raises
    ------
    InputError : a name is missing, not known or given twice, or a unit cannot be used
    """
    named = {name: value for name, value in arrays.items() if value is not None}
    if hasattr(named.get("uncertainty"), "uncertainty_type"):
        noise, values = noise_of(named.pop("uncertainty"))
        _check_choice(["uncertainty", *(name for name in NOISE if name in named)], "noise")
        named[noise] = values
    _check_names(named)
    for row, one in enumerate(_rows({name: Values.of(value) for name, value in named.items()})):
        spec_id = one.get("spec_id", MISSING).text("spec_id") or str(first + row)
        try:
            with np.errstate(all="ignore"):  # numbers out of range are judged where they are used
                spectrum = _spectrum(spec_id, one)
        except SpectrumError as error:
            yield SpectrumError(error.stage, error.reason, error.detail, spec_id)
        else:
            yield spectrum


def _check_names(arrays: Mapping[str, Any]) -> None:
    unknown = [str(name) for name in arrays if name not in NAMES]
    if unknown:
        names = f"no values are called {', '.join(unknown)}, rename them or leave them out"
        raise InputError(f"{names}{nearest(unknown[0], NAMES)}")
    if "flux" not in arrays:
        raise InputError("flux is missing")
    _check_choice([name for name in WAVELENGTHS if name in arrays], "wavelength")
    _check_choice([name for name in NOISE if name in arrays], "noise")


def _check_choice(given: list[str], kind: str) -> None:
    """Raise InputError unless one name of a kind is given."""
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are both a {kind}; give one of them")
    if not given:
        names = WAVELENGTHS if kind == "wavelength" else NOISE
        raise InputError(f"there is no {kind}, and it is not guessed; give one of {', '.join(names)}")


def _rows(values: Mapping[str, Values]) -> Iterator[Mapping[str, Values]]:
    """Yield the values of each spectrum; a flux with two axes holds one spectrum in each row."""
    axes = values["flux"].data.ndim
    if axes > 2:
        raise InputError(f"flux has {axes} axes; give one for a spectrum, or two for many with the pixels in the last")
    if axes < 2:
        yield values
        return
    one_each = {name for name, value in values.items() if value.data.ndim > (0 if name in SCALARS else 1)}
    lengths = {name: len(values[name].data) for name in sorted(one_each)}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the numbers of spectra differ: {lengths}; give each array one row for each spectrum")
    for row in range(lengths["flux"]):
        yield {name: value.row(row) if name in one_each else value for name, value in values.items()}


def _spectrum(name: str, values: Mapping[str, Values]) -> ArraySpectrum:
    loglam = _loglam(values)
    flux, ivar = _flux_and_ivar(values, 10.0**loglam)
    if len(loglam) > 1 and loglam[0] > loglam[-1]:
        loglam, flux, ivar = loglam[::-1], flux[::-1], ivar[::-1]
    loglam, flux, ivar = (np.ascontiguousarray(array, dtype=np.float32) for array in (loglam, flux, ivar))
    check_loglam(loglam)
    about = {name: values.get(name, MISSING) for name in SCALARS}
    return ArraySpectrum(
        path="", spec_id=name, plate=0, mjd=0, fiberid=0, run2d="", ra=about["ra"].number("ra", units.deg),
        dec=about["dec"].number("dec", units.deg), object_class="STAR", subclass="", is_sky=False, z=math.nan,
        z_err=math.nan, zwarning=0, sn=median_sn(loglam, flux, ivar), loglam=loglam, flux=flux, ivar=ivar,
        catalogid=about["catalogid"].integer("catalogid"), obs_id=about["obs_id"].integer("obs_id"),
        rv=about["rv"].number("rv", units.km / units.s),
    )  # fmt: skip


def _loglam(values: Mapping[str, Values]) -> np.ndarray:
    """Return log10 of the wavelengths [angstrom] in float64, in the order of the pixels."""
    name = next(name for name in WAVELENGTHS if name in values)
    numbers, unit = values[name].floats(name), values[name].unit
    if name == "loglam" and unit in (None, units.dimensionless_unscaled, units.dex):
        return numbers
    wanted = units.AA if name == "wavelength" else units.dex(units.AA)
    if unit is not None:
        with unit_needed(name, unit, wanted):
            numbers = unit.to(wanted, numbers, equivalencies=units.spectral())
    return np.log10(numbers) if name == "wavelength" else numbers  # check_loglam refuses what is no logarithm


def _flux_and_ivar(values: Mapping[str, Values], wavelength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return flux per wavelength and its inverse variance in float64, of a size near 1, with ivar 0 where masked."""
    noise = next(name for name in NOISE if name in values)
    power = NOISE[noise]
    flux, ivar = values["flux"].floats("flux"), values[noise].floats(noise)
    if power > 0:
        ivar = _inverse(ivar) ** (2 // power)
    arrays = [wavelength, flux, ivar] + ([values["mask"].data] if "mask" in values else [])
    if not all(array.shape == (flux.size,) for array in arrays):
        shapes = f"{', '.join(str(array.shape) for array in arrays)} of wavelength, flux, {noise}"
        raise SpectrumError("read", "arrays do not have one length", shapes + (", mask" if "mask" in values else ""))
    unit, noise_unit = values["flux"].unit, values[noise].unit
    if unit is not None:
        wanted = f_lambda(unit)
        scale = factor("flux", unit, 1, wanted, wavelength)
        flux = flux * scale
        if noise_unit is not None and noise_unit != unit**power:
            scale = factor(noise, noise_unit, power, wanted, wavelength)
        ivar = ivar / scale**2
    elif noise_unit is not None and noise_unit != units.dimensionless_unscaled:
        raise InputError(f"{noise} has the unit {noise_unit} and flux has none; give both their units, or neither")
    return near_one(flux, np.where(_masked(values), 0.0, ivar))


def _masked(values: Mapping[str, Values]) -> np.ndarray | np.bool_:
    """Return which pixels are masked, in the array of any name."""
    masks = [value.bad for name, value in values.items() if name not in SCALARS and value.bad is not None]
    if "mask" in values:
        if values["mask"].data.dtype.kind not in "biu":
            raise SpectrumError("read", "mask is not of booleans", str(values["mask"].data.dtype))
        masks.append(values["mask"].data != 0)
    return np.logical_or.reduce(masks) if masks else np.False_


def _inverse(values: np.ndarray) -> np.ndarray:
    """Return 1 / values; 0 where a value is not positive."""
    return np.where(values > 0.0, 1.0 / values, 0.0)
