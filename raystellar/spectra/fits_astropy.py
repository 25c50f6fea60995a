"""Read FITS tables by way of astropy: slow, for what ``fits_bytes`` leaves.

The header of a damaged file may claim anything, so sizes are checked before astropy acts on them, and
whatever it raises comes out as one ``SpectrumError``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra.fits_bytes import MAX_FIELDS
from raystellar.spectra.values import INT32_END


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    """Open a FITS file in memory; within the context only ``SpectrumError`` is raised, and nothing warns."""
    from astropy.io import fits  # half a second to import, and most workers never need it

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield fits.HDUList.fromstring(data)  # not closed: that would first read every HDU there is
    except SpectrumError:
        raise
    except Exception as error:  # a library on damaged bytes may raise anything
        raise SpectrumError("read", "unreadable FITS", f"{type(error).__name__}: {error}") from error


def table_at(hdus: Any, position: int, max_rows: int, reason: str) -> Any:
    """Return the binary table at this position, whose sizes agree with each other.

    Parameters
    ----------
    hdus : an open file
    position : number of the HDU
    max_rows : the most rows that make sense
    reason : of the ``SpectrumError`` where there is no table

    Raises
    ------
    SpectrumError : where there is none, or one that cannot be
    """
    from astropy.io import fits

    try:
        hdu = hdus[position]
    except IndexError:
        hdu = None
    if not isinstance(hdu, fits.BinTableHDU):
        raise SpectrumError("read", reason, f"HDU {position} is no binary table")
    header = hdu.header
    shape = [header[key] for key in ("BITPIX", "NAXIS", "GCOUNT")]
    if shape != [8, 2, 1] or not 0 <= header["PCOUNT"] < INT32_END or not 0 <= header["TFIELDS"] <= MAX_FIELDS:
        raise SpectrumError("read", "damaged header", f"HDU {position} is no valid binary table")
    if header["NAXIS2"] > max_rows:
        raise SpectrumError("read", "unreasonable size", f"HDU {position} claims {header['NAXIS2']} rows")
    if header["NAXIS2"] < 1:
        raise SpectrumError("read", reason, f"HDU {position} has no row")
    if header["NAXIS1"] != hdu.columns.dtype.itemsize:
        raise SpectrumError("read", "damaged header", f"NAXIS1 of HDU {position} does not fit its columns")
    return hdu


def column(hdu: Any, name: str, dtype: np.dtype) -> np.ndarray:
    """Return the column of this lower-case name as a new array of ``dtype``, one number a row.

    Raises
    ------
    SpectrumError : where it is not, or does not fit an integer ``dtype``
    """
    values = values_of(hdu, name)
    kinds = "iu" if dtype.kind == "i" else "fiu"
    if values is None or values.dtype.kind not in kinds or values.size != len(hdu.data):
        raise SpectrumError("read", f"bad column {name}", "not one number a row")
    if dtype.kind == "i" and not (values.min() >= -INT32_END and values.max() < INT32_END):
        raise SpectrumError("read", f"bad column {name}", "more than 32 bits")
    return values.reshape(-1).astype(dtype)


def first(hdu: Any, name: str) -> int | float | str | None:
    """Return a column's value in the first row, None where there is no such column.

    Raises
    ------
    SpectrumError : where a row holds several values
    """
    values = values_of(hdu, name)
    if values is None:
        return None
    if values.size != 1:
        raise SpectrumError("read", f"bad column {name}", "not one value a row")
    value: int | float | str = values.reshape(-1)[0].item()
    return value.rstrip("\0").strip(" ") if isinstance(value, str) else value


def values_of(hdu: Any, name: str) -> np.ndarray | None:
    """Return a column by its name in any case, or None where there is none."""
    found = [i for i, other in enumerate(hdu.columns.names) if other.lower() == name]
    if not found:
        return None
    if len(found) > 1 or str(hdu.columns[found[0]].format).lstrip("0123456789")[:1] in "PQ":
        raise SpectrumError("read", f"bad column {name}", "given twice, or of variable length")
    return np.asarray(hdu.data.field(found[0]))
