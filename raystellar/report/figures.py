"""Figures of predictions against truth."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from raystellar.files import places
from raystellar.targets import TARGETS


def predicted_against_true(place: str, truth: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
    """Draw predicted against true for each target (columns) and predictor (rows), and save a PNG.

    Parameters
    ----------
    place : file to write
    truth : (n, 3) in the order of ``targets.TARGETS``
    predictions : (n, 3) of each predictor, by the name a reader should see
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(predictions), len(TARGETS)
    figure = Figure(figsize=(4.2 * columns, 4.0 * rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, (name, predicted) in enumerate(predictions.items()):
        for k, target in enumerate(TARGETS):
            axis = axes[row][k]
            both = np.concatenate([truth[:, k], predicted[:, k]])
            low, high = np.percentile(both, [0.1, 99.9])
            margin = 0.05 * (high - low)
            span = (low - margin, high + margin)
            axis.hexbin(truth[:, k], predicted[:, k], gridsize=60, extent=(*span, *span), bins="log", mincnt=1)
            axis.plot(span, span, color="0.3", linewidth=0.8)
            axis.set(xlim=span, ylim=span, aspect="equal")
            axis.set(xlabel=f"true {_axis_name(k)}", ylabel=f"{name} {_axis_name(k)}")
            error = np.abs(predicted[:, k] - truth[:, k]).mean()
            axis.set_title(f"{name}: mean absolute error {error:.3g} {target.unit}", fontsize=10)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    places.write_bytes(place, buffer.getvalue())


def _axis_name(k: int) -> str:
    return f"{TARGETS[k].symbol} [{TARGETS[k].unit}]"
