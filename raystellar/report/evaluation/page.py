"""The page of an evaluation: tables of all catalogues and models, and the figures of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from markupsafe import Markup

from raystellar.evaluation.metrics import CELL_STARS, EXPECTED_STD, Statistics
from raystellar.evaluation.predictions import Predictions
from raystellar.evaluation.result import REPEAT_PAIRS, Agreement, Evaluation, Item, interval
from raystellar.report.evaluation import figures
from raystellar.report.page import (
    bold,
    code,
    columns,
    count,
    decimal,
    details,
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
from raystellar.report.residual_figures import draw_scores
from raystellar.report.residuals import Residuals
from raystellar.report.svg import inline_svg
from raystellar.targets import TARGETS, Target

STATISTICS_HEAD = [
    "stars", "ratio", "MAE", "mean d", "median d", "scatter", "rms", "of range", "mean z", "std z", "|z| < 1", "< 2.09",
    "> 3",
]  # fmt: skip
"""Columns of a table of statistics."""


def evaluation_page(result: Evaluation, each: Sequence[Predictions]) -> Markup:
    """Return the page of an evaluation.

    Parameters
    ----------
    result : statistics of all items
    each : predictions of each item; empty where there are no reference labels
    """
    parts = [_head(result), _items(result)]
    if each:
        parts += [_errors(result), _bins(result), _cells(result), *_figures(result, each)]
    parts.append(_repeats(result))
    return html_page("Evaluation", parts)


def _head(result: Evaluation) -> Markup:
    first = result.items[0]
    tiles = []
    if first.labels:
        several = len(result.items) > 1
        which = "compared" if not several else "that all items have" if result.common else "of the first item"
        tiles.append(tile(count(first.stars), f"stars {which}"))
    for target in TARGETS if first.labels else ():
        best = min(result.items, key=lambda item: item.labels[target.name].all.mae)
        of = f", of {best.name}" if len(result.items) > 1 else ""
        mae = in_units(best.labels[target.name].all.mae, target)
        tiles.append(tile(mae, f"{'least ' if of else ''}mean absolute error of {target.symbol}{of}"))
    words = (
        Markup("Compared with {}.").format(result.reference)
        if result.reference
        else Markup("Without reference labels, only different spectra of one star are compared.")
    )
    return header("Evaluation", ", ".join(item.path for item in result.items), words, tiles)


def _items(result: Evaluation) -> Markup:
    head = ["", "folder", "kind", "model", "rows", "flagged bad", "without label", "compared"]
    rows = [[item.name, code(item.path), item.kind, code(item.model_id), *_numbers(item)] for item in result.items]
    words = "Rows that are flagged bad are left out, and so are rows without a usable reference label. " + (
        "All items are compared on the stars that all of them have. " if result.common else ""
    )
    notes = [paragraph(f"Note: {note}.", muted=True) for note in result.notes]
    return section("items", "Catalogues and models", paragraph(words), wide(table(head, rows, range(4, 8))), *notes)


def _numbers(item: Item) -> list[str]:
    if item.counts is None:
        return [""] * 4
    counts = item.counts
    return [count(number) for number in (counts.rows, counts.bad, counts.unlabelled, item.stars)]


def _errors(result: Evaluation) -> Markup:
    included = [target.symbol for target in TARGETS if target.name in result.label_errors]
    errors = f"z of {listed(included)} includes" if included else "No z includes"
    words = (
        "d = predicted - reference, z = d / error. MAE: mean absolute error. Ratio: MAE relative to the first row. "
        "Scatter: 1.4826 median absolute deviations of d. Rms: root mean square of d. Of range: MAE in percent of "
        f"the range of the reference labels. {errors} errors of the reference labels. Where errors are right, the "
        f"standard deviation (std) of z is {EXPECTED_STD:.2f}, and 68.3 %, 95 % and 0.9 % of the stars have |z| "
        "below 1, below 2.09 and above 3."
    )
    tables = []
    for target in TARGETS:
        rows = [[item.name, *_row(item.labels[target.name], target)] for item in result.items]
        span = in_units(result.items[0].labels[target.name].range, target)
        head = [Markup("{} (range {})").format(target.symbol, span), *STATISTICS_HEAD]
        tables.append(_close(head, rows))
    return section("errors", "Errors", paragraph(words), *tables)


def _close(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table in small type, of which all columns but the first are numbers."""
    return columns(wide(table(head, rows, range(1, len(head)))), close=True)


