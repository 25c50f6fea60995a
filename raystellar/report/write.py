"""Write the page of a catalogue or of a model: one HTML file that needs no other, in its folder or elsewhere."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.catalog.finished import open_catalog
from raystellar.errors import ConfigError, InputError, RaystellarError, first_line
from raystellar.evaluation.predictions import check_preprocessing
from raystellar.files import places
from raystellar.files.facts import read_facts, read_run
from raystellar.files.fetcher import FetchConfig
from raystellar.fit.data import read_dataset
from raystellar.labels.config import LabelsConfig
from raystellar.labels.truth import read_truth
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import is_bundle, load_bundle
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.report.catalog.census import READ, Pick, count_rejects, take
from raystellar.report.residuals import Residuals
from raystellar.schema import JOB_NAME, REPORT_NAME, SUMMARY_NAME
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from raystellar.report.catalog.gallery import SpectrumOfRow
    from raystellar.report.model import Examined

LOG = logging.getLogger(__name__)

RETRIES = 1
"""Number of further tries of a request for a spectrum of the gallery; a page does not wait long for a server."""

SALIENCY_SPECTRA = 512
"""Largest number of validation spectra over which the response to a weak line is averaged."""


@dataclass(frozen=True)
class PageSummary:
    """The page that was written."""

    out: str
    """File of the page."""
    kind: str
    """``catalog`` or ``model``."""
    bytes: int
    """Size of the file."""
    seconds: float
    """Time to make and write the page [s]."""


def write_page(
    path: str,
    out: str | None = None,
    *,
    truth: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    labels_config: LabelsConfig | None = None,
    fetch: FetchConfig | None = None,
) -> PageSummary:
    """Write the page of the catalogue or of the model in the folder ``path``.

    Parameters
    ----------
    path : folder written by ``raystellar label`` or ``raystellar train``, a path or URL
    out : file to write; by default ``schema.REPORT_NAME`` in ``path``
    truth : for a catalogue, table of reference labels; see ``labels.truth``
    model : for a catalogue, folder of its model; by default the folder noted when the rows were labelled
    dataset : for a model, dataset whose validation spectra are shown
    labels_config : rules by which rows of ``truth`` are compared
    fetch : requests for spectra on servers

    Raises
    ------
    ConfigError : an option does not belong to the kind of folder
    RaystellarError : ``path`` holds neither a catalogue nor a model, is not finished, or ``out`` cannot be written
    """
    began = time.perf_counter()
    kind = what_is(path)
    options = {"truth": truth, "model": model, "dataset": dataset}
    for name in ("dataset",) if kind == "catalog" else ("truth", "model"):
        if options[name] is not None:
            raise ConfigError(f"{path} holds a {kind}, for which --{name} {options[name]} has no use; leave it out")
    if kind == "catalog":
        page = catalog_page_of(path, truth, model, labels_config or LabelsConfig(), fetch or FetchConfig())
    else:
        page = model_page_of(path, dataset)
    out = out or places.join(path, REPORT_NAME)
    content = page.encode()
    places.write_bytes(out, content)
    return PageSummary(out, kind, len(content), time.perf_counter() - began)


def try_page(path: str, **options: Any) -> PageSummary | None:
    """Write a page at the end of a job; a failure is one warning and does not fail the job."""
    try:
        return write_page(path, **options)
    except Exception as error:  # any error: the rows or weights are written, and worth more than a page
        LOG.warning("%s has no page: %s", path, first_line(error))
        return None


def what_is(path: str) -> str:
    """Return the kind of a folder: ``catalog`` or ``model``.

    Raises
    ------
    InputError : the folder holds neither
    """
    if is_bundle(path):
        return "model"
    if not places.exists(path):
        raise InputError(f"{path} does not exist; name a folder written by raystellar label or by raystellar train")
    run = read_run(path)
    if run and run.get("kind") == "catalog":
        return "catalog"
    kind = f"a {run['kind']}" if run and run.get("kind") else "neither a catalogue nor a model"
    raise InputError(f"{path} is {kind}; name a folder written by raystellar label or by raystellar train")


def catalog_page_of(
    path: str, truth: str | None, model: str | None, labels_config: LabelsConfig, fetch: FetchConfig
) -> str:
    """Return the page of a catalogue; see ``write_page``."""
    from raystellar.report.catalog.gallery import read_spectra_again
    from raystellar.report.catalog.page import CatalogFacts, catalog_page

    catalog, job = open_catalog(path), read_facts(path, JOB_NAME)
    bundle, note = find_model(catalog.run.get("model", ""), model, job.get("model"))
    census = take(catalog.output.parts(list(READ)), read_truth(truth, labels_config) if truth else None)
    config = bundle.preprocess if bundle else PreprocessConfig()
    patience = replace(fetch, retries=min(fetch.retries, RETRIES))

    def with_responses(picks: list[Pick]) -> list[tuple[SpectrumOfRow, np.ndarray | None]]:
        spectra = read_spectra_again(picks, catalog.output, config, patience)
        return [(spectrum, response_of(bundle, spectrum.flux)) for spectrum in spectra]

    facts = CatalogFacts(
        path=path,
        run=catalog.run,
        job=job,
        summary=read_facts(path, SUMMARY_NAME),
        census=census,
        rejects=count_rejects(catalog.output.rejects()),
        loglam=config.grid(),
        gallery={part: with_responses(picks.rows) for part, picks in census.picks.items()},
        model_note=note,
        calibration=bundle.calibration if bundle else {},
        truth=truth or "",
    )
    return catalog_page(facts)


def find_model(wanted: str, named: str | None, noted: str | None) -> tuple[Bundle | None, str]:
    """Return the model of a catalogue, or None and the reason why it cannot be used.

    Parameters
    ----------
    wanted : ``model_id`` of the catalogue
    named : folder named by the user
    noted : folder noted when the rows were labelled

    Raises
    ------
    InputError : the folder named by the user does not hold this model
    """
    path = named or noted
    if not path:
        return None, "its model is not known; name it with --model"
    try:
        bundle = load_bundle(path)
    except RaystellarError as error:
        if named:
            raise
        return None, f"{first_line(error)}; name the model with --model"
    if bundle.model_id == wanted:
        return bundle, ""
    words = f"model {path} is {bundle.model_id}, but model {wanted} made the catalogue"
    if named:
        raise InputError(f"{words}; name the folder of this model, or none")
    return None, words


def response_of(bundle: Bundle | None, flux: np.ndarray | None) -> np.ndarray | None:
    """Return the response (3, P) of the labels of a spectrum to a weak line; None without a model or a spectrum."""
    if bundle is None or flux is None:
        return None
    from raystellar.model.saliency import line_response

    return line_response(bundle.module, flux[None])[0]


def model_page_of(path: str, dataset: str | None) -> str:
    """Return the page of a model; see ``write_page``."""
    from raystellar.report.model import model_page

    bundle = load_bundle(path)
    return model_page(path, bundle, examine(bundle, dataset) if dataset else None)


def examine(bundle: Bundle, dataset: str) -> Examined:
    """Return the predictions of a model for the validation spectra of a dataset.

    Raises
    ------
    DatasetError : the folder holds no dataset, or one with other settings of preprocessing
    """
    from raystellar.fit.errormodel import CALIBRATION_COLUMNS, label_noise
    from raystellar.model.errormodel import half_68
    from raystellar.model.saliency import mean_response
    from raystellar.model.uncertainty import predict_with_variances
    from raystellar.report.model import Examined

    data = read_dataset(dataset)
    check_preprocessing(bundle, data)
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
