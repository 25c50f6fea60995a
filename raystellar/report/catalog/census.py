"""Statistics of a catalogue from one pass over its rows: counts, histograms, and the rows shown in the gallery.

All bins are fixed before the first row. Memory therefore does not grow with the catalogue, and the result does not
depend on how rows are spread over files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.quality import Flag
from raystellar.report.residuals import Residuals
from raystellar.targets import TARGET_NAMES

IDENTITY_READ = ("path", "spec_id", "plate", "mjd", "fiberid", "ra", "dec", "object_class", "subclass", "sn", "rv")
OTHERS_READ = ("rv_source", "good_fraction", "flags", "flag_warn", "flag_bad", "ood_score", "is_primary")
READ = (*IDENTITY_READ, *OTHERS_READ, *TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))
"""Columns that are read, where a catalogue has them."""

SHOWN = 4
"""Rows in each part of the gallery."""


@dataclass(frozen=True)
class Bins:
    """Equal bins of a quantity."""

    low: float
    high: float
    count: int

    def edges(self) -> np.ndarray:
        """Return the edges (count + 1,)."""
        return np.linspace(self.low, self.high, self.count + 1)

    def index(self, values: np.ndarray) -> np.ndarray:
        """Return the bin (n,) of each value; -1 for a value outside all bins and for NaN."""
        inside = (values >= self.low) & (values <= self.high)
        position = (np.where(inside, values, self.low) - self.low) * (self.count / (self.high - self.low))
        return np.where(inside, np.minimum(position.astype(np.int64), self.count - 1), -1)


TEFF_BINS, LOGG_BINS = Bins(2000.0, 12000.0, 200), Bins(-1.0, 7.0, 160)
RIGHT_ASCENSION_BINS, SINE_DECLINATION_BINS = Bins(0.0, 360.0, 288), Bins(-1.0, 1.0, 144)
"""Bins on the sky; their cells have equal areas and are 1.25 degrees wide at the equator."""
LOG_SN_BINS = Bins(0.0, 3.0, 30)
"""Bins of log10 of the S/N."""
LOG_ERROR_BINS = Bins(0.0, 4.0, 400)
"""Bins of log10 of an error in units of ``LEAST_ERROR``, 2.3 % wide."""
LEAST_ERROR = {"teff": 1.0, "feh": 1e-3, "logg": 1e-3}
"""Smallest error in the histograms, in the units of the labels."""

MEASURES = {
    "sn": ("median S/N per pixel", Bins(0.0, 200.0, 100)),
    "rv": ("radial velocity [km/s]", Bins(-600.0, 600.0, 120)),
    "good_fraction": ("share of good pixels", Bins(0.0, 1.0, 200)),
}
"""Columns whose distribution is drawn, with the name of the axis and the bins."""


@dataclass
class Density:
    """Number of rows, and sum of a third quantity, in each cell of a plane."""

    x: Bins
    y: Bins
    rows: int = 0
    outside: int = 0
    """Number of rows that lie in no cell."""

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.y.count, self.x.count))
        self.sums = np.zeros((self.y.count, self.x.count))

    def add(self, x: np.ndarray, y: np.ndarray, value: np.ndarray | None = None) -> None:
        """Add rows with coordinates ``x`` and ``y`` (n,) and, for ``mean``, a third quantity ``value`` (n,)."""
        column, row = self.x.index(x), self.y.index(y)
        inside = (column >= 0) & (row >= 0)
        cells, size = (row * self.x.count + column)[inside], self.counts.size
        self.counts += np.bincount(cells, minlength=size).reshape(self.counts.shape)
        if value is not None:
            self.sums += np.bincount(cells, weights=value[inside], minlength=size).reshape(self.sums.shape)
        self.rows += len(x)
        self.outside += int(len(x) - inside.sum())

    def mean(self) -> np.ndarray:
        """Return the mean of the third quantity in each cell; NaN in empty cells."""
        with np.errstate(invalid="ignore"):
            return np.where(self.counts > 0, self.sums / np.maximum(self.counts, 1), np.nan)


class Magnitudes:
    """A histogram of float32 numbers of any scale: one bin, 0.8 % wide, for each value of their first 16 bits."""

    def __init__(self) -> None:
        self.counts = np.zeros(1 << 16, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add the finite values among ``values`` (n,)."""
        bits = values[np.isfinite(values)].astype(np.float32).view(np.uint32) >> 16
        order = np.where(bits >> 15, 0xFFFF - bits, bits | 0x8000)  # negative floats count downwards
        self.counts += np.bincount(order, minlength=len(self.counts))

    def quantiles(self, shares: Iterable[float]) -> list[float]:
        """Return the values below which these shares of all values lie, to 0.8 %; NaN for an empty histogram."""
        total = np.cumsum(self.counts)
        if not total[-1]:
            return [float("nan") for _ in shares]
        return [float(_value(int(np.searchsorted(total, share * total[-1])))) for share in shares]

    def rebinned(self, edges: np.ndarray) -> np.ndarray:
        """Return the counts (m,) in bins between ``edges`` (m + 1,); values are spread evenly over their own bins."""
        used = np.flatnonzero(self.counts)
        low = np.array([_value(int(bin)) for bin in used])
        high = np.array([_value(int(bin) + 1) for bin in used])
        shares = np.clip((edges[:, None] - low) / np.maximum(high - low, 1e-30), 0.0, 1.0)
        return np.diff(shares @ self.counts[used])


