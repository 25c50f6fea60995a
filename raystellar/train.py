"""Stage: preprocessed spectra -> model bundle. Source: Sec. 5.

Before the fit it is learnt what the training spectra are like, so that others are known by it; after it the errors of
its predictions are calibrated on the validation split.

Fits in this process, or by the workers of Ray Train; how many never changes the result beyond the rounding of
sums. Each epoch is checkpointed beside the output, so that a fit whose worker or driver was killed goes on
where it was, and ends with the weights it would have had. Workers on several machines need the output on a
disk that all of them see.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from raystellar import places
from raystellar.config import digest, to_plain
from raystellar.errors import BundleError, ConfigError, IncompleteError, OutputError, RaystellarError
from raystellar.fit.config import FitConfig
from raystellar.fit.data import read_dataset
from raystellar.fit.metrics import errors
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle, check_output, is_bundle, load_bundle, save_bundle
from raystellar.targets import TARGETS

if TYPE_CHECKING:  # torch is loaded by who fits, not by who reads the configuration
    from raystellar.fit.data import SpectraSet
    from raystellar.fit.loop import EpochReport, FitResult

Report = Callable[[int, "EpochReport"], None]
"""Told of the number of the network, from 0, and of its epoch."""


@dataclass(frozen=True, kw_only=True)
class TrainResources:
    """Who fits; never changes the result beyond the rounding of sums."""

    workers: int = 0
    """0 fits in this process, n with n workers of Ray Train, which take half a minute to start."""

    cpus_per_worker: int = 1
    """CPUs, and threads of torch, of each worker or of this process. One fits 26,000 spectra 30 times in half a
    minute on any machine; more are faster only where nothing else runs, and round sums in another order."""

    use_gpu: Literal["auto", "yes", "no"] = "auto"
    """``auto`` takes a GPU per worker where there are enough."""

    max_failures: int = 3
    """How often lost workers are replaced before the fit gives up."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("cpus_per_worker", 1), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")


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
    """How well the errors of predictions foretell those, see ``fit.calibrate.assess``."""
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
    report: Report = print_epoch,
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
    from raystellar.fit.calibrate import CALIBRATION_COLUMNS, CALIBRATION_VERSION, calibrate
    from raystellar.fit.members import parts_of
    from raystellar.fit.novelty import NOVELTY_VERSION, learn_novelty

    began, data = time.perf_counter(), read_dataset(dataset)
    network, fit, resources = network or NetworkConfig(), fit or FitConfig(), resources or TrainResources()
    learnt = {"errors": CALIBRATION_VERSION, "novelty": NOVELTY_VERSION}
    fit_id = digest({"network": network, "fit": fit, "data": data.about["digest"], **learnt})
    place = places.absolute(out)
    folder = f"{place}.checkpoints"
    bundle = _existing(place, fit_id, overwrite)
    reused = bundle is not None
    if bundle is None:
        spectra = data.splits(("train", "validation"), (*CALIBRATION_COLUMNS, "star_id"))
        novelty, found = learn_novelty(*(array for one in spectra.values() for array in (one.flux, one.extra["ivar"])))
        parts = parts_of(_stars(spectra["train"]), fit.members, fit.seed)
        what = {"network": network, "config": fit, "parts": parts, "checkpoints": folder, "identity": fit_id}
        results = _fit(spectra, what, resources, folder, report)
        settings = provenance or {"network": to_plain(network), "fit": to_plain(fit)}
        bundle = replace(_bundle(results, data.about, fit, fit_id, settings), novelty=novelty, novelty_check=found)
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
        preprocess=about["preprocess"],
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
    spectra: dict[str, SpectraSet], what: dict[str, Any], resources: TrainResources, folder: str, report: Report
) -> list[FitResult]:
    """Fit ``what`` (arguments of ``fit.members.fit_members``) to the spectra, here or on Ray."""
    from raystellar.fit.loop import check
    from raystellar.fit.members import fit_members
    from raystellar.fit.threads import threads

    check(**spectra, network=what["network"])
    if resources.workers:
        return _fit_on_ray(spectra, what, resources, folder, report)
    with threads(resources.cpus_per_worker):
        return fit_members(spectra["train"], spectra["validation"], **what, device=_device(resources), report=report)


