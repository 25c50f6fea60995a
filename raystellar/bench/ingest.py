"""Benchmark the way from spec files to Parquet against the program that a user would write.

Four programs do the same work on the same files in one run: read flux, wavelengths, ivar, class and redshift; go to the
rest frame on the grid in two interpolations; standardise; write Parquet (zstd).

- a loop with astropy and SciPy, as the documentation of both shows;
- a loop with fitsio and SciPy, as a careful user writes it: it reads only the columns needed;
- the kernels of raystellar in this process, without Ray;
- the Ray job on one core and more, timed from its first finished shard to its last.

The floor is the time to read the needed bytes from the page cache.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.bench.kernels import FLUX_TOLERANCE, admit_by_pipeline, plain_read, plain_resample_all, timed, usable
from raystellar.engine.session import Resources, session
from raystellar.engine.shards import Flow, run_shards
from raystellar.errors import InputError
from raystellar.files.fetcher import FetchConfig
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.preprocessing.ingest import Batch, Ingest, ingest, matrix_column
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import IDENTITY, SPECTRA, arrow_schema
from raystellar.spectra import Slice, read_spectrum
from raystellar.spectra.content import HEAD_BYTES
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

SLOW_FILES = 300
"""Number of files for the plain loops, which take tens of milliseconds a file."""

DATASET_SHARD_ROWS = 512
"""Number of spectra in a shard where the kernels run without Ray."""

SCHEMA = arrow_schema((*IDENTITY, *SPECTRA))
"""Columns that the benchmark writes."""


@dataclass(frozen=True)
class Timing:
    """Time of one program."""

    name: str
    """Name of the program."""

    whole: float
    """Time of all parts together [ms per spectrum and core]."""

    spectra: int
    """Number of spectra that were timed."""

    parts: dict[str, float] = field(default_factory=dict)
    """Time of each part that was timed alone, by name [ms per spectrum and core]."""


def ingest_table(spectra: list[str], cores: Iterable[int] = (1, 2)) -> Iterator[Timing]:
    """Yield the time of each program, the slowest first.

    Parameters
    ----------
    spectra : spec files of stars, folders or globs
    cores : numbers of actors of the Ray jobs

    Raises
    ------
    InputError : there are no spectra, or the programs disagree
    """
    manifest = make_manifest(spectra)
    paths = manifest["path"].to_pylist()
    touch(paths)
    few = usable(paths, Preprocessor(PreprocessConfig()), SLOW_FILES)
    expected, timing = _plain("astropy + SciPy", few, plain_read)
    yield timing
    fitsio_read = _fitsio_reader()
    if fitsio_read:
        yield _plain("fitsio + SciPy", few, fitsio_read)[1]
    yield _bare(paths, few, expected)
    for n in cores:
        yield ray_job(manifest, n, SCHEMA, bench_flow)


def read_floor(spectra: list[str]) -> tuple[float, float]:
    """Return the number of bytes that are needed of a file, and the time to read them from the page cache [ms]."""
    paths = make_manifest(spectra)["path"].to_pylist()
    return touch(paths) / len(paths), timed(lambda: touch(paths), len(paths))[1]


def touch(paths: list[str]) -> int:
    """Read the needed bytes of all files, so that no program waits for the disk later; return their number."""
    size = 0
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        size += len(os.read(handle, HEAD_BYTES))
        os.close(handle)
    return size


Read = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray, float]]
"""Return loglam, flux and ivar (n,) of a file, and rv [km/s]."""


def _plain(name: str, paths: list[str], read: Read) -> tuple[np.ndarray, Timing]:
    """Run the plain loop over ``paths``; return the standardised flux (n, P) and the time."""
    clock = [time.perf_counter()]
    raw = [read(path) for path in paths]
    clock.append(time.perf_counter())
    flux = plain_resample_all(raw, PreprocessConfig())
    clock.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"path": paths, "rv": [row[3] for row in raw], "flux": matrix_column(flux)})
        pq.write_table(table, os.path.join(folder, "flux.parquet"), compression="zstd")
    clock.append(time.perf_counter())
    took = (1e3 * np.diff(clock) / len(paths)).tolist()
    return flux, Timing(name, sum(took), len(paths), dict(zip(("read", "resample", "write"), took, strict=True)))


def _fitsio_reader() -> Read | None:
    """Return a reader with fitsio, or None if fitsio is not installed."""
    try:
        import fitsio
    except ImportError:
        return None

    def read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        with fitsio.FITS(path) as hdus:
            coadd = hdus[1].read(columns=["loglam", "flux", "ivar"])
            row = hdus[2].read(columns=["Z", "CLASS"])
        loglam, flux, ivar = (coadd[name].astype(np.float64) for name in ("loglam", "flux", "ivar"))
        return loglam, flux, ivar, SPEED_OF_LIGHT_KM_S * float(row["Z"][0])

    return read


def _bare(paths: list[str], few: list[str], expected: np.ndarray) -> Timing:
    """Time the kernels part by part, then all together, in this process."""
    preprocessor = Preprocessor(PreprocessConfig())
    batch = ingest([Slice(path) for path in few], preprocessor, admit_by_pipeline)
    if len(batch.flux) != len(expected) or np.abs(batch.flux - expected).max() > FLUX_TOLERANCE:
        raise InputError("raystellar and the plain program disagree on these files; give spectra of stars only")
    _, read = timed(lambda: [read_spectrum(path) for path in few], len(few))
    with tempfile.TemporaryDirectory() as folder:
        output = ShardedOutput(folder, SCHEMA)
        _, write = timed(lambda: output.commit(0, ShardRows(_rows(batch), [])), len(few))
        shards = [paths[start : start + DATASET_SHARD_ROWS] for start in range(0, len(paths), DATASET_SHARD_ROWS)]
        start = time.perf_counter()
        for number, shard in enumerate(shards):
            batch = ingest([Slice(path) for path in shard], preprocessor, admit_by_pipeline)
            output.commit(number, _shard_rows(batch))
        whole = 1e3 * (time.perf_counter() - start) / len(paths)
    parts = {"read": read, "resample": whole - read - write, "write": write}
    return Timing("raystellar, bare", whole, len(paths), parts)


class Timed:
    """Work on shards that also records when each shard ended."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def __call__(self, shard: int) -> dict[str, Any]:
        """Do one shard; return its counts and the time at its end [s]."""
        return self._flow(shard) | {"at": time.time()}


