"""A folder of preprocessed spectra as arrays in memory.

``raystellar preprocess`` writes the folder: ``part-*.parquet`` with the columns of ``schema.DATASET``, and
``_run.json``. Sub-folders, which hold the rejects, are ignored. Spectra come in the order of (plate, mjd, fiberid,
spec_id, path), so that no result depends on their distribution over files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.errors import DatasetError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.schema import MANIFEST_NAME, N_PIXELS, RUN_NAME, SPLITS
from raystellar.targets import TARGET_NAMES

ORDER = ("plate", "mjd", "fiberid", "spec_id", "path")
"""The canonical order of the spectra of a split."""

LABEL_ERROR_NAMES = tuple(f"e_{name}" for name in TARGET_NAMES)
"""Columns with the errors of the labels."""

FIT_COLUMNS = ("ivar", *LABEL_ERROR_NAMES)
"""Columns that the fit of a network may need beside flux and labels."""

ROWS_PER_READ = 2048
"""Number of rows of flux decoded at a time: 32 MB."""


@dataclass(frozen=True)
class SpectraSet:
    """The spectra of one split; arrays may be read-only.

    Attributes
    ----------
    flux : (n, n_pixels) float32, standardised
    targets : (n, 3) float32, in the order and units of ``targets.TARGETS``
    keys : (n,) uint64, stable hash of each ``spec_id``
    extra : further requested columns, by name: a list of n values, or an array (n, k) float32 for a column with k
        values a row, zero where a row has no values
    """

    flux: np.ndarray
    targets: np.ndarray
    keys: np.ndarray
    extra: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flux)


@dataclass(frozen=True)
class Dataset:
    """A complete dataset, whose spectra are not in memory yet.

    Attributes
    ----------
    folder : path or URL of the dataset
    about : content of ``_run.json``, with at least ``preprocess`` and ``digest``
    """

    folder: str
    about: dict[str, Any]

    def counts(self) -> dict[str, int]:
        """Return the number of spectra in each split."""
        counts = dict.fromkeys(SPLITS, 0)
        for part in _parts(self.folder):
            for split in _read_columns(part, ("split",))["split"].value_counts().to_pylist():
                counts[split["values"]] = counts.get(split["values"], 0) + split["counts"]
        return counts

    def split(self, name: str, extra: tuple[str, ...] = ()) -> SpectraSet:
        """Return one split; parameters and errors as in ``splits``."""
        return self.splits((name,), extra)[name]

    def splits(self, names: tuple[str, ...], extra: tuple[str, ...] = ()) -> dict[str, SpectraSet]:
        """Return the splits ``names`` with the columns ``extra``, rows in canonical order; flux is in memory only once.

        Raises
        ------
        DatasetError : columns or rows of a split are missing, or labels or flux are not finite
        """
        parts = _parts(self.folder)
        table = _ordered(parts, ("spec_id", *TARGET_NAMES, *extra))
        target = np.full((len(table), 2), -1, dtype=np.int64)  # split, and row in the split, of each row on disk
        sets = {}
        for number, name in enumerate(names):
            rows = table.filter(pc.equal(table["split"], name))
            if not len(rows):
                raise DatasetError(f"dataset {self.folder} has no row of split {name!r}; make it with larger splits")
            target[rows["_row"].to_numpy()] = np.column_stack([np.full(len(rows), number), np.arange(len(rows))])
            sets[name] = _allocate(self.folder, name, rows, extra)
        _read_flux(self.folder, parts, target, [sets[name].flux for name in names])
        return sets


def read_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Open the dataset in ``folder``, a path or URL, and check that it is complete.

    Raises
    ------
    DatasetError : the folder is missing, is not a raystellar dataset, or lacks parts
    """
    folder = places.as_path(folder)
    cure = "make it with raystellar preprocess"
    if not places.exists(folder):
        raise DatasetError(f"dataset {folder} does not exist; {cure}")
    about = read_run(folder)
    if about is None:
        raise DatasetError(f"{folder} is not a raystellar dataset: it has no {RUN_NAME}; {cure}")
    for key, kind in (("preprocess", dict), ("digest", str)):
        if not isinstance(about.get(key), kind):
            raise DatasetError(f"{folder} is not a raystellar dataset: {RUN_NAME} has no {key!r}; {cure}")
    _parts(folder)
    return Dataset(folder, about)


