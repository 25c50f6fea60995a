"""The join of spectra and rows of a label table, by names or by position."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from raystellar.errors import LabelTableError, SpectrumError
from raystellar.labels.columns import KEY, listed
from raystellar.labels.identity import FILE, PLATE, Observed, file_key, keys_of
from raystellar.labels.keys import pack_key
from raystellar.labels.stars import chord, unit_vectors
from raystellar.labels.table import EXAMPLES, LabelTable

POSITION_NEEDS = ("ra", "dec")
"""Fields of ``Names`` by which spectra are joined by position."""

SEVERAL = "several rows of the label table match"
"""Reason of the reject of a spectrum that has several rows."""

MISSING = "not in the label table"
"""Reason of the reject of a spectrum that has no row."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names and the position of a spectrum in a table."""

    path: str = ""
    spec_id: str = ""
    plate: int = 0
    mjd: int = 0
    fiberid: int = 0
    ra: float = math.nan
    dec: float = math.nan
    fieldid: int = -1
    catalogid: int = -1
    obs_id: int = -1
    aliases: tuple[str, ...] = ()


class Join:
    """The join with one label table. It is cheap to send to workers: the index of positions is made where it is used.

    Parameters
    ----------
    table : label table
    """

    def __init__(self, table: LabelTable) -> None:
        self.table = table

    def __getstate__(self) -> dict[str, Any]:
        return {"table": self.table}

    def row(self, spectrum: Observed) -> int:
        """Return the row of a spectrum; -1 where the table has none.

        Raises
        ------
        SpectrumError : several rows match
        """
        rows = self._rows(spectrum)
        if len(rows) > 1:
            raise SpectrumError("labels", SEVERAL, f"rows {listed(map(str, rows))} of the sorted table")
        return rows[0] if rows else -1

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        """Return the row (n,) of each spectrum of a table; -1 where there is none, or where several rows match.

        Parameters
        ----------
        columns : values (n,) of the fields ``needed``, as far as they are known; None, NaN and masked values are
            missing. A path that several spectra have names none of them
        """
        if self.needed == KEY:
            return self.table.find(pack_key(*(np.ma.filled(columns[name], 0) for name in KEY)))
        if self.needed == POSITION_NEEDS:
            matches = self._near(*(np.ma.filled(np.ma.asarray(columns[name], float), np.nan) for name in self.needed))
        else:
            matches = [self._rows(names) for names in names_of(columns)]
        return np.array([rows[0] if len(rows) == 1 else -1 for rows in matches], np.int64)

    def missing(self, spectrum: Observed) -> SpectrumError:
        """Return the reject of a spectrum that the table does not have."""
        if self.table.match_radius_arcsec:
            detail = f"no row within {self.table.match_radius_arcsec:g} arcsec of {spectrum.ra} {spectrum.dec}"
        else:
            detail = f"its rows are named by {' or '.join(self.table.identities)}"
        return SpectrumError("labels", MISSING, detail)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the fields of ``Names`` by which spectra are joined."""
        if self.table.match_radius_arcsec:
            return POSITION_NEEDS
        return KEY if set(self.table.identities) == {PLATE} else tuple(Names.__dataclass_fields__)

    def _rows(self, spectrum: Observed) -> list[int]:
        """Return all rows that match a spectrum."""
        if self.table.match_radius_arcsec:
            return self._near(np.array([spectrum.ra]), np.array([spectrum.dec]))[0]
        rows = self.table.find(np.array(sorted(keys_of(spectrum, self.table.identities)), np.int64))
        return [int(row) for row in rows if row >= 0]

    def _near(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[list[int]]:
        """Return the rows within the radius of each position (n,); none for an unknown position."""
        known = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
        rows: list[list[int]] = [[] for _ in ra]
        near = self._sky.query_ball_point(unit_vectors(ra[known], dec[known]), chord(self.table.match_radius_arcsec))
        for index, matches in zip(known.tolist(), near, strict=True):
            rows[index] = sorted(matches)
        return rows

    @cached_property
    def _sky(self) -> cKDTree:
        return cKDTree(unit_vectors(self.table.ra, self.table.dec))


def names_of(columns: Mapping[str, Sequence[Any]]) -> Iterable[Names]:
    """Yield the names of each spectrum of a table, see ``Join.rows``."""
    known = [field.name for field in fields(Names) if field.name in columns]
    values = {name: [None if _is_missing(value) else value for value in columns[name]] for name in known}
    if "path" in values:
        count = Counter(values["path"])
        values["path"] = [path if count[path] == 1 else None for path in values["path"]]
    for row in zip(*values.values(), strict=True):
        yield Names(**{name: value for name, value in zip(known, row, strict=True) if value is not None})


def _is_missing(value: Any) -> bool:
    return value is None or value is np.ma.masked or value != value


def check_files(table: LabelTable, paths: pa.ChunkedArray, counts: pa.ChunkedArray) -> None:
    """Refuse files whose names do not tell which spectrum belongs to a row that is named by a file.

    Parameters
    ----------
    table : label table; nothing is checked where it has no row that is named by a file
    paths : paths (n,) of the files of spectra
    counts : number (n,) of spectra in each file; null where it is one

    Raises
    ------
    LabelTableError : two files of one name, or a file with several spectra, belong to one row
    """
    if FILE not in table.identities:
        return
    keys = np.array([file_key(path) for chunk in paths.chunks for path in chunk.to_pylist()], np.int64)
    named = table.find(keys) >= 0
    many = np.flatnonzero(named & (counts.fill_null(1).to_numpy() > 1))
    if len(many):
        raise LabelTableError(
            f"the label table names {paths[int(many[0])]}, which holds {counts[int(many[0])]} spectra; "
            f"name its spectra by spec_id or by another identity"
        )
    values, count = np.unique(keys[named], return_counts=True)
    if (count > 1).any():
        twice = np.flatnonzero(named & (keys == values[count > 1][0]))
        raise LabelTableError(
            f"the label table names a file without its folder, and several files have that name: "
            f"{', '.join(str(paths[int(index)]) for index in twice[:EXAMPLES])}; leave out all but one"
        )
