"""Size a job before asking a cluster for time: count the input, time a sample of it, and multiply."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import ConfigError, InputError, SpectrumError
from raystellar.files import places
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.files.places import PathOrUrl, parquet_bytes
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.output.manifest import expected_rows
from raystellar.preprocessing.ingest import Batch, choose_rv, ingest, matrix_column
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.spectra import Slice
from raystellar.spectra.inputs import make_manifest

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of workers in the table."""

KEPT = 0.8
"""Rate of each of several workers of a Ray job, as a share of the rate of one bare process; measured on two cores."""

SIZES_ASKED = 32
"""Number of files, evenly taken, whose size a server is asked for where the list of files does not state it."""

START_S = 15.0
"""Time until the first actor has its first result [s]: Ray, imports, kernels from the cache."""


@dataclass(frozen=True)
class Plan:
    """The estimated cost of a job."""

    files: int
    """Number of input files."""

    spectra: int
    """Number of input spectra."""

    input_bytes: int | None
    """Size of all files [bytes]; None where no server states it."""

    sizes_asked: int
    """Number of files from whose sizes ``input_bytes`` was estimated; 0 where all sizes are known."""

    sample: int
    """Number of spectra that were timed."""

    rejected: int
    """Number of rejects in the sample."""

    seconds_per_spectrum: float
    """Time of one core from the path to the bytes of an output file [s]."""

    output_bytes: int
    """Bytes of the output of the whole job, estimated from the sample."""

    worker_bytes: int
    """Peak memory of this process, which did the work of a worker [bytes]."""

    def rate(self, workers: int) -> float:
        """Return the spectra per second of ``workers`` workers, without the start."""
        return workers * (1.0 if workers == 1 else KEPT) / self.seconds_per_spectrum

    def hours(self, workers: int) -> float:
        """Return the hours of the whole job with ``workers`` workers, with the start."""
        return (START_S + self.spectra / self.rate(workers)) / 3600.0


def plan(
    spectra: PathOrUrl | Iterable[PathOrUrl],
    *,
    model: PathOrUrl | None = None,
    config: PreprocessConfig | None = None,
    fetch: FetchConfig | None = None,
    sample: int = 512,
) -> Plan:
    """Count and size the input, time a sample of it in this process, and estimate the whole job.

    Parameters
    ----------
    spectra : files, folders, globs or lists, see ``files.listing.expand``
    model : bundle to label with; None to estimate preprocessing into Parquet
    config : preprocessing where no model is given
    fetch : requests for files on servers
    sample : number of spectra to time, evenly taken

    Raises
    ------
    ConfigError : ``sample`` is not positive
    InputError : there are no spectra, or no spectrum of the sample can be used
    """
    if sample < 1:
        raise ConfigError(f"sample = {sample} must be at least 1")
    bundle = load_bundle(model) if model else None
    config = bundle.preprocess if bundle else config or PreprocessConfig()
    manifest = make_manifest(spectra)
    slices = _sample(manifest, sample)
    preprocessor, fetcher = Preprocessor(config), Fetcher(fetch or FetchConfig())
    _do(slices[:2], preprocessor, bundle, fetcher)  # loads kernels and network, once a worker
    start = time.perf_counter()
    batch, size = _do(slices, preprocessor, bundle, fetcher)
    seconds = time.perf_counter() - start
    done = len(batch.flux) + len(batch.rejects)
    if not len(batch.flux):
        raise InputError(f"none of {done} sampled spectra can be used; the first is rejected: {batch.rejects[0][1]}")
    total = int(expected_rows(manifest).sum())
    input_bytes, sizes_asked = _input_bytes(manifest, fetcher)
    return Plan(
        files=manifest.num_rows,
        spectra=total,
        input_bytes=input_bytes,
        sizes_asked=sizes_asked,
        sample=done,
        rejected=len(batch.rejects),
        seconds_per_spectrum=seconds / done,
        output_bytes=round(size * total / done),
        worker_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def _sample(manifest: pa.Table, count: int) -> list[Slice]:
    """Return slices with about ``count`` spectra: the first spectra of evenly taken files."""
    files = manifest.take(pa.array(range(0, manifest.num_rows, max(1, manifest.num_rows // count)))).to_pylist()
    each = max(1, count // len(files))
    return [Slice(row["path"], 0, row["spectra"] and min(row["spectra"], each)) for row in files]


def _input_bytes(manifest: pa.Table, fetcher: Fetcher) -> tuple[int | None, int]:
    """Return the bytes of all files, None where they are unknown, and the number of files whose size was asked for.

    A file on a server may stand in the list without a size. The size of some of these files is asked for, and their
    mean stands for all.
    """
    listed = int(pc.sum(manifest["bytes"]).as_py())
    without = manifest.filter(pc.equal(manifest["bytes"], 0))["path"].to_pylist()
    unknown = [path for path in without if not places.is_local(path)]
    if not unknown:
        return listed, 0
    sizes = [size for path in unknown[:: -(-len(unknown) // SIZES_ASKED)] if (size := _size(path, fetcher)) is not None]
    return (listed + round(len(unknown) * sum(sizes) / len(sizes)) if sizes else None), len(sizes)


def _size(path: str, fetcher: Fetcher) -> int | None:
    """Return the size of a file on a server [bytes]; None where the server does not state it or refuses."""
    try:
        return fetcher.size(path)
    except SpectrumError:
        return None


def _do(slices: list[Slice], preprocessor: Preprocessor, bundle: Bundle | None, fetcher: Fetcher) -> tuple[Batch, int]:
    """Do the work of a worker; return the batch and the bytes of its Parquet file."""
    limit = preprocessor.config.max_abs_rv
    batch = ingest(slices, preprocessor, lambda spectrum: choose_rv(spectrum, None, -1, limit), fetcher)
    if bundle:
        table = batch.identity.append_column("labels", matrix_column(bundle.predict(batch.flux).astype("float32")))
    else:
        table = batch.identity.append_column("flux", matrix_column(batch.flux))
        table = table.append_column("ivar", matrix_column(batch.ivar))
    return batch, len(parquet_bytes(table))


def plan_table(estimate: Plan) -> str:
    """Return the plan as text for the terminal."""
    lines = [
        f"input: {estimate.spectra} spectra in {estimate.files} files, {_input_size(estimate)}",
        f"sample: {estimate.sample} spectra, {estimate.rejected} rejected, "
        f"{1e3 * estimate.seconds_per_spectrum:.3f} ms each on one core",
        f"output: {estimate.output_bytes / 1e9:.3g} GB",
        f"memory: {estimate.worker_bytes / 1e9:.2f} GB a worker",
        f"{'workers':>8s} {'spectra/s':>10s} {'time':>10s} {'memory':>10s}",
    ]
    for workers in WORKERS:
        memory = f"{workers * estimate.worker_bytes / 1e9:.1f} GB"
        lines.append(
            f"{workers:8d} {estimate.rate(workers):10.0f} {_duration(estimate.hours(workers)):>10s} {memory:>10s}"
        )
    return "\n".join(lines)


def _input_size(estimate: Plan) -> str:
    if estimate.input_bytes is None:
        return "their size is unknown"
    size = f"{estimate.input_bytes / 1e9:.3g} GB"
    return f"about {size} by the size of {estimate.sizes_asked} of them" if estimate.sizes_asked else size


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"
