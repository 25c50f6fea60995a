"""One pass over the rows of a catalogue: counts, histograms, and the rows that stand out.

All bins are fixed before the first row, so that memory does not grow with the catalogue and nothing depends on how its
rows are spread over files.
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
"""Columns that are looked at, where a catalogue has them."""

SHOWN = 4
"""Rows kept of each kind that stands out."""


@dataclass(frozen=True)
class Bins:
    """Equal bins of a quantity."""

    low: float
    high: float
    count: int

    def edges(self) -> np.ndarray:
        """Return the edges (count + 1,)."""
        return np.linspace(self.low, self.high, self.count + 1)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the bin (n,) of each value; -1 outside, and where it is NaN."""
        inside = (values >= self.low) & (values <= self.high)
        place = (np.where(inside, values, self.low) - self.low) * (self.count / (self.high - self.low))
        return np.where(inside, np.minimum(place.astype(np.int64), self.count - 1), -1)


TEFF, LOGG = Bins(2000.0, 12000.0, 200), Bins(-1.0, 7.0, 160)
RIGHT_ASCENSION, SINE_DECLINATION = Bins(0.0, 360.0, 288), Bins(-1.0, 1.0, 144)
"""Their cells on the sky have equal areas, 1.25 degrees wide at the equator."""
LOG_SN = Bins(0.0, 3.0, 30)
"""log10 of the S/N."""
LOG_ERROR = Bins(0.0, 4.0, 400)
"""log10 of an error in units of ``LEAST_ERROR``; a bin is 2.3 %."""
LEAST_ERROR = {"teff": 1.0, "feh": 1e-3, "logg": 1e-3}

MEASURES = {
    "sn": ("median S/N per pixel", Bins(0.0, 200.0, 100)),
    "rv": ("radial velocity [km/s]", Bins(-600.0, 600.0, 120)),
    "good_fraction": ("share of good pixels", Bins(0.0, 1.0, 200)),
}
"""Columns whose distribution is drawn, what they are, and their bins."""


@dataclass
class Density:
    """Rows, and the sum of a further quantity, in cells of a plane."""

    x: Bins
    y: Bins
    rows: int = 0
    outside: int = 0
    """Rows that lie in no cell."""

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.y.count, self.x.count))
        self.sums = np.zeros((self.y.count, self.x.count))

    def add(self, x: np.ndarray, y: np.ndarray, value: np.ndarray | None = None) -> None:
        """Add rows (n,)."""
        column, row = self.x.place(x), self.y.place(y)
        inside = (column >= 0) & (row >= 0)
        cells, size = (row * self.x.count + column)[inside], self.counts.size
        self.counts += np.bincount(cells, minlength=size).reshape(self.counts.shape)
        if value is not None:
            self.sums += np.bincount(cells, weights=value[inside], minlength=size).reshape(self.sums.shape)
        self.rows += len(x)
        self.outside += int(len(x) - inside.sum())

    def mean(self) -> np.ndarray:
        """Return the mean of the further quantity in each cell; NaN in empty ones."""
        with np.errstate(invalid="ignore"):
            return np.where(self.counts > 0, self.sums / np.maximum(self.counts, 1), np.nan)