def _value(bin: int) -> float:
    """Return the lower end of a bin of ``Magnitudes``."""
    bin = min(max(bin, 0), 0xFFFF)
    bits = bin & 0x7FFF if bin & 0x8000 else 0xFFFF - bin
    return float(np.array([bits << 16], dtype=np.uint32).view(np.float32)[0])


@dataclass(frozen=True)
class Pick:
    """A row of the gallery."""

    shard: int
    """Number of the part that holds the row."""
    row: dict[str, Any]
    """Columns ``READ`` of the row."""
    value: float
    """Value by which the row was picked."""


@dataclass
class Picks:
    """The rows with the largest values so far; of rows with equal values, the first."""

    most: int = SHOWN
    rows: list[Pick] = field(default_factory=list)

    def add(self, shard: int, table: pa.Table, values: np.ndarray, able: np.ndarray) -> None:
        """Add the rows of a part in their order.

        Parameters
        ----------
        shard : number of the part
        table : rows of the part
        values : (n,) values by which rows are picked
        able : (n,) true for rows that may be picked
        """
        rows = np.flatnonzero(able & np.isfinite(values))
        rows = rows[np.argsort(-values[rows], kind="stable")[: self.most]]
        new = [Pick(shard, table.slice(row, 1).to_pylist()[0], float(values[row])) for row in rows]
        self.rows = sorted([*self.rows, *new], key=lambda pick: -pick.value)[: self.most]


