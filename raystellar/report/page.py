"""The frame of a page that needs no other file, for a browser by day and by night, and the pieces pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from raystellar.report.svg import variables

"""What a page is called in the folder it is about."""

CSS = """
:root { color-scheme: light dark; DAY }
@media (prefers-color-scheme: dark) { :root { NIGHT } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 0 0 .4rem; }
p { max-width: 50rem; margin: .4rem 0 .8rem; }
.muted, figcaption, .tile span { color: var(--muted); }
section { margin-top: 2.6rem; }
figure { margin: .8rem 0 0; padding: 1rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 44rem; height: auto; overflow: visible; }
figure.shrinks svg { min-width: 0; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.3rem 0; }
.tile { flex: 1 1 8.5rem; padding: .7rem .9rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { font-size: .84rem; line-height: 1.35; display: block; }
.tile.best b { color: var(--accent); }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.close { gap: .6rem 1.8rem; margin-top: .9rem; }
.close table { font-size: .84rem; margin: .2rem 0; }
.close th, .close td { padding-right: .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--muted); }
td.n, th.n { text-align: right; }
.wide td, .wide th { white-space: nowrap; }
tr.best td { color: var(--accent); font-weight: 600; }
td b { color: var(--accent); }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem;
  overflow-x: auto; font-size: .88rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Consolas, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; font-weight: 600; }
@media print { body { max-width: none; padding: 0; } section { break-inside: avoid; } }
"""


def html_page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page of ``parts``, which are HTML."""
    css = CSS.replace("DAY", variables(night=False)).replace("NIGHT", variables(night=True))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def header(title: str, place: str, words: str, tiles: Sequence[str]) -> str:
    """Return the head of a page: what it is about, where that lies, what to know of it, and its first numbers."""
    return (
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="muted"><code>{escape(place)}</code></p>\n'
        f'<p>{words}</p>\n<div class="tiles">{"".join(tiles)}</div>\n</header>'
    )


def section(name: str, title: str, content: str) -> str:
    """Return a section; ``content`` is HTML."""
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def figure(name: str, title: str, caption: str, svg: str, shrinks: bool = False) -> str:
    """Return a section of a figure and what to look for in it; one that does not shrink is moved on a narrow screen."""
    opening = '<figure class="shrinks">' if shrinks else "<figure>"
    return section(name, title, f"<p>{escape(caption)}</p>\n{opening}{svg}</figure>")


def tile(value: str, words: str, best: bool = False) -> str:
    """Return a number that is to be seen first."""
    return f'<div class="tile{" best" * best}"><b>{value}</b><span>{escape(words)}</span></div>'


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] | int = (), marked: int | None = None
) -> str:
    """Return a table; its cells are HTML. The columns ``numbers`` are set right, the row ``marked`` stands out."""
    right = set(range(numbers) if isinstance(numbers, int) else numbers)
    kind = [' class="n"' if column in right else "" for column in range(len(head))]
    lines = ["<tr>" + "".join(f"<th{k}>{escape(name)}</th>" for k, name in zip(kind, head, strict=True)) + "</tr>"]
    for place, row in enumerate(rows):
        cells = "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kind, row, strict=True))
        lines.append(f"<tr{' class=' + chr(34) + 'best' + chr(34) if place == marked else ''}>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def listed(words: Iterable[Any]) -> str:
    """Return words as in a sentence: a, b and c."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int) -> str:
    """Return a number with its thousands parted."""
    return f"{number:,}".replace(",", "\u202f")


def percent(part: float, whole: float) -> str:
    """Return a share in whole percents."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
