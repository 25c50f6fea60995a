"""Stage: survey files and a model bundle -> a catalogue of stellar parameters with quality flags, in Parquet.

    manifest -> [ read -> velocity -> rest frame, grid, standardise -> predict -> judge ] -> parts, rejects -> repeats

The brackets are one shard, done by one actor. When all shards are done, the rows of each star are brought together and
its best row is chosen. Stars, galaxies and sky fibres all get a row, and the flags tell them apart; a spectrum that
cannot be read, or that has no redshift at all, is a reject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from raystellar.catalog.repeats import find_stars
from raystellar.config import or_default
from raystellar.engine.progress import Stopwatch
from raystellar.engine.session import Resources
from raystellar.engine.shards import Flow, JobResult, run_job
from raystellar.errors import BundleError
from raystellar.files import places
from raystellar.files.facts import read_facts, write_facts
from raystellar.files.fetcher import FetchConfig
from raystellar.files.places import PathOrUrl, as_path
from raystellar.labels.config import LabelsConfig
from raystellar.labels.join import Join, check_files
from raystellar.labels.table import LabelTable, read_labels
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.output.parts import map_ahead
from raystellar.preprocessing.ingest import Admitted, Batch, Ingest, choose_rv, take_prepared
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.quality import BAD, WARN, QualityConfig
from raystellar.schema import CATALOG, JOB_NAME, REPEATS, described_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum

if TYPE_CHECKING:
    from raystellar.catalog.labeller import Labeller


@dataclass(frozen=True)
class LabelSummary:
    """The outcome of labelling."""

    out: str
    """Folder of the catalogue."""

    job: JobResult
    """Account of all input rows."""

    model_id: str
    """Identity of the model."""

    flagged: dict[str, int]
    """Numbers of rows that are ``good``, ask for care (``warn``), or are ``bad``."""

    repeats: dict[str, Any]
    """Stars and the agreement of their repeats, see ``repeats.Stars.summary``; also in ``_summary.json``."""

    notes: tuple[str, ...]
    """Remarks for the user, one sentence each."""

    seconds: dict[str, float]
    """Time of each part of the job [s]."""


def label(
    spectra: PathOrUrl | Iterable[PathOrUrl],
    model: PathOrUrl,
    out: PathOrUrl,
    *,
    labels: PathOrUrl | None = None,
    labels_config: LabelsConfig | None = None,
    quality: QualityConfig | None = None,
    fetch: FetchConfig | None = None,
    resources: Resources | None = None,
    retry_rejects: bool = False,
) -> LabelSummary:
    """Label all ``spectra`` with the bundle ``model`` into the folder ``out``, or resume an interrupted run.

    A folder that holds other spectra labelled in the same way keeps them, and only missing spectra are labelled.

    Parameters
    ----------
    spectra : a file, folder, glob or list, or many of them, see ``files.listing.expand``
    model : folder of a model bundle, a path or URL
    out : folder to write, a path or URL
    labels : label table whose radial velocities replace the redshifts of the pipeline, for the spectra in the table;
        a table without velocities changes nothing
    labels_config : rules by which velocities of the label table are usable
    quality : limits of the flags
    fetch : requests for files on servers
    resources : where the job runs
    retry_rejects : repeat the shards in which a file could not be fetched, or was rejected and has changed since

    Raises
    ------
    RaystellarError : an input cannot be used, ``out`` cannot be written or holds something else, or rows are missing
    """
    model, out = as_path(model), as_path(out)
    labels = None if labels is None else as_path(labels)
    from raystellar.model.bundle_files import load_bundle

    quality, resources = or_default(quality, QualityConfig), or_default(resources, Resources)
    labels_config, fetch = or_default(labels_config, LabelsConfig), or_default(fetch, FetchConfig)
    watch = Stopwatch()
    with watch.part("load model"):
        bundle = load_bundle(model)
    with watch.part("list spectra"):
        manifest = make_manifest(spectra)
    with watch.part("read labels"):
        table = read_labels(labels, labels_config, required=()) if labels else None
        if table:
            check_files(table, manifest["path"], manifest["spectra"])
    identity = {
        "model": bundle.model_id,
        "quality": quality,
        "label_table": table.digest() if table else None,
        "columns": [column.name for column in CATALOG],
    }
    output = ShardedOutput(out, described_schema(CATALOG, "catalog"))
    rows, size = resources.rows_per_shard, resources.bytes_per_shard
    further = output.begin("catalog", identity, manifest, rows, size, grows=True, retry=retry_rejects)
    if retry_rejects:
        output.reopen("fetch")
    flow = Flow(
        source=output.slices,
        steps=(
            Ingest(
                config=bundle.preprocess,
                admit=WithVelocity(Join(table) if table else None, bundle.preprocess),
                fetch=fetch,
            ),
            PredictAndJudge(model, bundle.model_id, quality, device="cuda" if resources.gpus_per_actor else "cpu"),
        ),
        sink=output.commit,
    )
    with watch.part("label"):
        job = run_job("label", output, flow, resources)
    _note(out, model, job)
    with watch.part("compare repeats"):
        repeats = output.summary() or finish(output)
    notes = (*_notes(further, repeats), *(_notes_on_labels(table, output) if table else ()))
    return LabelSummary(out, job, bundle.model_id, count_flags(output), repeats, notes, watch.seconds)


@dataclass(frozen=True)
class WithVelocity:
    """Admit every spectrum that has a velocity or was preprocessed already."""

    join: Join | None
    """Join with the label table whose velocities are preferred."""

    config: PreprocessConfig
    """Preprocessing of the model."""

    def __call__(self, spectrum: Spectrum) -> Admitted:
        """Return the velocity of the spectrum.

        Raises
        ------
        SpectrumError : there is no velocity, several rows of the label table match, or the spectrum was preprocessed in
            another way
        """
        if isinstance(spectrum, Prepared):
            return take_prepared(spectrum, self.config)
        if self.join is None:
            return choose_rv(spectrum, None, -1, self.config.max_abs_rv)
        return choose_rv(spectrum, self.join.table, self.join.row(spectrum), self.config.max_abs_rv)


@dataclass(frozen=True)
class PredictAndJudge:
    """Step: a batch of preprocessed spectra -> rows of the catalogue.

    A worker receives the path of the model, and loads the model when it begins.
    """

    model: str
    """Folder of the bundle."""

    model_id: str
    """Identity that the bundle must have."""

    quality: QualityConfig
    """Limits of the flags."""

    device: str
    """``cpu`` or ``cuda``."""

    def __call__(self, batch: Batch) -> ShardRows:
        """Return the columns ``schema.CATALOG`` of a batch, and its rejects."""
        return ShardRows(self._labeller.rows(batch), batch.rejects)

    @cached_property
    def _labeller(self) -> Labeller:
        from raystellar.catalog.labeller import Labeller
        from raystellar.model.bundle_files import load_bundle

        bundle = load_bundle(self.model)
        if bundle.model_id != self.model_id:
            raise BundleError(
                f"model {self.model} changed while it was in use, from {self.model_id} to {bundle.model_id}"
            )
        return Labeller(bundle.on(self.device), self.quality)


def finish(output: ShardedOutput) -> dict[str, Any]:
    """Find the rows of each star and its best row, when all rows exist; return the summary.

    Parts whose columns ``schema.REPEATS`` change are rewritten one by one, and the summary last. The work may be killed
    at any time, because the result does not depend on the decisions of an earlier run.
    """
    stars = find_stars(lambda names: (table for _, table in output.columns(names)))
    changed, start = [], 0
    for shard, table in output.columns([column.name for column in REPEATS]):
        if not stars.decide(table, start).equals(table):
            changed.append((shard, start))
        start += len(table)
    for _ in map_ahead(lambda part: output.write_part(part[0], stars.decide(output.part(part[0]), part[1])), changed):
        pass
    output.write_summary(stars.summary)
    return stars.summary


def _notes(further: int, repeats: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if further:
        notes.append(f"{further} further files were in the catalogue already and stay there")
    if repeats["plate_centres"]:
        notes.append(
            f"{repeats['plate_centres']} rows have a position that fibres of one plate share, such as its centre; "
            "star_id ignores that position"
        )
    return tuple(notes)


def _notes_on_labels(table: LabelTable, output: ShardedOutput) -> tuple[str, ...]:
    """Return the number of spectra that have their velocity from the label table, and the notes on the table."""
    joined = sum(pc.sum(pc.equal(source, "table")).as_py() or 0 for source in output.column("rv_source"))
    known = int(np.isfinite(table.rv).sum())
    by = ", ".join(table.identities)
    return (
        f"{joined} spectra have the velocity of the label table, in which {known} of {len(table)} rows have one; "
        f"joined by {by}",
        *table.notes,
    )


def _note(out: str, model: str, job: JobResult) -> None:
    """Record the path of the model, and the spectra and seconds of all runs without their starts, for the report."""
    if job.accounting.rows_in == job.resumed_rows:
        return
    before = read_facts(out, JOB_NAME)
    spectra = before.get("spectra", 0) + job.steady_rows
    seconds = before.get("seconds", 0.0) + job.steady_seconds
    write_facts(out, JOB_NAME, {"model": places.absolute(model), "spectra": spectra, "seconds": seconds})


def count_flags(output: ShardedOutput) -> dict[str, int]:
    """Return how many rows of a finished catalogue are ``good``, ask for care (``warn``), or are ``bad``."""
    counts = {"good": 0, "warn": 0, "bad": 0}
    for flags in output.column("flags"):
        bits = flags.to_numpy()
        bad, warn = (bits & BAD) != 0, (bits & WARN) != 0
        counts["bad"] += int(bad.sum())
        counts["warn"] += int((warn & ~bad).sum())
        counts["good"] += int((~warn & ~bad).sum())
    return counts
