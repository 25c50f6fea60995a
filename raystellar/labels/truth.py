"""Reference labels that a catalogue is compared with (the truth), such as the true labels of a simulated survey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raystellar.errors import LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.join import Join
from raystellar.labels.table import read_labels
from raystellar.targets import TARGET_NAMES


@dataclass(frozen=True)
class Truth:
    """Reference labels of spectra. Call an instance with rows of a catalogue to get the reference labels of these rows.

    Attributes
    ----------
    join : join of spectra with the usable rows of a label table
    """

    join: Join

    def __call__(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return the reference labels (n, 3) of the rows of a catalogue and their errors (n, 3); NaN where missing."""
        names = {name: rows[name].to_pylist() for name in self.join.needed if name in rows.column_names}
        row, table = self.join.rows(names), self.join.table
        known = (row >= 0) & table.usable[row]
        columns = [getattr(table, name) for name in (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))]
        values = np.where(known, [column[row] for column in columns], np.nan).astype(float).T
        return values[:, : len(TARGET_NAMES)], values[:, len(TARGET_NAMES) :]


def read_truth(path: str, config: LabelsConfig) -> Truth:
    """Read the reference labels in the usable rows of a label table.

    Parameters
    ----------
    path : file, folder, glob or URL, see ``labels.readers.read_columns``
    config : rules by which rows are usable, and the radius of a join by position

    Raises
    ------
    LabelTableError : the table cannot be read, lacks a column, or has no usable label
    """
    table = read_labels(path, config)
    if not table.usable.any():
        raise LabelTableError(f"label table {path}: none of {table.rows} rows has labels to compare with")
    return Truth(Join(table))
