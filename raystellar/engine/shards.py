"""How shards are run: Ray Data actors, or this process where no cluster is wanted. No arithmetic here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from raystellar.engine.progress import Progress
from raystellar.engine.session import Resources, _actors_that_fit, _quiet_console, _what_happened, session
from raystellar.errors import IncompleteError
from raystellar.output.folder import Accounting, ShardedOutput

ShardWork = Callable[[int], dict[str, Any]]
"""Do one shard; return its input ``rows`` and how many of them were ``rejected``."""

NO_PROGRESS_TIMEOUT_S = 1800
"""A job in which no shard ends for so long is stuck, and says so; silent servers are given up well before."""


class _Actor:
    """Run shards inside a Ray Data actor; large arguments come from the object store, once a node."""

    def __init__(self, make: Callable[..., ShardWork], arguments: Any) -> None:
        import ray

        self._work = make(*ray.get(arguments))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        done = [self._work(int(shard)) | {"shard": int(shard)} for shard in batch["shard"]]
        return {key: [figures[key] for figures in done] for key in done[0]}


def run_shards(
    make: Callable[..., ShardWork], arguments: tuple[Any, ...], pending: list[int], resources: Resources
) -> Iterator[dict[str, Any]]:
    """Run ``make(*arguments)`` on every pending shard; yield its figures as shards end, in any order.

    ``make`` is called once in each actor, so what it loads is loaded once.
    """
    if not pending:
        return
    if resources.local:
        work = make(*arguments)
        for shard in pending:
            yield work(shard) | {"shard": shard}
        return
    yield from _run_on_ray(make, arguments, pending, resources)


def _run_on_ray(
    make: Callable[..., ShardWork], arguments: tuple[Any, ...], pending: list[int], resources: Resources
) -> Iterator[dict[str, Any]]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    fitting = _actors_that_fit(resources)
    actors = min(resources.actors or fitting, len(pending))
    shards = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending))
    done = shards.map_batches(
        _Actor,
        fn_constructor_args=(make, ray.put(arguments)),
        batch_size=1,
        num_cpus=resources.cpus_per_actor,
        num_gpus=resources.gpus_per_actor,
        compute=ActorPoolStrategy(size=actors),
    )
    _quiet_console()
    try:
        for block in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from block.to_pylist()  # type: ignore[union-attr]  # pyarrow was asked for
    except ray.data.exceptions.ExecutionTimeoutError:
        raise IncompleteError(
            f"no shard was finished within {NO_PROGRESS_TIMEOUT_S} s; run the same command again"
        ) from None
    except ray.exceptions.RayError as error:
        raise _what_happened(error) from error


@dataclass(frozen=True)
class JobResult:
    """What a sharded job left behind."""

    accounting: Accounting
    resumed_rows: int
    """Input rows that an earlier run had done."""


def run_job(
    name: str,
    output: ShardedOutput,
    make: Callable[..., ShardWork],
    arguments: tuple[Any, ...],
    resources: Resources,
) -> JobResult:
    """Run what is pending of an output that was begun, with progress, and account for every input row.

    Raises
    ------
    IncompleteError : rows are missing at the end
    """
    total, pending = output.rows_in(), output.pending()
    done_before = total - sum(pending.values())
    with Progress(name, total, "spectra") as progress:
        progress.skip(done_before)
        if pending:
            output.remove_summary()
            with session(resources):
                for figures in run_shards(make, (output, *arguments), list(pending), resources):
                    progress.add(figures["rows"], figures["rejected"])
    accounting = output.account()
    accounting.check(output.place)
    return JobResult(accounting, done_before)
