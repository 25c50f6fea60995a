"""Conversion of the columns of label tables to the units in which their quantities are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units
from numpy.typing import NDArray

from raystellar.errors import LabelTableError
from raystellar.labels.columns import UNITS

MISSING = -9999.0
"""Number that means null in tables of surveys."""

LOGARITHMS = ("logg", "e_logg", "feh", "e_feh")
"""Logarithms. Surveys name their units in many ways, such as dex, cm/s2 or log(cm.s-2), and mean the same."""

Converter = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Function that returns the values (n,) in another unit."""


def converter(quantity: str, unit: str, column: str, path: str) -> Converter | None:
    """Return the function that converts a column; None where the values can be taken as they are.

    Parameters
    ----------
    quantity : name of a quantity
    unit : unit of the column, as the file writes it; an empty one means the unit of ``UNITS``
    column, path : names of the column and of the file, for the message

    Raises
    ------
    LabelTableError : the unit is not known, or cannot be converted
    """
    if quantity not in UNITS or not unit.strip():
        return None
    wanted, given = units.Unit(UNITS[quantity]), _parse(unit)
    if quantity in LOGARITHMS and (
        given is None or given in (units.dex, units.dimensionless_unscaled, units.cm / units.s**2)
    ):
        return None
    if given == wanted:
        return None
    if given is None or not given.is_equivalent(wanted):
        raise LabelTableError(
            f"label table {path} has the unit {unit.strip()} in column {column}, which cannot be converted to "
            f"{UNITS[quantity]}; correct the unit in the table, or remove it"
        )

    def convert(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.where(values == MISSING, np.nan, values)
        return np.asarray((known << given).to_value(wanted), np.float64)

    return convert


def _parse(text: str) -> Any:
    """Return a unit, in any case of letters; None where it is not known."""
    text = text.strip()
    for spelling in (text, text.lower(), text.lower().removesuffix("s"), text.capitalize()):
        try:
            return units.Unit(spelling)
        except (TypeError, ValueError):
            continue
    return None
