"""The result of an evaluation: the statistics of several catalogues and models, ready for a table, a page or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raystellar.config import json_text
from raystellar.evaluation.metrics import (
    Bin,
    Cell,
    Statistics,
    bins,
    cells,
    label_ranges,
    largest_deviation,
    statistics,
)
from raystellar.evaluation.predictions import Counts, Predictions
from raystellar.targets import TARGET_NAMES

REPEAT_PAIRS = 20
"""Least number of pairs of spectra of one star for which their scatter is shown; it is then known to a sixth."""

LIMITS = {"z_std": (0.9, 1.1), "within68": (0.66, 0.70), "within95": (0.94, 0.96)}
"""Limits of the statistics of all stars where errors are right. They need thousands of stars to be meaningful."""

LIMITS_BY_SN = {"z_std": (0.8, 1.2)}
"""Limits of the statistics of each quarter of the stars by S/N."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of one label of a catalogue or model with the reference labels."""

    all: Statistics
    """Statistics of all compared stars."""
    ratio: float
    """Mean absolute error divided by that of the first catalogue or model."""
    range: float
    """Greatest minus least reference label of the compared stars, in the unit of the label."""
    bins: list[Bin]
    """Statistics of groups of stars."""


@dataclass(frozen=True)
class Item:
    """Result for one catalogue or model."""

    name: str
    """Short name, unique among the items."""
    path: str
    """Folder, as given."""
    kind: str
    """``catalogue`` or ``model``."""
    model_id: str
    """Identity of the model that made the predictions."""
    counts: Counts | None
    """Numbers of rows; None where there are no reference labels."""
    stars: int
    """Number of compared stars."""
    labels: dict[str, Agreement]
    """Agreement of each label, by its name; empty where there are no reference labels."""
    cells: list[Cell]
    """Shares of stars within their errors, in cells of S/N, predicted ``teff`` and predicted ``feh``."""
    deviation: dict[str, float]
    """Largest distance of these shares from the ideal [points], see ``metrics.largest_deviation``."""
    repeats: dict[str, Any]
    """Comparison of different spectra of one star, see ``catalog.repeats.compare_repeats``."""

    @property
    def pairs(self) -> int:
        """Number of compared pairs of spectra of one star."""
        return self.repeats.get("rows", 0) - self.repeats.get("stars", 0)

    @property
    def has_repeats(self) -> bool:
        """Whether there are enough pairs of spectra of one star."""
        return self.pairs >= REPEAT_PAIRS


@dataclass(frozen=True)
class Evaluation:
    """Result for all catalogues and models."""

    items: list[Item]
    """One entry for each catalogue or model, in the order given."""
    reference: str
    """Origin of the reference labels, in words; empty where there are none."""
    label_errors: tuple[str, ...]
    """Names of the labels whose z includes errors of the reference labels."""
    common: bool
    """Whether all items are compared on the same stars."""
    notes: tuple[str, ...]
    """Remarks for the user, one sentence each."""
    table: dict[str, Any] | None = None
    """Counts of the label table, see ``LabelTable.summary``; None where no table was given."""

    def to_json(self) -> str:
        """Return all numbers as JSON; a number that is not finite becomes null."""
        return json_text(self)

    def wrong_errors(self) -> list[str]:
        """Return a sentence on each statistic of z that is outside ``LIMITS`` or ``LIMITS_BY_SN``."""
        return [sentence for item in self.items for sentence in _wrong_errors(item)]


def evaluate_item(stars: Predictions, first: Predictions) -> tuple[dict[str, Agreement], list[Cell], dict[str, float]]:
    """Return the agreement of each label, the cells, and the largest deviation of the shares in the cells.

    Parameters
    ----------
    stars : predictions of one catalogue or model; one or more stars
    first : predictions of the first catalogue or model
    """
    ranges, groups = label_ranges(stars.labels), bins(stars)
    whole, other = statistics(stars, ranges), statistics(first, ranges)
    agreements = {
        name: Agreement(whole[name], _ratio(whole[name].mae, other[name].mae), ranges[t], groups[name])
        for t, name in enumerate(TARGET_NAMES)
    }
    found = cells(stars)
    return agreements, found, largest_deviation(found)


def _ratio(value: float, other: float) -> float:
    return value / other if other > 0.0 else math.nan


def _wrong_errors(item: Item) -> Iterator[str]:
    for label, agreement in item.labels.items():
        groups = [("all stars", agreement.all, LIMITS)]
        groups += [(interval(one), one.statistics, LIMITS_BY_SN) for one in agreement.bins if one.by == "sn"]
        for words, numbers, limits in groups:
            for statistic, (low, high) in limits.items():
                value = getattr(numbers, statistic)
                if not low <= value <= high:
                    yield f"{item.name}, {label}, {words}: {statistic} is {value:.3f}, wanted {low:g} to {high:g}"


def interval(one: Bin) -> str:
    """Return the name of the quantity of a group and the ends of the group, in words."""
    name, digits = ("S/N", 1) if one.by == "sn" else (one.by, 0 if one.by == "teff" else 1)
    low, high = (None if end is None else f"{end:.{digits}f}" for end in (one.low, one.high))
    if low is None:
        return f"{name} below {high}" if high else f"{name}"
    return f"{name} {low} to {high}" if high else f"{name} above {low}"
