"""A matplotlib figure as SVG within an HTML page, in the page's colours by day and by night, and in its type.

Figures are drawn in stand-in colours, and these are replaced by CSS variables, which the page gives their values.
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
"""Colour by day and by night; the ramp goes from what matters little to what matters most, and each label has one of
its own, which those who are colour-blind tell apart as well."""

RAMP = tuple(name for name in PALETTE if name.startswith("ramp"))

COLOURS = {name: f"#0101{number:02x}" for number, name in enumerate(PALETTE)}
"""What a figure is drawn in."""

TYPE_PT = 8.5
"""Size of the type at the figures' nominal width."""

IMAGE_DPI = 144
"""Of images within a figure, whose nominal width is that of a screen at 72."""


def ramp(place: int, places: int) -> str:
    """Return the colour of a step of the ramp, 0 the faintest, of so many that span it."""
    return COLOURS[RAMP[round(place * (len(RAMP) - 1) / max(1, places - 1))]]


def variables(night: bool) -> str:
    """Return the CSS declarations of the colours."""
    return " ".join(f"--{name}: {values[night]};" for name, values in PALETTE.items())


def inline_svg(
    draw: Callable[[Figure], None], size: tuple[float, float], name: str, label: str, description: str = ""
) -> Markup:
    """Return a figure as an SVG element.

    Parameters
    ----------
    draw : draws into an empty figure
    size : of the figure [inch]
    name : of the figure, different from that of others on the page
    label : what it shows, for those who do not see it
    description : more of that
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
    return _for_the_page(buffer.getvalue(), name, label, description)


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


def _for_the_page(svg: str, name: str, label: str, description: str) -> Markup:
    """Strip what only a file of its own needs, and make names and colours those of the page."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    head = Markup('<svg {} role="img" aria-label="{}">').format(Markup(box.group() if box else ""), label)
    head += Markup("<desc>{}</desc>").format(description) if description else ""
    svg = str(head) + svg[svg.index(">") + 1 :].replace("xlink:href", "href")
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: _shorter(found[0]), svg, flags=re.DOTALL)
    for word, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{word})")
    return Markup(re.sub(r"\n\s*", "\n", svg).strip())


def _shorter(numbers: str) -> str:
    """Round to hundredths of a point."""
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)
