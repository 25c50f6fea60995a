"""How fast do plates become Parquet, beside the spec files of the same fibres?

Both are done as the stage dataset does them, shard by shard in one process, wherever they live: on a disk, or on a
server that takes its time for each answer.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from raystellar.bench.ingest import SCHEMA, bench_flow, ingest_step
from raystellar.errors import InputError
from raystellar.output.folder import ShardedOutput
from raystellar.preprocess.ingest import Ingest
from raystellar.spectra.inputs import make_manifest

ROWS_PER_SHARD = 2048
"""As in a survey of more than a hundred thousand spectra."""


class Rate(NamedTuple):
    """What one kind of files took."""

    name: str
    spectra: int
    ms: float
    """Per spectrum, from file to Parquet."""


def plates_table(plates: list[str], spectra: list[str], passes: int = 4) -> Iterator[Rate]:
    """Yield the rates of spec files and of plates, the best of some passes that take turns.

    Raises
    ------
    InputError : they hold other spectra
    """
    best: dict[str, Rate] = {}
    step = ingest_step()
    for _ in range(passes):
        for name, files in (("spec files", spectra), ("spPlate files", plates)):
            rate = _rate(name, files, step)
            best[name] = min(rate, best.get(name, rate), key=lambda rate: rate.ms)
    first, second = best.values()
    if first.spectra != second.spectra:
        raise InputError(f"{first.spectra} spectra in spec files and {second.spectra} in plates: take the same")
    yield from (first, second)


def _rate(name: str, files: list[str], step: Ingest) -> Rate:
    with tempfile.TemporaryDirectory() as folder:
        output = ShardedOutput(os.path.join(folder, "out"), SCHEMA)
        output.begin("bench", {}, make_manifest(files), ROWS_PER_SHARD)
        work = bench_flow(output, step)
        start = time.perf_counter()
        done = [work(shard) for shard in output.pending()]
        seconds = time.perf_counter() - start
    taken = sum(figures["rows"] - figures["rejected"] for figures in done)
    if not taken:
        raise InputError(f"none of the {name} can be used")
    return Rate(name, taken, 1e3 * seconds / taken)
