"""Columns of a label table, read some rows at a time from FITS, CSV or Parquet.

The full ``ssppOut`` has 239 columns, of which 18 are needed, and 1.8 GB. A table of FITS or CSV lies row by
row, so it is read in pieces of a few megabytes, of which only the needed columns are kept.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

import fsspec
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

Batch = dict[str, NDArray[Any]]
"""A quantity's values by its name: float64 with NaN for null, or bytes for ``flag``."""

PIECE = 4 << 20  # bytes read at a time
HEAD = 1 << 16  # bytes in which a text table must show its header
NULLS = ["", "null", "NULL", "nan", "NaN", "NAN", "--", "None", "N/A", "\\N"]

_FITS_FORMAT = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_FITS_BYTES = dict(zip("LBIJKAEDCMPQ", (1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FITS_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


def read_batches(path: str, required: Sequence[str]) -> Iterator[Batch]:
    """Yield the known columns of the table at ``path`` (file or URL, gzipped or not), some rows at a time.

    The format is told by the content, not by the name. Every batch of one file has the same quantities. A folder or
    a glob stands for the Parquet files in it, as data sets are published in parts.

    Raises
    ------
    LabelTableError : no such file, not a table, damaged, or without a column for one of ``required``
    """
    for file in _files(path):
        yield from _read_file(file, required)


def _files(path: str) -> list[str]:
    """Return the files that ``path`` stands for."""
    if not any(sign in path for sign in "*?[") and not (
        places.is_local(path) and os.path.isdir(places.local_path(path))
    ):
        return [path]
    try:
        found = [name for name, _ in listing.expand([path]) if name.endswith(".parquet")]
    except InputError as error:
        raise LabelTableError(f"label table: {error}") from None
    if not found:
        raise LabelTableError(f"label table {path}: no Parquet files there; name a file")
    return sorted(found)


def _read_file(path: str, required: Sequence[str]) -> Iterator[Batch]:
    try:
        with _open(path) as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
            yield from _reader(stream, path)(stream, path, required)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise LabelTableError(f"label table {path} cannot be read: {first_line(error)}") from None


def _open(path: str) -> IO[bytes]:
    """Open a file, or what stands at a URL."""
    try:
        if "://" in path:
            return cast(IO[bytes], fsspec.open(path, "rb").open())
        return open(path, "rb")
    except FileNotFoundError:
        raise LabelTableError(f"label table {path} does not exist") from None
    except IsADirectoryError:
        raise LabelTableError(f"label table {path} is a folder; name one file in it") from None
    except OSError as error:
        raise LabelTableError(f"label table {path} cannot be opened: {first_line(error)}") from None
    except Exception as error:  # the protocols have error classes of their own, and all mean the same here
        if "://" not in path:
            raise
        raise LabelTableError(f"label table {path} cannot be opened: {first_line(error)}") from None


def _reader(stream: IO[bytes], path: str) -> Any:
    """Return the reader for the content of ``stream``, which is left at its beginning."""
    head = stream.read(HEAD)
    stream.seek(0)
    if not head.strip():
        raise LabelTableError(f"label table {path} is empty")
    if head.startswith(b"SIMPLE  ="):
        return _fits_batches
    if head.startswith(b"PAR1"):
        return _parquet_batches
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise LabelTableError(f"label table {path} is a web page or XML, not a table; look into it")
    if b"\0" in head:
        raise LabelTableError(f"label table {path} is neither FITS, Parquet nor text; give one of these")
    return _csv_batches


# FITS ------------------------------------------------------------------------------------------------------


def _fits_batches(stream: IO[bytes], path: str, required: Sequence[str]) -> Iterator[Batch]:
    header = _fits_table(stream, path)
    fields = _fits_fields(header, path)
    chosen = choose([name for name, _, _ in fields], path, required)
    dtype = np.dtype(
        {
            "names": list(chosen),
            "formats": [_fits_dtype(*fields[place][:2], path) for place in chosen.values()],
            "offsets": [fields[place][2] for place in chosen.values()],
            "itemsize": header["NAXIS1"],
        }
    )
    left = header["NAXIS2"]
    while left > 0:
        rows = min(left, max(1, PIECE // dtype.itemsize))
        piece = _read_fully(stream, rows * dtype.itemsize)
        if len(piece) < rows * dtype.itemsize:
            raise LabelTableError(f"label table {path} ends before its last row; fetch it again")
        records = np.frombuffer(piece, dtype)
        yield {
            quantity: _fits_values(records[quantity], quantity, header, place + 1, path)
            for quantity, place in chosen.items()
        }
        left -= rows


def _fits_table(stream: IO[bytes], path: str) -> fits.Header:
    """Step to the first binary table; the stream is left at its first row."""
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
    """Return the bytes that follow a header, padded to whole blocks."""
    axes = [header[f"NAXIS{number}"] for number in range(1, header["NAXIS"] + 1)]
    values = header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + math.prod(axes)) if axes else 0
    size = abs(header["BITPIX"]) // 8 * values
    return -(-size // FITS_BLOCK) * FITS_BLOCK


def _fits_fields(header: fits.Header, path: str) -> list[tuple[str, str, int]]:
    """Return name, TFORM and offset in bytes of every column."""
    fields, offset = [], 0
    for number in range(1, header["TFIELDS"] + 1):
        form = str(header[f"TFORM{number}"])
        match = _FITS_FORMAT.match(form)
        if match is None:
            raise LabelTableError(f"label table {path} has a column of the unknown format {form}")
        fields.append((str(header.get(f"TTYPE{number}", f"col{number}")), form, offset))
        repeat, code = int(match[1] or 1), match[2]
        offset += -(-repeat // 8) if code == "X" else repeat * _FITS_BYTES[code]
    if offset != header["NAXIS1"]:
        raise LabelTableError(
            f"label table {path} has a damaged FITS header: rows of {header['NAXIS1']} bytes and columns of {offset}"
        )
    return fields


def _fits_dtype(name: str, form: str, path: str) -> str:
    match = _FITS_FORMAT.match(form)
    assert match is not None  # _fits_fields has refused the others
    repeat, code = int(match[1] or 1), match[2]
    if code == "A":
        return f"S{repeat}"
    if repeat != 1 or code not in _FITS_NUMBERS:
        raise LabelTableError(f"label table {path} has {form} in column {name}, which must hold one number")
    return _FITS_NUMBERS[code]


def _fits_values(raw: NDArray[Any], quantity: str, header: fits.Header, number: int, path: str) -> NDArray[Any]:
    if quantity == "flag":
        return np.array(raw, dtype=bytes)
    if raw.dtype.kind == "S":
        return _from_text(raw, quantity, path)
    values = raw.astype(np.float64) * header.get(f"TSCAL{number}", 1) + header.get(f"TZERO{number}", 0)
    null = header.get(f"TNULL{number}")
    if null is not None and raw.dtype.kind in "iu":
        values[raw == null] = np.nan
    return values


def _from_text(raw: NDArray[Any], quantity: str, path: str) -> NDArray[np.float64]:
    try:
        stripped = np.strings.strip(raw)
        return np.where(stripped == b"", b"nan", stripped).astype(np.float64)
    except ValueError as error:
        raise LabelTableError(f"label table {path} has text for {quantity}: {first_line(error)}") from None


def _read_fully(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or to the end: remote streams may return less than they are asked for."""
    piece = stream.read(size)
    while len(piece) < size and (more := stream.read(size - len(piece))):
        piece += more
    return piece


# Text and Parquet ------------------------------------------------------------------------------------------


def _csv_batches(stream: IO[bytes], path: str, required: Sequence[str]) -> Iterator[Batch]:
    names, delimiter, skip = _csv_header(stream, path)
    chosen = choose(names, path, required)
    columns = [f"{place} {name}" for place, name in enumerate(names)]  # unique, whatever the header says
    types = {columns[place]: pa.binary() if quantity == "flag" else pa.float64() for quantity, place in chosen.items()}
    try:
        reader = pa.csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=pa.csv.ReadOptions(column_names=columns, skip_rows=skip, block_size=PIECE),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=NULLS, strings_can_be_null=True
            ),
        )
        for batch in reader:
            yield {name: _values(batch.column(columns[place]), name) for name, place in chosen.items()}
    except pa.ArrowInvalid as error:  # which calls a column by its number
        text = first_line(error)
        text = re.sub(r"In CSV column #(\d+)", lambda found: f"column {names[int(found[1])]}", text)
        raise LabelTableError(f"label table {path} cannot be read: {text}") from None


def _csv_header(stream: IO[bytes], path: str) -> tuple[list[str], str, int]:
    """Return the column names, the delimiter and the number of lines before the first row."""
    head = stream.read(HEAD)
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


def _parquet_batches(stream: IO[bytes], path: str, required: Sequence[str]) -> Iterator[Batch]:
    file = pa.parquet.ParquetFile(stream)
    names = file.schema_arrow.names
    chosen = choose(names, path, required)
    for batch in file.iter_batches(columns=[names[place] for place in chosen.values()]):
        yield {name: _values(batch.column(names[place]), name) for name, place in chosen.items()}


def _values(column: Any, quantity: str) -> NDArray[Any]:
    """Turn an Arrow column into numbers, or into bytes for ``flag``."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if quantity != "flag":
        return cast(
            NDArray[Any], column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        )
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.string()).cast(pa.binary())
    return column.fill_null(b"").to_numpy(zero_copy_only=False).astype(bytes)
