"""Readers of the columns of a label table in FITS, CSV or Parquet, with bounded memory.

The full ``ssppOut`` has 239 columns, of which 18 are needed, and 1.8 GB. Such a table is read in pieces of a few
megabytes, of which only the needed columns are kept. ``astropy.io.fits`` reads the header alone, because it holds the
whole table in memory: for a table of 136 MB, astropy takes 140 MB, or 270 MB where the file is compressed; this module
takes 17 MB in both cases.

Every label table that raystellar reads goes through ``read_columns``: the labels (``table``), RUN2D of the spectra
(``addresses``), and the reference labels of a catalogue (``report.catalog.truth``).
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io import fits
from numpy.typing import NDArray

from raystellar.errors import InputError, LabelTableError, first_line
from raystellar.files import listing, places
from raystellar.labels.sspp import KEY, choose
from raystellar.schema import FITS_BLOCK

Columns = dict[str, NDArray[Any]]
"""Values of some rows by the name of the quantity: float64 with NaN for null, or bytes, empty for null."""

PIECE = 4 << 20
"""Size of the pieces of a FITS or text table [bytes]."""

HEAD = 1 << 16
"""Leading bytes that show the format of a table; a text table must have its column names there [bytes]."""

NULLS = ["", "null", "NULL", "nan", "NaN", "NAN", "--", "None", "N/A", "\\N"]
"""Values of a text table that mean null."""

_FITS_FORMAT = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_FITS_BYTES = dict(zip("LBIJKAEDCMPQ", (1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FITS_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


def read_columns(
    path: str, spellings: Mapping[str, Sequence[str]], *, required: Collection[str] = (), text: Collection[str] = ()
) -> Iterator[Columns]:
    """Yield the columns of a label table that hold the quantities of ``spellings``, some rows at a time.

    The format is recognised by the content of the file, not by its name. All pieces of one file have the same columns.

    Parameters
    ----------
    path : a file or URL, compressed by gzip or not; or a folder or a glob, which stands for the Parquet files in it
    spellings : accepted column names of each quantity, the preferred one first; case and underscores do not matter
    required : quantities that the table must have
    text : quantities that are returned as bytes, without the blanks that FITS pads text with; all others are numbers

    Raises
    ------
    LabelTableError : the file does not exist, is not a table, is damaged, or lacks a column for a required quantity
    """
    for file in _files(path):
        with _open_table(file) as table:
            chosen = choose(table.names, file, required, spellings)
            if chosen:
                yield from table.pieces(chosen, text)


def column_names(path: str) -> list[str]:
    """Return the names of all columns of a label table; for a folder or glob, of all columns of any of its files.

    Raises
    ------
    LabelTableError : the file does not exist, is not a table, or is damaged
    """
    names: dict[str, None] = {}
    for file in _files(path):
        with _open_table(file) as table:
            names |= dict.fromkeys(table.names)
    return list(names)


def _files(path: str) -> list[str]:
    """Return the files that ``path`` stands for."""
    if not any(sign in path for sign in "*?[") and not (
        places.is_local(path) and os.path.isdir(places.local_path(path))
    ):
        return [path]
    try:
        files = sorted(name for name, _ in listing.expand([path]) if name.endswith(".parquet"))
    except InputError as error:
        raise LabelTableError(f"label table: {error}") from None
    if not files:
        raise LabelTableError(f"label table {path}: no Parquet files there; name a file")
    return files


class _OpenTable(Protocol):
    """A table whose file is open."""

    names: list[str]
    """Names of all columns."""

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield the columns at the positions ``chosen`` under the names of ``chosen``, some rows at a time."""


@contextmanager
def _open_table(path: str) -> Iterator[_OpenTable]:
    """Open the table in a file or at a URL; errors of reading become a LabelTableError."""
    try:
        stream = places.open_file(path)
    except InputError as error:
        raise LabelTableError(f"label table {error}") from None
    with stream, places.in_one_sentence(LabelTableError, f"label table {path} cannot be read"):
        try:
            yield _format(stream, path)(stream, path)
        except EOFError as error:  # raised by gzip
            raise LabelTableError(f"label table {path} cannot be read: {first_line(error)}") from None


def _format(stream: IO[bytes], path: str) -> type[_FitsTable | _TextTable | _ParquetTable]:
    """Return the class of table that the leading bytes show; the stream is left at its beginning."""
    head = _read_fully(stream, HEAD)
    stream.seek(0)
    if not head.strip():
        raise LabelTableError(f"label table {path} is empty")
    if head.startswith(b"SIMPLE  ="):
        return _FitsTable
    if head.startswith(b"PAR1"):
        return _ParquetTable
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise LabelTableError(f"label table {path} is a web page or XML, not a table; download the table again")
    if b"\0" in head:
        raise LabelTableError(f"label table {path} is neither FITS, Parquet nor text; give one of these")
    return _TextTable


