"""Figures of many stars and of single spectra: each function draws one into an empty figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.catalog.census import (
    LEAST_ERROR,
    LOG_ERROR,
    LOG_SN,
    LOGG,
    MEASURES,
    TEFF,
    Census,
    Density,
    Magnitudes,
)
from raystellar.report.residuals import (
    LABEL_CELLS,
    LABEL_RANGES,
    RESIDUAL_CELLS,
    RESIDUAL_RANGES,
    Z_EDGES,
    Residuals,
    quantiles,
)
from raystellar.report.spectral_lines import mark_lines, wavelength_axis
from raystellar.report.svg import COLOURS, TYPE_PT
from raystellar.targets import TARGET_NAMES, TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAMP = ((0x35, 0x63, 0xC9), (0x6A, 0x86, 0xB0), (0xA0, 0x98, 0x76), (0xC9, 0x9A, 0x3A), (0xE8, 0x9F, 0x00))
"""From little to much: blue to yellow, which all eyes tell apart, and neither end is lost on white or on black."""

DENSE = (0x2E, 0x86, 0xC8)
"""Of densities, by day and by night; the denser the more opaque."""

FEH_ENDS = (-2.5, 0.5)
"""Metallicities at the ends of the ramp [dex]."""

FAINTEST = 0.45
"""Opacity of a cell with one row."""

LEAST_ROWS = 5
"""Fewer rows in a column have no percentiles worth drawing."""

SMOOTHED = 2
"""Pixels of a spectrum drawn as one point."""

STRIP = 8
"""Pixels of the answer to a line drawn as one point."""

LEAST_COLUMN, MOST_COLUMNS = 40, 50
"""Rows from which a running median is taken, and how many of these there may be."""

FEW_SCORES, MANY_SCORES = 3000, 30000
"""So many rows are drawn in wider bins, or in all that there are."""

SPREAD = (0.1587, 0.5, 0.8413)
"""Shares of rows below the lower, middle and upper line: the middle 68 % lie between the outer ones."""


def ramp_colour(value: np.ndarray) -> np.ndarray:
    """Return the colour (..., 3) of values, 0 to 1, in the ramp; NaN as 0."""
    place = np.clip(np.nan_to_num(value), 0.0, 1.0) * (len(RAMP) - 1)
    return np.stack([np.interp(place, range(len(RAMP)), channel) for channel in np.array(RAMP).T], axis=-1) / 255.0


def opacity(counts: np.ndarray) -> np.ndarray:
    """Return how opaque cells are: 0 where they are empty, and then by the logarithm of their rows."""
    most = max(float(counts.max()), 1.0)
    share = np.log(np.maximum(counts, 1.0)) / np.log(most) if most > 1.0 else np.ones_like(counts)
    return np.where(counts > 0, FAINTEST + (1.0 - FAINTEST) * share, 0.0)


def dense(counts: np.ndarray) -> np.ndarray:
    """Return an image (rows, columns, 4) of a density."""
    return np.concatenate([np.broadcast_to(np.array(DENSE) / 255.0, (*counts.shape, 3)), opacity(counts)[..., None]], 2)


def draw_kiel(figure: Figure, kiel: Mapping[str, Density]) -> None:
    """Draw temperature and gravity of rows without and with flags, in the colour of their mean metallicity."""
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    extent = (TEFF.low, TEFF.high, LOGG.low, LOGG.high)
    whole = np.sum([density.counts for density in kiel.values()], axis=0)
    for axis, density, words in zip(axes, kiel.values(), ("without a flag", "with a flag"), strict=True):
        colours = ramp_colour((density.mean() - FEH_ENDS[0]) / (FEH_ENDS[1] - FEH_ENDS[0]))
        image = np.concatenate([colours, opacity(density.counts)[..., None]], axis=2)
        axis.imshow(image, extent=extent, aspect="auto", origin="lower", interpolation="nearest")
        shown = f"{int(density.counts.sum()):,}".replace(",", " ")
        axis.set_title(f"{words}: {shown}")
        axis.set_xlabel("Teff [K]")
    axes[0].set_ylabel("log g [dex]")
    axes[0].set_xlim(*_used(whole.sum(axis=0), TEFF.edges(), 3)[::-1])
    axes[0].set_ylim(*_used(whole.sum(axis=1), LOGG.edges(), 5)[::-1])
    _ramp_key(axes[1])


def _used(counts: np.ndarray, edges: np.ndarray, room: int) -> tuple[float, float]:
    """Return the ends of where all rows but a few in a thousand are, with some bins of room."""
    if not counts.sum():
        return float(edges[0]), float(edges[-1])
    low, high = quantiles(counts, edges, (0.002, 0.998))
    step = edges[1] - edges[0]
    return float(max(low - room * step, edges[0])), float(min(high + room * step, edges[-1]))


def _ramp_key(axis: Axes) -> None:
    """Show which colour is which metallicity."""
    key = axis.inset_axes((0.06, 0.90, 0.36, 0.035))
    key.imshow(ramp_colour(np.linspace(0, 1, 64))[None], extent=(*FEH_ENDS, 0, 1), aspect="auto")
    key.set(yticks=[], xticks=[-2.5, -1.5, -0.5, 0.5])
    key.tick_params(labelsize=TYPE_PT - 1.5, length=2)
    key.set_title("mean [Fe/H]", size=TYPE_PT - 1, pad=2)
    key.grid(visible=False)


def draw_sky(figure: Figure, sky: Density) -> None:
    """Draw the density of rows on the sky: Mollweide's projection, right ascension increasing to the left."""
    axis = figure.subplots()
    wide, high = 900, 450
    x, y = np.meshgrid(np.linspace(-2, 2, wide), np.linspace(-1, 1, high))
    ra, dec = _from_mollweide(x, y)
    column, row = sky.x.place(ra), sky.y.place(np.sin(np.radians(dec)))
    inside = (x / 2) ** 2 + y**2 <= 1.0
    counts = np.where(inside, sky.counts[row, column], 0.0)
    axis.imshow(dense(counts), extent=(2, -2, -1, 1), aspect="equal", origin="lower", interpolation="nearest")
    line: dict[str, Any] = {"color": COLOURS["line"], "linewidth": 0.6, "zorder": 0.5}
    for meridian in range(0, 361, 30):
        edge = meridian in (0, 360)
        decs = np.linspace(-90, 90, 91)
        style = {"color": COLOURS["muted"], "linewidth": 0.8} if edge else line
        axis.plot(*_to_mollweide(np.full(91, float(meridian)), decs), **style)
        if meridian % 60 == 0:
            spot = _to_mollweide(np.array([float(meridian)]), np.array([0.0]))
            side = {0: (4, "left"), 360: (-4, "right")}.get(meridian, (0, "center"))
            axis.annotate(
                f"{meridian}°", (spot[0][0], 0.0), (side[0], 2), textcoords="offset points", size=TYPE_PT - 1,
                ha=side[1], color=COLOURS["muted"],
            )  # fmt: skip
    for parallel in range(-60, 61, 30):
        ends = _to_mollweide(np.array([0.0, 360.0]), np.array([parallel, parallel], dtype=float))
        axis.plot(*ends, **line)
        if parallel:
            axis.annotate(
                f"{parallel:+d}°", (ends[0][1], ends[1][1]), (-5, 0), textcoords="offset points", size=TYPE_PT - 1,
                color=COLOURS["muted"], va="center", ha="right",
            )  # fmt: skip
    axis.set(xlim=(2.12, -2.12), ylim=(-1.04, 1.04))
    axis.set_axis_off()