def ingest_step() -> Ingest:
    """Return the step that reads and preprocesses as the stage preprocess does, with velocities of the pipeline."""
    return Ingest(config=PreprocessConfig(), admit=admit_by_pipeline, fetch=FetchConfig())


def bench_flow(output: ShardedOutput, step: Ingest | None = None) -> Flow:
    """Return the flow of the stage preprocess without labels."""
    return Flow(source=output.slices, steps=(step or ingest_step(), _shard_rows), sink=output.commit)


def ray_job(manifest: pa.Table, cores: int, schema: pa.Schema, flow: Callable[[ShardedOutput], Flow]) -> Timing:
    """Time the Ray job on ``cores`` actors between its first and last finished shard.

    Parameters
    ----------
    manifest : table of files, see ``spectra.inputs.make_manifest``
    cores : number of actors
    schema : schema of the rows
    flow : returns the flow of the job into an output

    Raises
    ------
    InputError : there are too few shards
    """
    resources = Resources(actors=cores)
    with tempfile.TemporaryDirectory() as folder, session(resources):
        output = ShardedOutput(os.path.join(folder, "out"), schema)
        output.begin("bench", {}, manifest, resources.rows_per_shard)
        shards = run_shards(Timed(flow(output)), list(output.pending()), resources)
        done = sorted(shards, key=lambda row: row["at"])
    first = done[min(cores, len(done)) - 1]["at"]  # each actor has then done one shard
    rows = sum(row["rows"] for row in done[cores:])
    if not rows:
        raise InputError(f"{manifest.num_rows} files are too few to time a Ray job on {cores} cores")
    per_core = 1e3 * (done[-1]["at"] - first) * cores / rows
    return Timing(f"Ray job, {cores} core" + "s" * (cores > 1), per_core, rows)


def _shard_rows(batch: Batch) -> ShardRows:
    return ShardRows(_rows(batch), batch.rejects)


def _rows(batch: Batch) -> pa.Table:
    table = batch.identity.append_column("flux", matrix_column(batch.flux))
    return table.append_column("ivar", matrix_column(batch.ivar))
