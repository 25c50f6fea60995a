"""The first binary table of a FITS file, read in pieces of a few megabytes.

``astropy.io.fits`` reads the header alone, because it holds the whole table in memory: for a table of 136 MB, astropy
takes 140 MB, or 270 MB where the file is compressed; this module takes 17 MB in both cases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from raystellar.errors import LabelTableError, first_line
from raystellar.labels import cells
from raystellar.labels.cells import Columns, numbers_in_text, read_fully
from raystellar.schema import FITS_BLOCK

_FITS_FORMAT = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_FITS_BYTES = dict(zip("LBIJKAEDCMPQ", (1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FITS_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


class _Column(NamedTuple):
    """A column of a binary table, as the header describes it."""

    name: str
    form: str
    """Format, TFORM."""
    offset: int
    """Position in the row [bytes]."""
    scale: float
    """TSCAL; the value is the stored number times TSCAL, plus TZERO."""
    zero: float
    """TZERO; an integer where the header has one, so that 64-bit integers stay exact."""
    null: int | None
    """TNULL, the stored integer that means null."""
    unit: str
    """TUNIT; empty where there is none."""


class FitsTable:
    """The first binary table of a FITS file."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream, self._path = stream, path
        header = _fits_header(stream, path)
        self._columns = _fits_columns(header, path)
        self._row_bytes, self._rows = header["NAXIS1"], header["NAXIS2"]
        self.names = [column.name for column in self._columns]
        self.units = [column.unit for column in self._columns]

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield pieces of columns, see ``cells.OpenTable``."""
        columns = {quantity: self._columns[position] for quantity, position in chosen.items()}
        dtype = np.dtype(
            {
                "names": list(columns),
                "formats": [_fits_dtype(column, self._path) for column in columns.values()],
                "offsets": [column.offset for column in columns.values()],
                "itemsize": self._row_bytes,
            }
        )
        for records in self._records(dtype):
            yield {
                quantity: _fits_text(records[quantity], column)
                if quantity in text
                else self._numbers(records[quantity], column, quantity)
                for quantity, column in columns.items()
            }

    def _records(self, dtype: np.dtype[np.void]) -> Iterator[NDArray[np.void]]:
        left = self._rows
        while left > 0:
            rows = min(left, max(1, cells.PIECE // self._row_bytes))
            piece = read_fully(self._stream, rows * self._row_bytes)
            if len(piece) < rows * self._row_bytes:
                raise LabelTableError(f"label table {self._path} ends before its last row; fetch it again")
            yield np.frombuffer(piece, dtype)
            left -= rows

    def _numbers(self, raw: NDArray[Any], column: _Column, quantity: str) -> NDArray[np.float64]:
        if raw.dtype.kind == "S":
            return numbers_in_text(raw, quantity, self._path)
        values = raw.astype(np.float64) * column.scale + column.zero
        if column.null is not None and raw.dtype.kind in "iu":
            values[raw == column.null] = np.nan
        return values


def _fits_header(stream: IO[bytes], path: str) -> fits.Header:
    """Return the header of the first binary table; the stream is left at its first row."""
    try:
        while True:
            header = fits.Header.fromfile(stream)
            if header.get("ZTABLE"):
                raise LabelTableError(f"label table {path} is a compressed FITS table; use funpack first")
            if str(header.get("XTENSION", "")).strip() == "BINTABLE":
                return header
            stream.seek(_fits_data_size(header), 1)
    except EOFError:
        raise LabelTableError(f"label table {path} is a FITS file without a binary table") from None
    except (KeyError, TypeError, ValueError, fits.VerifyError) as error:
        raise LabelTableError(f"label table {path} has a damaged FITS header: {first_line(error)}") from None


def _fits_data_size(header: fits.Header) -> int:
    """Return the length of the data that follow a header, padded to whole blocks [bytes]."""
    axes = [header[f"NAXIS{number}"] for number in range(1, header["NAXIS"] + 1)]
    values = header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + math.prod(axes)) if axes else 0
    size = abs(header["BITPIX"]) // 8 * values
    return -(-size // FITS_BLOCK) * FITS_BLOCK


def _fits_columns(header: fits.Header, path: str) -> list[_Column]:
    """Return all columns of a binary table."""
    columns, offset = [], 0
    for number in range(1, header["TFIELDS"] + 1):
        form = str(header[f"TFORM{number}"])
        match = _FITS_FORMAT.match(form)
        if match is None:
            raise LabelTableError(f"label table {path} has a column of the unknown format {form}")
        name = str(header.get(f"TTYPE{number}", f"col{number}"))
        zero = header.get(f"TZERO{number}", 0)
        if match[2] == "K" and zero == 2.0**63:
            zero = 1 << 63  # unsigned integers; some writers give TZERO as a floating-point number
        scaling = (header.get(f"TSCAL{number}", 1), zero, header.get(f"TNULL{number}"))
        columns.append(_Column(name, form, offset, *scaling, str(header.get(f"TUNIT{number}", ""))))
        repeat, code = int(match[1] or 1), match[2]
        offset += -(-repeat // 8) if code == "X" else repeat * _FITS_BYTES[code]
    if offset != header["NAXIS1"]:
        raise LabelTableError(
            f"label table {path} has a damaged FITS header: rows of {header['NAXIS1']} bytes and columns of {offset}"
        )
    return columns


def _fits_dtype(column: _Column, path: str) -> str:
    match = _FITS_FORMAT.match(column.form)
    assert match is not None  # _fits_columns refuses all other formats
    repeat, code = int(match[1] or 1), match[2]
    if code == "A":
        return f"S{repeat}"
    if repeat != 1 or code not in _FITS_NUMBERS:
        raise LabelTableError(
            f"label table {path} has {column.form} in column {column.name}, which must hold one number"
        )
    return _FITS_NUMBERS[code]


def _fits_text(raw: NDArray[Any], column: _Column) -> NDArray[np.bytes_]:
    """Return text without the blanks that pad it, or numbers as text; integers are exact."""
    if raw.dtype.kind == "S":
        return np.strings.rstrip(raw)
    null = column.null if raw.dtype.kind in "iu" else None
    scale = int(column.scale) if column.scale == 1 else column.scale
    values = [
        b"" if value == null or value != value else str(value * scale + column.zero).encode() for value in raw.tolist()
    ]
    return np.array(values, dtype=bytes)
