"""Predictions of a catalogue or of a model, beside the reference labels of the same stars.

A model labels the spectra of one split of a dataset in memory, as ``raystellar label`` would. Its rows are then treated
as the rows of a catalogue. The memory holds some 120 bytes for each star with reference labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.catalog.finished import open_catalog
from raystellar.catalog.labeller import Labeller
from raystellar.catalog.repeats import STAR_COLUMNS, SpectrumKeys, find_stars
from raystellar.config import to_plain
from raystellar.errors import DatasetError, InputError
from raystellar.files import places
from raystellar.fit.data import ROWS_PER_READ, Dataset
from raystellar.labels.columns import KEY
from raystellar.model.bundle import Bundle
from raystellar.output.parts import open_parquet, part_names
from raystellar.preprocessing.ingest import Batch
from raystellar.quality import QualityConfig
from raystellar.schema import IDENTITY
from raystellar.targets import TARGET_NAMES

ESTIMATES = (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))
"""Columns of predicted labels and their errors."""

NAMES = ("path", "spec_id", *KEY)
"""Columns that name a spectrum."""

NEEDED = (*NAMES, "sn", "flag_bad", *ESTIMATES)
"""Columns that a catalogue must have."""

READ = (*NEEDED, "ra", "dec", "fieldid", "catalogid", "obs_id")
"""Columns that are read from a catalogue; the further ones name spectra of some surveys in a label table."""

Reference = Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]
"""Function from rows of a catalogue to their reference labels (n, 3) and the errors (n, 3) of these; NaN where absent.
"""


@dataclass(frozen=True)
class Predictions:
    """Predicted and reference labels of stars, in the order and units of ``targets.TARGETS``."""

    key: np.ndarray
    """Key of the spectrum (n,) int64, rising; see ``catalog.repeats.SpectrumKeys``."""
    sn: np.ndarray
    """Median S/N per pixel (n,)."""
    predicted: np.ndarray
    """Predicted labels (n, 3)."""
    predicted_errors: np.ndarray
    """Predicted errors (n, 3)."""
    labels: np.ndarray
    """Reference labels (n, 3)."""
    label_errors: np.ndarray
    """Errors of the reference labels (n, 3); 0 where they are unknown."""

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: np.ndarray) -> Predictions:
        """Return some stars, by their positions or by a mask (n,)."""
        return Predictions(*(getattr(self, name)[rows] for name in Predictions.__dataclass_fields__))

    @cached_property
    def differences(self) -> np.ndarray:
        """Predicted minus reference labels (n, 3)."""
        return self.predicted - self.labels

    @cached_property
    def errors(self) -> np.ndarray:
        """Errors (n, 3) of ``differences``: predicted error and error of the label, combined in squares."""
        return np.hypot(self.predicted_errors, self.label_errors)

    @cached_property
    def z(self) -> np.ndarray:
        """Differences divided by their errors (n, 3); NaN without an error."""
        return self.differences / np.where(self.errors > 0.0, self.errors, np.nan)


@dataclass(frozen=True)
class Counts:
    """Numbers of the rows of a catalogue or model, and of the rows that cannot be compared."""

    rows: int
    """Number of rows; with a dataset, of the rows that are in its split."""
    bad: int
    """Number of rows with ``flag_bad``."""
    unlabelled: int
    """Number of further rows without usable reference labels."""
    duplicates: int
    """Number of further rows whose spectrum is that of a row before."""


@dataclass(frozen=True)
class Source:
    """Rows of a catalogue or of a model."""

    kind: str
    """``catalogue`` or ``model``."""
    model_id: str
    """Identity of the model that made the rows."""
    tables: Iterable[pa.Table]
    """Rows with the columns ``NEEDED``, in one or more tables."""
    repeats: dict[str, Any]
    """Comparison of different spectra of one star, see ``catalog.repeats.compare_repeats``; empty where unknown."""


@dataclass(frozen=True)
class SplitLabels:
    """Labels of the spectra in one split of a dataset. An instance is a ``Reference``.

    Attributes
    ----------
    key : (n,) int64 key of each spectrum, rising
    labels, label_errors : (n, 3)
    """

    key: np.ndarray
    labels: np.ndarray
    label_errors: np.ndarray

    def __call__(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels and their errors (n, 3) of the rows of a catalogue; NaN where a row is not in the split."""
        key = SpectrumKeys()(rows)
        row = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        known = (self.key[row] == key)[:, None]
        return np.where(known, self.labels[row], np.nan), np.where(known, self.label_errors[row], np.nan)


def catalogue_source(path: str) -> Source:
    """Return the rows of a finished catalogue, one table a part.

    Raises
    ------
    InputError : ``path`` is not a catalogue, or lacks a column
    IncompleteError : the catalogue is not finished
    """
    catalog = open_catalog(path)
    summary = catalog.output.summary() or {}

    def tables() -> Iterator[pa.Table]:
        for table in catalog.output.parts(list(READ)):
            if missing := [name for name in NEEDED if name not in table.column_names]:
                raise InputError(
                    f"{path} has no column {', '.join(missing)}; label the spectra again with raystellar label"
                )
            yield table

    return Source("catalogue", catalog.run.get("model", ""), tables(), summary.get("repeats", {}))


