"""Text tables and Parquet files, read by Arrow in pieces."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from raystellar.errors import LabelTableError, first_line
from raystellar.labels import cells
from raystellar.labels.cells import Columns, read_fully

HEAD = 1 << 16
"""Leading bytes in which a text table must have its column names [bytes]."""

NULLS = ["", "null", "NULL", "nan", "NaN", "NAN", "--", "None", "N/A", "\\N"]
"""Values of a text table that mean null."""

DELIMITERS = ",\t;| "
"""Characters that may separate columns, the preferred one first."""


class TextTable:
    """A text table with a line of column names, separated by commas, tabs, semicolons, bars or blanks.

    Lines that begin with # are comments, above and between the rows. The line of names may begin with #, too.
    """

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream, self._path = stream, path
        self.names, self._delimiter, self._skip = _text_header(stream, path)
        self.units = [""] * len(self.names)

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield pieces of columns, see ``cells.OpenTable``."""
        unique = [f"{position} {name}" for position, name in enumerate(self.names)]  # a header may repeat a name
        types = {unique[position]: pa.binary() if name in text else pa.float64() for name, position in chosen.items()}
        try:
            reader = pa.csv.open_csv(
                pa.PythonFile(self._stream, mode="r"),
                read_options=pa.csv.ReadOptions(column_names=unique, skip_rows=self._skip, block_size=cells.PIECE),
                parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=_skip_comment),
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


def _skip_comment(row: pa.csv.InvalidRow) -> str:
    return "skip" if row.text.startswith("#") else "error"


def _text_header(stream: IO[bytes], path: str) -> tuple[list[str], str, int]:
    """Return the column names, the delimiter and the number of lines before the first row.

    The names are the first line that is no comment; or the comment above that line, where it has as many words and the
    line holds a number, as in tables whose line of names begins with #.
    """
    head = read_fully(stream, HEAD)
    stream.seek(0)
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    comment, at = "", -1
    for number, line in enumerate(lines):
        text = line.strip()
        if text.startswith("#"):
            comment, at = text.lstrip("# "), number
        elif text:
            words, delimiter = _split(text)
            above, delimiter_above = _split(comment)
            if len(above) == len(words) and any(map(_is_number, words)):
                return above, delimiter_above, at + 1
            if not any(rest.strip() for rest in lines[number + 1 :]):
                raise LabelTableError(f"label table {path} holds no rows")
            return words, delimiter, number + 1
    if comment:
        raise LabelTableError(f"label table {path} holds no rows")
    raise LabelTableError(f"label table {path} has no line of column names")


def _split(line: str) -> tuple[list[str], str]:
    """Return the words of a line, and the delimiter between them."""
    delimiter = max(DELIMITERS, key=line.count)
    return (next(csv.reader([line], delimiter=delimiter)) if line else []), delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ParquetTable:
    """A Parquet file."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._file = pa.parquet.ParquetFile(stream)
        schema = self._file.schema_arrow
        self.names = list(schema.names)
        self.units = [(field.metadata or {}).get(b"unit", b"").decode(errors="replace") for field in schema]

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield pieces of columns, see ``cells.OpenTable``."""
        names = {name: self.names[position] for name, position in chosen.items()}
        for batch in self._file.iter_batches(columns=list(dict.fromkeys(names.values()))):
            yield {name: _values(batch.column(column), name in text) for name, column in names.items()}


def _values(column: pa.Array, as_text: bool) -> NDArray[Any]:
    """Return an Arrow column as numbers or as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not as_text:
        return cast(
            NDArray[Any], column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        )
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.string()).cast(pa.binary())
    return column.fill_null(b"").to_numpy(zero_copy_only=False).astype(bytes)
