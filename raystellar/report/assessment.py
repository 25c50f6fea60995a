"""Parts of pages that compare predictions with reference labels, and errors with residuals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from markupsafe import Markup

from raystellar.evaluation.metrics import EXPECTED_STD
from raystellar.model.errormodel import WITHIN
from raystellar.report.page import (
    block,
    bold,
    columns,
    count,
    in_units,
    joined,
    listed,
    paragraph,
    picture,
    table,
    wide,
)
from raystellar.report.residual_figures import draw_residuals, draw_scores
from raystellar.report.residuals import RESIDUAL_RANGES, Residuals
from raystellar.report.svg import inline_svg
from raystellar.targets import TARGETS

CALIBRATION_HEAD = ["S/N", "rows", "std of z", *(f"|z| < {limit:g}" for limit in WITHIN.values())]
"""Columns of ``calibration_table``."""

ERROR_HEAD = ["label", "rows", "mean absolute error", "bias", "root mean square", "scatter (half of the middle 68 %)"]
"""Columns of ``residual_table``."""


def residual_figures(residuals: Residuals, name: str) -> Markup:
    """Return the figures of residuals and, where there are errors, of z.

    Parameters
    ----------
    name : prefix of the names of the figures on the page
    """
    scores = (
        "Filled: rows by z. Line: the distribution expected where errors are right. A distribution wider than the line "
        "means errors that are too small."
    )
    by_label = (
        "Predicted minus reference by the reference label, with the running median and the middle 68 %. At the ends "
        "of the range the median leaves zero: regressions draw extremes towards the middle."
    )
    if any(residuals.beyond):
        limits = listed(in_units(RESIDUAL_RANGES[target.name], target) for target in TARGETS)
        by_label += f" Rows with a residual above {limits} are not drawn: {listed(map(count, residuals.beyond))} rows."
    by_sn = "Predicted minus reference by S/N. The middle 68 % should become narrower towards high S/N."
    parts: list[Markup] = []
    if residuals.scored:
        draw = partial(draw_scores, residuals=residuals)
        svg = inline_svg(draw, (10.6, 3.1), f"{name}-z", "Distribution of z")
        parts += [paragraph(scores), picture(svg)]
    for by, words in (("label", by_label), ("sn", by_sn)):
        draw = partial(draw_residuals, residuals=residuals, by=by)
        svg = inline_svg(draw, (10.6, 3.3), f"{name}-{by}", f"Residuals by {by}")
        parts += [paragraph(words), picture(svg)]
    return joined(parts)


def residual_table(residuals: Residuals) -> Markup:
    """Return a table of mean absolute error, bias, root mean square and scatter of each label."""
    rows = []
    for t, target in enumerate(TARGETS):
        errors = residuals.errors(t)
        cells = [in_units(errors[name], target) for name in ("mae", "bias", "rmse", "scatter")]
        rows.append([target.symbol, count(residuals.count), *cells])
    return wide(table(ERROR_HEAD, rows, numbers=range(1, len(ERROR_HEAD))))


def calibration_table(calibration: Mapping[str, Any]) -> Markup:
    """Return a table for each label of z = (predicted - reference) / error, of all stars and by quarters of S/N.

    Parameters
    ----------
    calibration : assessment of each label; see ``model.bundle.Bundle.calibration``
    """
    tables = []
    for target in TARGETS:
        if shares := calibration.get(target.name):
            rows = [["all", *_cells(shares)]]
            for quarter in shares.get("quartiles", ()):
                low, high = quarter["sn"]
                rows.append([f"{low:.0f} to {high:.0f}", *_cells(quarter)])
            tables.append(block(bold(target.symbol), table(CALIBRATION_HEAD, rows, numbers=range(1, 5))))
    narrow, wide_limit = WITHIN.values()
    expected = (
        f"z = (predicted - reference) / error. Where errors are right, the standard deviation (std) of z is "
        f"{EXPECTED_STD:.2f}, |z| is below {narrow:g} for 68.3 % of the rows and below {wide_limit:g} for 95 %."
    )
    return joined([columns(*tables, close=True), paragraph(expected, muted=True)])


def _cells(shares: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row of ``calibration_table`` after the first."""
    if not shares.get("stars") or shares.get("std") is None:
        return ["0", *("" for _ in CALIBRATION_HEAD[2:])]
    return [count(shares["stars"]), f"{shares['std']:.3f}", *(f"{100 * shares[name]:.1f} %" for name in WITHIN)]