def _to_mollweide(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x, -2 to 2, and y, -1 to 1, of right ascension around 180 and declination [deg]."""
    angle = np.radians(dec)
    theta = np.clip(angle, -1.5, 1.5)
    for _ in range(30):
        theta = theta - (2 * theta + np.sin(2 * theta) - np.pi * np.sin(angle)) / np.maximum(
            2 + 2 * np.cos(2 * theta), 1e-6
        )
    theta = np.where(np.abs(dec) == 90, angle, theta)
    return (ra - 180.0) / 90.0 * np.cos(theta), np.sin(theta)


def _from_mollweide(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination [deg] of places on the map; beyond its edge, those of the edge."""
    theta = np.arcsin(np.clip(y, -1.0, 1.0))
    dec = np.degrees(np.arcsin(np.clip((2 * theta + np.sin(2 * theta)) / np.pi, -1.0, 1.0)))
    ra = 180.0 + 90.0 * x / np.maximum(np.cos(theta), 1e-9)
    return np.clip(ra, 0.0, 360.0), dec


def draw_errors(figure: Figure, errors: Mapping[str, Density]) -> None:
    """Draw the median error of each label by S/N, and where the middle 68 % of them lie."""
    axes = figure.subplots(1, len(TARGETS))
    for axis, target in zip(axes, TARGETS, strict=True):
        density, edges = errors[target.name], LOG_SN.edges()
        rows = density.counts.sum(axis=0)
        used = np.flatnonzero(rows >= np.clip(rows.max(), 1, LEAST_ROWS))  # of a few stars, what there is
        axis.set(title=target.symbol, xlabel="S/N per pixel", ylabel=f"error [{target.unit}]")
        if not len(used):
            continue
        low, middle, high = 10.0 ** error_quantiles(density, SPREAD)[:, used] * LEAST_ERROR[target.name]
        x = 10.0 ** (0.5 * (edges[:-1] + edges[1:])[used])
        colour = COLOURS[target.name]
        axis.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(x, middle, color=colour, linewidth=1.6, marker="o", markersize=2.5)
        _log_axis(axis, x, "x")
        _log_axis(axis, np.concatenate([low, high]), "y")


def error_quantiles(density: Density, shares: Sequence[float]) -> np.ndarray:
    """Return the quantiles (len(shares), columns) of log10 of the errors in each bin of S/N."""
    columns = [quantiles(column, LOG_ERROR.edges(), tuple(shares)) for column in density.counts.T]
    return np.array(columns).T


def _log_axis(axis: Axes, values: np.ndarray, which: str) -> None:
    """Make an axis logarithmic, with ticks that are easy to read."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    getattr(axis, f"set_{which}scale")("log")
    mine = getattr(axis, f"{which}axis")
    wide = values.max() > 30 * values.min()
    mine.set_major_locator(LogLocator(subs=(1, 3) if wide else (1, 2, 5), numticks=12))
    mine.set_major_formatter(FormatStrFormatter("%.3g"))
    mine.set_minor_locator(NullLocator())


def draw_scores(figure: Figure, residuals: Residuals) -> None:
    """Draw (predicted - given) / error of each label, and the normal distribution that it should be."""
    axes = figure.subplots(1, len(TARGETS), sharey=True)
    together = 4 if residuals.scored < FEW_SCORES else 2 if residuals.scored < MANY_SCORES else 1
    edges, middle = Z_EDGES[::together], 0.5 * (Z_EDGES[1:] + Z_EDGES[:-1])
    for t, (axis, target) in enumerate(zip(axes, TARGETS, strict=True)):
        density = residuals.z[t].reshape(-1, together).sum(axis=1) / (residuals.scored * (edges[1] - edges[0]))
        axis.stairs(density, edges, fill=True, color=COLOURS[target.name], alpha=0.35)
        axis.stairs(density, edges, color=COLOURS[target.name], linewidth=1.0)
        axis.plot(middle, np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi), color=COLOURS["ink"], linewidth=1.2)
        axis.set(title=target.symbol, xlabel="(predicted - given) / error", xlim=(-5, 5))
    axes[0].set_ylabel("share of rows per unit")


def draw_residuals(figure: Figure, residuals: Residuals, by: str) -> None:
    """Draw predicted - given of each label by that label, or by S/N: density, median, and the middle 68 %.

    Parameters
    ----------
    by : ``label`` or ``sn``
    """
    axes = figure.subplots(1, len(TARGETS))
    for t, (axis, target) in enumerate(zip(axes, TARGETS, strict=True)):
        ends = LABEL_RANGES[target.name] if by == "label" else (0.0, 3.0)
        cells = (residuals.cells if by == "label" else residuals.by_sn)[t]
        height = RESIDUAL_RANGES[target.name]
        x, y = np.linspace(*ends, LABEL_CELLS + 1), np.linspace(-height, height, RESIDUAL_CELLS + 1)
        image = cells.reshape(LABEL_CELLS, -1, 5).sum(axis=2).T
        axis.imshow(
            dense(image), extent=(*ends, -height, height), aspect="auto", origin="lower", interpolation="nearest"
        )
        axis.axhline(0.0, color=COLOURS["ink"], linewidth=0.9)
        middle, lines = _running(cells, x, y)
        for k, width in enumerate((0.9, 1.7, 0.9)):
            axis.plot(middle, lines[:, k], color=COLOURS["accent"], linewidth=width)
        axis.set(title=target.symbol, ylabel=f"predicted - given [{target.unit}]")
        axis.set_xlim(*_used(cells.sum(axis=1), x, 2))
        reach = max(abs(value) for value in _used(cells.sum(axis=0), y, 5))
        axis.set_ylim(-reach, reach)
        if by == "label":
            axis.set_xlabel(f"given {target.symbol} [{target.unit}]")
        else:
            ticks = [tick for tick in (1, 3, 10, 20, 50, 100, 300, 1000) if axis.get_xlim()[0] <= np.log10(tick)]
            ticks = [tick for tick in ticks if np.log10(tick) <= axis.get_xlim()[1]]
            axis.set_xticks(np.log10(ticks), [str(tick) for tick in ticks])
            axis.set_xlabel("S/N per pixel")


def _running(cells: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean abscissae (m,) and quantiles ``SPREAD`` (m, 3) of neighbouring columns of enough rows each."""
    enough = max(LEAST_COLUMN, cells.sum() / MOST_COLUMNS)
    centres, found, start = 0.5 * (x[:-1] + x[1:]), [], 0
    for end in range(1, len(cells) + 1):
        rows = cells[start:end].sum(axis=1)
        if rows.sum() >= enough:
            found.append([rows @ centres[start:end] / rows.sum(), *quantiles(cells[start:end].sum(axis=0), y, SPREAD)])
            start = end
    lines = np.array(found).reshape(-1, 1 + len(SPREAD))
    return lines[:, 0], lines[:, 1:]


def draw_distributions(figure: Figure, census: Census) -> None:
    """Draw how S/N, velocities, shares of good pixels and OOD scores are distributed, with and without flags."""
    scored = sum(tally.counts.sum() for tally in census.ood) > 0
    axes = np.atleast_1d(figure.subplots(1, len(MEASURES) + scored))
    for axis, (name, (words, bins)) in zip(axes, MEASURES.items(), strict=False):
        _two_steps(axis, census.measures[name], bins.edges())
        axis.set(xlabel=words, xlim=_used(census.measures[name].sum(axis=0), bins.edges(), 2))
    if scored:
        edges = ood_edges(census.ood)
        _two_steps(axes[-1], np.array([tally.rebinned(edges) for tally in census.ood]), edges)
        axes[-1].set(xlabel="OOD score", xlim=(edges[0], edges[-1]))
    axes[0].set_ylabel("rows")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def ood_edges(tallies: Sequence[Magnitudes]) -> np.ndarray:
    """Return edges of bins that show all scores but one in a thousand at each end."""
    both = Magnitudes()
    both.counts = np.sum([tally.counts for tally in tallies], axis=0)
    low, high = both.quantiles((0.001, 0.999))
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return np.linspace(low - room, high + room, 61)


def _two_steps(axis: Axes, counts: np.ndarray, edges: np.ndarray) -> None:
    axis.stairs(
        np.maximum(counts[0], 0.3),
        edges,
        baseline=0.3,
        fill=True,
        color=COLOURS["ramp2"],
        alpha=0.6,
        label="without a flag",
    )
    axis.stairs(
        np.maximum(counts[1], 0.3), edges, baseline=0.3, color=COLOURS["bad"], linewidth=1.3, label="with a flag"
    )
    axis.set_yscale("log")
    axis.set_ylim(0.5, 2.0 * max(float(counts.max()), 1.0))


def draw_spectrum(figure: Figure, loglam: np.ndarray, flux: np.ndarray, response: np.ndarray | None) -> None:
    """Draw a spectrum, and below it by how much each label answers to a weak line.

    Parameters
    ----------
    loglam, flux : (P,) log10 of the rest wavelength [angstrom], and standardised flux
    response : (3, P) answer of each label, see ``model.saliency``; None where there is no network
    """
    if response is None:
        top = figure.subplots()
        last = top
    else:
        top, last = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.5))
        draw_response(last, loglam, np.abs(response))
    points = len(flux) // SMOOTHED
    x, y = (values[: points * SMOOTHED].reshape(points, -1).mean(axis=1) for values in (loglam, flux))
    low, high = np.percentile(flux, (0.2, 99.8))
    room = 0.12 * (high - low)
    top.plot(x, np.clip(y, low - 2 * room, high + 2 * room), color=COLOURS["ink"], linewidth=0.6)
    top.set_ylim(low - room, high + room)
    top.set_ylabel("flux (standardised)")
    mark_lines(top, loglam)
    wavelength_axis(last, loglam)


