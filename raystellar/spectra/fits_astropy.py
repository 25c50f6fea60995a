"""Read FITS headers and tables with astropy, where ``fits_bytes`` does not decode them.

A damaged header may claim any size. Sizes are therefore checked before astropy acts on them. Every exception of
astropy becomes a ``SpectrumError``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK, FITS_CARD
from raystellar.spectra.fits_bytes import MAX_FIELDS, Value
from raystellar.spectra.values import INT32_END

_EMPTY_PRIMARY = b"".join(
    card.ljust(FITS_CARD)
    for card in (
        b"SIMPLE  =                    T",
        b"BITPIX  =                    8",
        b"NAXIS   =                    0",
        b"EXTEND  =                    T",
        b"END",
    )
).ljust(FITS_BLOCK)
_MANY_AXES = re.compile(rb"NAXIS[^\w=]*=[^\w']*0*[1-9]\d{3}", re.IGNORECASE)
_STRUCTURE = re.compile(r"XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|THEAP|T(TYPE|FORM|SCAL|ZERO|NULL|DIM)\d+")


@contextmanager
def _guarded(reason: str) -> Iterator[None]:
    """Suppress warnings, and turn exceptions into ``SpectrumError``."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except SpectrumError:
        raise
    except Exception as error:  # on damaged bytes a library may raise any exception
        raise SpectrumError("read", reason, f"{type(error).__name__}: {error}") from error


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    """Open a FITS file in memory; the context suppresses warnings and turns exceptions into ``SpectrumError``.

    Raises
    ------
    SpectrumError : the file cannot be read, or claims more than 999 axes, through which astropy would count
    """
    from astropy.io import fits  # takes half a second to import, and most workers never need it

    if axes := _MANY_AXES.search(data):
        raise SpectrumError("read", "damaged header", f"{axes[0]!r} at byte {axes.start()}")
    with _guarded("unreadable FITS"):
        yield fits.HDUList.fromstring(data)  # not closed, for to close it would read all HDUs first


@contextmanager
def opened_table(data: bytes, max_rows: int) -> Iterator[Any]:
    """Open the binary table whose header begins at the first byte of ``data``, as ``opened`` and ``table_at`` do."""
    with opened(_EMPTY_PRIMARY + data) as hdus:
        yield table_at(hdus, 1, max_rows, "no table")


@contextmanager
def opened_image(data: bytes) -> Iterator[Any]:
    """Open the compressed image whose header begins at the first byte of ``data``, as ``opened`` does."""
    with opened(_EMPTY_PRIMARY + data) as hdus:
        yield hdus[1]


def header_values(header: bytes, keys: Collection[str]) -> dict[str, Value]:
    """Return the values of the ``keys`` that a header has. The first card of a key counts.

    Raises
    ------
    SpectrumError : a card of a key cannot be read
    """
    from astropy.io import fits

    text = header.decode("ascii", "replace").replace("\ufffd", "?")  # as fits.open does
    with _guarded("damaged header"):
        cards = fits.Header.fromstring(text)
        values = {key: cards[key] for key in keys if key in cards}
    for key, value in values.items():
        if isinstance(value, str) and "?" in value and not header.isascii():
            raise SpectrumError("read", "damaged header", f"{key} = {value!r}, with a byte that is not ASCII")
    return values


def table_at(hdus: Any, position: int, max_rows: int, reason: str) -> Any:
    """Return the binary table at a position, after checking that its sizes agree with each other.

    Parameters
    ----------
    hdus : HDUs of an open file
    position : number of the HDU
    max_rows : largest number of rows to accept
    reason : reason of the ``SpectrumError`` where the HDU is no table

    Raises
    ------
    SpectrumError : the HDU is no binary table, or its header is damaged
    """
    from astropy.io import fits

    try:
        hdu = hdus[position]
    except IndexError:
        hdu = None
    if not isinstance(hdu, fits.BinTableHDU):
        raise SpectrumError("read", reason, f"HDU {position} is not a binary table")
    header = hdu.header
    structure = [key for key in header if _STRUCTURE.fullmatch(key)]
    if len(set(structure)) != len(structure):  # readers differ in the card that they take
        raise SpectrumError("read", "damaged header", f"HDU {position} has repeated cards")
    shape = [header[key] for key in ("BITPIX", "NAXIS", "GCOUNT")]
    if shape != [8, 2, 1] or not 0 <= header["PCOUNT"] < INT32_END or not 0 <= header["TFIELDS"] <= MAX_FIELDS:
        raise SpectrumError("read", "damaged header", f"HDU {position} is not a valid binary table")
    if header["NAXIS2"] > max_rows:
        raise SpectrumError("read", "unreasonable size", f"HDU {position} claims {header['NAXIS2']} rows")
    if header["NAXIS2"] < 1:
        raise SpectrumError("read", reason, f"HDU {position} has no row")
    if header["NAXIS1"] != hdu.columns.dtype.itemsize:
        raise SpectrumError("read", "damaged header", f"NAXIS1 of HDU {position} does not fit its columns")
    return hdu


def column(hdu: Any, name: str, dtype: np.dtype) -> np.ndarray:
    """Return the column with a lower-case name as a new array of ``dtype``, with one number a row.

    Raises
    ------
    SpectrumError : the table has no such column, or its numbers do not fit an integer ``dtype``
    """
    values = values_of(hdu, name)
    kinds = "iu" if dtype.kind == "i" else "fiu"
    if values is None or values.dtype.kind not in kinds or values.size != len(hdu.data):
        raise SpectrumError("read", f"bad column {name}", "not one number a row")
    if dtype.kind == "i" and not (values.min() >= -INT32_END and values.max() < INT32_END):
        raise SpectrumError("read", f"bad column {name}", "more than 32 bits")
    return values.reshape(-1).astype(dtype)


def first(hdu: Any, name: str) -> int | float | str | None:
    """Return the value of a column in the first row; None where the table has no such column.

    Raises
    ------
    SpectrumError : a row holds several values, or a text that is not ASCII
    """
    values = values_of(hdu, name)
    if values is None:
        return None
    if values.size != 1:
        raise SpectrumError("read", f"bad column {name}", "not one value a row")
    value: int | float | str | bytes = values.reshape(-1)[0].item()
    if isinstance(value, bytes):
        raise SpectrumError("read", f"bad column {name}", f"{value!r} is not ASCII")
    return value.strip("\0 ") if isinstance(value, str) else value


def values_of(hdu: Any, name: str) -> np.ndarray | None:
    """Return the column with a name, in upper or lower case; None where the table has no such column.

    Raises
    ------
    SpectrumError : two columns have the name, or the column has arrays of variable length or null values
    """
    positions = [i for i, other in enumerate(hdu.columns.names) if other.lower() == name]
    if not positions:
        return None
    column = hdu.columns[positions[0]]
    if len(positions) > 1 or str(column.format).lstrip("0123456789")[:1] in "PQ":
        raise SpectrumError("read", f"bad column {name}", "two columns of this name, or variable length")
    values = np.asarray(hdu.data.field(positions[0]))
    if column.null is not None and (column.bscale or column.bzero or (values == column.null).any()):
        raise SpectrumError("read", f"bad column {name}", f"TNULL = {column.null}")
    return values
