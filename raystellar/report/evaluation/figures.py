"""Figures of an evaluation: each function draws one into an empty figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raystellar.evaluation.predictions import Predictions
from raystellar.report.axes import (
    colour_bar,
    density_norm,
    linear_axis,
    log10_axis,
    show_density,
)
from raystellar.report.residual_figures import running_quantiles
from raystellar.report.svg import COLOURS
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = 60
"""Numbers of cells of a panel in each direction."""

FINE = 5
"""Number of steps in the height of a cell from which running quantiles are read."""

SHOWN = (0.002, 0.998)
"""Shares of the stars below the ends of the axes of residuals."""

ROOM = 0.03
"""Room beyond the outermost stars, as a share of the range."""


def draw_predicted(figure: Figure, stars: Predictions, ends: np.ndarray) -> None:
    """Draw predicted against reference labels with the line of identity.

    Parameters
    ----------
    stars : predictions and reference labels
    ends : (3, 2) ends of both axes of each label, see ``label_ends``
    """
    axes = figure.subplots(1, len(TARGETS))
    planes = [
        np.histogram2d(stars.predicted[:, t], stars.labels[:, t], CELLS, [ends[t], ends[t]])[0]
        for t in range(len(TARGETS))
    ]
    norm = density_norm(*planes)
    for axis, target, plane, (low, high) in zip(axes, TARGETS, planes, ends, strict=True):
        shown = show_density(axis, plane, (low, high, low, high), norm)
        axis.plot((low, high), (low, high), color=COLOURS["ink"], linewidth=0.9)
        axis.set(title=target.symbol, xlim=(low, high), ylim=(low, high))
        axis.set(xlabel=f"reference [{target.unit}]", ylabel=f"predicted [{target.unit}]")
        axis.set_box_aspect(1.0)
        linear_axis(axis, "x", 4)
        linear_axis(axis, "y")
    colour_bar(figure, shown, axes, "stars per cell")


def label_ends(each: list[Predictions]) -> np.ndarray:
    """Return the ends (3, 2) of axes that hold all predicted and reference labels of all catalogues and models."""
    values = np.concatenate([matrix for stars in each for matrix in (stars.predicted, stars.labels)])
    return _with_room(values.min(axis=0), values.max(axis=0))


def residual_reaches(each: list[Predictions]) -> np.ndarray:
    """Return the largest residual (3,) that is drawn of each label, the same for all catalogues and models."""
    differences = np.concatenate([stars.differences for stars in each])
    return np.maximum(np.abs(np.quantile(differences, SHOWN, axis=0)).max(axis=0), 1e-9)


def _with_room(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return ends (n, 2) with ``ROOM`` beyond ``low`` and ``high`` (n,)."""
    room = np.where(high > low, ROOM * (high - low), 1.0)
    return np.column_stack([low - room, high + room])


def draw_residuals_by(figure: Figure, stars: Predictions, reaches: np.ndarray) -> None:
    """Draw predicted minus reference labels by S/N and by each reference label: density, median and middle 68 %.

    Parameters
    ----------
    stars : predictions and reference labels
    reaches : (3,) largest residual of each label that is drawn
    """
    axes = figure.subplots(len(TARGETS), 1 + len(TARGETS), sharex="col", sharey="row")
    log_sn = np.log10(np.maximum(np.nan_to_num(stars.sn, nan=1.0), 1.0))
    columns = [log_sn, *stars.labels.T]
    ends = [tuple(end) for end in _with_room(*np.array([np.quantile(column, SHOWN) for column in columns]).T)]
    planes = [
        [_plane(column, stars.differences[:, t], end, reaches[t]) for column, end in zip(columns, ends, strict=True)]
        for t in range(len(TARGETS))
    ]
    coarse = [[plane.reshape(CELLS, -1, FINE).sum(axis=2).T for plane in row] for row in planes]
    norm = density_norm(*(image for row in coarse for image in row))
    for t, target in enumerate(TARGETS):
        for axis, plane, image, end in zip(axes[t], planes[t], coarse[t], ends, strict=True):
            shown = show_density(axis, image, (*end, -reaches[t], reaches[t]), norm)
            _draw_running(axis, plane, end, reaches[t])
            axis.set(xlim=end, ylim=(-reaches[t], reaches[t]))
        axes[t][0].set_ylabel(f"{target.symbol}: predicted - reference [{target.unit}]")
        linear_axis(axes[t][0], "y")
    log10_axis(axes[-1][0], "x")
    axes[-1][0].set_xlabel("S/N per pixel")
    for axis, target in zip(axes[-1][1:], TARGETS, strict=True):
        axis.set_xlabel(f"reference {target.symbol} [{target.unit}]")
        linear_axis(axis, "x", 4)
    colour_bar(figure, shown, axes, "stars per cell")


def _plane(x: np.ndarray, residual: np.ndarray, end: tuple[float, float], reach: float) -> np.ndarray:
    """Return the numbers (CELLS, CELLS * FINE) of stars by a quantity (n,) and by residual (n,)."""
    return np.histogram2d(x, residual, (CELLS, CELLS * FINE), [end, (-reach, reach)])[0]


def _draw_running(axis: Axes, plane: np.ndarray, end: tuple[float, float], reach: float) -> None:
    """Draw the running median and the ends of the middle 68 % of the residuals over a line at zero."""
    x, y = np.linspace(*end, CELLS + 1), np.linspace(-reach, reach, CELLS * FINE + 1)
    axis.axhline(0.0, color=COLOURS["ink"], linewidth=0.9)
    middle, lines = running_quantiles(plane, x, y)
    for k, width in enumerate((0.9, 1.7, 0.9)):
        axis.plot(middle, lines[:, k], color=COLOURS["accent"], linewidth=width)
