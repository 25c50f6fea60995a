"""Cells of label tables: pieces of columns, as numbers or as text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raystellar.errors import LabelTableError, first_line

Columns = dict[str, NDArray[Any]]
"""Values of some rows by the name of the quantity: float64 with NaN for null, or bytes, empty for null."""

PIECE = 4 << 20
"""Size of the pieces of a FITS or text table [bytes]."""


class OpenTable(Protocol):
    """A table whose file is open."""

    names: list[str]
    """Names of all columns."""

    units: list[str]
    """Units of all columns, as the file writes them; empty where a column has none."""

    def pieces(self, chosen: Mapping[str, int], text: Collection[str]) -> Iterator[Columns]:
        """Yield the columns at the positions ``chosen`` under the names of ``chosen``, some rows at a time.

        Parameters
        ----------
        chosen : positions of the columns by the name of the quantity
        text : quantities that are returned as bytes; all others are numbers
        """


def numbers_in_text(raw: NDArray[np.bytes_], quantity: str, path: str) -> NDArray[np.float64]:
    """Return texts (n,) as numbers, NaN for blanks.

    Raises
    ------
    LabelTableError : a text is no number
    """
    try:
        stripped = np.strings.strip(raw)
        return np.where(stripped == b"", b"nan", stripped).astype(np.float64)
    except ValueError as error:
        raise LabelTableError(f"label table {path} has text for {quantity}: {first_line(error)}") from None


def read_fully(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or all that are left. A remote stream may return fewer bytes than it is asked for."""
    piece = stream.read(size)
    while len(piece) < size and (more := stream.read(size - len(piece))):
        piece += more
    return piece
