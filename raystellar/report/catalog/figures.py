"""Figures of the rows of a catalogue: each function draws one into an empty figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.axes import (
    colour_bar,
    density_map,
    density_norm,
    linear_axis,
    log_axis,
    metallicity_map,
    show_cells,
    show_density,
    tick_label,
    used_range,
)
from raystellar.report.catalog.census import (
    LEAST_ERROR,
    LOG_ERROR_BINS,
    LOG_SN_BINS,
    LOGG_BINS,
    MEASURES,
    TEFF_BINS,
    Census,
    Density,
    Magnitudes,
)
from raystellar.report.residuals import MIDDLE_68, quantiles
from raystellar.report.svg import COLOURS, TYPE_PT
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METALLICITY_RANGE = (-2.5, 0.5)
"""Metallicities at the ends of the colour bar [dex]."""

LEAST_ROWS = 5
"""Rows in a bin of S/N below which its percentiles are not drawn."""

OUTER_SCORES = (0.001, 0.999)
"""Shares of OOD scores below the ends of the axis."""

SCORE_BINS_PER_UNIT = 10
"""Bins of the OOD score, per unit below 1 and per factor of 10 above."""


def draw_kiel(figure: Figure, kiel: Mapping[str, Density]) -> None:
    """Draw temperature and gravity: the density of rows without and with a flag, and the mean metallicity."""
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    extent = (TEFF_BINS.low, TEFF_BINS.high, LOGG_BINS.low, LOGG_BINS.high)
    norm = density_norm(*(density.counts for density in kiel.values()))
    for axis, density, words in zip(axes, kiel.values(), ("without a flag", "with a flag"), strict=False):
        shown = show_density(axis, density.counts, extent, norm)
        axis.set_title(f"{words}: {tick_label(density.counts.sum())} rows")
    low, high = METALLICITY_RANGE
    mean = np.ma.masked_invalid(kiel["good"].mean())
    metallicity = show_cells(axes[2], mean, extent, metallicity_map(), vmin=low, vmax=high)
    axes[2].set_title("metallicity, without a flag")
    whole = np.sum([density.counts for density in kiel.values()], axis=0)
    axes[0].set_xlim(*used_range(whole.sum(axis=0), TEFF_BINS.edges(), 3)[::-1])
    axes[0].set_ylim(*used_range(whole.sum(axis=1), LOGG_BINS.edges(), 5)[::-1])
    axes[0].set_ylabel("log g [dex]")
    linear_axis(axes[0], "y", 8)
    for axis in axes:
        axis.set_xlabel("Teff [K]")
        linear_axis(axis, "x", 4)
    colour_bar(figure, shown, axes[:2], "rows per cell")
    colour_bar(figure, metallicity, axes[2], "mean [Fe/H] [dex]", extend="both")


def draw_sky(figure: Figure, sky: Density) -> None:
    """Draw the density of rows on the sky in Mollweide's projection; right ascension increases to the left."""
    axis: Any = figure.add_subplot(projection="mollweide")
    longitude = np.radians(180.0 - sky.x.edges())
    latitude = np.arcsin(sky.y.edges())
    counts = np.ma.masked_equal(sky.counts, 0)
    image = axis.pcolormesh(
        longitude, latitude, counts, cmap=density_map(), norm=density_norm(sky.counts), rasterized=True
    )
    meridians = np.arange(30, 360, 30)
    labels = [f"{ra}°" if ra % 60 == 0 else "" for ra in meridians]
    axis.set_xticks(np.radians(180.0 - meridians), labels, color=COLOURS["muted"], size=TYPE_PT - 1)
    parallels = np.arange(-60, 61, 30)
    axis.set_yticks(np.radians(parallels), [f"{dec:+d}°" if dec else "0°" for dec in parallels])
    axis.set_longitude_grid_ends(90)
    axis.grid(visible=True)
    colour_bar(figure, image, axis, "rows per cell", shrink=0.8)


