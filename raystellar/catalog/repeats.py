"""Which rows of a catalogue are of one star, which of them is the best, and how well repeats agree.

Of every row a key, its position, the merit of its flags and its S/N are held, 29 bytes; of the rows of stars that were
observed more than once also what else is asked for. Nothing depends on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.labels.stars import NAMELESS, group_rows
from raystellar.labels.table import pack_key
from raystellar.schema import REPEATS
from raystellar.targets import TARGET_NAMES, TARGETS

RADIUS_ARCSEC = 2.0
"""Spectra this near to each other are of one star; a fibre of SDSS covers 2 to 3 arcsec."""

NEEDED = ("path", "spec_id", "plate", "mjd", "fiberid", "ra", "dec", "flag_warn", "flag_bad", "sn")
"""Columns of a catalogue that decide."""

BAD = 2
"""Merit of a row with ``flag_bad``; 1 with ``flag_warn`` only, 0 is the best."""

ROBUST = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation."""

Tables = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Yield some columns of all rows, in one or many tables; always in the same order."""


@dataclass(frozen=True)
class Stars:
    """What the rows of a catalogue are to each other."""

    star_id: np.ndarray
    """(n,) int64, the smallest key of the rows of the star."""
    is_primary: np.ndarray
    """(n,) bool, one row of each star."""
    summary: dict[str, Any]
    """``rows``, ``stars``, ``plate_centres`` (rows whose position is not a star's), and ``repeats``, see
    ``compare_repeats``."""

    def decide(self, table: pa.Table, start: int = 0) -> pa.Table:
        """Return a table of consecutive rows, of which the first is row ``start``, with the columns of these."""
        here = slice(start, start + len(table))
        return _with(table, pa.array(self.star_id[here]), pa.array(self.is_primary[here]))


def undecided(table: pa.Table) -> pa.Table:
    """Return a table with the columns ``schema.REPEATS``, which are null."""
    return _with(table, *(pa.nulls(len(table), column.type) for column in REPEATS))


def _with(table: pa.Table, *values: pa.Array) -> pa.Table:
    for column, array in zip(REPEATS, values, strict=True):
        at = table.schema.get_field_index(column.name)
        table = table.append_column(column.name, array) if at < 0 else table.set_column(at, column.field(), array)
    return table


def find_stars(tables: Tables) -> Stars:
    """Find the stars of a catalogue and the best row of each.

    Rows of one spectrum, by its name, and rows within ``RADIUS_ARCSEC`` are of one star. The best is one without
    ``flag_bad``, then without ``flag_warn``, then of the greatest S/N; ties go to the smaller key (plate, mjd, fibre)
    and the path that sorts first.

    Parameters
    ----------
    tables : yields rows of ``schema.CATALOG``
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
    good = rows[order[merit[rows[order]] < BAD]]
    return Stars(star, primary, {**summary, "repeats": compare_repeats(tables, good, star, key)})


def _read(tables: Tables) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return key, ra, dec, merit and S/N of all rows, -inf where the latter is unknown."""
    keys = _Keys()
    found = [
        (
            keys(table),
            *(table[name].fill_null(np.nan).to_numpy() for name in ("ra", "dec")),
            np.where(_true(table["flag_bad"]), BAD, _true(table["flag_warn"])).astype(np.int8),
            np.nan_to_num(table["sn"].fill_null(np.nan).to_numpy(), nan=-np.inf),
        )
        for table in tables(NEEDED)
    ]
    key, ra, dec, merit, sn = (np.concatenate(column) for column in zip(*found, strict=True))
    return key, ra, dec, merit, sn


def _true(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(False).to_numpy()


class _Keys:
    """Give each row the key of its spectrum; tables are to come in the order of the rows of each file."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, table: pa.Table) -> np.ndarray:
        """Return the keys (n,) int64, see ``stars.group_rows``."""
        key = pack_key(*(table[name].fill_null(0).to_numpy() for name in ("plate", "mjd", "fiberid")))
        others = pa.array(key < 0)
        texts = (table[name].filter(others).fill_null("").to_pylist() for name in ("path", "spec_id"))
        key[key < 0] = np.array([self._key(*row) for row in zip(*texts, strict=True)], dtype=np.int64)
        return key

    def _key(self, path: str, spec_id: str) -> int:
        """Return a number made of the name; of place and name where that is not the name of one spectrum."""
        text = spec_id
        if not path or not spec_id or "--" in f"{spec_id}-":  # arrays are numbered anew in every call
            self._seen[path, spec_id] += 1
            text = f"{path}\0{spec_id}\0{self._seen[path, spec_id]}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return NAMELESS | (int.from_bytes(digest, "little") & (NAMELESS - 1))


def _first(values: np.ndarray) -> np.ndarray:
    """Return (n,) bool: where a sorted value stands for the first time."""
    first = np.ones(len(values), dtype=bool)
    first[1:] = values[1:] != values[:-1]
    return first


def _path_ranks(tables: Tables, rows: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n,) the place of the paths in their order, for those of ``rows`` that are equal in all ``columns``."""
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
    """Return some columns of ``rows``, which increase."""
    start, found = 0, []
    for table in tables(names):
        here = rows[slice(*np.searchsorted(rows, (start, start + len(table))))] - start
        found.append(table.take(pa.array(here)))
        start += len(table)
    return pa.concat_tables(found)


def compare_repeats(tables: Tables, rows: np.ndarray, star: np.ndarray, key: np.ndarray) -> dict[str, Any]:
    """Compare the labels of different spectra of one star, each with the next in merit.

    Parameters
    ----------
    rows : those that are not bad, star by star, of each the best first
    star, key : of all rows; of rows of one key only the best counts

    Returns
    -------
    ``stars`` and ``rows`` that were compared, and for each label ``scatter`` of one spectrum (robust: 1.4826 times the
    median of the absolute differences / sqrt 2), its ``unit``, and ``pull``, the root mean square of difference /
    hypot(errors), 1 where errors are true, with ``pull_robust``, by the median too; None where there are no repeats.
    """
    rows = rows[np.sort(np.unique(key[rows], return_index=True)[1])]
    again = ~_first(star[rows])
    partner = np.zeros(len(rows), dtype=bool)
    partner[:-1] = again[1:]
    rows, again = rows[again | partner], again[again | partner]
    found: dict[str, Any] = {"stars": int(np.sum(~again)), "rows": len(rows)}
    order = np.argsort(rows)
    values = _take(tables, [*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES)], rows[order]) if len(rows) else None
    for target in TARGETS:
        figures: dict[str, Any] = dict.fromkeys(("scatter", "pull", "pull_robust"))
        if values is not None:
            label, error = np.empty(len(rows)), np.empty(len(rows))
            label[order] = values[target.name].fill_null(np.nan).to_numpy()
            error[order] = values[f"e_{target.name}"].fill_null(np.nan).to_numpy()
            figures = _figures(np.diff(label)[again[1:]], np.hypot(error[1:], error[:-1])[again[1:]])
        found[target.name] = {"unit": target.unit, **figures}
    return found


def _figures(difference: np.ndarray, error: np.ndarray) -> dict[str, float | None]:
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
