"""Stage: preprocessed spectra -> model bundle. Source: Sec. 5.

Before the fit it is learnt what the training spectra are like, so that others are known by it; after it the errors of
its predictions are calibrated on the validation split.

Fits in this process, or by the workers of Ray Train; how many never changes the result beyond the rounding of
sums. Each epoch is checkpointed beside the output, so that a fit whose worker or driver was killed goes on
where it was, and ends with the weights it would have had. Workers on several machines need the output on a
disk that all of them see.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.config import build, digest, to_plain
from raystellar.engine.training import TrainResources, device_of, fit_on_ray
from raystellar.errors import BundleError, OutputError
from raystellar.files import places
from raystellar.fit.config import FitConfig
from raystellar.fit.data import read_dataset
from raystellar.fit.metrics import errors
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import check_output, is_bundle, load_bundle, save_bundle
from raystellar.preprocess.pixels import PreprocessConfig
from raystellar.targets import TARGETS

if TYPE_CHECKING:  # torch is loaded by who fits, not by who reads the configuration
    from raystellar.fit.data import SpectraSet
    from raystellar.fit.loop import EpochReport, FitResult
    from raystellar.fit.members import EpochCallback


@dataclass(frozen=True)
class TrainSummary:
    """What the stage did."""

    out: str
    model_id: str
    reused: bool
    """The output already held the bundle that was asked for, and nothing was done."""
    epochs: int
    best_epochs: tuple[int, ...]
    """Of each network, see ``FitConfig.members``."""
    validation: dict[str, dict[str, float]]
    """Errors on the validation set per target, see ``fit.metrics``."""
    calibration: dict[str, dict[str, Any]]
    """How well the errors of predictions foretell those, see ``fit.errormodel.assess``."""
    seconds: float

    def __str__(self) -> str:
        found = [f"{target.symbol} {self.validation[target.name]['mae']:.4g} {target.unit}" for target in TARGETS]
        best = ", ".join(map(str, self.best_epochs))
        how = "there already, nothing done" if self.reused else f"best epoch {best} of {self.epochs}"
        return (
            f"validation errors (mean absolute): {', '.join(found)}\n{self._calibration_lines()}"
            f"model {self.model_id} in {self.out}: {how}, {self.seconds:.1f} s"
        )

    def _calibration_lines(self) -> str:
        """Say for each target how well its errors foretell the residuals; nothing where that is not known."""
        lines = []
        for target in TARGETS:
            if found := self.calibration.get(target.name):
                lines.append(
                    f"errors of {target.symbol}: std of z {found['std']:.3f}, {100 * found['within68']:.1f} % within 1 "
                    f"(68.3) and {100 * found['within95']:.1f} % within 2.09 (95.0) of {found['stars']} stars\n"
                )
        return "".join(lines)


def print_epoch(member: int, told: EpochReport) -> None:
    """Print one line about an epoch of a network, counted from 0, to standard error."""
    found = ", ".join(f"{value:.4g} {target.unit}" for value, target in zip(told.mae, TARGETS, strict=True))
    loss = f"loss {told.train_loss:.4f}, validation {told.validation_loss:.4f}"
    print(
        f"train: network {member + 1}, epoch {told.epoch}/{told.epochs}, {loss} ({found}), {told.seconds:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def train(
    dataset: str,
    out: str,
    *,
    network: NetworkConfig | None = None,
    fit: FitConfig | None = None,
    resources: TrainResources | None = None,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
    report: EpochCallback = print_epoch,
) -> TrainSummary:
    """Fit ``network``, or ``fit.members`` of its kind, to the dataset and write the bundle to ``out``.

    Parameters
    ----------
    dataset : folder written by ``raystellar preprocess``, a path or URL
    out : folder of the bundle, a path or URL; checkpoints are kept in ``out + ".checkpoints"`` until it is written
    network, fit, resources : what, how and by whom; with ``resources.workers`` > 0 Ray must be initialised
    provenance : the resolved configuration, kept in the bundle; by default network and fit
    overwrite : replace a bundle made from other data or settings
    report : called once an epoch

    Raises
    ------
    DatasetError : the dataset is missing, damaged or does not fit the network
    OutputError : ``out`` holds another bundle or something else, or cannot be written
    IncompleteError : workers were lost more than ``max_failures`` times
    """
    from raystellar.fit.errormodel import CALIBRATION_COLUMNS, CALIBRATION_VERSION, calibrate
    from raystellar.fit.members import parts_of
    from raystellar.fit.ood import OOD_VERSION, learn_ood

    began, data = time.perf_counter(), read_dataset(dataset)
    network, fit, resources = network or NetworkConfig(), fit or FitConfig(), resources or TrainResources()
    learnt = {"errors": CALIBRATION_VERSION, "ood": OOD_VERSION}
    fit_id = digest({"network": network, "fit": fit, "data": data.about["digest"], **learnt})
    place = places.absolute(out)
    folder = f"{place}.checkpoints"
    bundle = _existing(place, fit_id, overwrite)
    reused = bundle is not None
    if bundle is None:
        spectra = data.splits(("train", "validation"), (*CALIBRATION_COLUMNS, "star_id"))
        ood, found = learn_ood(*(array for one in spectra.values() for array in (one.flux, one.extra["ivar"])))
        parts = parts_of(_stars(spectra["train"]), fit.members, fit.seed)
        what = {"network": network, "config": fit, "parts": parts, "checkpoints": folder, "identity": fit_id}
        results = _fit(spectra, what, resources, folder, report)
        settings = provenance or {"network": to_plain(network), "fit": to_plain(fit)}
        bundle = replace(_bundle(results, data.about, fit, fit_id, settings), ood=ood, ood_check=found)
        validation = spectra["validation"]
        bundle = replace(bundle, validation=errors(bundle.predict(validation.flux), validation.targets))
        bundle = calibrate(bundle, spectra["train"], validation, parts)
        save_bundle(place, bundle)
    places.remove_folder(folder)
    return TrainSummary(
        out,
        bundle.model_id,
        reused,
        fit.epochs,
        bundle.best_epochs,
        bundle.validation,
        bundle.calibration,
        time.perf_counter() - began,
    )


def _existing(out: str, fit_id: str, overwrite: bool) -> Bundle | None:
    """Return the bundle at ``out`` if it is the one asked for; None if the place is free to write."""
    check_output(out)
    if not is_bundle(out):
        return None
    try:
        bundle = load_bundle(out)
    except BundleError as error:
        if overwrite:
            return None
        raise OutputError(f"{out} holds a bundle that cannot be used ({error}); overwrite it") from None
    if bundle.fit_id == fit_id:
        return bundle
    if overwrite:
        return None
    raise OutputError(
        f"{out} holds model {bundle.model_id}, made from other data or settings; name another output or overwrite it"
    )


def _stars(train: SpectraSet) -> np.ndarray:
    """Return what star each training spectrum is of (n,) int64; of its own where the dataset does not know."""
    known = train.extra["star_id"]
    return np.array([key >> 1 if star is None else star for star, key in zip(known, train.keys.tolist(), strict=True)])


def _bundle(
    results: list[FitResult], about: dict[str, Any], config: FitConfig, fit_id: str, provenance: dict[str, Any]
) -> Bundle:
    from raystellar.model.network import joined

    first = results[0]  # what they have in common
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
    """Fit ``what`` (arguments of ``fit.members.fit_members``) to the spectra, here or on Ray."""
    from raystellar.fit.loop import check
    from raystellar.fit.members import fit_members
    from raystellar.model.threads import threads

    check(**spectra, network=what["network"])
    if resources.workers:
        return fit_on_ray(spectra, what, resources, folder, report)
    with threads(resources.cpus_per_worker):
        return fit_members(spectra["train"], spectra["validation"], **what, device=device_of(resources), report=report)
