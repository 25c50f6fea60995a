"""Group the rows of a catalogue by star, choose the primary row of each star, and compare repeated observations.

The memory holds 29 bytes a row: key, position, merit of the flags and S/N. Labels and paths are read only for the rows
of stars that were observed more than once. The result does not depend on the order of the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.labels.keys import name_key, pack_key
from raystellar.labels.stars import group_rows
from raystellar.schema import REPEATS
from raystellar.targets import TARGET_NAMES, TARGETS

RADIUS_ARCSEC = 2.0
"""Largest separation of two spectra of one star [arcsec]; an SDSS fibre is 2 to 3 arcsec wide."""

STAR_COLUMNS = ("path", "spec_id", "plate", "mjd", "fiberid", "ra", "dec", "flag_warn", "flag_bad", "sn")
"""Columns of a catalogue that decide the star of a row and the primary row of a star."""

MERIT_BAD = 2
"""Merit of a row with ``flag_bad``. A row with only ``flag_warn`` has 1. A row without flags has 0, the best merit."""

ROBUST = 1.4826
"""Ratio of the standard deviation of a normal distribution to its median absolute deviation."""

Tables = Callable[[Sequence[str]], Iterable[pa.Table]]
"""A function that yields the named columns of all rows, in one or more tables, in the same order at each call."""


@dataclass(frozen=True)
class Stars:
    """The star and the primary row of each row of a catalogue."""

    star_id: np.ndarray
    """Identity of the star of each row (n,) int64: the smallest key of the rows of that star."""

    is_primary: np.ndarray
    """Whether each row is the primary row of its star (n,) bool; True once a star."""

    summary: dict[str, Any]
    """Content of ``_summary.json``: numbers of ``rows``, ``stars`` and ``plate_centres`` (rows whose position is the
    centre of a plate), and the comparison of ``repeats``, see ``compare_repeats``."""

    def decide(self, table: pa.Table, start: int = 0) -> pa.Table:
        """Return the rows ``table``, which follow each other from row ``start`` on, with ``schema.REPEATS`` filled."""
        rows = slice(start, start + len(table))
        return _with(table, pa.array(self.star_id[rows]), pa.array(self.is_primary[rows]))


def undecided(table: pa.Table) -> pa.Table:
    """Return ``table`` with the columns ``schema.REPEATS`` set to null."""
    return _with(table, *(pa.nulls(len(table), column.type) for column in REPEATS))


def _with(table: pa.Table, *values: pa.Array) -> pa.Table:
    """Return ``table`` with the columns ``schema.REPEATS`` appended or replaced."""
    for column, array in zip(REPEATS, values, strict=True):
        index = table.schema.get_field_index(column.name)
        table = table.append_column(column.name, array) if index < 0 else table.set_column(index, column.field(), array)
    return table


def find_stars(tables: Tables) -> Stars:
    """Group rows by star and choose the primary row of each star.

    Two rows belong to one star if they have the same spectrum name or lie within ``RADIUS_ARCSEC``. Rows without
    ``flag_bad`` are preferred as the primary row, then rows without ``flag_warn``, then the highest S/N. Ties go to the
    smallest key (plate, mjd, fibre), then to the path that sorts first.

    Parameters
    ----------
    tables : yields columns of ``schema.CATALOG`` of all rows
    """
    key, ra, dec, merit, sn = _read(tables)
    star, centres = group_rows(key, ra, dec, RADIUS_ARCSEC)
    stars, number, count = np.unique(star, return_inverse=True, return_counts=True)
    repeated = count[number] > 1
    rows = np.flatnonzero(repeated)
    columns = (star[rows], merit[rows], -sn[rows], key[rows])
    order = np.lexsort((_path_ranks(tables, rows, columns), *columns[::-1]))
    primary = ~repeated
    primary[rows[order[_first(columns[0][order])]]] = True
    summary = {"rows": len(star), "stars": len(stars), "plate_centres": centres}
    good = rows[order[merit[rows[order]] < MERIT_BAD]]
    return Stars(star, primary, {**summary, "repeats": compare_repeats(tables, good, star, key)})


def _read(tables: Tables) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return key, ra, dec, merit and S/N of all rows, each (n,); an unknown S/N is -inf."""
    keys = SpectrumKeys()
    parts = [
        (
            keys(table),
            *(table[name].fill_null(np.nan).to_numpy() for name in ("ra", "dec")),
            np.where(_true(table["flag_bad"]), MERIT_BAD, _true(table["flag_warn"])).astype(np.int8),
            np.nan_to_num(table["sn"].fill_null(np.nan).to_numpy(), nan=-np.inf),
        )
        for table in tables(STAR_COLUMNS)
    ]
    key, ra, dec, merit, sn = (np.concatenate(column) for column in zip(*parts, strict=True))
    return key, ra, dec, merit, sn