class Magnitudes:
    """A histogram of float32 whatever their scale: a bin for each of their first 16 bits, which is 0.8 % wide."""

    def __init__(self) -> None:
        self.counts = np.zeros(1 << 16, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add values (n,), of which those that are not finite do not count."""
        bits = values[np.isfinite(values)].astype(np.float32).view(np.uint32) >> 16
        order = np.where(bits >> 15, 0xFFFF - bits, bits | 0x8000)  # negative floats count downwards
        self.counts += np.bincount(order, minlength=len(self.counts))

    def quantiles(self, shares: Iterable[float]) -> list[float]:
        """Return the values below which these shares of all lie, to 0.8 %; NaN where there is none."""
        total = np.cumsum(self.counts)
        if not total[-1]:
            return [float("nan") for _ in shares]
        return [float(_value(int(np.searchsorted(total, share * total[-1])))) for share in shares]

    def rebinned(self, edges: np.ndarray) -> np.ndarray:
        """Return how many lie in the bins between ``edges`` (m + 1,), spread evenly over their own."""
        used = np.flatnonzero(self.counts)
        low = np.array([_value(int(place)) for place in used])
        high = np.array([_value(int(place) + 1) for place in used])
        shares = np.clip((edges[:, None] - low) / np.maximum(high - low, 1e-30), 0.0, 1.0)
        return np.diff(shares @ self.counts[used])


def _value(place: int) -> float:
    """Return the lower end of a bin of ``Magnitudes``."""
    place = min(max(place, 0), 0xFFFF)
    bits = place & 0x7FFF if place & 0x8000 else 0xFFFF - place
    return float(np.array([bits << 16], dtype=np.uint32).view(np.float32)[0])


@dataclass(frozen=True)
class Pick:
    """A row that stands out."""

    shard: int
    """Whose part it is in."""
    row: dict[str, Any]
    value: float
    """By which it stands out."""


@dataclass
class Picks:
    """The rows of the largest values so far, and of equal ones the first."""

    most: int = SHOWN
    rows: list[Pick] = field(default_factory=list)

    def add(self, shard: int, table: pa.Table, values: np.ndarray, able: np.ndarray) -> None:
        """Look at rows in order; ``able`` (n,) says which may be picked."""
        places = np.flatnonzero(able & np.isfinite(values))
        places = places[np.argsort(-values[places], kind="stable")[: self.most]]
        new = [Pick(shard, table.slice(place, 1).to_pylist()[0], float(values[place])) for place in places]
        self.rows = sorted([*self.rows, *new], key=lambda pick: -pick.value)[: self.most]


class Census:
    """What a page says of the rows of a catalogue; see ``take``."""

    def __init__(self, given: Callable[[pa.Table], tuple[np.ndarray, np.ndarray]] | None = None) -> None:
        self._given = given
        self.columns: set[str] = set()
        """Names of the columns that were there."""
        self.rows = self.good = self.warn = self.bad = self.primary = 0
        self.bits = np.zeros(32, dtype=np.int64)
        """Rows with each bit of ``flags``."""
        self.kiel = {"good": Density(TEFF, LOGG), "flagged": Density(TEFF, LOGG)}
        """Rows by temperature and gravity, with the sum of their metallicities."""
        self.sky = Density(RIGHT_ASCENSION, SINE_DECLINATION)
        self.errors = {name: Density(LOG_SN, LOG_ERROR) for name in TARGET_NAMES}
        """Rows that are not bad by S/N and error."""
        self.measures = {name: np.zeros((2, bins.count)) for name, (_, bins) in MEASURES.items()}
        """Rows without a flag, and with one, in the bins of ``MEASURES``."""
        self.outside = dict.fromkeys(MEASURES, 0)
        """Rows beyond these bins, or without a value."""
        self.ood = (Magnitudes(), Magnitudes())
        """OOD scores of rows without a flag, and with one."""
        self.residuals = Residuals()
        """Of rows without a flag that have given labels."""
        self.picks = {"best": Picks(), "worst": Picks(), "oddest": Picks()}

    @property
    def stars(self) -> int | None:
        """How many stars there are; None where the catalogue does not say."""
        return self.primary if "is_primary" in self.columns else None

    def add(self, shard: int, table: pa.Table) -> None:
        """Look at the rows of one part."""
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
        if self._given:
            labels, label_errors = self._given(table)
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
        with np.errstate(divide="ignore", invalid="ignore"):  # what has no logarithm lies in no bin
            log_sn = np.log10(columns["sn"])[~bad]
            for name, density in self.errors.items():
                density.add(log_sn, np.log10(columns[f"e_{name}"][~bad] / LEAST_ERROR[name]))
        for name, (_, bins) in MEASURES.items():
            place = bins.place(columns[name])
            for k, chosen in enumerate((good, ~good)):
                self.measures[name][k] += np.bincount(place[chosen & (place >= 0)], minlength=bins.count)
            self.outside[name] += int((place < 0).sum())
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
            self.picks["oddest"].add(shard, table, columns["ood_score"], stars)


def joint_error(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the geometric mean (n,) of the errors, whose order does not depend on the units of the labels."""
    return np.prod([columns[f"e_{name}"].astype(np.float64) for name in TARGET_NAMES], axis=0) ** (1 / 3)


def take(
    tables: Iterable[pa.Table], given: Callable[[pa.Table], tuple[np.ndarray, np.ndarray]] | None = None
) -> Census:
    """Look at all rows once.

    Parameters
    ----------
    tables : rows of a catalogue, shard by shard in their order
    given : returns the labels (n, 3) of the rows of a table that are known otherwise, and the errors of these (n, 3);
        NaN where there is none
    """
    census = Census(given)
    for shard, table in enumerate(tables):
        census.add(shard, table)
    return census


def count_rejects(tables: Iterable[pa.Table]) -> list[tuple[str, str, int, str]]:
    """Return stage, reason, number and the path of one example of what was rejected, the most frequent first."""
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
    """Return numbers; NaN where one is missing."""
    values = column.to_numpy()
    return values.astype(np.float64) if values.dtype == object else values
