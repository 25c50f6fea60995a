"""The page of a catalogue or of a model: one HTML file that needs no other, written into its folder or elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.catalog.finished import open_catalog
from raystellar.config import to_plain
from raystellar.errors import ConfigError, DatasetError, InputError, RaystellarError, first_line
from raystellar.files import places
from raystellar.files.facts import read_facts, read_run
from raystellar.files.fetcher import FetchConfig
from raystellar.fit.data import read_dataset
from raystellar.labels.table import LabelsConfig
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import is_bundle, load_bundle
from raystellar.preprocess.pixels import PreprocessConfig
from raystellar.report.catalog.census import READ, Pick, count_rejects, take
from raystellar.report.residuals import Residuals
from raystellar.schema import JOB_NAME, REPORT_NAME, SUMMARY_NAME
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from raystellar.report.catalog.gallery import Again
    from raystellar.report.model import Examined

RETRIES = 1
"""Of a request for a spectrum of the gallery: a page does not wait long for a server."""


SALIENCY_SPECTRA = 512
"""Validation spectra, at most, over which the answers to a weak line are averaged."""


@dataclass(frozen=True)
class PageSummary:
    """What was written."""

    out: str
    kind: str
    """``catalog`` or ``model``."""
    bytes: int
    seconds: float


def write_page(
    place: str,
    out: str | None = None,
    *,
    truth: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    labels_config: LabelsConfig | None = None,
    fetch: FetchConfig | None = None,
) -> PageSummary:
    """Write the page of the catalogue or the model in the folder ``place``.

    Parameters
    ----------
    place : folder written by the stage label or by the stage train, a path or URL
    out : file to write; by default ``report.html`` in ``place``
    truth : of a catalogue: table of labels to compare with, see ``report.given``
    model : of a catalogue: its bundle, by default where it was when the rows were labelled
    dataset : of a model: the dataset whose validation spectra are shown
    labels_config : which rows of ``truth`` are fit to compare with
    fetch : how spectra on servers are read again

    Raises
    ------
    ConfigError : an option does not belong to what ``place`` holds
    RaystellarError : ``place`` is neither, or not finished, or ``out`` cannot be written
    """
    began = time.perf_counter()
    kind = what_is(place)
    options = {"truth": truth, "model": model, "dataset": dataset}
    for name in ("dataset",) if kind == "catalog" else ("truth", "model"):
        if options[name] is not None:
            raise ConfigError(f"--{name} {options[name]} does not belong to a {kind}, which is what {place} holds")
    if kind == "catalog":
        page = catalog_page_of(place, truth, model, labels_config or LabelsConfig(), fetch or FetchConfig())
    else:
        page = model_page_of(place, dataset)
    out = out or places.join(place, REPORT_NAME)
    content = page.encode()
    places.write_bytes(out, content)
    return PageSummary(out, kind, len(content), time.perf_counter() - began)


def try_page(place: str, **options: Any) -> PageSummary | None:
    """Write a page at the end of a job; a failure is one line on standard error, and never one of the job."""
    try:
        return write_page(place, **options)
    except Exception as error:  # whatever it is: the rows or weights are written, and worth more than their picture
        print(f"raystellar: {place} has no page: {first_line(error)}", file=sys.stderr)
        return None


def what_is(place: str) -> str:
    """Return what a folder holds: ``catalog`` or ``model``.

    Raises
    ------
    InputError : neither
    """
    if is_bundle(place):
        return "model"
    run = read_run(place)
    if run and run.get("kind") == "catalog":
        return "catalog"
    what = f"a {run['kind']}" if run and run.get("kind") else "neither a catalogue nor a model"
    raise InputError(f"{place} is {what}; name a folder written by raystellar label or by raystellar train")


def catalog_page_of(
    place: str, truth: str | None, model: str | None, labels_config: LabelsConfig, fetch: FetchConfig
) -> str:
    """Return the page of a catalogue; see ``write_page``."""
    from raystellar.report.catalog.gallery import read_again
    from raystellar.report.catalog.page import CatalogFacts, catalog_page
    from raystellar.report.catalog.truth import read_given

    found, job = open_catalog(place), read_facts(place, JOB_NAME)
    bundle, note = find_model(found.run.get("model", ""), model, job.get("model"))
    census = take(found.output.parts(list(READ)), read_given(truth, labels_config) if truth else None)
    config = bundle.preprocess if bundle else PreprocessConfig()
    patience = replace(fetch, retries=min(fetch.retries, RETRIES))

    def shown(picks: list[Pick]) -> list[tuple[Again, np.ndarray | None]]:
        again = read_again(picks, found.output, config, patience)
        return [(one, answers_of(bundle, one.flux)) for one in again]

    facts = CatalogFacts(
        place=place,
        run=found.run,
        job=job,
        summary=read_facts(place, SUMMARY_NAME),
        census=census,
        rejects=count_rejects(found.output.rejects()),
        loglam=config.grid(),
        gallery={kind: shown(picks.rows) for kind, picks in census.picks.items()},
        model_note=note,
        calibration=bundle.calibration if bundle else {},
        given=truth or "",
    )
    return catalog_page(facts)


def find_model(wanted: str, given: str | None, noted: str | None) -> tuple[Bundle | None, str]:
    """Return the bundle that made a catalogue, or why it is not at hand.

    Parameters
    ----------
    wanted : its model_id
    given : where the user says it is
    noted : where it was

    Raises
    ------
    InputError : it is not where the user says
    """
    place = given or noted
    if not place:
        return None, "its model is not known; name it with --model"
    try:
        bundle = load_bundle(place)
    except RaystellarError as error:
        if given:
            raise
        return None, f"{first_line(error)}; name the model with --model"
    if bundle.model_id == wanted:
        return bundle, ""
    words = f"model {place} is {bundle.model_id}, and the catalogue was made by {wanted}"
    if given:
        raise InputError(f"{words}; name the right one, or none")
    return None, words


def answers_of(bundle: Bundle | None, flux: np.ndarray | None) -> np.ndarray | None:
    """Return by how much labels of one spectrum answer to a weak line (3, P); None without a model or spectrum."""
    if bundle is None or flux is None:
        return None
    from raystellar.model.saliency import line_response

    return line_response(bundle.module, flux[None])[0]


def model_page_of(place: str, dataset: str | None) -> str:
    """Return the page of a model; see ``write_page``."""
    from raystellar.report.model import model_page

    bundle = load_bundle(place)
    return model_page(place, bundle, examine(bundle, dataset) if dataset else None)


def examine(bundle: Bundle, dataset: str) -> Examined:
    """Return what the model makes of the validation spectra of a dataset.

    Raises
    ------
    DatasetError : it is none, or on another grid
    """
    from raystellar.fit.errormodel import CALIBRATION_COLUMNS, label_noise
    from raystellar.model.errormodel import half_68
    from raystellar.model.saliency import mean_response
    from raystellar.model.uncertainty import predict_with_variances
    from raystellar.report.model import Examined

    data = read_dataset(dataset)
    if data.about["preprocess"] != to_plain(bundle.preprocess):
        raise DatasetError(f"dataset {dataset} was preprocessed in another way than that of model {bundle.model_id}")
    spectra = data.split("validation", CALIBRATION_COLUMNS)
    sn = np.array(spectra.extra["sn"], dtype=np.float64)
    scaled, variances = predict_with_variances(bundle.module, spectra.flux, spectra.extra["ivar"])
    table_errors = np.array([spectra.extra[f"e_{name}"] for name in TARGET_NAMES], dtype=np.float64).T
    noise = label_noise(table_errors / bundle.scale, scaled, sn)
    scatter = bundle.errors.scatter(variances, scaled, sn) if bundle.errors else np.zeros_like(noise)
    predicted, errors = scaled * bundle.scale + bundle.centre, half_68(scatter, noise) * bundle.scale
    residuals = Residuals()
    residuals.add(predicted, spectra.targets, errors, sn)
    some = spectra.flux[:: -(-len(spectra) // SALIENCY_SPECTRA)]
    response = mean_response(bundle.module, some) * np.array(bundle.scale)[:, None]
    return Examined(dataset, data.about["digest"] == bundle.data_hash, residuals, response, len(some))
