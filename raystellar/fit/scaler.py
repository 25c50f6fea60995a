"""Robust scaling of the targets. Source: Sec. 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RobustScaler:
    """Median and interquartile range per target: ``scaled = (y - centre) / scale``, as in scikit-learn.

    Attributes
    ----------
    centre : (n_targets,) medians, in the units of the targets
    scale : (n_targets,) interquartile ranges, in the units of the targets; 1 where a target does not vary
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, targets: np.ndarray) -> RobustScaler:
        """Return the scaler with the medians and interquartile ranges of ``targets`` (n, n_targets)."""
        low, centre, high = np.percentile(targets.astype(np.float64), (25, 50, 75), axis=0)
        return cls(centre, np.where(high > low, high - low, 1.0))

    def transform(self, targets: np.ndarray) -> np.ndarray:
        """Return scaled targets (n, n_targets) float64, dimensionless."""
        return (targets.astype(np.float64) - self.centre) / self.scale

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Return targets (n, n_targets) float64 in their own units."""
        return scaled.astype(np.float64) * self.scale + self.centre