class Census:
    """Statistics of the rows of a catalogue; see ``take``."""

    def __init__(self, reference: Callable[[pa.Table], tuple[np.ndarray, np.ndarray]] | None = None) -> None:
        self._reference = reference
        self.columns: set[str] = set()
        """Names of the columns of the catalogue."""
        self.rows = self.good = self.warn = self.bad = self.primary = 0
        self.bits = np.zeros(32, dtype=np.int64)
        """Number of rows with each bit of ``flags``."""
        self.kiel = {"good": Density(TEFF_BINS, LOGG_BINS), "flagged": Density(TEFF_BINS, LOGG_BINS)}
        """Rows without and with a flag by temperature and gravity, with the sum of their metallicities."""
        self.sky = Density(RIGHT_ASCENSION_BINS, SINE_DECLINATION_BINS)
        """Rows by right ascension and sine of the declination."""
        self.errors = {name: Density(LOG_SN_BINS, LOG_ERROR_BINS) for name in TARGET_NAMES}
        """Rows that are not bad, by S/N and error."""
        self.measures = {name: np.zeros((2, bins.count)) for name, (_, bins) in MEASURES.items()}
        """Numbers of rows without and with a flag in the bins of ``MEASURES``."""
        self.outside = dict.fromkeys(MEASURES, 0)
        """Numbers of rows beyond the bins of ``MEASURES`` or without a value."""
        self.ood = (Magnitudes(), Magnitudes())
        """OOD scores of rows without and with a flag."""
        self.residuals = Residuals()
        """Residuals of the rows without a flag that have reference labels."""
        self.picks = {name: Picks() for name in ("best", "worst", "ood")}
        """Rows of each part of the gallery."""

    @property
    def stars(self) -> int | None:
        """Number of stars; None where the catalogue lacks ``is_primary``."""
        return self.primary if "is_primary" in self.columns else None

    def add(self, shard: int, table: pa.Table) -> None:
        """Add the rows of one part."""
        self.columns |= set(table.column_names)
        if not len(table):
            return
        columns = {name: _values(table[name]) for name in table.column_names if not _is_text(table[name])}
        for name in TARGET_NAMES:  # catalogues of the first versions have no errors
            columns.setdefault(f"e_{name}", np.full(len(table), np.nan))
        bad, flagged = columns["flag_bad"].astype(bool), columns["flag_bad"] | columns["flag_warn"]
        good = ~flagged.astype(bool)
        self._count(columns, good, bad)
        for kind, chosen in (("good", good), ("flagged", ~good)):
            self.kiel[kind].add(*(columns[name][chosen] for name in ("teff", "logg", "feh")))
        self.sky.add(columns["ra"] % 360.0, np.sin(np.radians(columns["dec"])))
        self._add_distributions(columns, good, bad)
        self._pick(shard, table, columns, good, bad)
        if self._reference:
            labels, label_errors = self._reference(table)
            predicted, errors = (
                np.stack([columns[before + name] for name in TARGET_NAMES], axis=1) for before in ("", "e_")
            )
            known = good & np.isfinite(labels).all(axis=1)
            total = np.hypot(errors, np.nan_to_num(label_errors))[known]
            self.residuals.add(predicted[known], labels[known], total, columns["sn"][known])

    def _count(self, columns: dict[str, np.ndarray], good: np.ndarray, bad: np.ndarray) -> None:
        self.rows += len(good)
        self.good += int(good.sum())
        self.bad += int(bad.sum())
        self.warn += int((~good & ~bad).sum())
        flags = columns["flags"].astype(np.int64)
        self.bits += [int(((flags >> bit) & 1).sum()) for bit in range(32)]
        if "is_primary" in columns:
            self.primary += int(np.nansum(columns["is_primary"]))

    def _add_distributions(self, columns: dict[str, np.ndarray], good: np.ndarray, bad: np.ndarray) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):  # a value without a logarithm lies in no bin
            log_sn = np.log10(columns["sn"])[~bad]
            for name, density in self.errors.items():
                density.add(log_sn, np.log10(columns[f"e_{name}"][~bad] / LEAST_ERROR[name]))
        for name, (_, bins) in MEASURES.items():
            index = bins.index(columns[name])
            for k, chosen in enumerate((good, ~good)):
                self.measures[name][k] += np.bincount(index[chosen & (index >= 0)], minlength=bins.count)
            self.outside[name] += int((index < 0).sum())
        if "ood_score" in columns:
            for tally, chosen in zip(self.ood, (good, ~good), strict=True):
                tally.add(columns["ood_score"][chosen])

    def _pick(
        self, shard: int, table: pa.Table, columns: dict[str, np.ndarray], good: np.ndarray, bad: np.ndarray
    ) -> None:
        self.picks["best"].add(shard, table, columns["sn"], good)
        self.picks["worst"].add(shard, table, joint_error(columns), ~bad)
        if "ood_score" in columns:
            stars = (columns["flags"].astype(np.int64) & int(Flag.SKY | Flag.NOT_STAR)) == 0
            self.picks["ood"].add(shard, table, columns["ood_score"], stars)


def joint_error(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the geometric mean (n,) of the three errors; the order of rows does not depend on the labels' units."""
    return np.prod([columns[f"e_{name}"].astype(np.float64) for name in TARGET_NAMES], axis=0) ** (1 / 3)


def take(
    tables: Iterable[pa.Table], reference: Callable[[pa.Table], tuple[np.ndarray, np.ndarray]] | None = None
) -> Census:
    """Return the statistics of a catalogue.

    Parameters
    ----------
    tables : rows of a catalogue, shard by shard in their order
    reference : returns the reference labels (n, 3) of the rows of a table, and the errors (n, 3) of these labels; NaN
        where a row has none
    """
    census = Census(reference)
    for shard, table in enumerate(tables):
        census.add(shard, table)
    return census


def count_rejects(tables: Iterable[pa.Table]) -> list[tuple[str, str, int, str]]:
    """Return stage, reason, number of rejects, and the path of one example, from the most frequent reason on."""
    counts: dict[tuple[str, str], int] = {}
    examples: dict[tuple[str, str], str] = {}
    for table in tables:
        for row in table.select(["stage", "reason", "path"]).to_pylist():
            key = row["stage"], row["reason"]
            counts[key] = counts.get(key, 0) + 1
            examples.setdefault(key, row["path"])
    return [(*key, count, examples[key]) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _is_text(column: pa.ChunkedArray) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as numbers; NaN where a value is missing."""
    values = column.to_numpy()
    return values.astype(np.float64) if values.dtype == object else values
