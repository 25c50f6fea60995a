"""How predictions differ from labels that are known otherwise: sums and histograms that take rows as they come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from raystellar.model.errormodel import WITHIN
from raystellar.targets import TARGET_NAMES

LOG_SN_EDGES = np.linspace(0.0, 3.0, 601)
"""log10 of the S/N by which rows are parted; quarters end at one of these edges, 1.2 % apart."""

Z_EDGES = np.linspace(-5.0, 5.0, 101)
"""Of (predicted - given) / error."""

LABEL_RANGES = {"teff": (3000.0, 11000.0), "feh": (-4.5, 1.5), "logg": (-0.5, 5.5)}
RESIDUAL_RANGES = {"teff": 800.0, "feh": 1.2, "logg": 1.6}
"""Ends of the histograms; what lies beyond counts in the sums alone."""

LABEL_CELLS, RESIDUAL_CELLS = 80, 400


class Residuals:
    """What is known of (n, 3) predictions, their errors, and given labels."""

    def __init__(self) -> None:
        targets, steps = len(TARGET_NAMES), len(LOG_SN_EDGES) - 1
        self.count = 0
        """Rows."""
        self.rows = np.zeros(steps)
        """Rows that have errors, by S/N; those beyond the ends count in the last bins."""
        self._squares, self._within = np.zeros((targets, steps)), np.zeros((len(WITHIN), targets, steps))
        self.z = np.zeros((targets, len(Z_EDGES) - 1))
        """Rows by (predicted - given) / error."""
        self.cells = np.zeros((targets, LABEL_CELLS, RESIDUAL_CELLS))
        """Rows by given label and by predicted - given."""
        self.by_sn = np.zeros((targets, LABEL_CELLS, RESIDUAL_CELLS))
        """The same with log10 of the S/N, 0 to 3, in place of the label."""
        self._sums = np.zeros((3, targets))

    def add(self, predicted: np.ndarray, given: np.ndarray, errors: np.ndarray, sn: np.ndarray) -> None:
        """Add rows: (n, 3) predicted and given labels and the errors of their differences, and the S/N (n,)."""
        if not len(sn):
            return
        difference = predicted.astype(np.float64) - given
        with np.errstate(divide="ignore", invalid="ignore"):
            log_sn = np.nan_to_num(np.log10(np.where(sn > 1.0, sn, 1.0)))
            z = difference / np.where(errors > 0.0, errors, np.nan)
        self.count += len(sn)
        step = np.clip(np.searchsorted(LOG_SN_EDGES, log_sn, side="right") - 1, 0, len(self.rows) - 1)
        scored = np.isfinite(z).all(axis=1)
        self._score(z[scored], step[scored])
        self._sums += [np.abs(difference).sum(0), difference.sum(0), (difference**2).sum(0)]
        for t, name in enumerate(TARGET_NAMES):
            width = RESIDUAL_RANGES[name]
            for cells, values, ends in (
                (self.cells, given[:, t], LABEL_RANGES[name]),
                (self.by_sn, log_sn, (0.0, 3.0)),
            ):
                edges = (np.linspace(*ends, LABEL_CELLS + 1), np.linspace(-width, width, RESIDUAL_CELLS + 1))
                cells[t] += np.histogram2d(values, difference[:, t], edges)[0]

    def _score(self, z: np.ndarray, step: np.ndarray) -> None:
        """Add the rows that have errors: (n, 3) differences in errors, and the bin (n,) of their S/N."""
        steps = len(self.rows)
        self.rows += np.bincount(step, minlength=steps)
        for t in range(len(TARGET_NAMES)):
            self._squares[t] += np.bincount(step, weights=z[:, t] ** 2, minlength=steps)
            for k, limit in enumerate(WITHIN.values()):
                self._within[k, t] += np.bincount(step, weights=np.abs(z[:, t]) < limit, minlength=steps)
            self.z[t] += np.histogram(z[:, t], Z_EDGES)[0]

    @property
    def scored(self) -> int:
        """How many rows have errors."""
        return int(self.rows.sum())

    def errors(self, t: int) -> dict[str, float]:
        """Return mean absolute error, bias and root mean square of target ``t``, and its scatter.

        The scatter is half of the width that holds the middle 68.3 %, as in a normal distribution.
        """
        absolute, difference, square = self._sums[:, t] / max(self.count, 1)
        width = RESIDUAL_RANGES[TARGET_NAMES[t]]
        low, high = quantiles(
            self.cells[t].sum(axis=0), np.linspace(-width, width, RESIDUAL_CELLS + 1), (0.1587, 0.8413)
        )
        return {"mae": absolute, "bias": difference, "rmse": float(np.sqrt(square)), "scatter": (high - low) / 2}

    def shares(self, t: int, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """Return the number of rows, the root mean square of z, and the shares ``WITHIN``, of some bins of S/N."""
        rows = self.rows[start:end].sum()
        if not rows:
            return {"stars": 0, "std": None, **dict.fromkeys(WITHIN)}
        shares = {name: float(self._within[k, t, start:end].sum() / rows) for k, name in enumerate(WITHIN)}
        return {"stars": int(rows), "std": float(np.sqrt(self._squares[t, start:end].sum() / rows)), **shares}

    def calibration(self) -> dict[str, dict[str, Any]]:
        """Return for each target ``shares``, and those of its quarters by S/N with their ends ``sn``."""
        total = np.cumsum(self.rows)
        middle = [int(np.searchsorted(total, share * total[-1])) + 1 for share in (0.25, 0.5, 0.75)]
        used = np.flatnonzero(self.rows) if total[-1] else np.zeros(1, dtype=np.int64)
        ends = [int(used[0]), *middle, int(used[-1]) + 1]
        edges = 10.0**LOG_SN_EDGES
        return {
            name: {
                **self.shares(t),
                "quartiles": [{"sn": [edges[a], edges[b]], **self.shares(t, a, b)} for a, b in pairwise(ends)],
            }
            for t, name in enumerate(TARGET_NAMES)
        }


def quantiles(counts: np.ndarray, edges: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Return where these shares of a histogram's rows lie below, straight within a bin; NaN where it is empty."""
    total = np.concatenate([[0.0], np.cumsum(counts)])
    if not total[-1]:
        return np.full(len(shares), np.nan)
    wanted = np.array(shares) * total[-1]
    place = np.maximum(np.searchsorted(total, wanted) - 1, np.flatnonzero(counts)[0])
    return edges[place] + (wanted - total[place]) / counts[place] * (edges[place + 1] - edges[place])
