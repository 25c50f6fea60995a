"""Numbers with masks and units, whatever array holds them, and their units converted by astropy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units

from raystellar.errors import InputError, SpectrumError

UNCERTAINTY_TYPES = {"std": "sigma", "var": "variance", "ivar": "ivar"}
"""Name of an uncertainty of astropy.nddata by its ``uncertainty_type``."""

F_LAMBDA = units.erg / units.s / units.cm**2 / units.AA
"""Unit to which a flux that is not per wavelength is converted."""

FLUX_UNITS: Mapping[str, units.UnitBase | None] = {
    "dimensionless": None,
    "spectral flux density wav": None,
    "surface brightness wav": None,
    "spectral flux density": F_LAMBDA,
    "photon flux density wav": F_LAMBDA,
    "photon flux density": F_LAMBDA,
    "surface brightness": F_LAMBDA / units.sr,
}
"""Units to which fluxes are converted, by the physical type of their units; None for the unit in which they are."""


@dataclass(frozen=True, slots=True)
class Values:
    """The numbers of an array or a single value, with its mask and unit."""

    data: np.ndarray
    """The numbers, (), (n,) or (spectra, n)."""

    bad: np.ndarray | None
    """Whether each number is masked, in the shape of ``data``; None where none is."""

    unit: units.UnitBase | None
    """The unit; None where there is none."""

    @classmethod
    def of(cls, values: Any, unit: Any = None) -> Values:
        """Return the numbers, mask and unit of an array, masked array, Quantity, column, DataArray or number.

        Parameters
        ----------
        values : the array; ``Values`` are returned as they are
        unit : unit of an array that has none itself

        Raises
        ------
        InputError : astropy does not know the unit, or the array is not rectangular
        """
        if isinstance(values, Values):
            return values
        unit = getattr(values, "unit", None) or getattr(values, "attrs", {}).get("units") or unit
        bad = None
        if isinstance(values, np.ma.MaskedArray):
            bad, values = np.ma.getmaskarray(values), np.ma.getdata(values)
        elif hasattr(values, "unmasked"):  # astropy.utils.masked.Masked
            bad, values = np.asarray(values.mask), values.unmasked
        try:
            unit = units.Unit(unit) if unit else None
        except (ValueError, TypeError):
            unit = units.UnrecognizedUnit(str(unit))
        if isinstance(unit, units.UnrecognizedUnit):
            raise InputError(f"astropy does not know the unit {str(unit)!r}; give another name of it")
        try:
            return cls(np.asarray(values), bad, unit)
        except ValueError:
            raise InputError("the rows of an array have different lengths; give the spectra in a list") from None

    def row(self, row: int) -> Values:
        """Return one row of values that have one for each spectrum."""
        return Values(self.data[row], None if self.bad is None else self.bad[row], self.unit)

    def with_last(self, axis: int) -> Values:
        """Return the values with an axis moved to the end."""
        bad = None if self.bad is None else np.moveaxis(self.bad, axis, -1)
        return Values(np.moveaxis(self.data, axis, -1), bad, self.unit)

    def floats(self, name: str) -> np.ndarray:
        """Return the numbers in float64.

        Raises
        ------
        SpectrumError : they are no numbers
        """
        try:
            if self.data.dtype.kind in "biufO":
                return np.asarray(self.data, dtype=float)
        except (TypeError, ValueError):
            pass
        raise SpectrumError("read", f"{name} is not numeric", f"values of type {self.data.dtype}")

    def single(self, name: str) -> Any:
        """Return a value that is one, or many that are all the same; None where it is missing, NaN or masked.

        Raises
        ------
        InputError : the values differ
        """
        if self.bad is not None and self.bad.any():
            return None
        known = [value for value in self.data.ravel().tolist() if not _is_missing(value)]
        if any(value != known[0] for value in known):
            cure = "give one, or a flux with a row for each spectrum"
            raise InputError(f"{name} has several values for one spectrum; {cure}")
        return known[0] if known else None

    def number(self, name: str, unit: units.UnitBase) -> float:
        """Return a single number in ``unit``; NaN where there is none.

        Raises
        ------
        InputError : its own unit cannot be converted, or there are several numbers
        SpectrumError : it is no number
        """
        value = self.single(name)
        if value is None:
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise SpectrumError("read", f"{name} is not numeric", repr(value)[:100]) from None
        if self.unit is None:
            return number
        with unit_needed(name, self.unit, unit):
            return float(self.unit.to(unit, number))

    def integer(self, name: str) -> int:
        """Return a single whole number; -1 where there is none.

        Raises
        ------
        InputError : there are several
        SpectrumError : it is no whole number below 2^63, or a float above 2^53, which has lost digits
        """
        value = self.single(name)
        if value is None:
            return -1
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            number = -1
        lost = isinstance(value, float) and (number != value or number > 1 << 53)
        if lost or not 0 <= number < 1 << 63:
            raise SpectrumError("read", f"{name} is no whole number", repr(value)[:100])
        return number

    def text(self, name: str) -> str:
        """Return a single text; empty where there is none."""
        value = self.single(name)
        return value.decode(errors="replace") if isinstance(value, bytes) else str("" if value is None else value)


MISSING = Values(np.array(math.nan), None, None)
"""A value that was left out."""


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or the missing value of pandas, which cannot be compared."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def noise_of(uncertainty: Any) -> tuple[str, Values]:
    """Return the name and the values of an uncertainty of ``astropy.nddata``.

    Raises
    ------
    InputError : its type is not one of ``UNCERTAINTY_TYPES``
    """
    kind = uncertainty.uncertainty_type
    if kind not in UNCERTAINTY_TYPES:
        raise InputError(
            f"a {type(uncertainty).__name__} does not say how noisy the flux is; "
            "give a StdDevUncertainty, VarianceUncertainty or InverseVariance"
        )
    return UNCERTAINTY_TYPES[kind], Values.of(uncertainty.array, uncertainty.unit)


def f_lambda(unit: units.UnitBase) -> units.UnitBase:
    """Return the unit of a flux per wavelength to which a flux with ``unit`` is converted.

    Raises
    ------
    InputError : the unit is none of a flux per wavelength or frequency
    """
    if not isinstance(unit, units.function.FunctionUnitBase):  # magnitudes have the physical type of their zero point
        for kind, wanted in FLUX_UNITS.items():
            if unit.physical_type == kind:
                return unit if wanted is None else wanted
    raise InputError(
        f"flux has the unit {unit}, which is no flux per wavelength or frequency; "
        "convert it, or leave the unit out if the numbers are proportional to a flux per wavelength"
    )


def factor(
    name: str, unit: units.UnitBase, power: int, wanted: units.UnitBase, wavelength: np.ndarray
) -> np.ndarray | float:
    """Return the factors from a flux, whose ``power`` has ``unit``, to a flux in the unit ``wanted``."""
    with unit_needed(name, unit, wanted**power):
        of_flux = unit ** (1 / power)
        if of_flux == wanted:  # the conversion below takes milliseconds
            return 1.0
        return of_flux.to(wanted, 1.0, equivalencies=units.spectral_density(wavelength * units.AA))


@contextmanager
def unit_needed(name: str, unit: units.UnitBase, wanted: units.UnitBase) -> Iterator[None]:
    """Raise InputError where values cannot be converted from their unit."""
    try:
        yield
    except (units.UnitsError, TypeError, ValueError):
        raise InputError(f"{name} has the unit {unit}, which cannot be converted to {wanted}") from None
