"""Matplotlib figures as SVG within a page, with the colours and the type of the page.

Figures are drawn in stand-in colours. CSS variables replace these in the SVG, so that a page can be light or dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = {
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9198a1"),
    "line": ("#d1d9e0", "#3d444d"),
    "paper": ("#ffffff", "#12161c"),
    "panel": ("#f6f8fa", "#1b2129"),
    "accent": ("#d9480f", "#ffa94d"),
    "bad": ("#c2255c", "#f783ac"),
    "ramp0": ("#b9c2cc", "#66727f"),
    "ramp1": ("#93bcd9", "#4a7ea8"),
    "ramp2": ("#5b9bcd", "#4f93c7"),
    "ramp3": ("#2e78b5", "#76b7ea"),
    "ramp4": ("#14568f", "#a9d5f7"),
    "ramp5": ("#0b3563", "#dff0ff"),
    "teff": ("#b8500b", "#f0924c"),
    "feh": ("#0a6a9f", "#5ab4e6"),
    "logg": ("#0b7a5b", "#3cc79c"),
}
"""Each colour on a light and on a dark page. The ramp goes from faint to strong. Each label has a colour of its own;
colour-blind eyes tell the three apart."""

RAMP_NAMES = tuple(name for name in PALETTE if name.startswith("ramp"))
"""Names of the colours of the ramp, the faintest first."""

COLOURS = {name: f"#0101{number:02x}" for number, name in enumerate(PALETTE)}
"""Stand-in colours in which figures are drawn."""

TYPE_PT = 8.5
"""Size of the type at the nominal width of a figure [pt]."""

IMAGE_DPI = 144
"""Resolution of images within a figure; a screen has 72 at the nominal width [1/inch]."""


def ramp(step: int, steps: int) -> str:
    """Return the colour of a step of a ramp of ``steps`` colours; step 0 is the faintest."""
    return COLOURS[RAMP_NAMES[round(step * (len(RAMP_NAMES) - 1) / max(1, steps - 1))]]


def variables(night: bool) -> str:
    """Return the CSS declarations of the colours of a light or, if ``night``, of a dark page."""
    return " ".join(f"--{name}: {values[night]};" for name, values in PALETTE.items())


def inline_svg(draw: Callable[[Figure], None], size: tuple[float, float], name: str, label: str) -> Markup:
    """Return a figure as an SVG element.

    Parameters
    ----------
    draw : function that draws into an empty figure
    size : width and height of the figure [inch]
    name : name of the figure, unique on the page
    label : short text for readers who cannot see the figure
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style(name)):
        figure = Figure(figsize=size, dpi=IMAGE_DPI, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    return _for_the_page(buffer.getvalue(), name, label)


def _style(name: str) -> Any:
    ink, muted, line = COLOURS["ink"], COLOURS["muted"], COLOURS["line"]
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": ["DejaVu Sans"],
        "font.size": TYPE_PT,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": TYPE_PT + 0.5,
        "axes.titlelocation": "left",
        "axes.edgecolor": muted,
        "axes.linewidth": 0.6,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": line,
        "grid.linewidth": 0.5,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "legend.frameon": False,
        "legend.fontsize": TYPE_PT - 0.5,
        "figure.facecolor": "none",
        "path.simplify": False,
    }


def _for_the_page(svg: str, name: str, label: str) -> Markup:
    """Remove the parts that only a separate file needs, and make names and colours those of the page."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    head = Markup('<svg {} role="img" aria-label="{}">').format(Markup(box.group() if box else ""), label)
    svg = str(head) + svg[svg.index(">") + 1 :].replace("xlink:href", "href")
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda match: _shorter(match[0]), svg, flags=re.DOTALL)
    for word, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{word})")
    return Markup(re.sub(r"\n\s*", "\n", svg).strip())


def _shorter(numbers: str) -> str:
    """Round the numbers of an attribute to hundredths of a point."""
    return re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), numbers)
