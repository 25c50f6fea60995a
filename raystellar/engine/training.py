"""TODO."""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from raystellar.errors import ConfigError, IncompleteError, RaystellarError
from raystellar.files import places

if TYPE_CHECKING:
    from raystellar.fit.data import SpectraSet
    from raystellar.fit.loop import FitResult
    from raystellar.fit.members import EpochCallback


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


def device_of(resources: TrainResources) -> str:
    """Return the device on which this process fits, ``cpu`` or ``cuda``.

    Raises
    ------
    RaystellarError : a GPU is wanted and there is none
    """
    import torch

    if resources.use_gpu == "yes" and not torch.cuda.is_available():
        raise RaystellarError("use_gpu = 'yes' but torch sees no GPU here; say 'auto' or 'no'")
    return "cuda" if resources.use_gpu != "no" and torch.cuda.is_available() else "cpu"


def fit_on_ray(
    spectra: dict[str, SpectraSet], what: dict[str, Any], resources: TrainResources, folder: str, report: EpochCallback
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


def _relay(queue: Any, report: EpochCallback) -> None:
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
