"""Figures of predictions minus reference labels: each function draws one into an empty figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raystellar.model.errormodel import DEGREES_OF_FREEDOM, HALF_68
from raystellar.report.axes import colour_bar, density_norm, linear_axis, log10_axis, show_density, used_range
from raystellar.report.residuals import (
    LABEL_CELLS,
    LABEL_RANGES,
    LOG_SN_RANGE,
    MIDDLE_68,
    RESIDUAL_CELLS,
    RESIDUAL_RANGES,
    Z_EDGES,
    Residuals,
    quantiles,
)
from raystellar.report.svg import COLOURS
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_COLUMN, MOST_COLUMNS = 40, 50
"""Least number of rows of a running median, and largest number of its points."""

FEW_SCORES, MANY_SCORES = 3000, 30000
"""Numbers of rows below which bins of z are joined by four, or by two."""

CELLS_JOINED = 5
"""Cells of residuals drawn as one cell."""


def draw_scores(figure: Figure, residuals: Residuals) -> None:
    """Draw the distribution of z = (predicted - reference) / error of each label, and the expected distribution."""
    axes = figure.subplots(1, len(TARGETS), sharey=True)
    joined = 4 if residuals.scored < FEW_SCORES else 2 if residuals.scored < MANY_SCORES else 1
    edges, middle = Z_EDGES[::joined], 0.5 * (Z_EDGES[1:] + Z_EDGES[:-1])
    for t, (axis, target) in enumerate(zip(axes, TARGETS, strict=True)):
        density = residuals.z[t].reshape(-1, joined).sum(axis=1) / (residuals.scored * (edges[1] - edges[0]))
        axis.stairs(density, edges, fill=True, color=COLOURS[target.name], alpha=0.35)
        axis.stairs(density, edges, color=COLOURS[target.name], linewidth=1.0)
        axis.plot(middle, expected_density(middle), color=COLOURS["ink"], linewidth=1.2)
        axis.set(title=target.symbol, xlabel="z = (predicted - reference) / error", xlim=(-5, 5))
        linear_axis(axis, "y")
    axes[0].set_ylabel("share of rows per unit of z")


def expected_density(z: np.ndarray) -> np.ndarray:
    """Return the density (n,) of z where errors are right: Student's t of the error model, in units of the error."""
    from scipy.stats import t

    standard_deviation = np.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2.0))
    return t.pdf(z, DEGREES_OF_FREEDOM, scale=1.0 / (HALF_68 * standard_deviation))


def draw_residuals(figure: Figure, residuals: Residuals, by: str) -> None:
    """Draw predicted - reference of each label: density, running median, and the middle 68 %.

    Parameters
    ----------
    by : abscissa, ``label`` for the reference label or ``sn`` for the S/N
    """
    axes = figure.subplots(1, len(TARGETS))
    planes = residuals.cells if by == "label" else residuals.by_sn
    images = [cells.reshape(LABEL_CELLS, -1, CELLS_JOINED).sum(axis=2).T for cells in planes]
    norm = density_norm(*images)
    for axis, target, cells, image in zip(axes, TARGETS, planes, images, strict=True):
        ends = LABEL_RANGES[target.name] if by == "label" else LOG_SN_RANGE
        height = RESIDUAL_RANGES[target.name]
        x, y = np.linspace(*ends, LABEL_CELLS + 1), np.linspace(-height, height, RESIDUAL_CELLS + 1)
        shown = show_density(axis, image, (*ends, -height, height), norm)
        axis.axhline(0.0, color=COLOURS["ink"], linewidth=0.9)
        middle, lines = running_quantiles(cells, x, y)
        for k, width in enumerate((0.9, 1.7, 0.9)):
            axis.plot(middle, lines[:, k], color=COLOURS["accent"], linewidth=width)
        axis.set(title=target.symbol, ylabel=f"predicted - reference [{target.unit}]")
        axis.set_xlim(*used_range(cells.sum(axis=1), x, 2))
        reach = max(abs(value) for value in used_range(cells.sum(axis=0), y, 2 * CELLS_JOINED))
        axis.set_ylim(-reach, reach)
        linear_axis(axis, "y")
        if by == "label":
            axis.set_xlabel(f"reference {target.symbol} [{target.unit}]")
            linear_axis(axis, "x")
        else:
            axis.set_xlabel("S/N per pixel")
            log10_axis(axis, "x")
    colour_bar(figure, shown, axes, "rows per cell")


def running_quantiles(cells: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean abscissae (m,) and quantiles ``MIDDLE_68`` (m, 3) of groups of neighbouring columns.

    Parameters
    ----------
    cells : (columns, rows) numbers of rows
    x, y : edges of columns and rows
    """
    enough = max(LEAST_COLUMN, cells.sum() / MOST_COLUMNS)
    centres, groups, start = 0.5 * (x[:-1] + x[1:]), [], 0
    for end in range(1, len(cells) + 1):
        rows = cells[start:end].sum(axis=1)
        if rows.sum() >= enough:
            groups.append(
                [rows @ centres[start:end] / rows.sum(), *quantiles(cells[start:end].sum(axis=0), y, MIDDLE_68)]
            )
            start = end
    lines = np.array(groups).reshape(-1, 1 + len(MIDDLE_68))
    return lines[:, 0], lines[:, 1:]
