"""Run the shards of a job: in the actors of Ray Data, or in this process where no cluster is wanted.

A stage hands over a ``Flow``: the source, the steps and the sink of one shard. Each actor receives a copy of the flow,
so a step loads its model or compiles its kernel once an actor. The only data that pass through Ray are the numbers of
shards and the counts of rows; spectra go from files to files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raystellar.engine.progress import Progress
from raystellar.engine.session import Resources, cause_of, quiet_loggers, room_for, session
from raystellar.errors import ConfigError, IncompleteError
from raystellar.output.folder import Accounting, ShardedOutput

ShardWork = Callable[[int], dict[str, Any]]
"""Function that does the shard of this number and returns its counts: at least input ``rows`` and ``rejected`` rows."""

NO_PROGRESS_TIMEOUT_S = 1800
"""Time without a finished shard after which a job ends as stuck [s]; silent servers are given up well before."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The way of one shard through a stage: source, then the steps in their order, then the sink."""

    source: Callable[[int], Any]
    """Return the input of the shard of this number."""

    steps: Sequence[Callable[[Any], Any]]
    """Turn the input into the output, each step taking the result of the step before."""

    sink: Callable[[int, Any], dict[str, Any]]
    """Write the output of the shard of this number; return its counts."""

    def __call__(self, shard: int) -> dict[str, Any]:
        """Do one shard; return its counts."""
        data = self.source(shard)
        for step in self.steps:
            data = step(data)
        return self.sink(shard, data)


class _Actor:
    """A worker of Ray Data. The work comes from the object store, whose arrays all actors of a node share."""

    def __init__(self, work: Any) -> None:
        import ray

        self._work: ShardWork = ray.get(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        counts = [self._work(int(shard)) for shard in batch["shard"]]
        return {name: [one[name] for one in counts] for name in counts[0]}


def run_shards(work: ShardWork, pending: Sequence[int], resources: Resources) -> Iterator[dict[str, Any]]:
    """Run ``work`` on every pending shard; yield its counts as shards end, in any order.

    Raises
    ------
    ConfigError : the cluster has no room for an actor
    IncompleteError : no shard ended for a long time
    """
    if not pending:
        return
    if resources.local:
        yield from map(work, pending)
        return
    yield from _run_on_ray(work, pending, resources)


def _run_on_ray(work: ShardWork, pending: Sequence[int], resources: Resources) -> Iterator[dict[str, Any]]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    actors = min(resources.actors or actors_that_fit(resources), len(pending))
    done = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending)).map_batches(
        _Actor,
        fn_constructor_args=(ray.put(work),),
        batch_size=1,
        num_cpus=resources.cpus_per_actor,
        num_gpus=resources.gpus_per_actor,
        compute=ActorPoolStrategy(size=actors),
    )
    quiet_loggers()
    try:
        for block in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from block.to_pylist()  # type: ignore[union-attr]  # pyarrow was asked for
    except ray.data.exceptions.ExecutionTimeoutError:
        raise IncompleteError(
            f"no shard was finished within {NO_PROGRESS_TIMEOUT_S} s; run the same command again"
        ) from None
    except ray.exceptions.RayError as error:
        raise cause_of(error) from error


def actors_that_fit(resources: Resources) -> int:
    """Return how many actors the cluster has room for, at least 1.

    Raises
    ------
    ConfigError : the cluster has fewer GPUs than one actor needs
    """
    import ray

    gpus = ray.cluster_resources().get("GPU", 0.0)
    if gpus < resources.gpus_per_actor:
        raise ConfigError(
            f"resources.gpus_per_actor = {resources.gpus_per_actor:g} and the cluster has {gpus:g} GPUs; lower it"
        )
    return max(1, room_for({"cpu": resources.cpus_per_actor, "gpu": resources.gpus_per_actor}))


@dataclass(frozen=True)
class JobResult:
    """The outcome of a sharded job."""

    accounting: Accounting
    """Account of all input rows."""

    resumed_rows: int
    """Input rows that an earlier run had done."""

    steady_rows: int
    """Input rows of the shards that ended after the first one, which are free of the start of Ray and its actors."""

    steady_seconds: float
    """Time from the end of the first shard to the end of the last one [s]."""


def run_job(name: str, output: ShardedOutput, flow: Flow, resources: Resources) -> JobResult:
    """Run the pending shards of an output that was begun, with progress, and account for every input row.

    Raises
    ------
    IncompleteError : rows are missing at the end
    """
    total, pending = output.rows_in(), output.pending()
    done_before = total - sum(pending.values())
    steady_rows, first, last = 0, 0.0, 0.0
    with Progress(name, total, "spectra") as progress:
        progress.skip(done_before)
        if pending:
            output.remove_summary()
            with session(resources):
                for counts in run_shards(flow, list(pending), resources):
                    progress.add(counts["rows"], counts["rejected"])
                    last = time.perf_counter()
                    steady_rows += counts["rows"] if first else 0
                    first = first or last
    accounting = output.account()
    accounting.check(output.path)
    return JobResult(accounting, done_before, steady_rows, last - first)
