"""The lines and bands that a reader of stellar spectra looks for, with their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raystellar.report.svg import COLOURS, TYPE_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES: tuple[tuple[str, tuple[float, ...]], ...] = (
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
"""Name, and wavelengths in vacuum [angstrom]; of bands their heads. Source: line list of the SDSS, NIST."""

TICKS = (4000, 4500, 5000, 6000, 7000, 8000, 9000)

CLOSEST = 0.0125
"""Names nearer than this in log10 of the wavelength would lie on each other, and stand at two heights."""


def mark_lines(axis: Axes, loglam: np.ndarray, name_them: bool = True) -> None:
    """Draw the lines that lie on the grid ``loglam`` (P,) into ``axis``, whose abscissa that is, and name them."""
    before, raised = -np.inf, False
    for name, wavelengths in LINES:
        places = np.log10(wavelengths)
        if places[0] < loglam[0] or places[-1] > loglam[-1]:
            continue
        for place in places:
            axis.axvline(place, color=COLOURS["muted"], linewidth=0.6, alpha=0.55, linestyle=(0, (2, 2)), zorder=0.5)
        middle = float(places.mean())
        raised = middle - before < CLOSEST and not raised
        before = middle
        if name_them:
            axis.annotate(
                name, (middle, 1.0), (0, 13 if raised else 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="bottom", size=TYPE_PT - 1, color=COLOURS["muted"],
            )  # fmt: skip


def wavelength_axis(axis: Axes, loglam: np.ndarray) -> None:
    """Name the abscissa log10 of the wavelength by wavelengths."""
    ticks = [tick for tick in TICKS if loglam[0] <= np.log10(tick) <= loglam[-1]]
    axis.set_xticks(np.log10(ticks), [str(tick) for tick in ticks])
    axis.set(xlim=(loglam[0], loglam[-1]), xlabel="rest wavelength in vacuum [Å]")