def draw_response(axis: Axes, loglam: np.ndarray, size: np.ndarray) -> None:
    """Draw the size (3, P) of the answers of the labels, each as a curve of its own, as high as its greatest."""
    blocks = size.shape[1] // STRIP
    x = loglam[: blocks * STRIP].reshape(blocks, -1).mean(axis=1)
    for t, target in enumerate(TARGETS):
        values = size[t, : blocks * STRIP].reshape(blocks, -1).mean(axis=1)
        base = 1.15 * (len(TARGETS) - 1 - t)
        curve = base + values / max(float(values.max()), 1e-30)
        axis.fill(
            np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[base], curve, [base]]),
            color=COLOURS[target.name], alpha=0.6, linewidth=0.5,
        )  # fmt: skip
    bases = [1.15 * (len(TARGETS) - 1 - t) for t in range(len(TARGETS))]
    axis.set_yticks([base + 0.4 for base in bases], [target.symbol for target in TARGETS])
    axis.tick_params(axis="y", length=0)
    for label, name in zip(axis.get_yticklabels(), TARGET_NAMES, strict=True):
        label.set_color(COLOURS[name])
        label.set_fontweight("bold")
    axis.grid(visible=False, axis="y")
    axis.set_ylim(-0.05, 1.15 * len(TARGETS))
    mark_lines(axis, loglam, name_them=False)
