"""The page of a model: what it is, how it learnt, how good it is, and which lines it looks at."""

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
from raystellar.report.catalog.figures import draw_response
from raystellar.report.catalog.page import calibration_table, in_units, residual_figures
from raystellar.report.page import (
    code,
    count,
    details,
    figure,
    header,
    html_page,
    listed,
    paragraph,
    section,
    table,
    tile,
    wide,
)
from raystellar.report.residuals import Residuals
from raystellar.report.search.figures import loss_axis
from raystellar.report.spectral_lines import mark_lines, wavelength_axis
from raystellar.report.svg import COLOURS, inline_svg
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_DATASET = "It takes spectra to see this: name the dataset with --dataset."

METRICS = {"mae": "mean absolute error", "rmse": "root mean square", "bias": "bias", "scatter": "scatter"}
"""Of ``fit.metrics``."""


@dataclass(frozen=True)
class Examined:
    """What a model makes of the validation spectra of a dataset."""

    dataset: str
    same: bool
    """It is the dataset the model was trained on, so that these spectra are new to it."""
    residuals: Residuals
    response: np.ndarray
    """(3, P) mean size of the answer of each label to a weak line, in the units of the labels."""
    spectra: int
    """From which that is."""


def model_page(place: str, bundle: Bundle, examined: Examined | None) -> Markup:
    """Return the page of a model.

    Parameters
    ----------
    place : its folder
    bundle : what stands there
    examined : what it makes of spectra; None where no dataset is at hand
    """
    parts = [
        _head(place, bundle),
        _architecture(bundle),
        _curves(bundle),
        _validation(bundle),
        _calibration(bundle),
        _residuals(examined),
        _saliency(bundle, examined),
        _ood(bundle),
        _provenance(bundle),
    ]
    return html_page(f"Model: {place}", parts)


def _head(place: str, bundle: Bundle) -> Markup:
    parameters = sum(array.size for array in bundle.weights.values())
    tiles = [tile(f"{count(parameters)}", "parameters", best=True)]
    for target in TARGETS:
        found = bundle.validation.get(target.name)
        if found:
            tiles.append(tile(in_units(found["mae"], target), f"mean absolute error of {target.symbol} on validation"))
    if bundle.history:
        best = ", ".join(map(str, bundle.best_epochs))
        words = f"best epochs of {len(bundle.history[0])}, of {len(bundle.history)} networks"
        tiles.append(tile(best, words if len(bundle.history) > 1 else f"best epoch of {len(bundle.history[0])}"))
    words = Markup("Model <code>{}</code>, made {} by raystellar {} from the dataset <code>{}</code>, seed {}.").format(
        bundle.model_id, bundle.created, bundle.raystellar_version, bundle.data_hash, bundle.seed
    )
    return header("Model", place, words, tiles)


def _architecture(bundle: Bundle) -> Markup:
    network, grid = bundle.network, bundle.grid
    heads = [f"{target.symbol}: {_widths(network.head(target.name)[0])}" for target in TARGETS]
    ends = [10.0 ** grid[end] for end in ("start", "stop")]
    rows = [
        ["networks", str(bundle.members) + (", of which it is the mean" if bundle.members > 1 else "")],
        ["input", f"{count(network.n_pixels)} pixels, {ends[0]:.0f} to {ends[1]:.0f} Å in vacuum, even in log10"],
        ["stem", f"{network.stem} units, dropout {network.stem_dropout:g}"],
        ["residual blocks", f"{_widths(network.blocks)}, dropout {network.trunk_dropout:g}"],
        ["heads", "; ".join(heads)],
        ["shared trunk", "yes" if network.multitask else "no: a network for each label"],
        ["shortcuts, layer normalisation", f"{_yes(network.skip)}, {_yes(network.layer_norm)}"],
    ]
    rows += [[f"preprocess.{name}", str(value)] for name, value in to_plain(bundle.preprocess).items()]
    return section("architecture", "What it is", table([], rows))


def _widths(widths: tuple[int, ...]) -> str:
    return f"{'-'.join(map(str, widths))} units" if widths else "no hidden layer"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _curves(bundle: Bundle) -> Markup:
    if not bundle.history:
        return section("curves", "How it learnt", paragraph("The bundle holds no history of its training.", muted=True))
    caption = (
        "Loss by epoch (left) and mean absolute errors on the validation stars relative to their best (right). The "
        "loss of training is measured under noise and dropout. Where the validation loss rises again, the network "
        "learns its stars by heart. A line for each network."
    )
    draw = partial(draw_curves, histories=bundle.history, best=bundle.best_epochs)
    svg = inline_svg(draw, (10.6, 3.6), "curves", "Learning curves", caption)
    return figure("curves", "How it learnt", caption, svg)


