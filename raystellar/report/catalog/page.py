"""The page of a catalogue: its contents, its quality, and the rows of the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from raystellar.quality import BAD, MEANINGS, WARN, Flag
from raystellar.report.assessment import calibration_table, residual_figures, residual_table
from raystellar.report.catalog import figures
from raystellar.report.catalog.census import LEAST_ERROR, LOG_ERROR_BINS, LOG_SN_BINS, MEASURES, Census
from raystellar.report.catalog.gallery import SpectrumOfRow
from raystellar.report.catalog.gallery_page import gallery_sections
from raystellar.report.page import (
    OOD_SCORE,
    code,
    count,
    decimal,
    figure,
    header,
    html_page,
    in_units,
    listed,
    paragraph,
    picture,
    section,
    table,
    tile,
    wide,
)
from raystellar.report.residuals import quantiles
from raystellar.report.svg import inline_svg
from raystellar.schema import REJECTS_DIR
from raystellar.targets import TARGETS

BINS_JOINED = 3
"""Bins of S/N in one row of the table of errors."""


@dataclass(frozen=True, kw_only=True)
class CatalogFacts:
    """Contents of the page."""

    path: str
    """Folder of the catalogue."""
    run: Mapping[str, Any]
    """Contents of ``_run.json``."""
    job: Mapping[str, Any]
    """Contents of ``_job.json``: number of spectra labelled, and the seconds they took, without the start."""
    summary: Mapping[str, Any]
    """Contents of ``_summary.json``: number of ``stars`` and agreement of their ``repeats``."""
    census: Census
    """Statistics of the rows."""
    rejects: Sequence[tuple[str, str, int, str]]
    """Stage, reason, number and an example path."""
    loglam: np.ndarray
    """log10 of the wavelengths of the spectra in the gallery (P,)."""
    gallery: Mapping[str, Sequence[tuple[SpectrumOfRow, np.ndarray | None]]]
    """Spectra of each part of the gallery, with the response (3, P) of their labels to a weak line."""
    model_note: str = ""
    """Reason why the model cannot be loaded."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """Calibration of the model on its validation stars."""
    truth: str = ""
    """Path of the table of reference labels."""


def catalog_page(facts: CatalogFacts) -> Markup:
    """Return the page of a catalogue; sections without contents are left out."""
    parts = [
        _head(facts),
        _kiel(facts.census),
        _sky(facts.census),
        _errors(facts.census),
        _calibration(facts),
        _flags(facts.census),
        _rejects(facts),
        _distributions(facts.census),
        _repeats(facts.summary),
        *gallery_sections(facts.gallery, facts.loglam, facts.model_note),
    ]
    return html_page(f"Catalogue: {facts.path}", parts)


def _head(facts: CatalogFacts) -> Markup:
    census, run = facts.census, facts.run
    rejected = sum(number for _, _, number, _ in facts.rejects)
    tiles = [
        tile(count(census.rows), f"rows of {count(census.rows + rejected)} spectra", best=True),
        tile(count(rejected), f"rejected{_share(rejected, census.rows + rejected)}"),
        tile(count(census.good), f"good: without a flag{_share(census.good, census.rows)}"),
        tile(count(census.warn), f"warn: to be used with care{_share(census.warn, census.rows)}"),
        tile(count(census.bad), f"bad: not to be used{_share(census.bad, census.rows)}"),
    ]
    if (stars := facts.summary.get("stars", census.stars)) is not None:
        tiles.insert(1, tile(count(stars), "stars"))
    if rate := _rate(facts.job):
        tiles.append(rate)
    words = Markup("Labelled with model <code>{}</code> by raystellar {}, begun {}.").format(
        run.get("model", "unknown"), run.get("raystellar", ""), run.get("created", "at a time unknown")
    )
    return header("Catalogue", facts.path, words, tiles)


def _share(part: int, whole: int) -> str:
    return f", {100 * part / whole:.2f} %" if part else ""


def _rate(job: Mapping[str, Any]) -> Markup:
    spectra, seconds = job.get("spectra"), job.get("seconds")
    if not spectra or not seconds:
        return Markup()
    words = f"spectra a second, measured on {count(spectra)} spectra after the first shard"
    rate = spectra / seconds
    return tile(count(round(rate)) if rate >= 10 else f"{rate:.2g}", words)


def _kiel(census: Census) -> Markup:
    if not census.rows:
        return Markup()
    caption = (
        "Look for the main sequence along the bottom and the giants rising to the upper right; metal-poor stars lie "
        "to the left of metal-rich ones. Flagged rows should be few, or lie where no star is. Cells are 50 K by "
        "0.05 dex."
    )
    outside = sum(density.outside for density in census.kiel.values())
    caption += f" {count(outside)} rows are beyond 2000 to 12000 K and -1 to 7 dex." if outside else ""
    draw = partial(figures.draw_kiel, kiel=census.kiel)
    svg = inline_svg(draw, (10.6, 4.0), "kiel", "Surface gravity against temperature")
    return figure("kiel", "Temperature, gravity and metallicity", caption, svg)


def _sky(census: Census) -> Markup:
    if not census.sky.counts.any():
        return Markup()
    caption = (
        "All rows by right ascension, which increases to the left, and declination, in Mollweide's projection, which "
        "keeps areas. Look for missing plates. A cell is 1.25 degrees wide at the equator."
    )
    nowhere = census.sky.outside
    caption += f" {count(nowhere)} rows have no position." if nowhere else ""
    svg = inline_svg(partial(figures.draw_sky, sky=census.sky), (10.6, 5.0), "sky", "Map of the sky")
    return figure("sky", "Sky", caption, svg, shrinks=True)


def _errors(census: Census) -> Markup:
    rows = _error_rows(census)
    if not rows:
        return Markup()
    caption = (
        "Median error by S/N of the rows that are not bad, and the band that holds the middle 68 %. Errors should "
        "fall with S/N, and level off where the model rather than the noise sets them."
    )
    draw = partial(figures.draw_errors, errors=census.errors)
    svg = inline_svg(draw, (10.6, 3.4), "errors", "Errors by S/N")
    head = ["S/N", "rows", *(f"median e_{target.name}" for target in TARGETS)]
    return section(
        "errors", "Errors by S/N", paragraph(caption), picture(svg), table(head, rows, numbers=range(1, len(head)))
    )


def _error_rows(census: Census) -> list[list[str]]:
    """Return the ends of wide bins of S/N, their numbers of rows, and the median errors."""
    rows = []
    for start in range(0, LOG_SN_BINS.count, BINS_JOINED):
        end = min(start + BINS_JOINED, LOG_SN_BINS.count)
        low, high = 10.0 ** LOG_SN_BINS.edges()[[start, end]]
        cells, number = [], 0
        for target in TARGETS:
            counts = census.errors[target.name].counts[:, start:end].sum(axis=1)
            (middle,) = quantiles(counts, LOG_ERROR_BINS.edges(), (0.5,))
            cells.append(in_units(10.0**middle * LEAST_ERROR[target.name], target))
            number = max(number, int(counts.sum()))
        if number:
            rows.append([f"{low:.0f} to {high:.0f}", count(number), *cells])
    return rows


def _calibration(facts: CatalogFacts) -> Markup:
    """Return the comparison with reference labels or, without reference labels, the calibration of the model."""
    name, title = "calibration", "Calibration of the errors"
    residuals = facts.census.residuals
    if facts.truth:
        if not residuals.count:
            words = Markup("No row without a flag has labels in <code>{}</code>.").format(facts.truth)
            return section(name, title, paragraph(words, muted=True))
        words = Markup(
            "{} rows without a flag, compared with their reference labels in <code>{}</code>. Errors of the reference "
            "labels, where the table has them, are added to the errors of the catalogue."
        ).format(count(residuals.count), facts.truth)
        table_of_z = calibration_table(residuals.calibration()) if residuals.scored else ""
        tables = (table_of_z, residual_table(residuals))
        return section(name, title, paragraph(words), *tables, residual_figures(residuals, name))
    if not facts.calibration:
        return Markup()
    words = Markup(
        "Measured on the validation stars of the model. To measure the calibration on rows of this catalogue, name a "
        "table of reference labels with <code>raystellar report --truth</code>."
    )
    return section(name, title, paragraph(words), calibration_table(facts.calibration))


def _flags(census: Census) -> Markup:
    if not census.rows:
        return Markup()
    rows = []
    for bit, number in enumerate(census.bits):
        known = [flag for flag in Flag if flag.value == 1 << bit]
        if not known and not number:
            continue
        name = known[0].name or "" if known else "unknown"
        meaning = MEANINGS.get(known[0], "") if known else "set by another version of raystellar"
        kind = "bad" if (1 << bit) & BAD else "warn" if (1 << bit) & WARN else ""
        share = f"{100 * number / census.rows:.2f} %"
        rows.append([str(1 << bit), name, kind, count(int(number)), share, meaning])
    words = Markup(
        "Number of rows with each bit of <code>flags</code>; a row may have several. Rows with a bad bit should not be "
        "used."
    )
    head = ["value", "name", "kind", "rows", "share", "meaning"]
    return section("flags", "Flags", paragraph(words), wide(table(head, rows, numbers=(0, 3, 4))))


def _rejects(facts: CatalogFacts) -> Markup:
    if not facts.rejects:
        return Markup()
    rows = [[stage, reason, count(number), code(path)] for stage, reason, number, path in facts.rejects]
    words = Markup(
        "Spectra that could not be labelled, with the stage and the reason; the folder <code>{}</code> lists them all. "
        "Look at an example before you give up the files."
    ).format(REJECTS_DIR)
    rejects = wide(table(["stage", "reason", "spectra", "example"], rows, numbers=(2,)))
    return section("rejects", "Rejects", paragraph(words), rejects)


def _distributions(census: Census) -> Markup:
    if not census.rows:
        return Markup()
    caption = (
        "Rows on a logarithmic scale, without a flag (filled) and with a flag (line). Look for velocities far from "
        "zero, which shift lines out of place, and for what distinguishes flagged rows."
    )
    beyond = [f"{count(number)} by {MEASURES[name][0]}" for name, number in census.outside.items() if number]
    caption += f" Beyond these axes, or without a value: {listed(beyond)}." if beyond else ""
    caption += f" OOD score is the {OOD_SCORE}." if "ood_score" in census.columns else ""
    draw = partial(figures.draw_distributions, census=census)
    svg = inline_svg(draw, (10.6, 3.3), "distributions", "Distributions of rows")
    return figure("distributions", "Distributions", caption, svg)


def _repeats(summary: Mapping[str, Any]) -> Markup:
    repeats = summary.get("repeats")
    if not isinstance(repeats, Mapping) or not repeats.get("stars"):
        return Markup()
    words = (
        f"{count(repeats['stars'])} stars have {count(repeats.get('rows', 0))} spectra that are not bad. The pull is "
        "the difference between the labels of two spectra of one star, divided by their combined error. Pulls are "
        "small where spectra of one star share part of their errors, such as those of the model. The robust pull comes "
        "from the median absolute pull, which a few outliers do not move."
    )
    rows = []
    for target in TARGETS:
        if isinstance(values := repeats.get(target.name), Mapping):
            pulls = [decimal(values.get(name), 2) for name in ("pull", "pull_robust")]
            rows.append([target.symbol, in_units(values.get("scatter"), target), *pulls])
    head = ["label", "scatter of one spectrum", "pull, root mean square", "pull, robust"]
    return section(
        "repeats", "Stars observed more than once", paragraph(words), wide(table(head, rows, numbers=(1, 2, 3)))
    )