def draw_errors(figure: Figure, errors: Mapping[str, Density]) -> None:
    """Draw the median error of each label by S/N, and the band that holds the middle 68 % of the errors."""
    axes = figure.subplots(1, len(TARGETS))
    for axis, target in zip(axes, TARGETS, strict=True):
        density, edges = errors[target.name], LOG_SN_BINS.edges()
        rows = density.counts.sum(axis=0)
        used = np.flatnonzero(rows >= np.clip(rows.max(), 1, LEAST_ROWS))
        axis.set(title=target.symbol, xlabel="S/N per pixel", ylabel=f"error [{target.unit}]")
        if not len(used):
            continue
        low, middle, high = 10.0 ** error_quantiles(density, MIDDLE_68)[:, used] * LEAST_ERROR[target.name]
        x = 10.0 ** (0.5 * (edges[:-1] + edges[1:])[used])
        colour = COLOURS[target.name]
        axis.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(x, middle, color=colour, linewidth=1.6, marker="o", markersize=2.5)
        log_axis(axis, "x", x.min() / 1.15, x.max() * 1.15)
        log_axis(axis, "y", low.min() / 1.15, high.max() * 1.15)


def error_quantiles(density: Density, shares: Sequence[float]) -> np.ndarray:
    """Return the quantiles (len(shares), columns) of log10 of the errors in each bin of S/N."""
    columns = [quantiles(column, LOG_ERROR_BINS.edges(), tuple(shares)) for column in density.counts.T]
    return np.array(columns).T


def draw_distributions(figure: Figure, census: Census) -> None:
    """Draw the distributions of S/N, velocity, share of good pixels and OOD score, with and without flags."""
    scored = sum(tally.counts.sum() for tally in census.ood) > 0
    axes = np.atleast_1d(figure.subplots(1, len(MEASURES) + scored))
    for axis, (name, (words, bins)) in zip(axes, MEASURES.items(), strict=False):
        counts = census.measures[name]
        _draw_steps(axis, counts, bins.edges())
        axis.set(xlabel=words, xlim=used_range(counts.sum(axis=0), bins.edges(), 2))
        linear_axis(axis, "x", 4)
    if scored:
        _draw_ood(axes[-1], census.ood)
    axes[0].set_ylabel("rows per bin")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _draw_ood(axis: Axes, tallies: Sequence[Magnitudes]) -> None:
    """Draw the distribution of the OOD score: linear around zero, logarithmic above 1."""
    edges = ood_edges(tallies)
    _draw_steps(axis, np.array([tally.rebinned(edges) for tally in tallies]), edges)
    axis.set_xscale("symlog", linthresh=1.0)
    ticks = [tick for tick in (-10, -1, 0, 1, 10, 100, 1000, 10000) if edges[0] <= tick <= edges[-1]]
    axis.set_xticks(ticks, [tick_label(tick) for tick in ticks])
    axis.set(xlabel="OOD score", xlim=(edges[0], edges[-1]))


def ood_edges(tallies: Sequence[Magnitudes]) -> np.ndarray:
    """Return edges of bins for all OOD scores but one in a thousand at each end.

    Bins are equal up to 1, and then equal in log10 up to 10 or more.
    """
    both = Magnitudes()
    both.counts = np.sum([tally.counts for tally in tallies], axis=0)
    low, high = both.quantiles(OUTER_SCORES)
    below = np.arange(np.floor(min(low, -0.2) * SCORE_BINS_PER_UNIT), SCORE_BINS_PER_UNIT + 1) / SCORE_BINS_PER_UNIT
    above = max(SCORE_BINS_PER_UNIT, np.ceil(np.log10(max(high, 1.0)) * SCORE_BINS_PER_UNIT))
    decades = np.arange(1, above + 1)
    return np.concatenate([below, 10.0 ** (decades / SCORE_BINS_PER_UNIT)])


def _draw_steps(axis: Axes, counts: np.ndarray, edges: np.ndarray) -> None:
    """Draw numbers of rows (2, bins) without and with a flag on a logarithmic scale."""
    floor = 0.3
    good, flagged = np.maximum(counts, floor)
    axis.stairs(good, edges, baseline=floor, fill=True, color=COLOURS["ramp2"], alpha=0.6, label="without a flag")
    axis.stairs(flagged, edges, baseline=floor, color=COLOURS["bad"], linewidth=1.3, label="with a flag")
    log_axis(axis, "y", 0.6, 2.0 * max(float(counts.max()), 3.0))