def draw_curves(figure: Figure, histories: list[list[dict[str, Any]]], best: tuple[int, ...]) -> None:
    """Draw losses and errors of each network by epoch into an empty figure."""
    left, right = figure.subplots(1, 2)
    for number, history in enumerate(histories):
        _draw_losses(left, history, named=number == 0)
        _draw_errors(right, history, named=number == 0)
    epochs = [entry for history in histories for entry in history]
    loss_axis(left, [_loss(entry, key) for entry in epochs for key in ("train", "validation")])
    right.set_ylim(0.97, min(3.0, right.get_ylim()[1]))
    for axis, words in ((left, "loss"), (right, "error / least error")):
        for epoch in best:
            axis.axvline(epoch, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
        axis.set(xlabel="epoch (dashed: the one that was kept)", ylabel=words)
        axis.legend()


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
        return section("validation", "How good it is", paragraph("The bundle holds no validation errors.", muted=True))
    names = [name for name in METRICS if all(name in found for found in bundle.validation.values())]
    rows = []
    for target in TARGETS:
        found, (low, high) = bundle.validation[target.name], bundle.label_ranges[target.name]
        cells = [in_units(found[name], target) for name in names]
        rows.append([target.symbol, *cells, f"{in_units(low, target)} to {in_units(high, target)}"])
    head = ["label", *(METRICS[name] for name in names), "labels learnt from"]
    words = (
        "Predicted minus given on the validation stars. Bias should be small beside the scatter (1.48 times the median"
    )
    words += " absolute deviation). Labels beyond the last column are flagged in a catalogue."
    numbers = wide(table(head, rows, numbers=range(1, len(head))))
    return section("validation", "How good it is", paragraph(words), numbers)


def _calibration(bundle: Bundle) -> Markup:
    title = "Are its errors true"
    if not bundle.calibration:
        words = "The bundle holds no calibration: it was made without errors of its predictions."
        return section("calibration", title, paragraph(words, muted=True))
    words = (
        "On the validation stars, with the errors of their own labels: the standard deviation should be 1 in every row."
    )
    return section("calibration", title, paragraph(words), calibration_table(bundle.calibration))


def _residuals(examined: Examined | None) -> Markup:
    title = "Predicted against given"
    if examined is None or not examined.residuals.count:
        return section("residuals", title, paragraph(NO_DATASET, muted=True))
    words = Markup("The {} validation spectra of <code>{}</code>. ").format(
        count(examined.residuals.count), examined.dataset
    )
    words += "" if examined.same else "It is another dataset than the one that the model was trained on. "
    words += "The errors of the given labels are smoothed, as in the calibration."
    return section("residuals", title, paragraph(words), residual_figures(examined.residuals, "residuals"))


def _saliency(bundle: Bundle, examined: Examined | None) -> Markup:
    title = "Which lines it looks at"
    if examined is None:
        return section("saliency", title, paragraph(NO_DATASET, muted=True))
    greatest = [in_units(float(values.max()), t) for t, values in zip(TARGETS, examined.response, strict=True)]
    caption = (
        "By how much each label answers to a weak absorption line (a tenth of the spectrum's standard deviation deep, "
        f"480 km/s wide) at that wavelength, mean over {count(examined.spectra)} validation spectra, relative to the "
        f"greatest: {listed(greatest)}. Peaks should stand at lines with a name: hydrogen for temperature, metals for "
        "[Fe/H], Mg b and the wings of hydrogen for log g."
    )
    grid = bundle.grid
    loglam = np.linspace(grid["start"], grid["stop"], grid["n"])
    draw = partial(_draw_saliency, loglam=loglam, response=examined.response)
    return figure("saliency", title, caption, inline_svg(draw, (10.6, 3.6), "saliency", title, caption))


def _draw_saliency(figure: Figure, loglam: np.ndarray, response: np.ndarray) -> None:
    axis = figure.subplots()
    draw_response(axis, loglam, response)
    mark_lines(axis, loglam)
    wavelength_axis(axis, loglam)


def _ood(bundle: Bundle) -> Markup:
    title, found = "What it knows", bundle.ood_check
    if not found:
        words = "The bundle holds no OOD score: it does not say which spectra are unlike those it learnt from."
        return section("ood", title, paragraph(words, muted=True))
    words = (
        f"Share of {found['stars']} validation stars with a OOD score above 1, the limit of the flag OOD. It "
        "should be about one in a hundred, whatever the S/N."
    )
    shares = [found["above"], *found["above_by_sn_quartile"]]
    head = ["of all", *(f"quarter {number} by S/N" for number in range(1, 5))]
    row = ["" if share is None else f"{100 * share:.2f} %" for share in shares]
    return section("ood", title, paragraph(words), table(head, [row]))


def _provenance(bundle: Bundle) -> Markup:
    rows = [["fit", bundle.fit_id], ["weights (SHA-256)", bundle.weights_sha256]]
    rows += [[f"version of {name}", version] for name, version in bundle.versions.items()]
    settings = [
        [f"{part}.{name}", str(value)]
        for part, values in bundle.config.items()
        for name, value in (values.items() if isinstance(values, Mapping) else [("", values)])
    ]
    content = table([], [[name, code(value)] for name, value in rows])
    all_of_them = details(f"All {len(settings)} settings of the run", wide(table(["setting", "value"], settings)))
    return section("provenance", "Where it comes from", content, all_of_them)