def model_source(bundle: Bundle, dataset: Dataset, split: str, quality: QualityConfig) -> Source:
    """Return the rows that a model gives for the spectra in one split of a dataset.

    Raises
    ------
    DatasetError : the dataset has other settings of preprocessing than the model, or lacks a column
    BundleError : the model has no error model
    """
    check_preprocessing(bundle, dataset)
    labeller, columns = Labeller(bundle, quality), list(dict.fromkeys((*READ, *STAR_COLUMNS)))
    rows = pa.concat_tables(labeller.rows(batch).select(columns) for batch in _batches(dataset, split))
    repeats = find_stars(lambda names: [rows.select(names)]).summary["repeats"]
    return Source("model", bundle.model_id, [rows], repeats)


def check_preprocessing(bundle: Bundle, dataset: Dataset) -> None:
    """Refuse a dataset whose spectra were preprocessed with other settings than those of the model.

    Raises
    ------
    DatasetError : the settings differ
    """
    if dataset.about["preprocess"] != to_plain(bundle.preprocess):
        raise DatasetError(
            f"dataset {dataset.folder} has other settings of preprocessing than model {bundle.model_id}; "
            "name its own dataset"
        )


def read_split(dataset: Dataset, split: str) -> SplitLabels:
    """Return the labels of the spectra in one split of a dataset."""
    names = (*NAMES, *ESTIMATES)
    rows = pa.concat_tables(table.select(names) for table in _tables(dataset, (*names, "split"), split))
    key, first = np.unique(SpectrumKeys()(rows), return_index=True)
    values = _matrix(rows, ESTIMATES)[first]
    return SplitLabels(key, values[:, : len(TARGET_NAMES)], values[:, len(TARGET_NAMES) :])


def _tables(dataset: Dataset, columns: tuple[str, ...], split: str | None = None) -> Iterator[pa.Table]:
    """Yield ``columns`` of a dataset, at most ``ROWS_PER_READ`` rows at a time; only those of ``split`` if it is given.

    Raises
    ------
    DatasetError : a column is missing
    """
    for name in part_names(dataset.folder):
        path = places.join(dataset.folder, name)
        with open_parquet(path) as file:
            if missing := [column for column in columns if column not in file.schema_arrow.names]:
                raise DatasetError(f"{path} has no column {', '.join(missing)}; make the dataset again")
            for batch in file.iter_batches(ROWS_PER_READ, columns=list(columns)):
                table = pa.Table.from_batches([batch])
                yield table.filter(pc.equal(table["split"], split)) if split else table


def _batches(dataset: Dataset, split: str) -> Iterator[Batch]:
    """Yield the spectra in one split as batches that can be labelled."""
    identity = [column.name for column in IDENTITY]
    for table in _tables(dataset, (*identity, "split", "flux", "ivar"), split):
        if not len(table):
            continue
        for name in ("flux", "ivar"):
            if table[name].null_count:
                raise DatasetError(f"dataset {dataset.folder} has rows without {name}; make it again")
        flux, ivar = (
            table[name].combine_chunks().flatten().to_numpy().reshape(len(table), -1) for name in ("flux", "ivar")
        )
        yield Batch(flux, ivar, table.select(identity), np.zeros(len(table), bool), np.full(len(table), -1))


def gather(source: Source, reference: Reference, within: np.ndarray | None) -> tuple[Predictions, Counts]:
    """Return the rows of a catalogue or model that can be compared, and the numbers of the rows that cannot.

    Parameters
    ----------
    source : rows of the catalogue or model
    reference : reference labels
    within : (m,) keys of the spectra to be compared; None for all
    """
    keys, pieces, rows, bad = SpectrumKeys(), [], 0, 0
    for table in source.tables:
        key = keys(table)
        chosen = np.ones(len(key), bool) if within is None else np.isin(key, within)
        good = chosen & ~table["flag_bad"].to_numpy()
        rows, bad = rows + int(chosen.sum()), bad + int((chosen & ~good).sum())
        table = table.filter(pa.array(good))
        labels, label_errors = reference(table)
        known = np.isfinite(labels).all(axis=1)
        estimates = np.split(_matrix(table, ESTIMATES), 2, axis=1)
        columns = (_numbers(table, "sn"), *estimates, labels, np.where(label_errors > 0.0, label_errors, 0.0))
        pieces.append([column[known] for column in (key[good], *columns)])
    key, *joined = (np.concatenate(column) for column in zip(*pieces, strict=True))
    distinct, first = np.unique(key, return_index=True)
    counts = Counts(rows, bad, rows - bad - len(key), len(key) - len(distinct))
    return Predictions(distinct, *(column[first] for column in joined)), counts


def on_common_stars(each: list[Predictions]) -> list[Predictions]:
    """Return the predictions of each catalogue or model for the stars that all of them have, in the same order."""
    common = reduce(np.intersect1d, [one.key for one in each])
    return [one.take(np.searchsorted(one.key, common)) for one in each]


def _matrix(table: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    """Return columns of a table side by side (n, columns) float64; NaN where a value is missing."""
    return np.column_stack([_numbers(table, name) for name in names])


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].cast(pa.float64()).fill_null(np.nan).to_numpy()