def _device(resources: TrainResources) -> str:
    import torch

    if resources.use_gpu == "yes" and not torch.cuda.is_available():
        raise RaystellarError("use_gpu = 'yes' but torch sees no GPU here; say 'auto' or 'no'")
    return "cuda" if resources.use_gpu != "no" and torch.cuda.is_available() else "cpu"


def _fit_on_ray(
    spectra: dict[str, SpectraSet], what: dict[str, Any], resources: TrainResources, folder: str, report: Report
) -> list[FitResult]:
    """Fit by Ray Train; the workers read the spectra from the object store without a copy, and so do we thereafter."""
    import ray
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.util.queue import Queue

    cpus, needed = ray.cluster_resources().get("CPU", 0.0), resources.workers * resources.cpus_per_worker
    if needed > cpus:
        raise ConfigError(
            f"training.workers = {resources.workers} of {resources.cpus_per_worker} CPUs need {needed} CPUs and the "
            f"cluster has {cpus:g}; lower them"
        )
    references = {name: ray.put(spectra.pop(name)) for name in list(spectra)}
    spectra.update((name, ray.get(reference)) for name, reference in references.items())
    gpus = ray.cluster_resources().get("GPU", 0.0)
    use_gpu = resources.use_gpu == "yes" or (resources.use_gpu == "auto" and gpus >= resources.workers)
    queue = Queue(actor_options={"num_cpus": 0})
    relay = threading.Thread(target=_relay, args=(queue, report), daemon=True)
    relay.start()
    trainer = TorchTrainer(
        _worker,  # type: ignore[arg-type]  # Ray's annotations know no worker that returns
        train_loop_config={"what": what, "spectra": references, "queue": queue, "threads": resources.cpus_per_worker},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": resources.cpus_per_worker} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # annotated as its elder brother in ray.air
            name=f"train-{uuid.uuid4().hex[:8]}",  # under a known name Ray would resume from its own state
            **_storage(places.join(folder, "ray")),
            failure_config=FailureConfig(max_failures=resources.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        done: Any = trainer.fit()
    except TrainingFailedError as error:
        raise IncompleteError(
            f"the fit lost its workers {resources.max_failures + 1} times; checkpoints are kept in {folder}, "
            "mend the cause and give the same command again"
        ) from error
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # must not hide why the fit failed
            queue.put(None)
            relay.join(timeout=10)
            queue.shutdown()
    if isinstance(done.return_value, RaystellarError):
        raise done.return_value
    return done.return_value


def _storage(place: str) -> dict[str, Any]:
    """Return where Ray Train keeps what it knows of the run; on a server by the file system that we use too."""
    if places.is_local(place):
        return {"storage_path": place}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    remote, path = places.filesystem(place)
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(remote))}


def _relay(queue: Any, report: Report) -> None:
    """Hand the workers' reports on until there is None."""
    while (told := queue.get()) is not None:
        report(*told)


def _worker(settings: dict[str, Any]) -> list[FitResult] | RaystellarError:
    """Run one worker of Ray Train; rank 0's results are the fit's."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    from raystellar.fit.members import fit_members

    torch.set_num_threads(settings["threads"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    spectra: dict[str, Any] = {name: ray.get(reference) for name, reference in settings["spectra"].items()}
    try:
        return fit_members(
            **spectra,
            **settings["what"],
            rank=rank,
            world=context.get_world_size(),
            device=ray.train.torch.get_device(),
            # not ray.train.report, which takes as long as an epoch
            report=(lambda *told: settings["queue"].put(told)) if rank == 0 else None,
        )
    except RaystellarError as error:  # returned, not raised: a replaced worker would meet it again
        return error
