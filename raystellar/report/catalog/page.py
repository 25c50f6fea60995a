"""The page of a catalogue: what is in it, how good it is, and the spectra that stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from raystellar.quality import BAD, MEANINGS, WARN, Flag
from raystellar.report.catalog import figures
from raystellar.report.catalog.census import LOG_SN, MEASURES, Census
from raystellar.report.catalog.gallery import Again
from raystellar.report.page import (
    block,
    bold,
    code,
    columns,
    count,
    figure,
    header,
    html_page,
    joined,
    listed,
    paragraph,
    picture,
    section,
    table,
    tile,
    wide,
)
from raystellar.report.residuals import Residuals
from raystellar.report.svg import inline_svg
from raystellar.schema import REJECTS_DIR
from raystellar.targets import TARGETS, Target

KINDS = {
    "best": ("The best", "the highest S/N of the rows without a flag"),
    "worst": (
        "The most uncertain",
        "the largest errors (geometric mean of the three) of the rows that are not bad",
    ),
    "oddest": ("The oddest", "the largest OOD scores of the rows that are neither sky nor galaxy or quasar"),
}
"""Of the gallery: what they are called, and by what they stand out."""

CALIBRATION_HEAD = ["S/N", "rows", "std of z", "|z| < 1", "|z| < 2.09"]


@dataclass(frozen=True, kw_only=True)
class CatalogFacts:
    """All that the page shows."""

    place: str
    run: Mapping[str, Any]
    """What ``_run.json`` says."""
    job: Mapping[str, Any]
    """What ``_job.json`` says: spectra labelled, and the seconds that took."""
    summary: Mapping[str, Any]
    """What was found in all rows together: ``stars`` and, of those seen more than once, ``repeats``."""
    census: Census
    rejects: Sequence[tuple[str, str, int, str]]
    """Stage, reason, number and an example path."""
    loglam: np.ndarray
    """(P,) the grid of the gallery."""
    gallery: Mapping[str, Sequence[tuple[Again, np.ndarray | None]]]
    """By the names of ``KINDS``: rows that stand out, each with the answers (3, P) of its labels to a weak line."""
    model_note: str = ""
    """Why the model is not at hand."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """Of the model on its validation stars."""
    given: str = ""
    """The table of given labels."""


def catalog_page(facts: CatalogFacts) -> Markup:
    """Return the page of a catalogue."""
    parts = [
        _head(facts),
        _kiel(facts.census),
        _sky(facts.census),
        _errors(facts.census),
        _scores(facts),
        _flags(facts.census),
        _rejects(facts),
        _distributions(facts.census),
        _repeats(facts.summary),
        *(_gallery(kind, facts) for kind in KINDS),
    ]
    return html_page(f"Catalogue: {facts.place}", parts)


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
    words = Markup(
        "Labelled with model <code>{}</code> by raystellar {}, begun {}. Rejects are in the folder <code>{}</code>."
    ).format(
        run.get("model", "unknown"), run.get("raystellar", ""), run.get("created", "at a time unknown"), REJECTS_DIR
    )
    return header("Catalogue", facts.place, words, tiles)


def _share(part: int, whole: int) -> str:
    return f", {100 * part / whole:.2f} %" if part else ""


def _rate(job: Mapping[str, Any]) -> Markup:
    spectra, seconds = job.get("spectra"), job.get("seconds")
    if not spectra or not seconds:
        return Markup()
    words = f"spectra a second, measured on {count(spectra)} spectra after the first shard"
    return tile(count(round(spectra / seconds)), words)


def _kiel(census: Census) -> Markup:
    caption = (
        "Look for the main sequence along the bottom and the giants rising to the upper right; metal-poor stars lie "
        "to the left of metal-rich ones. Cells are 50 K by 0.05 dex, the more opaque the more rows; flagged rows "
        "should be few, or lie where no star is."
    )
    outside = sum(density.outside for density in census.kiel.values())
    caption += f" {count(outside)} rows are beyond the plane of 2000 to 12000 K and -1 to 7 dex." if outside else ""
    draw = partial(figures.draw_kiel, kiel=census.kiel)
    svg = inline_svg(draw, (10.6, 4.6), "kiel", "Surface gravity against temperature", caption)
    return figure("kiel", "Temperature, gravity and metallicity", caption, svg)


def _sky(census: Census) -> Markup:
    most = count(int(census.sky.counts.max()))
    caption = (
        "All rows by right ascension, which grows to the left, and declination, in Mollweide's projection: areas are "
        "true. Look for plates that are missing. A cell is 1.25 degrees wide at the equator; the densest has "
        f"{most} rows."
    )
    nowhere = census.sky.outside
    caption += f" {count(nowhere)} rows have no position." if nowhere else ""
    svg = inline_svg(partial(figures.draw_sky, sky=census.sky), (10.6, 5.2), "sky", "Map of the sky", caption)
    return figure("sky", "On the sky", caption, svg, shrinks=True)


def _errors(census: Census) -> Markup:
    caption = (
        "Of the rows that are not bad: the median error by S/N, and the band that holds the middle 68 %. Errors should "
        "fall with S/N, and level off where the model rather than the noise sets them."
    )
    svg = inline_svg(
        partial(figures.draw_errors, errors=census.errors), (10.6, 3.4), "errors", "Errors by S/N", caption
    )
    return section("errors", "Errors by signal-to-noise", paragraph(caption), picture(svg), _error_table(census))


def _error_table(census: Census) -> Markup:
    """Return the median errors in wider bins of S/N."""
    rows, step = [], 3
    for start in range(0, LOG_SN.count, step):
        ends = [10.0 ** LOG_SN.edges()[place] for place in (start, min(start + step, LOG_SN.count))]
        cells, number = [], 0
        for target in TARGETS:
            density = census.errors[target.name]
            counts = density.counts[:, start : start + step].sum(axis=1)
            middle = figures.quantiles(counts, figures.LOG_ERROR.edges(), (0.5,))[0]
            cells.append(in_units(10.0**middle * figures.LEAST_ERROR[target.name], target))
            number = max(number, int(counts.sum()))
        if number:
            rows.append([f"{ends[0]:.0f} to {ends[1]:.0f}", count(number), *cells])
    if not rows:
        return paragraph("No row has both errors and an S/N above 1.", muted=True)
    return table(["S/N", "rows", *(f"median e_{target.name}" for target in TARGETS)], rows, numbers=range(1, 5))


def _scores(facts: CatalogFacts) -> Markup:
    title = "Are the errors true"
    residuals = facts.census.residuals
    if facts.given:
        if not residuals.count:
            words = Markup("No row without a flag has labels in <code>{}</code>.").format(facts.given)
            return section("scores", title, paragraph(words, muted=True))
        words = Markup(
            "On {} rows without a flag whose labels are in <code>{}</code>; "
            "the errors of these labels, where the table has them, are taken into account."
        ).format(count(residuals.count), facts.given)
        return section("scores", title, paragraph(words), residual_figures(residuals, "scores"))
    if not facts.calibration:
        why = f"Not known: there are no given labels (name a table with --truth){_because(facts.model_note)}."
        return section("scores", title, paragraph(why, muted=True))
    where = "On the validation stars of the model; name a table with --truth to see it on rows of this catalogue."
    return section("scores", title, paragraph(where), calibration_table(facts.calibration))


def _because(note: str) -> str:
    return f", and {note}" if note else ", and the model says nothing of its own"


def residual_figures(residuals: Residuals, name: str) -> Markup:
    """Return the figures and tables of predictions against given labels."""
    about = (
        "Filled: rows; line: the normal distribution. Wider than the line, errors are too small; narrower, too large."
    )
    by_label = (
        "Predicted minus given by the given label: the lines are the median and the middle 68 %. A median that leaves "
        "zero at an end is what all regressions do there: they draw extremes towards the middle."
    )
    by_sn = "The same by S/N: the band should narrow to the right, around zero."
    parts: list[Markup] = []
    if residuals.scored:
        draw = partial(figures.draw_scores, residuals=residuals)
        scores = inline_svg(draw, (10.6, 3.1), f"{name}-z", "z scores", about)
        parts += [paragraph(about), picture(scores), calibration_table(residuals.calibration())]
    parts += [_residual_table(residuals)]
    for by, words in (("label", by_label), ("sn", by_sn)):
        draw = partial(figures.draw_residuals, residuals=residuals, by=by)
        svg = inline_svg(draw, (10.6, 3.3), f"{name}-{by}", f"Residuals by {by}", words)
        parts += [paragraph(words), picture(svg)]
    return joined(parts)


def _residual_table(residuals: Residuals) -> Markup:
    rows = []
    for t, target in enumerate(TARGETS):
        found = residuals.errors(t)
        cells = [in_units(found[name], target) for name in ("mae", "bias", "rmse", "scatter")]
        rows.append([target.symbol, count(residuals.count), *cells])
    head = ["label", "rows", "mean absolute error", "bias", "root mean square", "scatter (half of the middle 68 %)"]
    return wide(table(head, rows, numbers=range(1, 6)))


def calibration_table(calibration: Mapping[str, Any]) -> Markup:
    """Return how well errors foretell residuals, for all stars and by quarters of S/N.

    Parameters
    ----------
    calibration : see ``fit.errormodel.assess``
    """
    tables = []
    for target in TARGETS:
        if found := calibration.get(target.name):
            rows = [["all", *_shares(found)]]
            for quarter in found.get("quartiles", ()):
                low, high = quarter["sn"]
                rows.append([f"{low:.0f} to {high:.0f}", *_shares(quarter)])
            tables.append(block(bold(target.symbol), table(CALIBRATION_HEAD, rows, numbers=range(1, 5))))
    note = "z is (predicted - given) / error. Its std should be 1.05, with 68.3 % below 1 and 95 % below 2.09."
    return joined([columns(*tables, close=True), paragraph(note, muted=True)])


def _shares(found: Mapping[str, Any]) -> list[str]:
    if not found.get("stars") or found.get("std") is None:
        return ["0", "", "", ""]
    shares = [f"{100 * found[name]:.1f} %" for name in ("within68", "within95")]
    return [count(found["stars"]), f"{found['std']:.3f}", *shares]


def _flags(census: Census) -> Markup:
    rows = []
    for bit, number in enumerate(census.bits):
        known = [flag for flag in Flag if flag.value == 1 << bit]
        if not known and not number:
            continue
        name = known[0].name or "" if known else "unknown here"
        meaning = MEANINGS.get(known[0], "") if known else "set by another version of raystellar"
        kind = "bad" if (1 << bit) & BAD else "warn" if (1 << bit) & WARN else ""
        share = f"{100 * number / census.rows:.2f} %" if census.rows else ""
        rows.append([str(1 << bit), name, kind, count(int(number)), share, meaning])
    words = Markup(
        "How many rows have each bit of <code>flags</code>; a row may have several. Bits that are bad forbid use."
    )
    head = ["value", "name", "", "rows", "share", "meaning"]
    return section("flags", "Flags", paragraph(words), wide(table(head, rows, numbers=(0, 3, 4))))


def _rejects(facts: CatalogFacts) -> Markup:
    if not facts.rejects:
        return section("rejects", "Rejects", paragraph("None: every spectrum that was given is a row."))
    rows = [[stage, reason, count(number), code(path)] for stage, reason, number, path in facts.rejects]
    words = "What could not be used, where it failed and why; look at an example before you give the files up."
    found = table(["stage", "reason", "spectra", "example"], rows, numbers=(2,))
    return section("rejects", "Rejects", paragraph(words), wide(found))


def _distributions(census: Census) -> Markup:
    caption = (
        "Rows on a logarithmic scale, without a flag (filled) and with one (line). Look for velocities far from zero, "
        "which shift the lines out of place, and for what sets flagged rows apart."
    )
    beyond = [f"{count(number)} by {MEASURES[name][0]}" for name, number in census.outside.items() if number]
    caption += f" Beyond these axes, or without a value: {listed(beyond)}." if beyond else ""
    if "ood_score" in census.columns:
        caption += " The OOD score grows with how little a spectrum is like those the model learnt from."
    draw = partial(figures.draw_distributions, census=census)
    svg = inline_svg(draw, (10.6, 3.3), "distributions", "Distributions of rows", caption)
    return figure("distributions", "What the spectra are like", caption, svg)


def _repeats(summary: Mapping[str, Any]) -> Markup:
    found = summary.get("repeats")
    title = "Stars observed more than once"
    if not isinstance(found, Mapping) or not found.get("stars"):
        words = "The scatter of labels between spectra of one star is not known for this catalogue."
        return section("repeats", title, paragraph(words, muted=True))
    words = (
        f"{count(found['stars'])} stars have {count(found.get('rows', 0))} spectra that are not bad. Differences "
        "between spectra of one star divided by their errors should have a spread near 1: more, and errors are too "
        "small; less, and part of the errors is common to all spectra of a star, as the model's own is. The median "
        "does not see the few that are far off."
    )
    rows = []
    for target in TARGETS:
        if isinstance(one := found.get(target.name), Mapping):
            pulls = [_number(one.get(name), 2) for name in ("pull", "pull_robust")]
            rows.append([target.symbol, in_units(one.get("scatter"), target), *pulls])
    head = ["label", "scatter of a spectrum", "differences / errors, root mean square", "by the median"]
    return section("repeats", title, paragraph(words), wide(table(head, rows, numbers=(1, 2, 3))))


def _gallery(kind: str, facts: CatalogFacts) -> Markup:
    title, words = KINDS[kind]
    rows = facts.gallery.get(kind, ())
    if not rows:
        unscored = kind == "oddest" and "ood_score" not in facts.census.columns
        why = "This catalogue has no OOD scores." if unscored else "There are no such rows."
        return section(kind, title, paragraph(why, muted=True))
    caption = f"Rows with {words}: the flux in the rest frame, and below it how much each label answers to a weak "
    caption += "absorption line there, relative to its greatest answer. Good labels rest on lines with a name."
    if facts.model_note:
        caption += f" The answers cannot be shown: {facts.model_note}."
    shown = [_shown(f"{kind}-{number}", again, response, facts.loglam) for number, (again, response) in enumerate(rows)]
    return section(kind, title, paragraph(caption), *shown)


def _shown(name: str, again: Again, response: np.ndarray | None, loglam: np.ndarray) -> Markup:
    row = again.pick.row
    if again.flux is None:
        return picture(paragraph(f"The spectrum cannot be shown: {again.why}.", muted=True), _labels_of(row))
    draw = partial(figures.draw_spectrum, loglam=loglam, flux=again.flux, response=response)
    svg = inline_svg(draw, (10.6, 2.2 if response is None else 3.2), name, f"Spectrum {row['spec_id']}")
    return picture(svg, _labels_of(row))


def _labels_of(row: Mapping[str, Any]) -> Markup:
    labels = [
        Markup("{} <b>{}</b> ± {}").format(
            target.symbol, in_units(row[target.name], target), in_units(row.get(f"e_{target.name}"), target)
        )
        for target in TARGETS
    ]
    names = [flag.name or "" for flag in Flag if row["flags"] & flag.value]
    more = [f"S/N {_number(row['sn'], 1)}", f"rv {_number(row['rv'], 0)} km/s"]
    more += [f"ood {_number(row['ood_score'], 3)}"] if row.get("ood_score") is not None else []
    more += [" ".join(filter(None, (row["object_class"], row["subclass"]))) or "no class"]
    more += [f"flags {' '.join(names)}" if names else "no flag"]
    lines = [joined([bold(row["spec_id"]), *labels], " · "), joined(more, " · "), code(row["path"])]
    return joined(lines, Markup("<br>"))


def in_units(value: float | None, target: Target) -> str:
    """Return a label or its error as a text, as precise as it is worth."""
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.0f}\u202fK" if target.unit == "K" else f"{value:.3f}\u202fdex"


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
