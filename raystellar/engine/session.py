"""Join or start Ray for the time of a job, and ask a cluster how many workers it has room for."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raystellar.errors import ConfigError, RaystellarError, first_line

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Where a job runs, and on how many processors. No setting changes a result, except the rounding of a GPU."""

    local: bool = False
    """Whether the job runs in this process, without Ray."""

    address: str = ""
    """Ray cluster to join; empty: the cluster in RAY_ADDRESS, else a new one on this machine that ends with the job."""

    actors: int = 0
    """Parallel actors; 0: one for each CPU of the cluster."""

    cpus_per_actor: float = 1.0
    """CPUs that Ray reserves for each actor."""

    gpus_per_actor: float = 0.0
    """GPUs, or the share of one GPU, that Ray reserves for each labelling actor; 0: none, since reading a spectrum
    takes far longer than applying the network on a CPU. Labels from a GPU differ by the rounding of sums."""

    rows_per_shard: int = 0
    """Spectra in one output file, which is the work that a killed job may lose. An actor holds 20 kB for each. 0: a
    64th of all spectra, but 256 to 2048."""

    bytes_per_shard: int = 1 << 28
    """Bytes of input files for one output file, so that shards of large files take no longer than other shards."""

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
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def session(resources: Resources) -> Iterator[None]:
    """Join or start Ray for the time of a job; do nothing with ``local``, or where Ray runs already.

    Raises
    ------
    ConfigError : the cluster cannot be reached, or Ray does not start on this machine
    """
    if resources.local:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # for this process only; logs of workers are complete
    import ray

    if ray.is_initialized():
        yield
        return
    address = resources.address or os.environ.get("RAY_ADDRESS", "")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _silent_stderr():
            if address:
                ray.init(address=address, **quiet)
            else:
                ray.init(address="local", num_cpus=cpus_here(), include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises plain exceptions, too, such as when a busy machine starts it too slowly
        ray.shutdown()
        if address:
            raise ConfigError(f"no Ray cluster at {address}: {first_line(error)}") from None
        raise ConfigError(
            f"Ray did not start on this machine: {first_line(error)} Run the same command again, or use --local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep the lines that Ray's C++ core prints while it starts off the console; the debug log has them."""
    with tempfile.TemporaryFile() as kept, contextlib.ExitStack() as restore:
        try:
            terminal = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        restore.callback(os.close, terminal)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            kept.seek(0)
            if text := kept.read().decode(errors="replace").strip():
                LOG.debug("Ray said at its start: %s", text)


def quiet_loggers() -> None:
    """Keep the plans of Ray Data and the tables of Ray Tune off the console; Ray's own log files have them."""
    for name in ("ray.data", "ray.tune"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)


def room_for(needed: Mapping[str, float]) -> int:
    """Return how many workers fit the cluster at a time; 0 if it has no room for one.

    Parameters
    ----------
    needed : amount of each resource that one worker needs, by its name in Ray in lower case: ``cpu``, ``gpu``
    """
    import ray

    total = {name.lower(): amount for name, amount in ray.cluster_resources().items()}
    return int(min(total.get(name, 0.0) / amount for name, amount in needed.items() if amount))


def cause_of(error: BaseException) -> BaseException:
    """Return the RaystellarError, raised in a worker, that caused ``error``, or else ``error`` itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RaystellarError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error
