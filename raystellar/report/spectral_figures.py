"""Figures of spectra: flux, the response of each label to weak lines, and the named lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raystellar.report.axes import linear_axis
from raystellar.report.svg import COLOURS, TYPE_PT
from raystellar.targets import TARGET_NAMES, TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_LINES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("Ca II K", (3934.78,)),
    ("Ca II H", (3969.59,)),
    ("Hδ", (4102.89,)),
    ("G band", (4305.6,)),
    ("Hγ", (4341.68,)),
    ("Hβ", (4862.68,)),
    ("Mg b", (5168.76, 5174.13, 5185.05)),
    ("Fe 5270", (5271.0,)),
    ("Na D", (5891.58, 5897.56)),
    ("TiO", (6160.0,)),
    ("Hα", (6564.61,)),
    ("TiO", (7056.0,)),
    ("Na I", (8185.5, 8197.1)),
    ("Ca II", (8500.36, 8544.44, 8664.52)),
)
"""Name, and wavelengths in vacuum [angstrom]; for bands, their heads. Source: line list of the SDSS, NIST."""

WAVELENGTH_TICKS = (4000, 4500, 5000, 6000, 7000, 8000, 9000)
"""Ticks of the abscissa [angstrom]."""

LEAST_DISTANCE = 0.0125
"""Distance of two names in log10 of the wavelength, below which one name is raised so that they do not overlap."""

PIXELS_PER_POINT = 2
"""Pixels of a spectrum drawn as one point."""

PIXELS_PER_BLOCK = 8
"""Pixels of a response drawn as one point."""


def draw_spectrum(figure: Figure, loglam: np.ndarray, flux: np.ndarray, response: np.ndarray | None) -> None:
    """Draw a spectrum, and below it the response of each label to a weak line.

    Parameters
    ----------
    loglam, flux : (P,) log10 of the rest wavelength [angstrom], and standardised flux
    response : (3, P) response of each label, see ``model.saliency``; None without a network
    """
    if response is None:
        top = figure.subplots()
        last = top
    else:
        top, last = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.5))
        draw_response(last, loglam, np.abs(response))
    points = len(flux) // PIXELS_PER_POINT
    x, y = (values[: points * PIXELS_PER_POINT].reshape(points, -1).mean(axis=1) for values in (loglam, flux))
    low, high = np.percentile(flux, (0.2, 99.8))
    room = 0.12 * (high - low)
    top.plot(x, np.clip(y, low - 2 * room, high + 2 * room), color=COLOURS["ink"], linewidth=0.6)
    top.set_ylim(low - room, high + room)
    top.set_ylabel("flux (standardised)")
    linear_axis(top, "y")
    mark_lines(top, loglam)
    wavelength_axis(last, loglam)


def draw_response(axis: Axes, loglam: np.ndarray, size: np.ndarray) -> None:
    """Draw the size (3, P) of the response of each label as a curve of its own, scaled to its maximum."""
    blocks = size.shape[1] // PIXELS_PER_BLOCK
    x = loglam[: blocks * PIXELS_PER_BLOCK].reshape(blocks, -1).mean(axis=1)
    bases = [1.15 * (len(TARGETS) - 1 - t) for t in range(len(TARGETS))]
    for t, (target, base) in enumerate(zip(TARGETS, bases, strict=True)):
        values = size[t, : blocks * PIXELS_PER_BLOCK].reshape(blocks, -1).mean(axis=1)
        curve = base + values / max(float(values.max()), 1e-30)
        axis.fill_between(x, base, curve, color=COLOURS[target.name], alpha=0.6, linewidth=0.5)
    axis.set_yticks([base + 0.4 for base in bases], [target.symbol for target in TARGETS])
    axis.tick_params(axis="y", length=0)
    for label, name in zip(axis.get_yticklabels(), TARGET_NAMES, strict=True):
        label.set_color(COLOURS[name])
        label.set_fontweight("bold")
    axis.grid(visible=False, axis="y")
    axis.set_ylim(-0.05, 1.15 * len(TARGETS))
    mark_lines(axis, loglam, name_them=False)


def mark_lines(axis: Axes, loglam: np.ndarray, name_them: bool = True) -> None:
    """Draw and name the lines that lie on the grid ``loglam`` (P,), the abscissa of ``axis``."""
    before, raised = -np.inf, False
    for name, wavelengths in NAMED_LINES:
        positions = np.log10(wavelengths)
        if positions[0] < loglam[0] or positions[-1] > loglam[-1]:
            continue
        for position in positions:
            axis.axvline(position, color=COLOURS["muted"], linewidth=0.6, alpha=0.55, linestyle=(0, (2, 2)), zorder=0.5)
        middle = float(positions.mean())
        raised = middle - before < LEAST_DISTANCE and not raised
        before = middle
        if name_them:
            axis.annotate(
                name, (middle, 1.0), (0, 13 if raised else 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="bottom", size=TYPE_PT - 1, color=COLOURS["muted"],
            )  # fmt: skip


def wavelength_axis(axis: Axes, loglam: np.ndarray) -> None:
    """Label an abscissa of log10 of the wavelength with wavelengths."""
    ticks = [tick for tick in WAVELENGTH_TICKS if loglam[0] <= np.log10(tick) <= loglam[-1]]
    axis.set_xticks(np.log10(ticks), [str(tick) for tick in ticks])
    axis.set(xlim=(loglam[0], loglam[-1]), xlabel="rest wavelength in vacuum [Å]")
