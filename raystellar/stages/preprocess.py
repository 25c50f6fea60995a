"""Stage: SDSS files and a label table -> preprocessed spectra with labels and splits, in Parquet.

One input row of the Ray job is one shard of paths: an actor reads, admits, preprocesses and commits it.
Source: Sec. 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.engine.progress import Stopwatch
from raystellar.engine.session import Resources
from raystellar.engine.shards import JobResult, run_job
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.labels.splits import NOT_DRAWN, SplitConfig, draw_splits
from raystellar.labels.table import LabelsConfig, LabelTable, read_labels
from raystellar.output.folder import ShardedOutput
from raystellar.preprocess.ingest import Admitted, Batch, choose_rv, find_label, ingest, matrix_column
from raystellar.preprocess.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import DATASET, SPLITS, described_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum
from raystellar.targets import TARGET_NAMES


@dataclass(frozen=True)
class DatasetSummary:
    """What came of a preprocessing job."""

    out: str
    job: JobResult
    splits: dict[str, int]
    """Rows of each split."""
    labels: dict[str, Any]
    """Counts of the label table, see ``LabelTable.summary``."""
    seconds: dict[str, float]


def preprocess(
    spectra: Iterable[str],
    labels: str,
    out: str,
    *,
    labels_config: LabelsConfig | None = None,
    splits: SplitConfig | None = None,
    config: PreprocessConfig | None = None,
    fetch: FetchConfig | None = None,
    resources: Resources | None = None,
    retry_rejects: bool = False,
) -> DatasetSummary:
    """Preprocess the labelled stars among ``spectra`` into the folder ``out``; resumes what was interrupted.

    Parameters
    ----------
    spectra : files, folders, globs or lists, see ``listing.expand``
    labels : table of labels, see ``labels.table.read_labels``
    out : folder to make, a path or URL
    retry_rejects : do the shards again of which a file could not be fetched

    Raises
    ------
    RaystellarError : an input cannot be used, ``out`` cannot be written or holds something else, or rows are missing
    """
    labels_config, splits = labels_config or LabelsConfig(), splits or SplitConfig()
    config, resources = config or PreprocessConfig(), resources or Resources()
    watch = Stopwatch()
    with watch.part("list spectra"):
        manifest = make_manifest(spectra)
    with watch.part("read labels"):
        table = read_labels(labels, labels_config)
        split = draw_splits(table, manifest["path"], splits)
    identity = {"labels": labels_config, "splits": splits, "preprocess": config, "label_table": table.digest()}
    output = ShardedOutput(out, described_schema(DATASET, "dataset"))
    output.begin("dataset", identity, manifest, resources.rows_per_shard, resources.bytes_per_shard)
    if retry_rejects:
        output.reopen("fetch")
    with watch.part("preprocess"):
        result = run_job("preprocess", output, DatasetShard, (table, split, config, fetch or FetchConfig()), resources)
    return DatasetSummary(out, result, count_splits(output), table.summary(), watch.seconds)


class DatasetShard:
    """Do one shard: read, admit, preprocess, commit."""

    def __init__(
        self,
        output: ShardedOutput,
        table: LabelTable,
        split: np.ndarray,
        config: PreprocessConfig,
        fetch: FetchConfig,
    ) -> None:
        self._output, self._table, self._split, self._config = output, table, split, config
        self._preprocessor, self._fetcher = Preprocessor(config), Fetcher(fetch)

    def __call__(self, shard: int) -> dict[str, Any]:
        """Do this shard and commit it."""
        batch = ingest(self._output.slices(shard), self._preprocessor, self._admit, self._fetcher)
        self._output.commit(shard, self._rows(batch), batch.rejects)
        return {"rows": len(batch.rows) + len(batch.rejects), "rejected": len(batch.rejects)}

    def _admit(self, spectrum: Spectrum) -> Admitted:
        """Take stars whose labels can be learned from."""
        if isinstance(spectrum, Prepared):
            raise SpectrumError("read", "preprocessed already", "name the files that were read")
        if not spectrum.is_star:
            raise SpectrumError("class", "sky fibre" if spectrum.is_sky else "not a star", spectrum.object_class)
        row = find_label(self._table, spectrum)
        if row < 0:
            raise SpectrumError("labels", "not in the label table")
        if not self._table.usable[row]:
            raise SpectrumError("labels", self._table.reasons[self._table.reason[row]])
        if self._split[row] == NOT_DRAWN:
            raise SpectrumError("labels", "not drawn into a split")
        admitted = choose_rv(spectrum, self._table, row, self._config.max_abs_rv)
        if admitted.rv_source == "none":
            raise SpectrumError("rv", "velocity is not a star's", f"z = {spectrum.z:.4f}")
        return admitted

    def _rows(self, batch: Batch) -> pa.Table:
        table, rows = batch.identity, batch.rows
        names = np.array(SPLITS)
        for name in (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES)):
            table = table.append_column(name, pa.array(getattr(self._table, name)[rows], from_pandas=True))
        table = table.append_column("star_id", pa.array(self._table.star_id[rows]))
        table = table.append_column("split", pa.array(names[self._split[rows]], type=pa.string()))
        table = table.append_column("flux", matrix_column(batch.flux))
        return table.append_column("ivar", matrix_column(batch.ivar))


def count_splits(output: ShardedOutput) -> dict[str, int]:
    """Return the rows of each split in the finished output."""
    counts = dict.fromkeys(SPLITS, 0)
    for split in output.column("split"):
        for value in pc.value_counts(split).to_pylist():
            counts[value["values"]] += value["counts"]
    return counts
