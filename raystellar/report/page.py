"""Building blocks of the HTML pages: the frame of a page, sections, tables, tiles and figures.

Each block is a macro in ``templates/blocks.html``, and the frame is ``templates/page.html``. A page needs no other
file, holds no script, and follows the browser's choice of light or dark colours.

Every block returns ``markupsafe.Markup``. A plain ``str`` that goes into a block is text, which Jinja2 escapes; Markup
goes in unchanged. ``Markup("... {} ...").format(...)`` fills escaped text into a constant piece of HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raystellar.report.svg import variables
from raystellar.targets import Target

OOD_SCORE = "out-of-distribution score: how unlike the training spectra; above 1 like one star in a hundred"
"""Explanation of the OOD score."""


class Section(Markup):
    """HTML of a section, with the entry of the section in the list of contents."""

    name: str
    """Anchor that the list of contents links to."""

    heading: str
    """Title of the section."""


def html_page(title: str, parts: Iterable[str]) -> Markup:
    """Return a whole page: the parts outside sections, a list of contents, and the sections.

    Parameters
    ----------
    title : title in the window of the browser
    parts : header and sections; an empty part leaves nothing on the page
    """
    parts = list(parts)
    sections = [part for part in parts if isinstance(part, Section)]
    opening = [part for part in parts if not isinstance(part, Section)]
    colours = {"day": variables(night=False), "night": variables(night=True)}
    page = _environment().get_template("page.html")
    return Markup(page.render(title=title, opening=opening, sections=sections, **colours))


def header(title: str, path: str, words: str, tiles: Iterable[str]) -> Markup:
    """Return the head of a page: its subject, the path of the folder, a paragraph, and the first numbers."""
    return _block("header", title, path, words, list(tiles))


def section(name: str, title: str, *content: str) -> Section:
    """Return a section with the anchor ``name``."""
    html = Section(_block("section", name, title, [part for part in content if part]))
    html.name, html.heading = name, title
    return html


def figure(name: str, title: str, caption: str, svg: str, shrinks: bool = False) -> Section:
    """Return a section that holds one figure below a paragraph; see ``picture``."""
    return section(name, title, paragraph(caption), picture(svg, shrinks=shrinks))


def picture(svg: str, caption: str = "", shrinks: bool = False) -> Markup:
    """Return a framed figure; on a narrow screen it is scrolled, or made smaller if ``shrinks``."""
    return _block("picture", svg, caption, shrinks)


def tile(value: str, words: str, best: bool = False) -> Markup:
    """Return a large number with an explanation, highlighted if ``best``."""
    return _block("tile", value, words, best)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] | int = (), marked: int | None = None
) -> Markup:
    """Return a table.

    Parameters
    ----------
    head : names of the columns; an empty list leaves out the line of names
    rows : cells of each row
    numbers : positions of the columns that are aligned to the right, or the number of such columns from the left
    marked : position of a row that is highlighted
    """
    right = set(range(numbers) if isinstance(numbers, int) else numbers)
    return _block("table", head, list(rows), right, marked)


def paragraph(*parts: str, muted: bool = False) -> Markup:
    """Return a paragraph, in fainter type if ``muted``."""
    return _block("element", "p", parts, "muted" if muted else "")


def code(text: str) -> Markup:
    """Return text in fixed-width type."""
    return _block("element", "code", [text], "")


def bold(text: str) -> Markup:
    """Return text in bold type."""
    return _block("element", "b", [text], "")


def listing(text: str) -> Markup:
    """Return lines of a terminal."""
    return _block("element", "pre", [text], "")


def wide(content: str) -> Markup:
    """Return a block that is scrolled where the screen is too narrow for it."""
    return _block("element", "div", [content], "wide")


def columns(*parts: str, close: bool = False) -> Markup:
    """Return parts side by side, in smaller type if ``close``."""
    return _block("element", "div", parts, "columns close" if close else "columns")


def block(*parts: str) -> Markup:
    """Return parts one below the other, as one part of ``columns``."""
    return _block("element", "div", parts, "")


def details(summary: str, content: str) -> Markup:
    """Return content that a reader has to open."""
    return _block("details", summary, content)


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Return parts one after the other, with ``between`` between them."""
    return Markup("{}").format(between).join(parts)


def _block(name: str, *values: Any) -> Markup:
    """Return the HTML of a macro of ``templates/blocks.html``."""
    return getattr(_environment().get_template("blocks.html").module, name)(*values)


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("raystellar.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def listed(words: Iterable[Any]) -> str:
    """Return words as in a sentence: a, b and c."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def percent(part: float, whole: float) -> str:
    """Return a share in whole percents."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_units(value: float | None, target: Target) -> str:
    """Return a label or its error with its unit: whole kelvins, or thousandths of a dex."""
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.0f}\u202fK" if target.unit == "K" else f"{value:.3f}\u202fdex"


def decimal(value: float | None, digits: int) -> str:
    """Return a number with ``digits`` digits after the point."""
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
