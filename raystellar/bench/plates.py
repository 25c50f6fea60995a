"""Benchmark the preprocessing of plates (spPlate files) against the spec files of the same fibres.

Both are preprocessed as the stage ``preprocess`` does it, shard by shard in one process. The files may lie on a disk or
on a server, whose delay of each answer is then part of the time.
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
from raystellar.preprocessing.ingest import Ingest
from raystellar.spectra.inputs import make_manifest

PLATE_SHARD_ROWS = 2048
"""Number of spectra in a shard, as in a survey of more than a hundred thousand spectra."""


class Rate(NamedTuple):
    """Time to preprocess one kind of files."""

    name: str
    """Kind of files."""

    spectra: int
    """Number of spectra that were preprocessed, rejects excluded."""

    ms: float
    """Time from file to Parquet [ms per spectrum]."""


def plates_table(plates: list[str], spectra: list[str], passes: int = 4) -> Iterator[Rate]:
    """Yield the rate of spec files, then of plates: the best of several passes, which alternate between both.

    Parameters
    ----------
    plates : spPlate files, folders or globs
    spectra : spec files of the same fibres
    passes : number of passes over each kind of files

    Raises
    ------
    InputError : the files do not hold the same number of spectra
    """
    best: dict[str, Rate] = {}
    step = ingest_step()
    for _ in range(passes):
        for name, files in (("spec files", spectra), ("spPlate files", plates)):
            rate = _rate(name, files, step)
            best[name] = min(rate, best.get(name, rate), key=lambda rate: rate.ms)
    first, second = best.values()
    if first.spectra != second.spectra:
        raise InputError(f"{first.spectra} spectra in spec files, {second.spectra} in plates; give the same fibres")
    yield from (first, second)


def _rate(name: str, files: list[str], step: Ingest) -> Rate:
    """Return the rate of one pass over ``files``."""
    with tempfile.TemporaryDirectory() as folder:
        output = ShardedOutput(os.path.join(folder, "out"), SCHEMA)
        output.begin("bench", {}, make_manifest(files), PLATE_SHARD_ROWS)
        work = bench_flow(output, step)
        start = time.perf_counter()
        done = [work(shard) for shard in output.pending()]
        seconds = time.perf_counter() - start
    taken = sum(counts["rows"] - counts["rejected"] for counts in done)
    if not taken:
        raise InputError(f"none of the {name} can be used")
    return Rate(name, taken, 1e3 * seconds / taken)
