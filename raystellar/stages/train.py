"""Stage: preprocessed spectra -> model bundle. Source: Sec. 5.

    dataset -> OOD score of the training spectra -> networks -> errors of their predictions -> bundle

The networks are fitted in this process or by the workers of Ray Train; the number of workers changes a result by the
rounding of sums only. A checkpoint is written beside the output after each epoch, so a fit that was killed resumes and
ends with the same weights. Workers on several machines need the output on a disk that all of them see.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.config import build, digest, or_default, to_plain
from raystellar.engine.progress import Progress
from raystellar.engine.training import TrainResources, device_of, fit_on_ray
from raystellar.errors import BundleError, OutputError
from raystellar.files import places
from raystellar.files.places import PathOrUrl, as_path
from raystellar.fit.config import FitConfig
from raystellar.fit.data import read_dataset
from raystellar.fit.metrics import errors
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import check_output, is_bundle, load_bundle, save_bundle
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.targets import TARGETS

if TYPE_CHECKING:  # importing this module must not load torch, which only a fit needs
    from raystellar.fit.data import SpectraSet
    from raystellar.fit.loop import EpochReport, FitResult
    from raystellar.fit.networks import EpochCallback


LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSummary:
    """The outcome of training."""

    out: str
    """Folder of the bundle."""

    model_id: str
    """Identity of the model."""

    reused: bool
    """Whether the folder already held the wanted bundle, so that nothing was done."""

    epochs: int
    """Number of epochs of each network."""

    best_epochs: tuple[int, ...]
    """Epoch of the weights of each network, from 1."""

    validation: dict[str, dict[str, float]]
    """Errors on the validation set per target, see ``fit.metrics``."""

    calibration: dict[str, dict[str, Any]]
    """Agreement of predicted errors with residuals per target, see ``fit.errormodel.assess``."""

    seconds: float
    """Time of the whole stage [s]."""

    def __str__(self) -> str:
        mae = [f"{target.symbol} {self.validation[target.name]['mae']:.4g} {target.unit}" for target in TARGETS]
        best = ", ".join(map(str, self.best_epochs))
        how = "there already, nothing done" if self.reused else f"best epoch {best} of {self.epochs}"
        return (
            f"validation errors (mean absolute): {', '.join(mae)}\n{self._calibration_lines()}"
            f"model {self.model_id} in {self.out}: {how}, {self.seconds:.1f} s"
        )

    def _calibration_lines(self) -> str:
        """Return one line a target on the agreement of predicted errors with residuals, where that was measured."""
        lines = []
        for target in TARGETS:
            if agreement := self.calibration.get(target.name):
                within68, within95 = (100 * agreement[name] for name in ("within68", "within95"))
                lines.append(
                    f"errors of {target.symbol}: std of z {agreement['std']:.3f}, {within68:.1f} % within 1 (68.3) "
                    f"and {within95:.1f} % within 2.09 (95.0) of {agreement['stars']} stars\n"
                )
        return "".join(lines)


class EpochProgress:
    """Show the epochs of all networks as progress, with the losses and errors of the last one.

    The networks are fitted one after the other, so all epochs of earlier networks are done when a network reports.
    Epochs without a report were held by checkpoints, and count as done before.

    Parameters
    ----------
    progress : counts the epochs of all networks
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done = progress, 0

    def __call__(self, member: int, report: EpochReport) -> None:
        """Count one epoch of network ``member``, from 0."""
        number = member * report.epochs + report.epoch
        mae = ", ".join(f"{value:.4g} {target.unit}" for value, target in zip(report.mae, TARGETS, strict=True))
        losses = f"loss {report.train_loss:.4f}, validation {report.validation_loss:.4f}"
        line = f"network {member + 1}, epoch {report.epoch} of {report.epochs}, {losses} ({mae})"
        LOG.debug("train: %s, %.1f s", line, report.seconds)
        self._progress.skip(number - 1 - self._done)
        self._progress.note(line)
        self._progress.add(1)
        self._done = number

    def finish(self, epochs: int) -> None:
        """Count the rest of ``epochs`` epochs, which no report announced."""
        self._progress.skip(epochs - self._done)


