"""Axes of figures: colour maps, colour bars, ticks, and the range of an axis that holds the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.residuals import quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap, LogNorm
    from matplotlib.figure import Figure

METALLICITY_COLOURS = ("#3563c9", "#6a86b0", "#a09876", "#c99a3a", "#e89f00")
"""Colours from metal-poor to metal-rich: blue to yellow, which colour-blind eyes tell apart. Both ends are visible on a
white and on a black page."""

DENSITY_COLOUR = "#2e86c8"
"""Colour of densities on light and dark pages; cells with more rows are more opaque."""

DENSITY_OPACITY = (0.4, 1.0)
"""Opacity of a cell with one row, and of the densest cell."""

LEAST_TICKS, MOST_TICKS = 3, 7
"""Numbers of labelled ticks on an axis."""

LOG_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 1.5, 2, 3, 5, 7))
"""Mantissas of ticks on a logarithmic axis, from widely to closely spaced."""

OUTER = (0.002, 0.998)
"""Shares of rows below the ends of an axis."""


def metallicity_map() -> Colormap:
    """Return the colour map of metallicities."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("metallicity", METALLICITY_COLOURS)


def density_map() -> Colormap:
    """Return the colour map of densities: one colour whose opacity grows with the number of rows."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    ends = [to_rgba(DENSITY_COLOUR, alpha) for alpha in DENSITY_OPACITY]
    return LinearSegmentedColormap.from_list("density", ends)


def density_norm(*counts: np.ndarray) -> LogNorm:
    """Return the logarithmic scale from one row to the densest cell of all ``counts``."""
    from matplotlib.colors import LogNorm

    return LogNorm(1.0, max(3.0, *(float(cells.max()) for cells in counts)))


def show_cells(
    axis: Axes, cells: np.ndarray, extent: tuple[float, float, float, float], cmap: Colormap, **scale: Any
) -> ScalarMappable:
    """Draw the cells (rows, columns) of a plane as an image; masked cells stay empty.

    Parameters
    ----------
    extent : ends of the abscissa and of the ordinate
    cmap : colour map
    scale : ``norm``, or ``vmin`` and ``vmax``
    """
    options: dict[str, Any] = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "zorder": 1} | scale
    return axis.imshow(cells, extent=extent, cmap=cmap, **options)


def show_density(
    axis: Axes, counts: np.ndarray, extent: tuple[float, float, float, float], norm: LogNorm
) -> ScalarMappable:
    """Draw numbers of rows (rows, columns) as an image; empty cells stay empty. See ``density_norm``."""
    return show_cells(axis, np.ma.masked_equal(counts, 0), extent, density_map(), norm=norm)


def colour_bar(figure: Figure, image: ScalarMappable, beside: Any, label: str, **options: Any) -> Colorbar:
    """Draw the colour bar of an image, with ``label`` and unit, beside one or several axes."""
    from matplotlib.colors import LogNorm

    bar = figure.colorbar(image, ax=beside, label=label, pad=0.02, aspect=30, **options)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # as paths, half-transparent steps show seams
    if isinstance(image.norm, LogNorm):
        ticks = log_ticks(float(image.norm.vmin or 1.0), float(image.norm.vmax or 1.0))
        bar.set_ticks(ticks, labels=[tick_label(tick) for tick in ticks])
        bar.minorticks_off()
    bar.outline.set_visible(False)
    return bar


def linear_axis(axis: Axes, which: str, ticks: int = 5) -> None:
    """Label at least ``LEAST_TICKS`` ticks on a linear axis ``which``, ``x`` or ``y``."""
    from matplotlib.ticker import MaxNLocator

    getattr(axis, f"{which}axis").set_major_locator(
        MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], min_n_ticks=LEAST_TICKS)
    )


def log_axis(axis: Axes, which: str, low: float, high: float) -> None:
    """Make an axis ``which``, ``x`` or ``y``, logarithmic from ``low`` to ``high`` with ticks that are easy to read."""
    getattr(axis, f"set_{which}scale")("log")
    getattr(axis, f"set_{which}lim")(low, high)
    _set_ticks(axis, which, log_ticks(low, high))


def log10_axis(axis: Axes, which: str) -> None:
    """Label a linear axis of logarithms to base 10 with the numbers themselves."""
    low, high = sorted(getattr(axis, f"get_{which}lim")())
    ticks = log_ticks(10.0**low, 10.0**high)
    getattr(axis, f"set_{which}ticks")(np.log10(ticks), [tick_label(tick) for tick in ticks])


def log_ticks(low: float, high: float) -> list[float]:
    """Return ``LEAST_TICKS`` or more round numbers from ``low`` to ``high``, suited to a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in LOG_STEPS:
        ticks = np.outer(decades, steps).ravel()
        ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
        if len(ticks) >= LEAST_TICKS:
            return ticks[:: -(-len(ticks) // MOST_TICKS)].tolist()
    for number in range(LEAST_TICKS, 4 * LEAST_TICKS):
        ticks = np.array(MaxNLocator(number, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= LEAST_TICKS:
            break
    return ticks.tolist()


def tick_label(value: float) -> str:
    """Return a tick as text, with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{value:.3g}"


def used_range(counts: np.ndarray, edges: np.ndarray, room: int) -> tuple[float, float]:
    """Return the ends of the bins that hold all rows but a few in a thousand, with ``room`` bins more on each side."""
    if not counts.sum():
        return float(edges[0]), float(edges[-1])
    low, high = quantiles(counts, edges, OUTER)
    step = edges[1] - edges[0]
    return float(max(low - room * step, edges[0])), float(min(high + room * step, edges[-1]))


def _set_ticks(axis: Axes, which: str, ticks: Sequence[float]) -> None:
    """Label exactly ``ticks`` on an axis."""
    getattr(axis, f"set_{which}ticks")(ticks, [tick_label(tick) for tick in ticks])
    getattr(axis, f"set_{which}ticks")([], minor=True)
