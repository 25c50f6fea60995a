"""Fit networks by the workers of Ray Train.

The spectra lie in the object store of each node once, and no worker copies them. Reports of epochs come back through a
queue, since ``ray.train.report`` takes as long as an epoch.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from raystellar.engine.session import room_for
from raystellar.errors import ConfigError, IncompleteError, RaystellarError
from raystellar.files import places

if TYPE_CHECKING:
    from raystellar.fit.data import SpectraSet
    from raystellar.fit.loop import FitResult
    from raystellar.fit.networks import EpochCallback


@dataclass(frozen=True, kw_only=True)
class TrainResources:
    """Number and size of the workers that fit. No setting changes a result beyond the rounding of sums."""

    workers: int = 0
    """Workers of Ray Train, which take half a minute to start; 0: fit in this process."""

    cpus_per_worker: int = 1
    """CPUs, and threads of torch, of each worker or of this process. One CPU passes 30 times over 26,000 spectra in
    half a minute; more CPUs are faster only where nothing else runs, and round sums in another order."""

    use_gpu: Literal["auto", "yes", "no"] = "auto"
    """Whether each worker has a GPU; ``auto``: yes where the cluster has enough."""

    max_failures: int = 3
    """Number of times that lost workers are replaced before the fit gives up."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("cpus_per_worker", 1), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")


def device_of(resources: TrainResources) -> str:
    """Return the device on which this process fits, ``cpu`` or ``cuda``.

    Raises
    ------
    RaystellarError : a GPU is wanted and there is none
    """
    import torch

    if resources.use_gpu == "yes" and not torch.cuda.is_available():
        raise RaystellarError("training.use_gpu = 'yes' but torch sees no GPU here; set 'auto' or 'no'")
    return "cuda" if resources.use_gpu != "no" and torch.cuda.is_available() else "cpu"


def fit_on_ray(
    spectra: dict[str, SpectraSet], what: dict[str, Any], resources: TrainResources, folder: str, report: EpochCallback
) -> list[FitResult]:
    """Fit networks by Ray Train, and leave ``spectra`` as views into the object store.

    Parameters
    ----------
    spectra : training and validation spectra by the name of the split
    what : further arguments of ``fit.networks.fit_networks``
    resources : number and size of the workers
    folder : folder of the checkpoints, a path or URL that all workers see
    report : called with the number of the network, from 0, and its report after each epoch

    Raises
    ------
    ConfigError : the cluster has no room for the workers
    IncompleteError : workers were lost more than ``resources.max_failures`` times
    """
    import ray
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.util.queue import Queue

    fitting = room_for({"cpu": resources.cpus_per_worker})
    if resources.workers > fitting:
        raise ConfigError(
            f"training.workers = {resources.workers} of {resources.cpus_per_worker} CPUs each do not fit the cluster, "
            f"which has room for {fitting}; lower them"
        )
    references = {name: ray.put(spectra.pop(name)) for name in list(spectra)}
    spectra.update((name, ray.get(reference)) for name, reference in references.items())
    enough = room_for({"gpu": 1.0}) >= resources.workers
    use_gpu = resources.use_gpu == "yes" or (resources.use_gpu == "auto" and enough)
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
        run_config=RunConfig(  # type: ignore[call-arg]  # annotated as the class of the same name in ray.air
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
            "remove the cause and run the same command again"
        ) from error
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # a failed queue must not hide the failure of the fit
            queue.put(None)
            relay.join(timeout=10)
            queue.shutdown()
    if isinstance(done.return_value, RaystellarError):
        raise done.return_value
    return done.return_value


def _storage(folder: str) -> dict[str, Any]:
    """Return the settings of Ray Train for its own state in ``folder``; a server is reached through fsspec."""
    if places.is_local(folder):
        return {"storage_path": folder}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    remote, path = places.filesystem(folder)
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(remote))}


def _relay(queue: Any, report: EpochCallback) -> None:
    """Pass the reports of the workers on until the queue yields None."""
    while (arguments := queue.get()) is not None:
        report(*arguments)


def _worker(settings: dict[str, Any]) -> list[FitResult] | RaystellarError:
    """Run one worker of Ray Train; the results of rank 0 are the results of the fit."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    from raystellar.fit.networks import fit_networks

    torch.set_num_threads(settings["threads"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    spectra: dict[str, Any] = {name: ray.get(reference) for name, reference in settings["spectra"].items()}
    try:
        return fit_networks(
            **spectra,
            **settings["what"],
            rank=rank,
            world=context.get_world_size(),
            device=ray.train.torch.get_device(),
            report=(lambda *arguments: settings["queue"].put(arguments)) if rank == 0 else None,
        )
    except RaystellarError as error:  # returned, not raised: Ray would replace the worker, which would fail again
        return error
