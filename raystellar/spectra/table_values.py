"""Values of the rows of a Parquet table of spectra: lists of pixels, numbers, texts, and what identifies a spectrum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raystellar.errors import SpectrumError
from raystellar.spectra.bitmasks import ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.record import MAX_PIXELS, near_one
from raystellar.spectra.table_columns import IDENTIFIERS, TEXTS, Leaf, is_text
from raystellar.spectra.table_wavelengths import Wavelengths, to_loglam
from raystellar.spectra.values import DOUBLE_END, INT32_END, number

MISSING_NUMBER = -9990.0
"""Bound at and below which a number is missing; the SSPP writes -9999."""

MISSING_IDENTIFIERS = frozenset(("", "0", "-1", "-999", "-9999", "nan", "none", "null", "--"))
"""Texts, in lower case, and numbers that identify no spectrum."""

_BYTES = re.compile(r"""b(['"])(.*)\1""", re.DOTALL)  # MultimodalUniverse: b' 461628614023079936'


class Identity(NamedTuple):
    """Fields of ``Spectrum`` that identify it."""

    spec_id: str
    plate: int
    mjd: int
    fiberid: int
    fieldid: int
    catalogid: int
    obs_id: int


class Lists:
    """A column of lists that returns single rows without converting the others.

    Parameters
    ----------
    batch : rows of the table
    leaf : leaf of the column
    """

    def __init__(self, batch: pa.RecordBatch, leaf: Leaf) -> None:
        column, child = batch.column(leaf.column), leaf.child
        if child and pa.types.is_struct(column.type):
            column, child = column.flatten()[column.type.get_field_index(child)], ""
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = column.flatten()  # leaves out the values behind null lists
        if child:
            flat = flat.flatten()[flat.type.get_field_index(child)]
        if pa.types.is_boolean(flat.type):
            flat = flat.cast(pa.int8())
        self._values = flat.to_numpy(zero_copy_only=False)  # null becomes NaN
        self._ends = np.cumsum(lengths)
        self._lengths = lengths

    def row(self, row: int) -> np.ndarray:
        """Return the list in one row as it is stored, not to be changed; null is NaN."""
        end = self._ends[row]
        return self._values[end - self._lengths[row] : end]


def pixels_of(
    vectors: Mapping[str, Lists], wavelengths: Wavelengths, values: Mapping[str, Any], row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loglam, flux and ivar of a row, as in ``Spectrum``; padding is left out.

    Parameters
    ----------
    vectors : columns of lists, by quantity
    wavelengths : unit, grid or coefficients that the metadata of the file gives
    values : values of the row, by quantity
    row : number of the row in the columns

    Raises
    ------
    SpectrumError : the lists differ in length or are too long, or the wavelengths are not known
    """
    lists = {key: column.row(row) for key, column in vectors.items()}
    pixels = len(lists["flux"])
    if any(len(array) != pixels for array in lists.values()):
        lengths = ", ".join(f"{key} {len(array)}" for key, array in lists.items())
        raise SpectrumError("read", "columns of unequal length", lengths)
    if pixels > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{pixels} pixels")
    ivar = lists["ivar"] if "ivar" in lists else _from_error(lists["error"])
    flux, ivar = (_float32(array) for array in near_one(lists["flux"], ivar))
    if "mask" in lists:
        ivar[_masked(lists["mask"])] = 0
    given = lists.get("loglam", lists.get("wavelength"))
    if given is None:
        return wavelengths.loglam(values, pixels), flux, ivar
    end = _without_padding(given, ivar)
    loglam = _float32(given[:end]) if "loglam" in lists else to_loglam(given[:end], wavelengths.unit)
    return loglam, flux[:end], ivar[:end]


def _float32(array: np.ndarray) -> np.ndarray:
    """Return a copy in float32; a number that is too large becomes infinite."""
    if array.dtype == np.float32:
        return array.copy()
    with np.errstate(all="ignore"):
        return array.astype(np.float32)


def _from_error(error: np.ndarray) -> np.ndarray:
    """Return the inverse variance (n,) float64 of errors (n,); 0 where an error is not a positive number."""
    with np.errstate(all="ignore"):
        ivar = error.astype(np.float64) ** -2
    ivar[~((error > 0) & np.isfinite(ivar))] = 0
    return ivar


def _masked(mask: np.ndarray) -> np.ndarray:
    """Return which pixels a mask (n,) marks as bad; none where the mask holds bits, that is, any value but 0 and 1."""
    if ((mask < 0) | (mask > 1)).any():
        return np.zeros(len(mask), dtype=bool)
    return np.asarray(mask != 0)  # NaN is unknown, and as such bad


def _without_padding(wavelength: np.ndarray, ivar: np.ndarray) -> int:
    """Return the number of pixels without those at the end that have neither a wavelength nor a positive ivar."""
    if len(wavelength) and wavelength[-1] > 0:
        return len(wavelength)
    end = int(np.max(np.flatnonzero(wavelength > 0), initial=-1)) + 1
    return len(wavelength) if (ivar[end:] > 0).any() else end


def scalars(key: str, column: Any) -> list[Any]:
    """Return a column of values as Python objects.

    Numbers are floats, NaN where one is missing. Texts are empty where one is missing. Identifiers are as in the file.

    Parameters
    ----------
    key : quantity of the column
    column : Arrow array
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if key in TEXTS or is_text(column.type):
        return [_clean(value) for value in column.to_pylist()]
    if key in IDENTIFIERS:
        return [_identifier(value) for value in column.to_pylist()]
    if pa.types.is_boolean(column.type):  # of ZWARNING: whether any bit is set
        return [ZWARNING_SMALL_DELTA_CHI2 * bool(value) for value in column.to_pylist()]
    numbers = column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
    return list(np.where(numbers > MISSING_NUMBER, numbers, math.nan).tolist())


def _identifier(value: Any) -> Any:
    """Return an identifier that is a number; None where it is missing."""
    if isinstance(value, Decimal):
        return int(value)
    return None if value is None or value != value else value


def _clean(value: str | bytes | None) -> str:
    """Return a text without blanks around it; bytes, and the text of a Python object of bytes, as text."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = (value or "").strip(" \t\r\n\0")
    match = _BYTES.fullmatch(text)
    return match[2].strip() if match else text


def identify(values: Mapping[str, Any], by_row: str) -> Identity:
    """Return what identifies the spectrum in a row.

    Parameters
    ----------
    values : values of the row, by quantity
    by_row : name of a spectrum without a name in the table

    Raises
    ------
    SpectrumError : a value is no integer, or was rounded
    """
    plate, mjd, fiberid = (max(whole(values, key), 0) for key in ("plate", "mjd", "fiberid"))
    fieldid, catalogid, obs_id = (max(number(values, key), -1) for key in ("fieldid", "catalogid", "obs_id"))
    if fieldid >= INT32_END:
        raise SpectrumError("read", "bad value fieldid", str(fieldid))
    numbers = (plate, mjd, fiberid, fieldid, catalogid, obs_id)
    if plate and mjd and fiberid:
        return Identity(f"{plate}-{mjd}-{fiberid}", *numbers)
    if spec_id := name_of(values.get("spec_id"), "spec_id"):
        return Identity(spec_id, *numbers)
    in_field = fieldid > 0 and mjd and catalogid > 0
    return Identity(f"{fieldid}-{mjd}-{catalogid}" if in_field else by_row, *numbers)


def whole(values: Mapping[str, Any], key: str) -> int:
    """Return a number that must be an integer of 32 bits, but for the time of day of ``mjd``; 0 where it is missing.

    Raises
    ------
    SpectrumError : the value is no such integer
    """
    value = values.get(key, math.nan)
    try:
        size = float(value or math.nan)
    except ValueError:
        raise SpectrumError("read", f"bad value {key}", repr(value)) from None
    if math.isnan(size) or size <= MISSING_NUMBER:
        return 0
    if not (size < INT32_END and (key == "mjd" or size == int(size))):
        raise SpectrumError("read", f"bad value {key}", repr(value))
    return int(size)


def name_of(value: Any, key: str) -> str:
    """Return an identifier as text; an empty text where it is missing.

    Raises
    ------
    SpectrumError : the value is a float that may have been rounded
    """
    if value is None:
        return ""
    if isinstance(value, float):
        if not (abs(value) < DOUBLE_END and value == int(value)):
            raise SpectrumError("read", f"bad value {key}", f"{value!r} is rounded; write the column as integers")
        value = int(value)
    text = str(value)
    return "" if text.lower() in MISSING_IDENTIFIERS else text