def _read_fully(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or all that are left. A remote stream may return fewer bytes than it is asked for."""
    piece = stream.read(size)
    while len(piece) < size and (more := stream.read(size - len(piece))):
        piece += more
    return piece


# FITS ------------------------------------------------------------------------------------------------------


class _FitsColumn(NamedTuple):
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


class _FitsTable:
    """The first binary table of a FITS file."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream, self._path = stream, path
        header = _fits_header(stream, path)
        self._columns = _fits_columns(header, path)
        self._row_bytes, self._rows = header["NAXIS1"], header["NAXIS2"]
        self.names = [column.name for column in self._columns]

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
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
            rows = min(left, max(1, PIECE // self._row_bytes))
            piece = _read_fully(self._stream, rows * self._row_bytes)
            if len(piece) < rows * self._row_bytes:
                raise LabelTableError(f"label table {self._path} ends before its last row; fetch it again")
            yield np.frombuffer(piece, dtype)
            left -= rows

    def _numbers(self, raw: NDArray[Any], column: _FitsColumn, quantity: str) -> NDArray[np.float64]:
        if raw.dtype.kind == "S":
            return _numbers_in_text(raw, quantity, self._path)
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


def _fits_columns(header: fits.Header, path: str) -> list[_FitsColumn]:
    """Return all columns of a binary table."""
    columns, offset = [], 0
    for number in range(1, header["TFIELDS"] + 1):
        form = str(header[f"TFORM{number}"])
        match = _FITS_FORMAT.match(form)
        if match is None:
            raise LabelTableError(f"label table {path} has a column of the unknown format {form}")
        name = str(header.get(f"TTYPE{number}", f"col{number}"))
        scaling = (header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0), header.get(f"TNULL{number}"))
        columns.append(_FitsColumn(name, form, offset, *scaling))
        repeat, code = int(match[1] or 1), match[2]
        offset += -(-repeat // 8) if code == "X" else repeat * _FITS_BYTES[code]
    if offset != header["NAXIS1"]:
        raise LabelTableError(
            f"label table {path} has a damaged FITS header: rows of {header['NAXIS1']} bytes and columns of {offset}"
        )
    return columns


def _fits_dtype(column: _FitsColumn, path: str) -> str:
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


def _fits_text(raw: NDArray[Any], column: _FitsColumn) -> NDArray[np.bytes_]:
    """Return text without the blanks that pad it, or numbers as text; integers are exact."""
    if raw.dtype.kind == "S":
        return np.strings.rstrip(raw)
    null = column.null if raw.dtype.kind in "iu" else None
    values = [b"" if value == null else str(value * column.scale + column.zero).encode() for value in raw.tolist()]
    return np.array(values, dtype=bytes)


def _numbers_in_text(raw: NDArray[np.bytes_], quantity: str, path: str) -> NDArray[np.float64]:
    try:
        stripped = np.strings.strip(raw)
        return np.where(stripped == b"", b"nan", stripped).astype(np.float64)
    except ValueError as error:
        raise LabelTableError(f"label table {path} has text for {quantity}: {first_line(error)}") from None


# Text and Parquet ------------------------------------------------------------------------------------------


class _TextTable:
    """A text table with a line of column names, separated by commas, tabs, semicolons, bars or blanks."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream, self._path = stream, path
        self.names, self._delimiter, self._skip = _text_header(stream, path)

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        unique = [f"{position} {name}" for position, name in enumerate(self.names)]  # a header may repeat a name
        types = {unique[position]: pa.binary() if name in text else pa.float64() for name, position in chosen.items()}
        try:
            reader = pa.csv.open_csv(
                pa.PythonFile(self._stream, mode="r"),
                read_options=pa.csv.ReadOptions(column_names=unique, skip_rows=self._skip, block_size=PIECE),
                parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
                convert_options=pa.csv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=NULLS, strings_can_be_null=True
                ),
            )
            for batch in reader:
                yield {name: _values(batch.column(unique[position]), name in text) for name, position in chosen.items()}
        except pa.ArrowInvalid as error:  # its message gives the number of a column in place of the name
            message = re.sub(
                r"In CSV column #(\d+)", lambda match: f"column {self.names[int(match[1])]}", first_line(error)
            )
            raise LabelTableError(f"label table {self._path} cannot be read: {message}") from None


def _text_header(stream: IO[bytes], path: str) -> tuple[list[str], str, int]:
    """Return the column names, the delimiter and the number of lines before the first row."""
    head = _read_fully(stream, HEAD)
    stream.seek(0)
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines):
        text = line.lstrip("# ").strip()
        delimiter = max(",\t;| ", key=text.count)
        if not text or (line.startswith("#") and len(text.split(delimiter)) < len(KEY)):
            continue  # SkyServer writes a line "#Table1" above the names
        if not any(rest.strip() for rest in lines[number + 1 :]):
            raise LabelTableError(f"label table {path} holds no rows")
        return next(csv.reader([text], delimiter=delimiter)), delimiter, number + 1
    raise LabelTableError(f"label table {path} has no line of column names")


class _ParquetTable:
    """A Parquet file."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._file = pa.parquet.ParquetFile(stream)
        self.names = list(self._file.schema_arrow.names)

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        for batch in self._file.iter_batches(columns=[self.names[position] for position in chosen.values()]):
            yield {name: _values(batch.column(self.names[position]), name in text) for name, position in chosen.items()}


def _values(column: pa.Array, as_text: bool) -> NDArray[Any]:
    """Return an Arrow column as numbers or as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not as_text:
        return cast(
            NDArray[Any], column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        )
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.string()).cast(pa.binary())
    return column.fill_null(b"").to_numpy(zero_copy_only=False).astype(bytes)
