"""TODO."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raystellar.errors import ConfigError, RaystellarError, first_line


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Where and how widely a job runs. Nothing here changes a result, but for the rounding of a GPU."""

    local: bool = False
    """Run in this process, without Ray."""

    address: str = ""
    """Ray cluster to join; empty: the one in RAY_ADDRESS, else a new one on this machine, ended with the job."""

    actors: int = 0
    """Parallel actors; 0: one for each CPU of the cluster."""

    cpus_per_actor: float = 1.0
    """CPUs that Ray sets aside for each actor."""

    gpus_per_actor: float = 0.0
    """GPUs, or the share of one, of each actor that labels; 0: none, as reading takes far longer than the network does
    on a CPU. Labels from a GPU differ by the rounding of sums."""

    rows_per_shard: int = 0
    """Spectra in one output file, which is what a killed job may lose; sets the memory of an actor, 20 kB each. 0:
    a 64th of all, 256 to 2048."""

    bytes_per_shard: int = 1 << 28
    """Bytes of the input files of one output file, so that shards of large files take no longer than others."""

    def __post_init__(self) -> None:
        if self.actors < 0 or self.cpus_per_actor <= 0:
            raise ValueError(f"actors = {self.actors} must be >= 0 and cpus_per_actor = {self.cpus_per_actor} > 0")
        if self.gpus_per_actor < 0:
            raise ValueError(f"gpus_per_actor = {self.gpus_per_actor:g} must not be negative")
        if not 0 <= self.rows_per_shard <= 100_000:
            raise ValueError(f"rows_per_shard = {self.rows_per_shard} must lie in 0 to 100000")
        if self.bytes_per_shard < 1:
            raise ValueError(f"bytes_per_shard = {self.bytes_per_shard} must be positive")


def cpus_here() -> int:
    """Return the number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def session(resources: Resources) -> Iterator[None]:
    """Join or start Ray for the time of a job; does nothing with ``local``, or where Ray runs already.

    Raises
    ------
    ConfigError : the cluster cannot be reached
    """
    if resources.local:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process only; logs of the workers stay whole
    import ray

    if ray.is_initialized():
        yield
        return
    address = resources.address or os.environ.get("RAY_ADDRESS", "")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", num_cpus=cpus_here(), include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster at {address or 'this machine'}: {first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _what_happened(error: BaseException) -> BaseException:
    """Return what was raised in the actor where the user can mend it, else the error as Ray tells it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, RaystellarError):
            return found
        found = getattr(found, "cause", None) or found.__cause__
    return error


def _quiet_console() -> None:
    """Keep the plans of Ray Data off the terminal, where they would drown the progress line; its log has them."""
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)


def _actors_that_fit(resources: Resources) -> int:
    """Return how many actors the cluster has room for.

    Raises
    ------
    ConfigError : none, for it lacks GPUs
    """
    import ray

    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 1.0), there.get("GPU", 0.0)
    if gpus < resources.gpus_per_actor:
        raise ConfigError(
            f"resources.gpus_per_actor = {resources.gpus_per_actor:g} and the cluster has {gpus:g} GPUs; lower it"
        )
    fitting = cpus / resources.cpus_per_actor
    return max(1, int(min(fitting, gpus / resources.gpus_per_actor) if resources.gpus_per_actor else fitting))
