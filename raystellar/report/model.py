"""The page of a model: its architecture, training, errors and calibration, and the spectral lines it responds to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from raystellar.config import to_plain
from raystellar.model.bundle import Bundle
from raystellar.report.assessment import calibration_table, residual_figures, residual_table
from raystellar.report.axes import linear_axis
from raystellar.report.page import (
    OOD_SCORE,
    code,
    count,
    details,
    figure,
    header,
    html_page,
    in_units,
    listed,
    paragraph,
    section,
    table,
    tile,
    wide,
)
from raystellar.report.residuals import Residuals
from raystellar.report.search.figures import loss_axis
from raystellar.report.spectral_figures import draw_response, mark_lines, wavelength_axis
from raystellar.report.svg import COLOURS, inline_svg
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {
    "mae": "mean absolute error",
    "rmse": "root mean square",
    "bias": "bias",
    "scatter": "scatter (1.48 median absolute deviations)",
}
"""Names of the values of ``fit.metrics.errors``."""

LEAST_ERROR_TOP, MOST_ERROR_TOP = 1.1, 3.0
"""Least and greatest upper end of the axis of errors relative to their minimum."""


@dataclass(frozen=True)
class Examined:
    """Predictions of a model for the validation spectra of a dataset."""

    dataset: str
    """Folder of the dataset."""
    same: bool
    """Whether the model was trained on this dataset, so that its validation spectra are new to the model."""
    residuals: Residuals
    """Predictions compared with the labels of the dataset."""
    response: np.ndarray
    """Mean size (3, P) of the response of each label to a weak line, in the units of the labels."""
    spectra: int
    """Number of spectra of the mean response."""


def model_page(path: str, bundle: Bundle, examined: Examined | None) -> Markup:
    """Return the page of a model; sections without contents are left out.

    Parameters
    ----------
    path : folder of the model
    bundle : the model
    examined : predictions for the validation spectra; None without a dataset
    """
    parts = [
        _head(path, bundle, examined),
        _architecture(bundle),
        _training(bundle),
        _validation(bundle),
        _calibration(bundle),
        _residuals(examined),
        _saliency(bundle, examined),
        _ood(bundle),
        _provenance(bundle),
    ]
    return html_page(f"Model: {path}", parts)


def _head(path: str, bundle: Bundle, examined: Examined | None) -> Markup:
    parameters = sum(array.size for array in bundle.weights.values())
    tiles = [tile(count(parameters), "parameters", best=True)]
    for target in TARGETS:
        if errors := bundle.validation.get(target.name):
            words = f"mean absolute error of {target.symbol} on the validation stars"
            tiles.append(tile(in_units(errors["mae"], target), words))
    if bundle.history:
        best, epochs = ", ".join(map(str, bundle.best_epochs)), len(bundle.history[0])
        several = len(bundle.history) > 1
        words = f"epochs kept in {len(bundle.history)} networks, of {epochs}" if several else f"epoch kept, of {epochs}"
        tiles.append(tile(best, words))
    words = Markup("Model <code>{}</code>, made {} by raystellar {} from the dataset <code>{}</code>, seed {}.").format(
        bundle.model_id, bundle.created, bundle.raystellar_version, bundle.data_hash, bundle.seed
    )
    if examined is None:
        words += Markup(
            " To see residuals and the response to spectral lines, name a dataset with "
            "<code>raystellar report --dataset</code>."
        )
    return header("Model", path, words, tiles)


def _architecture(bundle: Bundle) -> Markup:
    network, grid = bundle.network, bundle.grid
    heads = [f"{target.symbol}: {_widths(network.head(target.name)[0])}" for target in TARGETS]
    low, high = (10.0 ** grid[end] for end in ("start", "stop"))
    rows = [
        ["networks", str(bundle.members) + ("; the model is their mean" if bundle.members > 1 else "")],
        ["input", f"{count(network.n_pixels)} pixels, {low:.0f} to {high:.0f} Å in vacuum, equal in log10"],
        ["stem", f"{network.stem} units, dropout {network.stem_dropout:g}"],
        ["residual blocks", f"{_widths(network.blocks)}, dropout {network.trunk_dropout:g}"],
        ["heads", "; ".join(heads)],
        ["shared trunk", "yes" if network.multitask else "no: one network for each label"],
        ["shortcuts", _yes(network.skip)],
        ["layer normalisation", _yes(network.layer_norm)],
    ]
    rows += [[f"preprocess.{name}", str(value)] for name, value in to_plain(bundle.preprocess).items()]
    return section("architecture", "Architecture", table([], rows))


def _widths(widths: tuple[int, ...]) -> str:
    return f"{'-'.join(map(str, widths))} units" if widths else "no hidden layer"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _training(bundle: Bundle) -> Markup:
    if not bundle.history:
        return Markup()
    caption = (
        "Loss by epoch (left), and mean absolute errors on the validation stars relative to their minimum (right); one "
        "line for each network. Dashed: the epoch whose weights were kept. The training loss is measured under noise "
        "and dropout. A validation loss that rises again means overfitting."
    )
    draw = partial(draw_training, histories=bundle.history, best=bundle.best_epochs)
    svg = inline_svg(draw, (10.6, 3.6), "curves", "Learning curves")
    return figure("curves", "Training", caption, svg)


def draw_training(figure: Figure, histories: list[list[dict[str, Any]]], best: tuple[int, ...]) -> None:
    """Draw losses and errors of each network by epoch into an empty figure."""
    left, right = figure.subplots(1, 2)
    for number, history in enumerate(histories):
        _draw_losses(left, history, named=number == 0)
        _draw_errors(right, history, named=number == 0)
    epochs = [entry for history in histories for entry in history]
    loss_axis(left, [_loss(entry, key) for entry in epochs for key in ("train", "validation")])
    right.set_ylim(0.97, float(np.clip(right.get_ylim()[1], LEAST_ERROR_TOP, MOST_ERROR_TOP)))
    linear_axis(right, "y")
    for axis, words in ((left, "loss"), (right, "error / least error")):
        for epoch in best:
            axis.axvline(epoch, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
        axis.set(xlabel="epoch", ylabel=words, xlim=(0.0, 1.03 * max(entry["epoch"] for entry in epochs)))
        axis.legend()
        linear_axis(axis, "x", 8)


def _draw_losses(axis: Axes, history: list[dict[str, Any]], named: bool) -> None:
    epochs, colours = [entry["epoch"] for entry in history], {"train": "muted", "validation": "accent"}
    for key, words in (("train", "training"), ("validation", "validation")):
        values, colour = [_loss(entry, key) for entry in history], COLOURS[colours[key]]
        axis.plot(epochs, values, color=colour, linewidth=1.2, marker="o", markersize=2, label=words if named else None)


def _draw_errors(axis: Axes, history: list[dict[str, Any]], named: bool) -> None:
    epochs = [entry["epoch"] for entry in history]
    for t, target in enumerate(TARGETS):
        errors = np.array([_finite((entry.get("mae") or [None] * len(TARGETS))[t]) for entry in history])
        least = np.nanmin(errors) if np.isfinite(errors).any() else 1.0
        words = target.symbol if named else None
        axis.plot(epochs, errors / least, color=COLOURS[target.name], linewidth=1.2, label=words)


def _loss(entry: dict[str, Any], key: str) -> float:
    return _finite(entry.get(f"{key}_loss"))


def _finite(value: float | None) -> float:
    return float(value) if value is not None else math.nan


def _validation(bundle: Bundle) -> Markup:
    if not bundle.validation:
        return Markup()
    names = [name for name in METRICS if all(name in errors for errors in bundle.validation.values())]
    rows = []
    for target in TARGETS:
        errors, (low, high) = bundle.validation[target.name], bundle.label_ranges[target.name]
        cells = [in_units(errors[name], target) for name in names]
        rows.append([target.symbol, *cells, f"{in_units(low, target)} to {in_units(high, target)}"])
    head = ["label", *(METRICS[name] for name in names), "range of training labels"]
    words = (
        "Predicted minus reference labels of the validation stars. The bias should be small compared with the scatter. "
        "A catalogue flags labels outside the range of the training labels."
    )
    numbers = wide(table(head, rows, numbers=range(1, len(head))))
    return section("validation", "Errors on the validation stars", paragraph(words), numbers)


def _calibration(bundle: Bundle) -> Markup:
    if not bundle.calibration:
        return Markup()
    words = "Measured on the validation stars, with the errors of their reference labels added to those of the model."
    return section("calibration", "Calibration of the errors", paragraph(words), calibration_table(bundle.calibration))


def _residuals(examined: Examined | None) -> Markup:
    """Return the figures of residuals, with tables unless the sections before show the same numbers."""
    if examined is None or not examined.residuals.count:
        return Markup()
    residuals = examined.residuals
    words = Markup("{} validation spectra of <code>{}</code>.").format(count(residuals.count), examined.dataset)
    tables: tuple[Markup, ...] = ()
    if not examined.same:
        words += " The model was trained on another dataset."
        tables = (calibration_table(residuals.calibration()), residual_table(residuals))
    figures = residual_figures(residuals, "residuals")
    return section("residuals", "Residuals", paragraph(words), *tables, figures)


def _saliency(bundle: Bundle, examined: Examined | None) -> Markup:
    if examined is None:
        return Markup()
    title = "Response to spectral lines"
    greatest = [in_units(float(values.max()), t) for t, values in zip(TARGETS, examined.response, strict=True)]
    caption = (
        "Change of each label for a weak absorption line (a tenth of the spectrum's standard deviation deep, 480 km/s "
        f"wide) at each wavelength: mean size over {count(examined.spectra)} validation spectra, relative to its "
        f"maximum of {listed(greatest)}. Peaks should stand at named lines: hydrogen for Teff, metals for [Fe/H], "
        "Mg b and the wings of hydrogen for log g."
    )
    grid = bundle.grid
    loglam = np.linspace(grid["start"], grid["stop"], grid["n"])
    draw = partial(_draw_saliency, loglam=loglam, response=examined.response)
    return figure("saliency", title, caption, inline_svg(draw, (10.6, 3.6), "saliency", title))


def _draw_saliency(figure: Figure, loglam: np.ndarray, response: np.ndarray) -> None:
    axis = figure.subplots()
    draw_response(axis, loglam, response)
    mark_lines(axis, loglam)
    wavelength_axis(axis, loglam)


def _ood(bundle: Bundle) -> Markup:
    if not (check := bundle.ood_check):
        return Markup()
    words = (
        f"OOD score is the {OOD_SCORE}. The table gives the share of {count(check['stars'])} validation stars with an "
        "OOD score above 1. It should be about 1 % at every S/N."
    )
    shares = [check["above"], *check["above_by_sn_quartile"]]
    head = ["all stars", "lowest quarter by S/N", "second quarter", "third quarter", "highest quarter"]
    row = ["" if share is None else f"{100 * share:.2f} %" for share in shares]
    return section("ood", "OOD score", paragraph(words), table(head, [row], numbers=len(head)))


def _provenance(bundle: Bundle) -> Markup:
    rows = [["fit", bundle.fit_id], ["weights (SHA-256)", bundle.weights_sha256]]
    rows += [[f"version of {name}", version] for name, version in bundle.versions.items()]
    settings = [
        [f"{part}.{name}" if name else part, str(value)]
        for part, values in bundle.config.items()
        for name, value in (values.items() if isinstance(values, Mapping) else [("", values)])
    ]
    content = table([], [[name, code(value)] for name, value in rows])
    all_settings = details(f"All {len(settings)} settings of the run", wide(table(["setting", "value"], settings)))
    return section("provenance", "Provenance", content, all_settings)
