"""The picture of the demo: predicted against true labels."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from raystellar.files import places
from raystellar.fit.metrics import errors
from raystellar.report.axes import colour_bar, density_norm, linear_axis
from raystellar.targets import TARGETS, Target

ROOM = 0.04
"""Room beyond the outermost stars, as a share of the range."""

HEXAGONS = 60
"""Hexagons across a panel."""


def predicted_against_true(path: str, truth: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
    """Draw predicted against true labels for each predictor (rows) and target (columns), and save a PNG.

    The panels of a column have the same axes, which hold every star. Each panel states bias and scatter: the mean and
    1.4826 times the median absolute deviation of predicted - true.

    Parameters
    ----------
    path : file to write
    truth : (n, 3) in the order of ``targets.TARGETS``
    predictions : (n, 3) of each predictor, by the name shown to the reader

    Raises
    ------
    OutputError : the file cannot be written
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(predictions), len(TARGETS)
    figure = Figure(figsize=(4.2 * columns + 0.8, 4.1 * rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    images = []
    for column, target in enumerate(TARGETS):
        span = _span(truth[:, column], *(predicted[:, column] for predicted in predictions.values()))
        for axis, (name, predicted) in zip(axes[:, column], predictions.items(), strict=True):
            images.append(
                axis.hexbin(
                    truth[:, column], predicted[:, column], gridsize=HEXAGONS, extent=(*span, *span), mincnt=1,
                    linewidths=0.2,
                )
            )  # fmt: skip
            axis.plot(span, span, color="0.3", linewidth=0.8)
            axis.set(xlim=span, ylim=span, aspect="equal")
            axis.set(xlabel=f"true {_axis_name(target)}", ylabel=f"{name}: predicted {_axis_name(target)}")
            linear_axis(axis, "x")
            linear_axis(axis, "y")
            axis.text(
                0.04, 0.96, _statistics(target, errors(predicted, truth)[target.name]), transform=axis.transAxes,
                va="top", fontsize=9, bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    norm = density_norm(*(image.get_array() for image in images))
    for image in images:
        image.set_norm(norm)
    colour_bar(figure, images[0], axes, "stars per hexagon")
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    places.write_bytes(path, buffer.getvalue())


def _span(*values: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis that holds all values."""
    low, high = min(column.min() for column in values), max(column.max() for column in values)
    room = ROOM * (high - low) or 1.0
    return float(low - room), float(high + room)


def _statistics(target: Target, statistics: Mapping[str, float]) -> str:
    """Return bias and scatter with their unit, one on each line."""
    digits = 0 if target.unit == "K" else 3
    return "\n".join(f"{name} {statistics[name]:.{digits}f} {target.unit}" for name in ("bias", "scatter"))


def _axis_name(target: Target) -> str:
    return f"{target.symbol} [{target.unit}]"