def _true(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of booleans (n,); null is False."""
    return column.fill_null(False).to_numpy()


class SpectrumKeys:
    """Give each row the key of its spectrum. Tables must come in the order of their rows."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, table: pa.Table) -> np.ndarray:
        """Return the keys (n,) int64, see ``labels.stars.group_rows``."""
        key = pack_key(*(table[name].fill_null(0).to_numpy() for name in ("plate", "mjd", "fiberid")))
        others = pa.array(key < 0)
        texts = (table[name].filter(others).fill_null("").to_pylist() for name in ("path", "spec_id"))
        key[key < 0] = np.array([self._key(*row) for row in zip(*texts, strict=True)], dtype=np.int64)
        return key

    def _key(self, path: str, spec_id: str) -> int:
        """Return a hash of the spectrum name; of path, name and count if the name does not identify one spectrum."""
        text = spec_id
        # arrays are numbered from 0 in every call, and rows of a table without names are called FILE#ROW
        if not path or not spec_id or "--" in f"{spec_id}-" or "#" in spec_id:
            self._seen[path, spec_id] += 1
            text = f"{path}\0{spec_id}\0{self._seen[path, spec_id]}"
        return name_key(text)


def _first(values: np.ndarray) -> np.ndarray:
    """Return whether each of the sorted ``values`` (n,) differs from the value before it (n,) bool."""
    first = np.ones(len(values), dtype=bool)
    first[1:] = values[1:] != values[:-1]
    return first


def _path_ranks(tables: Tables, rows: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rank of the path (n,) of each of ``rows`` that equals another in all ``columns``; 0 for other rows."""
    order = np.lexsort(columns)
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for values in columns:
        same &= values[order][1:] == values[order][:-1]
    tied = np.zeros(len(rows), dtype=bool)
    tied[order[1:][same]] = tied[order[:-1][same]] = True
    ranks = np.zeros(len(rows), dtype=np.int64)
    if tied.any():
        paths = _take(tables, ["path"], rows[tied])["path"].combine_chunks()
        ranks[tied] = pc.rank(paths, tiebreaker="dense").to_numpy()
    return ranks


def _take(tables: Tables, names: Sequence[str], rows: np.ndarray) -> pa.Table:
    """Return the named columns of ``rows``, which must increase."""
    start, taken = 0, []
    for table in tables(names):
        inside = rows[slice(*np.searchsorted(rows, (start, start + len(table))))] - start
        taken.append(table.take(pa.array(inside)))
        start += len(table)
    return pa.concat_tables(taken)


def compare_repeats(tables: Tables, rows: np.ndarray, star: np.ndarray, key: np.ndarray) -> dict[str, Any]:
    """Compare the labels of different spectra of one star; each spectrum is compared with the next best.

    Parameters
    ----------
    rows : rows without ``flag_bad``, sorted by star, the best row of each star first
    star, key : (n,) star and key of all rows; only the best row of each key is compared

    Returns
    -------
    dict
        ``stars`` and ``rows`` : numbers of stars and rows compared
        for each label, None where no star was observed twice:
        ``unit`` : unit of the label
        ``scatter`` : scatter of one spectrum: 1.4826 times the median absolute difference / sqrt(2)
        ``pull`` : root mean square of difference / hypot(both errors); 1 where errors are right
        ``pull_robust`` : the same from the median
    """
    rows = rows[np.sort(np.unique(key[rows], return_index=True)[1])]
    again = ~_first(star[rows])
    partner = np.zeros(len(rows), dtype=bool)
    partner[:-1] = again[1:]
    rows, again = rows[again | partner], again[again | partner]
    comparison: dict[str, Any] = {"stars": int(np.sum(~again)), "rows": len(rows)}
    order = np.argsort(rows)
    values = _take(tables, [*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES)], rows[order]) if len(rows) else None
    for target in TARGETS:
        figures: dict[str, Any] = dict.fromkeys(("scatter", "pull", "pull_robust"))
        if values is not None:
            label, error = np.empty(len(rows)), np.empty(len(rows))
            label[order] = values[target.name].fill_null(np.nan).to_numpy()
            error[order] = values[f"e_{target.name}"].fill_null(np.nan).to_numpy()
            figures = _figures(np.diff(label)[again[1:]], np.hypot(error[1:], error[:-1])[again[1:]])
        comparison[target.name] = {"unit": target.unit, **figures}
    return comparison


def _figures(difference: np.ndarray, error: np.ndarray) -> dict[str, float | None]:
    """Return scatter and pulls of differences (n,) with errors (n,); see ``compare_repeats``."""
    known = np.isfinite(difference) & np.isfinite(error) & (error > 0)
    if not known.any():
        return dict.fromkeys(("scatter", "pull", "pull_robust"))
    pull = difference[known] / error[known]
    figures = {
        "scatter": ROBUST * np.median(np.abs(difference[known])) / np.sqrt(2),
        "pull": np.sqrt(np.mean(pull**2)),
        "pull_robust": ROBUST * np.median(np.abs(pull)),
    }
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
