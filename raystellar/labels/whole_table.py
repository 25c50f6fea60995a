"""ECSV and VOTable files, which astropy reads as a whole.

Their size is limited, because astropy takes many times the size of the file: 250 MB for an ECSV file of 64 MB, and
minutes for its rows. Larger tables are better kept in FITS or Parquet, which are read in pieces.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

import numpy as np
from astropy.table import MaskedColumn, Table
from numpy.typing import NDArray

from raystellar.errors import LabelTableError, first_line
from raystellar.labels.cells import Columns, numbers_in_text

MAX_BYTES = 64 << 20
"""Largest size of a file that is read as a whole [bytes]."""


class _WholeTable:
    """A table in a format that astropy reads."""

    kind = ""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise LabelTableError(
                f"label table {path} is a {self.kind} file of more than {MAX_BYTES >> 20} MB, too large to be read "
                f"as a whole; write it as FITS or Parquet"
            )
        self._path = path
        self._table = self._read(data)
        self.names = list(self._table.colnames)
        self.units = [str(column.unit or "") for column in self._table.itercols()]

    def _read(self, data: bytes) -> Table:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of units and names that astropy does not know
                return self._parse(io.BytesIO(data))
        except Exception as error:  # astropy and its parsers raise errors of many classes
            raise LabelTableError(f"label table {self._path} cannot be read: {first_line(error)}") from None

    def _parse(self, stream: IO[bytes]) -> Table:
        raise NotImplementedError

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield the columns in one piece, see ``cells.OpenTable``."""
        if not len(self._table):
            return
        yield {
            quantity: _texts(self._column(position))
            if quantity in text
            else self._numbers(self._column(position), quantity)
            for quantity, position in chosen.items()
        }

    def _column(self, position: int) -> MaskedColumn:
        column = MaskedColumn(self._table.columns[position])
        if column.ndim > 1:
            raise LabelTableError(
                f"label table {self._path} has several values in column {column.name}, which must hold one number"
            )
        return column

    def _numbers(self, column: MaskedColumn, quantity: str) -> NDArray[np.float64]:
        if column.dtype.kind in "biuf":
            return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))
        return numbers_in_text(_texts(column), quantity, self._path)


class EcsvTable(_WholeTable):
    """An ECSV file."""

    kind = "ECSV"

    def _parse(self, stream: IO[bytes]) -> Table:
        return Table.read(stream, format="ascii.ecsv")


class VoTable(_WholeTable):
    """The first table of a VOTable file."""

    kind = "VOTable"

    def _parse(self, stream: IO[bytes]) -> Table:
        from astropy.io.votable import parse

        return parse(stream).get_first_table().to_table(use_names_over_ids=True)


def _texts(column: MaskedColumn) -> NDArray[np.bytes_]:
    """Return values (n,) as text, empty where a value is missing; integers are exact."""
    masked = np.ma.getmaskarray(column).tolist()
    values: list[Any] = np.asarray(column.data.data).tolist()
    missing = (blank or value is None or value != value for blank, value in zip(masked, values, strict=True))
    texts = (value if isinstance(value, bytes) else str(value).encode() for value in values)
    return np.array([b"" if blank else text.strip() for blank, text in zip(missing, texts, strict=True)], dtype=bytes)
