"""How fast do spec files become Parquet, beside what a user would write?

Four programs do the same on the same files in one run: read flux, wavelengths, ivar, class and redshift, go to the
rest frame on the grid in two interpolations, standardise, write Parquet (zstd).

- a loop with astropy and SciPy, as the documentation of both shows;
- a loop with fitsio and SciPy, as a careful user writes it: only the columns needed, splines in one call;
- raystellar's kernels, bare in this process;
- the Ray job, on one core and more, from its first finished shard to its last.

The floor is how fast the bytes that are needed come from the page cache.
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

from raystellar.bench.kernels import admit_by_pipeline, plain_read, plain_resample
from raystellar.engine.session import Resources, session
from raystellar.engine.shards import Flow, run_shards
from raystellar.errors import InputError
from raystellar.files.fetcher import FetchConfig
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.preprocess.ingest import Batch, Ingest, ingest, matrix_column
from raystellar.preprocess.pixels import SPEED_OF_LIGHT_KM_S, PreprocessConfig, Preprocessor
from raystellar.schema import IDENTITY, SPECTRA, arrow_schema
from raystellar.spectra import Slice, read_spectrum
from raystellar.spectra.content import HEAD_BYTES
from raystellar.spectra.inputs import make_manifest

SLOW_FILES = 300
"""Files for the loops, which take tens of milliseconds each."""

SCHEMA = arrow_schema((*IDENTITY, *SPECTRA))


@dataclass(frozen=True)
class Line:
    """One line of the table: ms per spectrum and core of the whole, and of each part where they are known."""

    name: str
    whole: float
    spectra: int
    parts: dict[str, float] = field(default_factory=dict)


def ingest_table(spectra: list[str], cores: Iterable[int] = (1, 2)) -> Iterator[Line]:
    """Yield the lines of the table, slowest program first.

    Raises
    ------
    InputError : there are no spectra, or programs disagree
    """
    manifest = make_manifest(spectra)
    paths = manifest["path"].to_pylist()
    few = paths[:: max(1, len(paths) // SLOW_FILES)][:SLOW_FILES]
    touch(paths)
    expected, line = _plain("astropy + SciPy", few, plain_read)
    yield line
    fitsio_read = _fitsio_reader()
    if fitsio_read:
        yield _plain("fitsio + SciPy", few, fitsio_read)[1]
    yield _bare(paths, few, expected)
    for n in cores:
        yield ray_job(manifest, n, SCHEMA, bench_flow)


def read_floor(spectra: list[str]) -> tuple[float, float]:
    """Return the bytes that are needed of a file, and the ms to read them from the page cache on one core."""
    paths = make_manifest(spectra)["path"].to_pylist()
    return touch(paths) / len(paths), ms(lambda: touch(paths), len(paths))


def touch(paths: list[str]) -> int:
    """Read the bytes that are needed and return their number; then no program pays for the disk."""
    size = 0
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        size += len(os.read(handle, HEAD_BYTES))
        os.close(handle)
    return size


Read = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray, float]]


def _plain(name: str, paths: list[str], read: Read) -> tuple[np.ndarray, Line]:
    """Run the loop of a user over ``paths``."""
    grid = PreprocessConfig().grid()
    clock = [time.perf_counter()]
    raw = [read(path) for path in paths]
    clock.append(time.perf_counter())
    flux = np.array([plain_resample(x, y, rv, grid) for x, y, _, rv in raw], dtype=np.float32)
    clock.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"path": paths, "rv": [row[3] for row in raw], "flux": matrix_column(flux)})
        pq.write_table(table, os.path.join(folder, "flux.parquet"), compression="zstd")
    clock.append(time.perf_counter())
    took = (1e3 * np.diff(clock) / len(paths)).tolist()
    return flux, Line(name, sum(took), len(paths), dict(zip(("read", "resample", "write"), took, strict=True)))


def _fitsio_reader() -> Read | None:
    """Return a reader with fitsio, or None where that is not installed."""
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


def _bare(paths: list[str], few: list[str], expected: np.ndarray) -> Line:
    """Time raystellar's parts alone, then all together, in this process."""
    preprocessor = Preprocessor(PreprocessConfig())
    found = ingest([Slice(path) for path in few], preprocessor, admit_by_pipeline)
    if len(found.flux) != len(expected) or np.abs(found.flux - expected).max() > 2e-6:
        raise InputError("raystellar and the plain program disagree on these files; take spectra of stars only")
    read = ms(lambda: [read_spectrum(path) for path in few], len(few))
    with tempfile.TemporaryDirectory() as folder:
        output = ShardedOutput(folder, SCHEMA)
        write = ms(lambda: output.commit(0, ShardRows(_rows(found), [])), len(few))
        shards = [paths[start : start + 512] for start in range(0, len(paths), 512)]
        start = time.perf_counter()
        for number, shard in enumerate(shards):
            batch = ingest([Slice(path) for path in shard], preprocessor, admit_by_pipeline)
            output.commit(number, _shard_rows(batch))
        whole = 1e3 * (time.perf_counter() - start) / len(paths)
    parts = {"read": read, "resample": whole - read - write, "write": write}
    return Line("raystellar, bare", whole, len(paths), parts)


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


def ray_job(manifest: pa.Table, cores: int, schema: pa.Schema, flow: Callable[[ShardedOutput], Flow]) -> Line:
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
    first = done[min(cores, len(done)) - 1]["at"]  # when each actor has had its first
    rows = sum(row["rows"] for row in done[cores:])
    if not rows:
        raise InputError(f"{manifest.num_rows} files are too few to time a Ray job on {cores} cores")
    per_core = 1e3 * (done[-1]["at"] - first) * cores / rows
    return Line(f"Ray job, {cores} core" + "s" * (cores > 1), per_core, rows)


def _shard_rows(batch: Batch) -> ShardRows:
    return ShardRows(_rows(batch), batch.rejects)


def _rows(batch: Batch) -> pa.Table:
    table = batch.identity.append_column("flux", matrix_column(batch.flux))
    return table.append_column("ivar", matrix_column(batch.ivar))


def ms(work: Callable[[], Any], count: int, passes: int = 3) -> float:
    """Return the milliseconds a spectrum of the best pass."""
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / count
