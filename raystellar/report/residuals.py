"""Statistics of predictions minus reference labels: sums and histograms to which rows are added as they come.

A reference label is a label that is known otherwise, such as the truth of a simulated survey or a table of labels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from raystellar.model.errormodel import WITHIN
from raystellar.targets import TARGET_NAMES

LOG_SN_RANGE = (0.0, 3.0)
"""Ends of log10 of the S/N."""

LOG_SN_EDGES = np.linspace(*LOG_SN_RANGE, 601)
"""Edges of bins of log10 of the S/N, 1.2 % apart; the quarters by S/N end at such edges."""

Z_EDGES = np.linspace(-5.0, 5.0, 101)
"""Edges of bins of z = (predicted - reference) / error."""

LABEL_RANGES = {"teff": (3000.0, 11000.0), "feh": (-4.5, 1.5), "logg": (-0.5, 5.5)}
"""Ends of the histograms of reference labels, in the units of the labels."""

RESIDUAL_RANGES = {"teff": 800.0, "feh": 1.2, "logg": 1.6}
"""Largest residuals in the histograms; larger residuals count in the sums alone."""

MIDDLE_68 = (0.1587, 0.5, 0.8413)
"""Shares of rows below the lower end, the median and the upper end of the middle 68.3 %."""

LABEL_CELLS, RESIDUAL_CELLS = 80, 400
"""Numbers of bins of reference labels, or of log10 of the S/N, and of residuals."""


class Residuals:
    """Sums and histograms of predicted - reference, (n, 3), and of z = (predicted - reference) / error."""

    def __init__(self) -> None:
        targets, steps = len(TARGET_NAMES), len(LOG_SN_EDGES) - 1
        self.count = 0
        """Number of rows."""
        self.rows = np.zeros(steps)
        """Number of rows with errors, by S/N; rows beyond the ends count in the outer bins."""
        self._squares, self._within = np.zeros((targets, steps)), np.zeros((len(WITHIN), targets, steps))
        self.z = np.zeros((targets, len(Z_EDGES) - 1))
        """Number of rows by z."""
        self.cells = np.zeros((targets, LABEL_CELLS, RESIDUAL_CELLS))
        """Number of rows by reference label and by residual."""
        self.by_sn = np.zeros((targets, LABEL_CELLS, RESIDUAL_CELLS))
        """Number of rows by log10 of the S/N and by residual."""
        self._sums = np.zeros((3, targets))

    def add(self, predicted: np.ndarray, reference: np.ndarray, errors: np.ndarray, sn: np.ndarray) -> None:
        """Add rows.

        Parameters
        ----------
        predicted, reference : (n, 3) labels
        errors : (n, 3) errors of their differences; 0 or NaN where they are not known
        sn : (n,) S/N per pixel
        """
        if not len(sn):
            return
        difference = predicted.astype(np.float64) - reference
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
                (self.cells, reference[:, t], LABEL_RANGES[name]),
                (self.by_sn, log_sn, LOG_SN_RANGE),
            ):
                edges = (np.linspace(*ends, LABEL_CELLS + 1), np.linspace(-width, width, RESIDUAL_CELLS + 1))
                cells[t] += np.histogram2d(values, difference[:, t], edges)[0]

    def _score(self, z: np.ndarray, step: np.ndarray) -> None:
        """Add rows with errors: z (n, 3), and the bin (n,) of their S/N."""
        steps = len(self.rows)
        self.rows += np.bincount(step, minlength=steps)
        for t in range(len(TARGET_NAMES)):
            self._squares[t] += np.bincount(step, weights=z[:, t] ** 2, minlength=steps)
            for k, limit in enumerate(WITHIN.values()):
                self._within[k, t] += np.bincount(step, weights=np.abs(z[:, t]) < limit, minlength=steps)
            self.z[t] += np.histogram(z[:, t], Z_EDGES)[0]

    @property
    def scored(self) -> int:
        """Number of rows with errors."""
        return int(self.rows.sum())

    @property
    def beyond(self) -> list[int]:
        """Numbers of rows with a residual or a reference label beyond the histograms, for each target."""
        return [self.count - int(cells.sum()) for cells in self.cells]

    def errors(self, t: int) -> dict[str, float]:
        """Return mean absolute error, bias, root mean square and scatter of target ``t``.

        The scatter is half of the interval that holds the middle 68.3 % of the residuals.
        """
        absolute, difference, square = self._sums[:, t] / max(self.count, 1)
        width = RESIDUAL_RANGES[TARGET_NAMES[t]]
        low, _, high = quantiles(self.cells[t].sum(axis=0), np.linspace(-width, width, RESIDUAL_CELLS + 1), MIDDLE_68)
        return {"mae": absolute, "bias": difference, "rmse": float(np.sqrt(square)), "scatter": (high - low) / 2}

    def shares(self, t: int, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """Return the number of rows, the root mean square of z, and the shares ``WITHIN``, in bins of S/N."""
        rows = self.rows[start:end].sum()
        if not rows:
            return {"stars": 0, "std": None, **dict.fromkeys(WITHIN)}
        shares = {name: float(self._within[k, t, start:end].sum() / rows) for k, name in enumerate(WITHIN)}
        return {"stars": int(rows), "std": float(np.sqrt(self._squares[t, start:end].sum() / rows)), **shares}

    def calibration(self) -> dict[str, dict[str, Any]]:
        """Return ``shares`` of each target, and of its quarters by S/N with their ends ``sn``.

        The form is that of ``model.bundle.Bundle.calibration``.
        """
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
    """Return the values below which ``shares`` of the rows of a histogram lie; NaN for an empty histogram.

    Rows are spread evenly within a bin.
    """
    total = np.concatenate([[0.0], np.cumsum(counts)])
    if not total[-1]:
        return np.full(len(shares), np.nan)
    wanted = np.array(shares) * total[-1]
    bins = np.maximum(np.searchsorted(total, wanted) - 1, np.flatnonzero(counts)[0])
    return edges[bins] + (wanted - total[bins]) / counts[bins] * (edges[bins + 1] - edges[bins])