def _row(agreement: Agreement, target: Target) -> list[str]:
    """Return the cells of a row of statistics of all stars, see ``STATISTICS_HEAD``."""
    stars, *others = _statistics(agreement.all, target)
    return [stars, decimal(agreement.ratio, 3), *others]


def _statistics(of: Statistics, target: Target) -> list[str]:
    """Return the cells of a row of statistics without the ratio."""
    differences = [in_units(value, target) for value in (of.mae, of.bias, of.median, of.scatter, of.rms)]
    scores = [decimal(of.z_mean, 2), decimal(of.z_std, 2)]
    shares = [_percent(value) for value in (of.within68, of.within95, of.outliers)]
    return [count(of.stars), *differences, _percent(of.mae_of_range, 2), *scores, *shares]


def _percent(share: float, digits: int = 1) -> str:
    return f"{decimal(100.0 * share, digits)} %"


def _bins(result: Evaluation) -> Markup:
    words = (
        "Mean absolute errors in quarters of the stars by S/N, and in groups by reference label. Errors should fall "
        "with S/N. Groups of few stars are uncertain."
    )
    together = [result.items] if result.common else [[item] for item in result.items]
    parts = [_errors_by_group(items) for items in together]
    for item in result.items:
        for target in TARGETS:
            head = [target.symbol, *(name for name in STATISTICS_HEAD if name != "ratio")]
            rows = [[interval(one), *_statistics(one.statistics, target)] for one in item.labels[target.name].bins]
            parts.append(details(f"All statistics of {target.symbol} of {item.name}", _close(head, rows)))
    return section("bins", "Errors by S/N and by label", paragraph(words), *parts)


def _errors_by_group(items: Sequence[Item]) -> Markup:
    """Return a table of the mean absolute errors of items that are compared on the same stars, a row for each group."""
    names = [f" {item.name}" if len(items) > 1 else "" for item in items]
    head = ["", "stars", *(f"{target.symbol}{name}" for target in TARGETS for name in names)]
    columns_of = [
        [in_units(one.statistics.mae, target) for one in item.labels[target.name].bins]
        for target in TARGETS
        for item in items
    ]
    groups = items[0].labels[TARGETS[0].name].bins
    names_of = [[interval(one), count(one.statistics.stars)] for one in groups]
    rows = [[*name, *row] for name, row in zip(names_of, zip(*columns_of, strict=True), strict=True)]
    return _close(head, rows)


def _cells(result: Evaluation) -> Markup:
    words = (
        "Shares of the stars within 1 and 2.09 errors, which should be 68.3 % and 95 % everywhere. The stars are "
        "divided at the thirds of S/N, predicted Teff and predicted [Fe/H]. Predicted labels are used because a "
        f"reader of a catalogue knows only these. Cells with fewer than {CELL_STARS} stars are left out; in a cell "
        f"with {CELL_STARS} stars the shares vary by 2.7 and 1.3 points (standard deviation) by chance."
    )
    head = ["S/N", "Teff [K]", "[Fe/H]", "stars", *(f"{t.symbol}, |z| < {z}" for t in TARGETS for z in ("1", "2.09"))]
    parts = []
    for item in result.items:
        if not item.cells:
            parts.append(paragraph(f"{item.name}: no cell has {CELL_STARS} stars.", muted=True))
            continue
        rows = []
        for cell in item.cells:
            ends = [
                f"{low:.{d}f} to {high:.{d}f}" for (low, high), d in zip(cell.ends.values(), (1, 0, 2), strict=True)
            ]
            shares = [_percent(share) for target in TARGETS for share in cell.shares[target.name].values()]
            rows.append([*ends, count(cell.stars), *shares])
        narrow, broad = item.deviation.values()
        largest = f"{item.name}: at most {narrow:.1f} points from 68.3 % and {broad:.1f} points from 95 %."
        parts += [paragraph(bold(largest)), columns(wide(table(head, rows, range(3, len(head)))), close=True)]
    return section("cells", "Shares within the errors", paragraph(words), *parts)


