"""Readers of the columns of a label table in FITS, text, Parquet, ECSV or VOTable.

The full ``ssppOut`` has 239 columns, of which 18 are needed, and 1.8 GB. Tables in FITS, text and Parquet are therefore
read in pieces of a few megabytes, of which only the needed columns are kept.

Every label table that raystellar reads goes through ``read_columns``: the labels (``table``), RUN2D of the spectra
(``addresses``), the reference labels of a catalogue (``truth``) and those of ``bench.stars``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from raystellar.errors import InputError, LabelTableError, first_line
from raystellar.files import listing, places
from raystellar.labels.arrow_table import ParquetTable, TextTable
from raystellar.labels.cells import Columns, OpenTable, read_fully
from raystellar.labels.columns import choose
from raystellar.labels.fits_table import FitsTable
from raystellar.labels.units import converter
from raystellar.labels.whole_table import EcsvTable, VoTable

HEAD = 1 << 16
"""Leading bytes that show the format of a table [bytes]."""

FORMATS = {
    "FITS": "first binary table of the file; .gz too",
    "text": "separated by commas, tabs, semicolons, bars or blanks, with a line of names; lines with # are comments",
    "Parquet": "a file, or all files in a folder",
    "ECSV": "at most 64 MB",
    "VOTable": "first table of the file, at most 64 MB",
}
"""Formats, and what is read of a file."""


def read_columns(
    path: str, spellings: Mapping[str, Sequence[str]], *, required: Collection[str] = (), text: Collection[str] = ()
) -> Iterator[Columns]:
    """Yield the columns of a label table that hold the quantities of ``spellings``, some rows at a time.

    The format is recognised by the content of the file, not by its name. All pieces of one file have the same columns.
    Values with a unit are converted to that of ``columns.UNITS``.

    Parameters
    ----------
    path : a file or URL, compressed by gzip or not; or a folder, which stands for the Parquet files in it, or a glob
    spellings : accepted column names of each quantity, the preferred one first; only letters and digits are compared
    required : quantities that the table must have
    text : quantities that are returned as bytes, without the blanks that FITS pads text with; all others are numbers

    Raises
    ------
    LabelTableError : the file does not exist, is not a table, is damaged, lacks a column for a required quantity, or
        has a unit that cannot be converted
    """
    for file in _files(path):
        with _open_table(file) as table:
            chosen = choose(table.names, file, required, spellings)
            if not chosen:
                continue
            places_of = {name: (table.units[at], table.names[at]) for name, at in chosen.items() if name not in text}
            converters = {name: converter(name, unit, column, file) for name, (unit, column) in places_of.items()}
            for piece in table.pieces(chosen, text):
                for name, convert in converters.items():
                    if convert:
                        piece[name] = convert(piece[name])
                yield piece


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
    """Return the files that ``path`` stands for; of a folder, and of a glob that matches any, the Parquet files."""
    is_glob = any(sign in path for sign in "*?[")
    if not is_glob and not (places.is_local(path) and os.path.isdir(places.local_path(path))):
        return [path]
    try:
        files = sorted(name for name, _ in listing.expand([path]))
    except InputError as error:
        raise LabelTableError(f"label table: {error}") from None
    parquet = [name for name in files if name.endswith(".parquet")]
    if not parquet and not is_glob:
        raise LabelTableError(f"label table {path}: no Parquet files there; name a file")
    return parquet or files


@contextmanager
def _open_table(path: str) -> Iterator[OpenTable]:
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


def _format(stream: IO[bytes], path: str) -> type[FitsTable | TextTable | ParquetTable | EcsvTable | VoTable]:
    """Return the class of table that the leading bytes show; the stream is left at its beginning."""
    head = read_fully(stream, HEAD)
    stream.seek(0)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise LabelTableError(f"label table {path} is empty")
    if head.startswith(b"SIMPLE  ="):
        return FitsTable
    if head.startswith(b"PAR1"):
        return ParquetTable
    if start.startswith(b"# %ECSV"):
        return EcsvTable
    if start.startswith(b"<"):
        if b"<VOTABLE" in head:
            return VoTable
        raise LabelTableError(f"label table {path} is a web page or XML, not a table; download the table again")
    if b"\0" in head:
        raise LabelTableError(f"label table {path} is none of {', '.join(FORMATS)}; give one of these")
    return TextTable
