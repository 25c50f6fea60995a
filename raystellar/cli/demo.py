"""The whole job on a simulated survey: simulate -> preprocess -> train -> label -> compare with the truth.

Some plates have labels. The network learns from these plates and labels the other plates. Its labels are compared with
the truth, beside the labels of a Ridge regression on the same spectra. Source: Table 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.cli.settings import Settings
from raystellar.config import to_plain
from raystellar.engine.progress import Stopwatch
from raystellar.engine.session import session
from raystellar.errors import ConfigError, IncompleteError
from raystellar.files import places
from raystellar.fit.data import read_dataset
from raystellar.model.baselines import Ridge
from raystellar.model.bundle_files import load_bundle
from raystellar.preprocessing.ingest import choose_rv, ingest
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import Flag
from raystellar.report.figures import predicted_against_true
from raystellar.report.write import PageSummary, try_page
from raystellar.simulator.config import SimulateConfig
from raystellar.simulator.plates import is_labelled, plates
from raystellar.simulator.survey import SPECTRA_DIR, SSPP_NAME, TRUTH_NAME
from raystellar.spectra import Slice
from raystellar.stages.label import label
from raystellar.stages.preprocess import preprocess
from raystellar.stages.simulate import simulate
from raystellar.stages.train import train
from raystellar.targets import TARGET_NAMES, TARGETS


@dataclass(frozen=True)
class DemoSummary:
    """The outcome of the demo."""

    spectra: int
    """Number of held-out stars."""

    network: np.ndarray
    """(3,) mean absolute errors of the network against the truth, in the order of ``targets.TARGETS``."""

    ridge: np.ndarray
    """(3,) mean absolute errors of the Ridge regression."""

    picture: str
    """Path of the picture of predicted against true labels."""

    pages: list[PageSummary]
    """Pages of the model and the catalogue, if they could be written."""

    seconds: dict[str, float]
    """Time of each part [s]."""


def demo(out: str, settings: Settings, *, report: bool = True) -> DemoSummary:
    """Run the whole job in the folder ``out``; finished work of an earlier run is not repeated.

    Parameters
    ----------
    out : folder to write
    settings : settings of all stages
    report : write the pages of the model and the catalogue

    Raises
    ------
    ConfigError : the settings leave no plate without labels to compare with the truth
    RaystellarError : a stage cannot do its work
    """
    _check_held_out(settings.simulate)
    survey, dataset, model, catalog = (places.join(out, name) for name in ("survey", "dataset", "model", "catalog"))
    picture = places.join(out, "predicted-against-true.png")
    watch = Stopwatch()
    with session(settings.resources):
        with watch.part("simulate"):
            simulate(survey, settings.simulate, settings.resources)
        truth = pq.read_table(places.join(survey, TRUTH_NAME))
        with watch.part("preprocess"):
            preprocess(
                [places.join(survey, SPECTRA_DIR)],
                places.join(survey, SSPP_NAME),
                dataset,
                labels_config=settings.labels,
                splits=settings.splits,
                config=settings.preprocess,
                resources=settings.resources,
            )
        with watch.part("train"):
            train(
                dataset,
                model,
                network=settings.network,
                fit=settings.fit,
                resources=settings.training,
                provenance=to_plain(settings),
            )
        held_out = _plate_folders(survey, truth, labelled=False)
        with watch.part("label"):
            label(held_out, model, catalog, quality=settings.quality, resources=settings.resources)
    with watch.part("compare"):
        paths, true, predicted = _join(catalog, survey, truth)
        linear = _ridge_predictions(dataset, model, paths)
        predicted_against_true(picture, true, {"network": predicted, "Ridge": linear})
    pages = []
    if report:
        with watch.part("report"):
            tried = [try_page(model, dataset=dataset), try_page(catalog, truth=places.join(survey, TRUTH_NAME))]
            pages = [page for page in tried if page]
    network, ridge = (np.abs(values - true).mean(axis=0) for values in (predicted, linear))
    return DemoSummary(len(true), network, ridge, picture, pages, watch.seconds)


def _check_held_out(config: SimulateConfig) -> None:
    """Refuse a survey in which all plates have labels."""
    count = len(plates(config))
    if all(is_labelled(config, index) for index in plates(config)):
        raise ConfigError(
            f"no stars are held out to compare with the truth: simulate.stars = {config.stars} at "
            f"simulate.stars_per_plate = {config.stars_per_plate} make {count} plate{'s' * (count > 1)}, and "
            f"simulate.labelled_fraction = {config.labelled_fraction:g} gives labels to all; simulate more plates or "
            "label fewer"
        )


def _plate_folders(survey: str, truth: pa.Table, *, labelled: bool) -> list[str]:
    """Return the folders of the plates with labels, or of the plates without labels."""
    chosen = truth.filter(pa.compute.equal(truth["labelled"], labelled))
    plates = sorted(set(chosen["plate"].to_pylist()))
    return [places.join(survey, SPECTRA_DIR, f"{plate:04d}") for plate in plates]


def _join(catalog: str, survey: str, truth: pa.Table) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the paths, true labels and predicted labels (n, 3) of the stars of the catalogue."""
    rows = pa.concat_tables(
        pq.read_table(places.join(catalog, name), columns=["path", "flags", *TARGET_NAMES])
        for name in sorted(places.names(catalog))
        if name.startswith("part-")
    )
    rows = rows.filter(pa.array((rows["flags"].to_numpy() & Flag.SKY) == 0))  # sky has no truth
    true = {places.join(survey, row["path"]): [row[name] for name in TARGET_NAMES] for row in truth.to_pylist()}
    paths = rows["path"].to_pylist()
    missing = [path for path in paths if path not in true]
    if missing:
        raise IncompleteError(f"{catalog} holds {len(missing)} spectra without truth, such as {missing[0]}")
    predicted = np.stack([rows[name].to_numpy() for name in TARGET_NAMES], axis=1)
    return paths, np.array([true[path] for path in paths]), predicted


def _ridge_predictions(dataset: str, model: str, paths: list[str]) -> np.ndarray:
    """Fit Ridge to the training split and return its predictions (n, 3) for the spectra at ``paths``."""
    training = read_dataset(dataset).splits(("train",))["train"]
    ridge = Ridge().fit(training.flux, training.targets)
    config = load_bundle(model).preprocess
    slices = [Slice(path) for path in paths]
    batch = ingest(slices, Preprocessor(config), lambda spectrum: choose_rv(spectrum, None, -1, config.max_abs_rv))
    return ridge.predict(batch.flux)


def error_table(summary: DemoSummary) -> str:
    """Return the errors as a table for the terminal."""
    lines = [f"{'':8s} {'network':>10s} {'Ridge':>10s} {'ratio':>7s}   mean absolute error against the truth"]
    for target, network, ridge in zip(TARGETS, summary.network, summary.ridge, strict=True):
        lines.append(f"{target.name:8s} {network:10.4g} {ridge:10.4g} {network / ridge:7.2f}   {target.unit}")
    return "\n".join(lines)
