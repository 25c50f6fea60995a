"""Benchmark the way from spec files to a catalogue against the program that a user would write.

Three programs do the same work on the same files in one run: read flux, wavelengths, ivar, class and redshift; go to
the rest frame on the grid in two interpolations; standardise; predict; write Parquet (zstd). The programs of raystellar
also compute errors, OOD score and flags.

- a loop with astropy, SciPy and torch, one spectrum after the other;
- the kernels of raystellar in this process, without Ray;
- the Ray job on one core and more, timed from its first finished shard to its last.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.bench.ingest import SLOW_FILES, Timing, ray_job, touch
from raystellar.bench.kernels import admit_by_pipeline, plain_read, plain_resample, timed, usable
from raystellar.catalog.labeller import Labeller
from raystellar.engine.shards import Flow
from raystellar.errors import InputError
from raystellar.files.fetcher import FetchConfig
from raystellar.model.batches import CPU_BATCH
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.model.plain import matrix_products, predict_one
from raystellar.model.threads import threads
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.preprocessing.ingest import Ingest, ingest
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import CATALOG, arrow_schema
from raystellar.spectra import Slice, read_spectrum
from raystellar.spectra.inputs import make_manifest
from raystellar.stages.label import PredictAndJudge, WithVelocity
from raystellar.targets import TARGET_NAMES

CATALOG_SHARD_ROWS = 1024
"""Number of spectra in a shard where the kernels run without Ray."""

PREDICTED = 32 * CPU_BATCH
"""Number of spectra for the time of the prediction alone."""

RTOL, ATOL = 1e-4, 2e-3
"""Allowed relative and absolute difference between the programs: float32 rounding of spectra and matrix products."""


def label_table(spectra: list[str], model: str, cores: Iterable[int] = (1, 2)) -> Iterator[Timing]:
    """Yield the time of each program, the slowest first.

    Parameters
    ----------
    spectra : spec files of stars, folders or globs
    model : folder of the model
    cores : numbers of actors of the Ray jobs

    Raises
    ------
    InputError : there are no spectra, or the programs disagree
    """
    bundle, manifest = load_bundle(model), make_manifest(spectra)
    paths = manifest["path"].to_pylist()
    touch(paths)
    few = usable(paths, Preprocessor(bundle.preprocess), SLOW_FILES)
    with threads(1):
        expected, timing = _plain(few, bundle)
        yield timing
        yield _bare(paths, few, expected, bundle)
    admit = WithVelocity(None, bundle.preprocess)
    steps = (
        Ingest(config=bundle.preprocess, admit=admit, fetch=FetchConfig()),
        PredictAndJudge(model, bundle.model_id, QualityConfig(), device="cpu"),
    )
    for n in cores:
        yield ray_job(
            manifest, n, arrow_schema(CATALOG), lambda out: Flow(source=out.slices, steps=steps, sink=out.commit)
        )


def predict_ratio(model: str) -> tuple[float, float]:
    """Return the times [ms per spectrum] of the prediction alone and of its bare matrix products, on one core."""
    bundle = load_bundle(model)
    flux = np.random.default_rng(0).standard_normal((PREDICTED, bundle.network.n_pixels), dtype=np.float32)
    products = matrix_products(bundle, flux)
    with threads(1):
        _, predict_ms = timed(lambda: bundle.predict(flux), len(flux), passes=7)
        _, products_ms = timed(products, len(flux), passes=7)
    return predict_ms, products_ms


def _plain(paths: list[str], bundle: Bundle) -> tuple[np.ndarray, Timing]:
    """Run the plain loop over ``paths``; return the labels (n, 3) and the time."""
    took, labels = dict.fromkeys(("read", "resample", "label", "write"), 0.0), []
    for path in paths:
        clock = [time.perf_counter()]
        star = plain_read(path)
        clock.append(time.perf_counter())
        spectrum = plain_resample(*star, bundle.preprocess).astype(np.float32)
        clock.append(time.perf_counter())
        labels.append(predict_one(bundle, spectrum))
        clock.append(time.perf_counter())
        for name, seconds in zip(took, np.diff(clock), strict=False):
            took[name] += float(seconds)
    start = time.perf_counter()
    table = np.array(labels)
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: table[:, k] for k, name in enumerate(TARGET_NAMES)}
        pq.write_table(pa.table({"path": paths, **columns}), os.path.join(folder, "rows.parquet"), compression="zstd")
    took["write"] = time.perf_counter() - start
    parts = {name: 1e3 * seconds / len(paths) for name, seconds in took.items()}
    return table, Timing("astropy, SciPy, torch", sum(parts.values()), len(paths), parts)


def _bare(paths: list[str], few: list[str], expected: np.ndarray, bundle: Bundle) -> Timing:
    """Time the kernels part by part on a few files, then all together on all files, in this process."""
    preprocessor, labeller = Preprocessor(bundle.preprocess), Labeller(bundle, QualityConfig())
    batch = ingest([Slice(path) for path in few], preprocessor, admit_by_pipeline)
    rows = labeller.rows(batch)
    labels = np.column_stack([rows[name].to_numpy() for name in TARGET_NAMES])
    if labels.shape != expected.shape or not np.allclose(labels, expected, RTOL, ATOL):
        raise InputError("raystellar and the plain program disagree on these files; give spectra of stars only")
    _, read = timed(lambda: [read_spectrum(path) for path in few], len(few))
    _, ready = timed(lambda: ingest([Slice(path) for path in few], preprocessor, admit_by_pipeline), len(few))
    _, label = timed(lambda: labeller.rows(batch), len(few))
    with tempfile.TemporaryDirectory() as folder:
        output = ShardedOutput(folder, arrow_schema(CATALOG))
        _, write = timed(lambda: output.commit(0, ShardRows(rows, [])), len(few))
        shards = [paths[start : start + CATALOG_SHARD_ROWS] for start in range(0, len(paths), CATALOG_SHARD_ROWS)]
        start = time.perf_counter()
        for number, shard in enumerate(shards):
            batch = ingest([Slice(path) for path in shard], preprocessor, admit_by_pipeline)
            output.commit(number, ShardRows(labeller.rows(batch), batch.rejects))
        whole = 1e3 * (time.perf_counter() - start) / len(paths)
    parts = {"read": read, "resample": ready - read, "label": label, "write": write}
    return Timing("raystellar, bare", whole, len(paths), parts)