def train(
    dataset: PathOrUrl,
    out: PathOrUrl,
    *,
    network: NetworkConfig | None = None,
    fit: FitConfig | None = None,
    resources: TrainResources | None = None,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
    report: EpochCallback | None = None,
) -> TrainSummary:
    """Fit ``fit.members`` networks to the dataset, learn their errors, and write the bundle to ``out``.

    Parameters
    ----------
    dataset : folder written by ``raystellar preprocess``, a path or URL
    out : folder of the bundle, a path or URL; checkpoints are kept in ``out + ".checkpoints"`` until it is written
    network : architecture of each network
    fit : number of networks, epochs, optimiser and augmentation
    resources : workers; with ``resources.workers`` > 0 Ray must be initialised
    provenance : settings that the bundle records; by default network and fit
    overwrite : replace a bundle made from other data or settings
    report : called after each epoch with the number of the network, from 0, and the epoch; by default shows progress

    Raises
    ------
    DatasetError : the dataset is missing, damaged or does not fit the network
    OutputError : ``out`` holds another bundle or something else, or cannot be written
    IncompleteError : workers were lost more than ``max_failures`` times
    """
    dataset, out = as_path(dataset), as_path(out)
    from raystellar.fit.errormodel import CALIBRATION_COLUMNS, CALIBRATION_VERSION, calibrate
    from raystellar.fit.networks import parts_of
    from raystellar.fit.ood import OOD_VERSION, learn_ood
    from raystellar.model.network import joined

    began, data = time.perf_counter(), read_dataset(dataset)
    network, fit = or_default(network, NetworkConfig), or_default(fit, FitConfig)
    resources = or_default(resources, TrainResources)
    fitted = {"errors": CALIBRATION_VERSION, "ood": OOD_VERSION}
    fit_id = digest({"network": network, "fit": fit, "data": data.about["digest"], **fitted})
    path = places.absolute(out)
    folder = f"{path}.checkpoints"
    bundle = _existing(path, fit_id, overwrite)
    reused = bundle is not None
    if bundle is None:
        spectra = data.splits(("train", "validation"), (*CALIBRATION_COLUMNS, "star_id"))
        ood, ood_check = learn_ood(*(array for one in spectra.values() for array in (one.flux, one.extra["ivar"])))
        fit = fit.for_spectra(len(spectra["train"]))
        parts = parts_of(_stars(spectra["train"]), fit.parts, fit.seed)
        what = {"network": network, "config": fit, "parts": parts, "checkpoints": folder, "identity": fit_id}
        results = _fit_with_progress(spectra, what, resources, folder, report)
        settings = provenance or {"network": to_plain(network), "fit": to_plain(fit)}
        bundle = _bundle(results[: fit.members], data.about, fit, fit_id, settings)
        bundle = replace(bundle, ood=ood, ood_check=ood_check)
        validation = spectra["validation"]
        bundle = replace(bundle, validation=errors(bundle.predict(validation.flux), validation.targets))
        left_out = replace(bundle, weights=joined(result.weights for result in results[-fit.parts :]))
        bundle = calibrate(bundle, spectra["train"], validation, parts, left_out)
        save_bundle(path, bundle)
    places.remove_folder(folder)
    return TrainSummary(
        out,
        bundle.model_id,
        reused,
        len(bundle.history[0]),
        bundle.best_epochs,
        bundle.validation,
        bundle.calibration,
        time.perf_counter() - began,
    )


def _fit_with_progress(
    spectra: dict[str, SpectraSet],
    what: dict[str, Any],
    resources: TrainResources,
    folder: str,
    report: EpochCallback | None,
) -> list[FitResult]:
    """Fit as ``_fit`` does, and show progress where no ``report`` is given."""
    if report is not None:
        return _fit(spectra, what, resources, folder, report)
    total = what["config"].epochs * len(what["config"].left_out)
    with Progress("train", total, "epochs") as progress:
        epochs = EpochProgress(progress)
        results = _fit(spectra, what, resources, folder, epochs)
        epochs.finish(total)
    return results


def _existing(out: str, fit_id: str, overwrite: bool) -> Bundle | None:
    """Return the bundle in the folder ``out`` if its fit is ``fit_id``; None if the folder may be written.

    Raises
    ------
    OutputError : the folder holds another bundle and ``overwrite`` is False, or something else
    """
    check_output(out)
    if not is_bundle(out):
        return None
    try:
        bundle = load_bundle(out)
    except BundleError as error:
        if overwrite:
            return None
        raise OutputError(f"{out} holds a bundle that cannot be used ({error}); replace it by --overwrite") from None
    if bundle.fit_id == fit_id:
        return bundle
    if overwrite:
        return None
    raise OutputError(
        f"{out} holds model {bundle.model_id}, made from other data or settings; name another output or use --overwrite"
    )


def _stars(train: SpectraSet) -> np.ndarray:
    """Return the star (n,) int64 of each training spectrum; a spectrum without a known star counts as its own star."""
    known = train.extra["star_id"]
    return np.array([key >> 1 if star is None else star for star, key in zip(known, train.keys.tolist(), strict=True)])


def _bundle(
    results: list[FitResult], about: dict[str, Any], config: FitConfig, fit_id: str, provenance: dict[str, Any]
) -> Bundle:
    from raystellar.model.network import joined

    first = results[0]  # network, scaler and label ranges are common to all results
    return Bundle(
        network=first.network,
        weights=joined(result.weights for result in results),
        preprocess=build(PreprocessConfig, about["preprocess"], "preprocess"),
        centre=tuple(first.scaler.centre.tolist()),
        scale=tuple(first.scaler.scale.tolist()),
        label_ranges=first.label_ranges,
        history=[result.history for result in results],
        best_epochs=tuple(result.best_epoch for result in results),
        config=provenance,
        data_hash=about["digest"],
        fit_id=fit_id,
        seed=config.seed,
    )


def _fit(
    spectra: dict[str, SpectraSet], what: dict[str, Any], resources: TrainResources, folder: str, report: EpochCallback
) -> list[FitResult]:
    """Fit networks by ``fit.networks.fit_networks`` with the arguments ``what``, in this process or on Ray."""
    from raystellar.fit.loop import check
    from raystellar.fit.networks import fit_networks
    from raystellar.model.threads import threads

    check(**spectra, network=what["network"])
    if resources.workers:
        return fit_on_ray(spectra, what, resources, folder, report)
    with threads(resources.cpus_per_worker):
        return fit_networks(spectra["train"], spectra["validation"], **what, device=device_of(resources), report=report)
