"""Stage: SDSS files and a model bundle -> a catalogue of stellar parameters with quality bits, in Parquet.

One input row of the Ray job is one shard of paths: an actor reads, preprocesses as the bundle says, predicts, judges
and commits it. When all are there it is decided which rows are of one star, and which is its best. Stars, galaxies and
sky fibres all get a row, and the flags say what they are; what cannot be read or has no redshift at all is a reject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raystellar.catalog.labeller import Labeller
from raystellar.catalog.repeats import find_stars
from raystellar.engine.progress import Stopwatch
from raystellar.engine.session import Resources
from raystellar.engine.shards import JobResult, run_job
from raystellar.errors import BundleError
from raystellar.files import places
from raystellar.files.facts import read_facts, write_facts
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.labels.table import LabelsConfig, LabelTable, read_labels
from raystellar.output.folder import ShardedOutput, ahead
from raystellar.preprocess.ingest import Admitted, choose_rv, find_label, ingest, take_prepared
from raystellar.preprocess.pixels import Preprocessor
from raystellar.quality import BAD, WARN, QualityConfig
from raystellar.schema import CATALOG, JOB_NAME, REPEATS, described_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class LabelSummary:
    """What came of a labelling job."""

    out: str
    job: JobResult
    model_id: str
    flagged: dict[str, int]
    """Rows that are bad, to be used with care, or good."""
    repeats: dict[str, Any]
    """Stars and how well their repeats agree, see ``repeats.Stars.summary``; it stands in ``_summary.json``."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    seconds: dict[str, float]


def label(
    spectra: Iterable[str],
    model: str,
    out: str,
    *,
    labels: str | None = None,
    labels_config: LabelsConfig | None = None,
    quality: QualityConfig | None = None,
    fetch: FetchConfig | None = None,
    resources: Resources | None = None,
    retry_rejects: bool = False,
) -> LabelSummary:
    """Label all ``spectra`` with the bundle ``model`` into the folder ``out``; resumes what was interrupted.

    A folder that holds other spectra labelled in the same way keeps them, and only what it lacks is labelled.

    Parameters
    ----------
    spectra : files, folders, globs or lists, see ``listing.expand``
    model : folder of a model bundle
    out : folder to make, a path or URL
    labels : table whose radial velocities are used where it has them; else the pipeline's redshifts
    retry_rejects : do the shards again of which a file could not be fetched, or was rejected and has changed

    Raises
    ------
    RaystellarError : an input cannot be used, ``out`` cannot be written or holds something else, or rows are missing
    """
    from raystellar.model.bundle_files import load_bundle

    quality, resources = quality or QualityConfig(), resources or Resources()
    watch = Stopwatch()
    with watch.part("load model"):
        bundle = load_bundle(model)
    with watch.part("list spectra"):
        manifest = make_manifest(spectra)
    table = None
    if labels:
        with watch.part("read labels"):
            table = read_labels(labels, labels_config or LabelsConfig(), required=["rv"])
    digest = table.digest() if table else None
    identity = {"model": bundle.model_id, "quality": quality, "labels": digest, "columns": [c.name for c in CATALOG]}
    output = ShardedOutput(out, described_schema(CATALOG, "catalog"))
    rows, size = resources.rows_per_shard, resources.bytes_per_shard
    further = output.begin("catalog", identity, manifest, rows, size, grows=True, retry=retry_rejects)
    if retry_rejects:
        output.reopen("fetch")
    with watch.part("label"):
        device = "cuda" if resources.gpus_per_actor else "cpu"
        arguments = (model, bundle.model_id, table, quality, fetch or FetchConfig(), device)
        result = run_job("label", output, LabelShard, arguments, resources)
    _note(out, model, result, watch.seconds["label"])
    with watch.part("compare repeats"):
        repeats = output.summary() or finish(output)
    return LabelSummary(
        out, result, bundle.model_id, count_flags(output), repeats, _notes(further, repeats), watch.seconds
    )


def finish(output: ShardedOutput) -> dict[str, Any]:
    """Decide which rows are of one star and which is its best, now that all are there; return the summary.

    Parts are rewritten one by one where these columns change, and the summary last. It may be killed at any time: what
    it decides does not depend on what an earlier run had decided.
    """
    stars = find_stars(lambda names: (table for _, table in output.columns(names)))
    changed, start = [], 0
    for shard, table in output.columns([column.name for column in REPEATS]):
        if not stars.decide(table, start).equals(table):
            changed.append((shard, start))
        start += len(table)
    for _ in ahead(lambda one: output.write_part(one[0], stars.decide(output.part(one[0]), one[1])), changed):
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
            "for star_id it counts as none"
        )
    return tuple(notes)


def _note(out: str, model: str, result: JobResult, seconds: float) -> None:
    """Leave for the page of the catalogue where its model is, and how long how many spectra took in all runs."""
    before, done = read_facts(out, JOB_NAME), result.accounting.rows_in - result.resumed_rows
    if done:
        spent = {"spectra": before.get("spectra", 0) + done, "seconds": before.get("seconds", 0.0) + seconds}
        write_facts(out, JOB_NAME, {"model": places.absolute(model), **spent})


class LabelShard:
    """Do one shard: read, preprocess, predict, judge, commit."""

    def __init__(
        self,
        output: ShardedOutput,
        model: str,
        model_id: str,
        table: LabelTable | None,
        quality: QualityConfig,
        fetch: FetchConfig,
        device: str = "cpu",
    ) -> None:
        from raystellar.model.bundle_files import load_bundle

        self._output, self._table = output, table
        bundle = load_bundle(model)
        if bundle.model_id != model_id:
            raise BundleError(f"model {model} changed while it was in use, from {model_id} to {bundle.model_id}")
        self._labeller, self._config = Labeller(bundle.on(device), quality), bundle.preprocess
        self._preprocessor, self._fetcher = Preprocessor(self._config), Fetcher(fetch)

    def __call__(self, shard: int) -> dict[str, Any]:
        """Do this shard and commit it."""
        batch = ingest(self._output.slices(shard), self._preprocessor, self._admit, self._fetcher)
        self._output.commit(shard, self._labeller.rows(batch), batch.rejects)
        return {"rows": len(batch.rows) + len(batch.rejects), "rejected": len(batch.rejects)}

    def _admit(self, spectrum: Spectrum) -> Admitted:
        """Take everything that has a velocity."""
        if isinstance(spectrum, Prepared):
            return take_prepared(spectrum, self._labeller.bundle.preprocess)
        return choose_rv(spectrum, self._table, find_label(self._table, spectrum), self._config.max_abs_rv)


def count_flags(output: ShardedOutput) -> dict[str, int]:
    """Return how many rows of the finished catalogue are good, ask for care, or are bad."""
    counts = {"good": 0, "warn": 0, "bad": 0}
    for flags in output.column("flags"):
        bits = flags.to_numpy()
        bad, warn = (bits & BAD) != 0, (bits & WARN) != 0
        counts["bad"] += int(bad.sum())
        counts["warn"] += int((warn & ~bad).sum())
        counts["good"] += int((~warn & ~bad).sum())
    return counts
