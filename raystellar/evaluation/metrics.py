"""Statistics of predicted minus reference labels in groups of stars, for each label.

Groups by label divide the stars by the *reference* label, so that the groups of several catalogues or models hold the
same stars. Cells divide the stars by the *predicted* labels. A user of a catalogue knows only these, and errors that
are right for stars chosen by predicted labels are not right for stars chosen by true labels: every regression draws
extremes towards the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from raystellar.evaluation.predictions import Predictions
from raystellar.fit.metrics import errors
from raystellar.model.errormodel import HALF_68, WITHIN
from raystellar.targets import TARGET_NAMES

SN_SHARES = (0.25, 0.5, 0.75)
"""Shares of the stars below the edges of the groups by S/N."""

LABEL_EDGES = {
    "teff": (5000.0, 5500.0, 6000.0, 6500.0, 7500.0),
    "feh": (-2.0, -1.5, -1.0, -0.5, 0.0),
    "logg": (2.0, 3.0, 3.5, 4.0, 4.5),
}
"""Edges between the groups by each label, in the units of the labels. The outer groups have one end only."""

CELL_COLUMNS = ("sn", "teff", "feh")
"""Quantities that divide the stars into cells: S/N and predicted labels."""

CELL_PARTS = 3
"""Number of parts into which each of ``CELL_COLUMNS`` is divided, at its quantiles."""

CELL_STARS = 300
"""Least number of stars of a cell. With 300 stars the share within one error is known to 2.7 points."""

IDEAL_SHARES = {"within68": 0.683, "within95": 0.95}
"""Shares of the stars within 1 and 2.09 errors where errors are right."""

EXPECTED_STD = 1.0 / HALF_68
"""Standard deviation of z where errors are right; errors are half of the middle 68 %, and the tails are long."""

OUTLIER = 3.0
"""|z| above which a star is an outlier. Where errors are right, 0.9 % of the stars are."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of one label in one group of stars, with d = predicted - reference and z = d / error.

    The error is the predicted error. Where the reference label has an error, it is the square root of the sum of the
    squares of both errors. ``mae``, ``bias``, ``median``, ``scatter`` and ``rms`` have the unit of the
    label. A value is NaN where the group has no star, or no star with an error.
    """

    stars: int
    """Number of stars."""
    mae: float
    """Mean of |d|."""
    bias: float
    """Mean of d."""
    median: float
    """Median of d."""
    scatter: float
    """1.4826 times the median of |d - median d|."""
    rms: float
    """Root mean square of d."""
    mae_of_range: float
    """``mae`` divided by the range of the reference labels of all compared stars. Source: Sec. 5."""
    z_mean: float
    """Mean of z."""
    z_std: float
    """Standard deviation of z about its mean."""
    within68: float
    """Share of the stars with |z| below 1."""
    within95: float
    """Share of the stars with |z| below 2.09."""
    outliers: float
    """Share of the stars with |z| above ``OUTLIER``."""


@dataclass(frozen=True)
class Bin:
    """Statistics of one label in the stars between two values of a quantity."""

    by: str
    """Quantity that divides the stars: ``sn`` or the name of a label, which is the reference label."""
    low: float | None
    """Lower end; None where there is none."""
    high: float | None
    """Upper end, which the next group holds; None where there is none."""
    statistics: Statistics
    """Statistics of the label in the group."""


@dataclass(frozen=True)
class Cell:
    """Shares of the stars within 1 and 2.09 errors in a cell of S/N, predicted ``teff`` and predicted ``feh``."""

    ends: dict[str, tuple[float, float]]
    """Lower and upper end of each of ``CELL_COLUMNS``."""
    stars: int
    """Number of stars."""
    shares: dict[str, dict[str, float]]
    """Shares ``within68`` and ``within95`` of each label, by its name."""


def label_ranges(labels: np.ndarray) -> tuple[float, ...]:
    """Return greatest minus least of each column of ``labels`` (n, 3), by which the paper divides its errors."""
    return tuple((labels.max(axis=0) - labels.min(axis=0)).tolist())


def statistics(stars: Predictions, ranges: tuple[float, ...]) -> dict[str, Statistics]:
    """Return the statistics of each label, by its name.

    Parameters
    ----------
    stars : one or more stars
    ranges : (3,) range of each reference label among all compared stars
    """
    plain, z = errors(stars.predicted, stars.labels), stars.z
    out = {}
    for t, name in enumerate(TARGET_NAMES):
        of, scores = plain[name], z[np.isfinite(z[:, t]), t]
        out[name] = Statistics(
            stars=len(stars),
            mae=of["mae"],
            bias=of["bias"],
            median=float(np.median(stars.differences[:, t])),
            scatter=of["scatter"],
            rms=of["rmse"],
            mae_of_range=of["mae"] / ranges[t] if ranges[t] > 0.0 else float("nan"),
            **_scores(scores),
        )
    return out


def _scores(z: np.ndarray) -> dict[str, float]:
    """Return the statistics of z (n,); NaN where n is 0."""
    if not len(z):
        return dict.fromkeys(("z_mean", "z_std", "within68", "within95", "outliers"), float("nan"))
    return {"z_mean": float(z.mean()), "z_std": float(z.std()), **_shares(z), "outliers": _share(np.abs(z) > OUTLIER)}


def _shares(z: np.ndarray) -> dict[str, float]:
    """Return the shares of z (n,) within the limits ``WITHIN``, by their names; NaN where n is 0."""
    return {name: _share(np.abs(z) < limit) for name, limit in WITHIN.items()}


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else float("nan")


def bins(stars: Predictions) -> dict[str, list[Bin]]:
    """Return the statistics of each label in quarters by S/N and between ``LABEL_EDGES`` of each reference label.

    Groups without stars are left out, and stars without S/N are in no group by S/N.
    """
    ranges = label_ranges(stars.labels)
    out: dict[str, list[Bin]] = {name: [] for name in TARGET_NAMES}
    known = stars.sn[np.isfinite(stars.sn)]
    edges = {"sn": tuple(np.quantile(known, SN_SHARES).tolist()) if len(known) else (), **LABEL_EDGES}
    for by, inner in edges.items():
        values = stars.sn if by == "sn" else stars.labels[:, TARGET_NAMES.index(by)]
        for low, high, chosen in _between(values, inner):
            for name, numbers in statistics(stars.take(chosen), ranges).items():
                out[name].append(Bin(by, low, high, numbers))
    return out


def _between(values: np.ndarray, edges: tuple[float, ...]) -> Iterator[tuple[float | None, float | None, np.ndarray]]:
    """Yield the ends of each group of ``values`` (n,) between ``edges``, and the rows of the group if it has any."""
    group = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
    for number, (low, high) in enumerate(zip((None, *edges), (*edges, None), strict=True)):
        if len(rows := np.flatnonzero(group == number)):
            yield low, high, rows


def cells(stars: Predictions, least: int = CELL_STARS) -> list[Cell]:
    """Return the cells of S/N, predicted ``teff`` and predicted ``feh`` that have ``least`` stars or more.

    Each quantity is divided at the quantiles that divide all stars into ``CELL_PARTS`` parts of equal numbers.
    """
    columns = [stars.sn, *(stars.predicted[:, TARGET_NAMES.index(name)] for name in CELL_COLUMNS[1:])]
    known = np.isfinite(stars.z).all(axis=1) & np.isfinite(stars.sn)
    if not known.any():
        return []
    z, columns = stars.z[known], [column[known] for column in columns]
    edges = [np.quantile(column, np.linspace(0.0, 1.0, CELL_PARTS + 1)) for column in columns]
    groups = [np.searchsorted(edge[1:-1], column, side="right") for edge, column in zip(edges, columns, strict=True)]
    out = []
    for place in product(range(CELL_PARTS), repeat=len(CELL_COLUMNS)):
        inside = np.logical_and.reduce([group == number for group, number in zip(groups, place, strict=True)])
        if inside.sum() >= least:
            ends = {
                name: (float(edge[number]), float(edge[number + 1]))
                for name, edge, number in zip(CELL_COLUMNS, edges, place, strict=True)
            }
            shares = {name: _shares(z[inside, t]) for t, name in enumerate(TARGET_NAMES)}
            out.append(Cell(ends, int(inside.sum()), shares))
    return out


def largest_deviation(found: list[Cell]) -> dict[str, float]:
    """Return the largest distance of the shares in any cell and label from ``IDEAL_SHARES`` [points], by share.

    The result is empty without cells.
    """
    if not found:
        return {}
    return {
        share: 100.0 * max(abs(cell.shares[name][share] - ideal) for cell in found for name in TARGET_NAMES)
        for share, ideal in IDEAL_SHARES.items()
    }
