"""Stage: survey files and a label table -> preprocessed spectra with labels and splits, in Parquet.

    manifest -> [ read -> admit labelled stars -> rest frame, grid, standardise -> labels and split ] -> parts, rejects

The brackets are one shard, done by one actor. Source: Sec. 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.config import or_default
from raystellar.engine.progress import Stopwatch
from raystellar.engine.session import Resources
from raystellar.engine.shards import Flow, JobResult, run_job
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import FetchConfig
from raystellar.files.places import PathOrUrl, as_path
from raystellar.labels.config import LabelsConfig
from raystellar.labels.join import MISSING, SEVERAL, Join, check_files
from raystellar.labels.splits import NOT_DRAWN, SplitConfig, draw_splits
from raystellar.labels.table import LabelTable, read_labels
from raystellar.output.folder import Accounting, ShardedOutput, ShardRows
from raystellar.preprocessing.ingest import Admitted, Batch, Ingest, choose_rv, matrix_column
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.schema import DATASET, SPLITS, described_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum
from raystellar.targets import TARGET_NAMES


@dataclass(frozen=True)
class DatasetSummary:
    """The outcome of preprocessing."""

    out: str
    """Folder of the dataset."""

    job: JobResult
    """Account of all input rows."""

    splits: dict[str, int]
    """Rows of each split."""

    labels: dict[str, Any]
    """Counts of the label table, see ``LabelTable.summary``."""

    joined: int
    """Number of spectra with a row of the label table."""

    stars: tuple[int, int]
    """Numbers of stars in the dataset, and of stars with usable labels in the label table."""

    seconds: dict[str, float]
    """Time of each part of the job [s]."""


def preprocess(
    spectra: PathOrUrl | Iterable[PathOrUrl],
    labels: PathOrUrl,
    out: PathOrUrl,
    *,
    labels_config: LabelsConfig | None = None,
    splits: SplitConfig | None = None,
    config: PreprocessConfig | None = None,
    fetch: FetchConfig | None = None,
    resources: Resources | None = None,
    retry_rejects: bool = False,
) -> DatasetSummary:
    """Preprocess the labelled stars among ``spectra`` into the folder ``out``, or resume an interrupted run.

    Parameters
    ----------
    spectra : a file, folder, glob or list, or many of them, see ``files.listing.expand``
    labels : label table, a path or URL, see ``labels.table.read_labels``
    out : folder to write, a path or URL
    labels_config : which rows of the label table are usable
    splits : sizes of training, validation and test set
    config : grid, interpolation and standardisation
    fetch : requests for files on servers
    resources : where the job runs
    retry_rejects : repeat the shards in which a file could not be fetched

    Raises
    ------
    RaystellarError : an input cannot be used, ``out`` cannot be written or holds something else, or rows are missing
    """
    labels, out = as_path(labels), as_path(out)
    labels_config, splits = or_default(labels_config, LabelsConfig), or_default(splits, SplitConfig)
    config, resources = or_default(config, PreprocessConfig), or_default(resources, Resources)
    fetch = or_default(fetch, FetchConfig)
    watch = Stopwatch()
    with watch.part("list spectra"):
        manifest = make_manifest(spectra)
    with watch.part("read labels"):
        table = read_labels(labels, labels_config)
        check_files(table, manifest["path"], manifest["spectra"])
        split = draw_splits(table, manifest["path"], splits)
    identity = {"labels": labels_config, "splits": splits, "preprocess": config, "label_table": table.digest()}
    output = ShardedOutput(out, described_schema(DATASET, "dataset"))
    output.begin("dataset", identity, manifest, resources.rows_per_shard, resources.bytes_per_shard)
    if retry_rejects:
        output.reopen("fetch")
    flow = Flow(
        source=output.slices,
        steps=(
            Ingest(config=config, admit=LabelledStars(Join(table), split, config.max_abs_rv), fetch=fetch),
            WithLabels(table, split),
        ),
        sink=output.commit,
    )
    with watch.part("preprocess"):
        job = run_job("preprocess", output, flow, resources)
    joined = count_joined(job.accounting)
    stars = count_stars(output), len(np.unique(table.star_id[table.usable]))
    return DatasetSummary(out, job, count_splits(output), table.summary(), joined, stars, watch.seconds)


@dataclass(frozen=True)
class LabelledStars:
    """Admit the stars whose labels can be learned from."""

    join: Join
    """Join with the label table, which has one row a spectrum."""

    split: np.ndarray
    """(len(table),) int8, position in ``schema.SPLITS`` of each row."""

    max_abs_rv: float
    """Largest velocity of a star [km/s]."""

    def __call__(self, spectrum: Spectrum) -> Admitted:
        """Return the velocity of the spectrum and its row in the label table.

        Raises
        ------
        SpectrumError : the spectrum is no star, has no usable label or several rows, is in no split, or has no credible
            velocity
        """
        if isinstance(spectrum, Prepared):
            raise SpectrumError("read", "preprocessed already", "name the files that were read")
        if not spectrum.is_star:
            raise SpectrumError("class", "sky fibre" if spectrum.is_sky else "not a star", spectrum.object_class)
        row, table = self.join.row(spectrum), self.join.table
        if row < 0:
            raise self.join.missing(spectrum)
        if not table.usable[row]:
            raise SpectrumError("labels", table.reasons[table.reason[row]])
        if self.split[row] == NOT_DRAWN:
            raise SpectrumError("labels", "not drawn into a split")
        admitted = choose_rv(spectrum, table, row, self.max_abs_rv)
        if admitted.rv_source == "none":
            raise SpectrumError("rv", "velocity is not a star's", f"z = {spectrum.z:.4f}")
        return admitted


@dataclass(frozen=True)
class WithLabels:
    """Step: a batch of preprocessed spectra -> rows of the dataset, with labels and split."""

    table: LabelTable
    """Labels, one row a spectrum."""

    split: np.ndarray
    """(len(table),) int8, position in ``schema.SPLITS`` of each row."""

    def __call__(self, batch: Batch) -> ShardRows:
        """Return the columns ``schema.DATASET`` of a batch, and its rejects."""
        rows, of_batch = batch.identity, batch.rows
        for name in (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES)):
            rows = rows.append_column(name, pa.array(getattr(self.table, name)[of_batch], from_pandas=True))
        rows = rows.append_column("star_id", pa.array(self.table.star_id[of_batch]))
        rows = rows.append_column("split", pa.array(np.array(SPLITS)[self.split[of_batch]], type=pa.string()))
        rows = rows.append_column("flux", matrix_column(batch.flux))
        return ShardRows(rows.append_column("ivar", matrix_column(batch.ivar)), batch.rejects)


def count_joined(accounting: Accounting) -> int:
    """Return the number of spectra with a row of the label table: the rows, and the rejects for a later reason."""
    later = ("labels: ", "rv: ", "preprocess: ")
    return accounting.rows_out + sum(
        count
        for reason, count in accounting.rejected.items()
        if reason.startswith(later) and reason not in (f"labels: {MISSING}", f"labels: {SEVERAL}")
    )


def count_stars(output: ShardedOutput) -> int:
    """Return the number of stars in a finished dataset."""
    return int(pc.count_distinct(pa.chunked_array(list(output.column("star_id")), type=pa.int64())).as_py())


def count_splits(output: ShardedOutput) -> dict[str, int]:
    """Return the number of rows of each split in a finished dataset."""
    counts = dict.fromkeys(SPLITS, 0)
    for split in output.column("split"):
        for value in pc.value_counts(split).to_pylist():
            counts[value["values"]] += value["counts"]
    return counts
