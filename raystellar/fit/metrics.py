"""Errors of predictions per target, in the units of the targets."""

from __future__ import annotations

import numpy as np

from raystellar.targets import TARGET_NAMES

NORMAL_MAD = 1.482602218505602
"""Ratio of standard deviation to median absolute deviation of a normal distribution."""


def errors(predicted: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """Return ``mae``, ``rmse``, ``bias`` and ``scatter`` of each target, by its name.

    With ``d = predicted - true``, these are the mean of ``|d|``, the root mean square of ``d``, the mean of ``d``, and
    1.4826 times the median of ``|d - median d|``, which is robust against a few bad spectra.

    Parameters
    ----------
    predicted, true : (n, 3) in the order and units of ``targets.TARGETS``
    """
    d = predicted.astype(np.float64) - true.astype(np.float64)
    values = {
        "mae": np.abs(d).mean(axis=0),
        "rmse": np.sqrt((d**2).mean(axis=0)),
        "bias": d.mean(axis=0),
        "scatter": NORMAL_MAD * np.median(np.abs(d - np.median(d, axis=0)), axis=0),
    }
    return {name: {key: float(value[t]) for key, value in values.items()} for t, name in enumerate(TARGET_NAMES)}