def _ordered(parts: list[str], columns: tuple[str, ...]) -> pa.Table:
    """Return ``columns`` of all rows in canonical order, and the number ``_row`` of each row on disk."""
    names = tuple(dict.fromkeys((*ORDER, "split", *columns)))
    table = pa.concat_tables(_read_columns(part, names) for part in parts)
    table = table.append_column("_row", pa.array(np.arange(len(table))))
    return table.sort_by([(name, "ascending") for name in ORDER])


def _parts(folder: str) -> list[str]:
    """Return the paths of the parts; a manifest, where there is one, has a row group per part.

    Raises
    ------
    DatasetError : parts are missing
    """
    files = places.names(folder)
    parts = [places.join(folder, name) for name in sorted(files) if name.startswith("part-")]
    if not parts:
        raise DatasetError(f"dataset {folder} has no part-*.parquet; make it with raystellar preprocess")
    wanted = len(parts)
    if MANIFEST_NAME in files:
        with _open(places.join(folder, MANIFEST_NAME)) as manifest:
            wanted = manifest.num_row_groups
    if len(parts) < wanted:
        raise DatasetError(
            f"dataset {folder} is not complete: {wanted - len(parts)} of {wanted} parts are missing; "
            "run the same raystellar preprocess command again"
        )
    return parts


@contextmanager
def _open(path: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of the dataset.

    Raises
    ------
    DatasetError : the file cannot be read
    """
    try:
        with places.parquet_file(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet ({error}); make the dataset again") from None


def _read_columns(part: str, names: tuple[str, ...]) -> pa.Table:
    with _open(part) as file:
        known = file.schema_arrow
        for name in (*names, "flux"):
            if name not in known.names:
                raise DatasetError(f"{part} has no column {name!r}; make the dataset again")
        kind = known.field("flux").type
        if kind != pa.list_(pa.float32(), N_PIXELS):
            raise DatasetError(f"{part} has flux of {kind} and needs {N_PIXELS} float32 values a row")
        return file.read(columns=list(names)).replace_schema_metadata()


def _allocate(folder: str, split: str, rows: pa.Table, extra: tuple[str, ...]) -> SpectraSet:
    columns = [rows[name].to_numpy().astype(np.float32) for name in TARGET_NAMES]  # null becomes NaN
    targets = np.column_stack(columns)
    bad = ~np.isfinite(targets).all(axis=1)
    if bad.any():
        first = rows["spec_id"][int(np.flatnonzero(bad)[0])].as_py()
        raise DatasetError(
            f"dataset {folder} has {int(bad.sum())} rows of split {split!r} with a label missing or not "
            f"finite, first {first}; give them labels or drop them from the label table"
        )
    flux = np.empty((len(rows), N_PIXELS), dtype=np.float32)
    keys = spectrum_keys(rows["spec_id"].to_pylist())
    return SpectraSet(flux, targets, keys, {name: _column(rows[name]) for name in extra})


def _column(column: pa.ChunkedArray) -> Any:
    """Return the values of a column in the form of ``SpectraSet.extra``."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_pylist()
    out = np.zeros((len(column), column.type.list_size), dtype=np.float32)
    known = pc.is_valid(column)
    values = pa.concat_arrays(
        [chunk.flatten() for chunk in column.filter(known).chunks] or [pa.array([], pa.float32())]
    )
    out[known.to_numpy()] = values.to_numpy().reshape(-1, column.type.list_size)
    return out


def spectrum_keys(spec_ids: list[str]) -> np.ndarray:
    """Return a 64-bit BLAKE2b hash (n,) uint64 of each ``spec_id``, the same on every machine."""
    digests = b"".join(hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in spec_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _read_flux(folder: str, parts: list[str], target: np.ndarray, outs: list[np.ndarray]) -> None:
    """Copy the flux of every row on disk to its split and row, which ``target`` (rows, 2) gives, in blocks of rows."""
    start = 0
    for block in (block for part in parts for block in _flux_blocks(part)):
        rows = target[start : start + len(block)]
        start += len(block)
        for number, out in enumerate(outs):
            own_rows = rows[:, 0] == number
            out[rows[own_rows, 1]] = block[own_rows]
            if not np.isfinite(block[own_rows]).all():
                raise DatasetError(f"dataset {folder} has flux that is not finite; make it again")


def _flux_blocks(part: str) -> Iterator[np.ndarray]:
    with _open(part) as file:
        for batch in file.iter_batches(batch_size=ROWS_PER_READ, columns=["flux"]):
            column = batch.column("flux")
            if column.null_count:
                raise DatasetError(f"{part} has {column.null_count} rows without flux; make it again")
            yield column.flatten().to_numpy(zero_copy_only=True).reshape(-1, N_PIXELS)
