"""Reference labels that a catalogue is compared with (the truth), such as the true labels of a simulated survey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raystellar.errors import LabelTableError
from raystellar.fit.data import spectrum_keys
from raystellar.labels.keys import pack_key
from raystellar.labels.readers import column_names, read_columns
from raystellar.labels.sspp import KEY, SPELLINGS, fold
from raystellar.labels.table import LabelsConfig, read_labels
from raystellar.targets import TARGET_NAMES

SPEC_ID = "spec_id"
"""Column with the name of the spectrum."""

COLUMNS = (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))
"""Labels, then their errors."""


@dataclass(frozen=True)
class Truth:
    """Reference labels of spectra. Call an instance with rows of a catalogue to get the reference labels of these rows.

    Attributes
    ----------
    key : (n,) rising; packed plate, mjd and fiberid, or the hash of spec_id
    values : (n, 6) labels, then their errors; NaN where missing
    by_name : whether the keys are hashes of spec_id
    """

    key: np.ndarray
    values: np.ndarray
    by_name: bool

    def __call__(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return the reference labels (n, 3) of the rows of a catalogue and their errors (n, 3); NaN where missing."""
        if self.by_name:
            key = spectrum_keys(rows[SPEC_ID].to_pylist())
        else:
            key = pack_key(*(rows[name].to_numpy() for name in KEY))
        position = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        values = np.where((self.key[position] == key)[:, None], self.values[position], np.nan)
        return values[:, : len(TARGET_NAMES)], values[:, len(TARGET_NAMES) :]


def read_truth(path: str, config: LabelsConfig) -> Truth:
    """Read a label table whose rows name their spectra by plate, mjd and fiberid, or else by spec_id.

    A table with plate, mjd and fiberid gives the labels of its usable rows. A table with spec_id alone gives all its
    labels.

    Parameters
    ----------
    path : file, folder, glob or URL, see ``labels.readers.read_columns``
    config : rules by which rows of a table with plate, mjd and fiberid are usable

    Raises
    ------
    LabelTableError : the table cannot be read, lacks a column, or has no usable label
    """
    if _names_by_spec_id(column_names(path)):
        return _read_by_name(path)
    table = read_labels(path, config)
    if not table.usable.any():
        raise LabelTableError(f"label table {path}: none of {table.rows} rows has labels to compare with")
    values = np.stack([getattr(table, name)[table.usable] for name in COLUMNS], axis=1)
    return Truth(table.key[table.usable], values, by_name=False)


def _names_by_spec_id(names: list[str]) -> bool:
    """Return whether a table with these columns names its spectra by spec_id alone."""
    folded = {fold(name) for name in names}
    by_key = all(any(fold(spelling) in folded for spelling in SPELLINGS[part]) for part in KEY)
    return fold(SPEC_ID) in folded and not by_key


def _read_by_name(path: str) -> Truth:
    spellings = {SPEC_ID: (SPEC_ID,)} | {name: SPELLINGS[name] for name in COLUMNS}
    keys, values, rows = [], [], 0
    for piece in read_columns(path, spellings, required=(SPEC_ID, *TARGET_NAMES), text=(SPEC_ID,)):
        rows += len(piece[SPEC_ID])
        named = piece[SPEC_ID] != b""
        missing = np.full(len(named), np.nan)
        keys.append(spectrum_keys([name.decode(errors="replace") for name in piece[SPEC_ID][named].tolist()]))
        values.append(np.stack([piece.get(name, missing)[named] for name in COLUMNS], axis=1))
    if not rows:
        raise LabelTableError(f"label table {path} holds no rows")
    key = np.concatenate(keys)
    if not len(key):
        raise LabelTableError(f"label table {path}: none of {rows} rows names a spectrum by {SPEC_ID}")
    order = np.argsort(key, kind="stable")  # where a spectrum has several rows, the first one counts
    return Truth(key[order], np.concatenate(values)[order], by_name=True)