def _figures(result: Evaluation, each: Sequence[Predictions]) -> list[Markup]:
    """Return a section with the figures of each item; all items have the same axes."""
    ends, reaches = figures.label_ends(list(each)), figures.residual_reaches(list(each))
    return [
        _figures_of(number, item, stars, ends, reaches)
        for number, (item, stars) in enumerate(zip(result.items, each, strict=True), 1)
    ]


def _figures_of(number: int, item: Item, stars: Predictions, ends: np.ndarray, reaches: np.ndarray) -> Markup:
    name = f"item-{number}"
    residuals = Residuals()
    residuals.add(stars.predicted, stars.labels, stars.errors, stars.sn)
    beyond = [int((abs(stars.differences[:, t]) > reaches[t]).sum()) for t in range(len(TARGETS))]
    outside = f" Larger residuals are not drawn: {listed(map(count, beyond))} stars." if any(beyond) else ""
    shown = [
        (
            "Predicted against reference labels. Stars should lie along the line of identity.",
            inline_svg(
                partial(figures.draw_predicted, stars=stars, ends=ends), (10.6, 3.5), f"{name}-true", "Predicted"
            ),
        ),
        (
            "Predicted minus reference labels by S/N and by each reference label, with the running median and the "
            f"middle 68 %. The median should stay at zero, except at the ends of a label's own range.{outside}",
            inline_svg(
                partial(figures.draw_residuals_by, stars=stars, reaches=reaches), (10.6, 7.2), f"{name}-by", "Residuals"
            ),
        ),
    ]
    if residuals.scored:
        words = (
            "Filled: stars by z. Line: the distribution expected where errors are right, which has slightly longer "
            "tails than a normal distribution."
        )
        svg = inline_svg(partial(draw_scores, residuals=residuals), (10.6, 3.1), f"{name}-z", "Distribution of z")
        shown.append((words, svg))
    content = [part for words, svg in shown for part in (paragraph(words), picture(svg))]
    return section(name, item.name, *content)


def _repeats(result: Evaluation) -> Markup:
    words = (
        "Different spectra of one star that are not bad. The scatter of one spectrum is that of the differences, "
        "divided by the square root of 2. The pull is the difference divided by the errors of both labels, combined "
        "in squares. It is below 1 where the spectra of one star share part of their errors, such as those of the "
        "model. The robust pull comes from the median absolute pull."
    )
    head = ["", "pairs", *(f"{target.symbol}: {what}" for target in TARGETS for what in ("scatter", "pull", "robust"))]
    rows, few = [], []
    for item in result.items:
        if not item.has_repeats:
            few.append(f"{item.name} ({count(item.pairs)})")
            continue
        cells = [
            text
            for target in TARGETS
            for of in [item.repeats[target.name]]
            for text in (in_units(of["scatter"], target), decimal(of["pull"], 2), decimal(of["pull_robust"], 2))
        ]
        rows.append([item.name, count(item.pairs), *cells])
    without = f"Fewer than {REPEAT_PAIRS} pairs: {listed(few)}." if few else ""
    content = [wide(table(head, rows, range(1, len(head))))] if rows else []
    return section("repeats", "Repeats", paragraph(words), *content, paragraph(without, muted=True) if few else "")
