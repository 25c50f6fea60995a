"""Labels that are known otherwise, such as the truth of a simulated survey, found for the rows of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from raystellar.errors import LabelTableError, first_line
from raystellar.files import places
from raystellar.fit.data import spectrum_keys
from raystellar.labels.sspp import KEY
from raystellar.labels.keys import pack_key
from raystellar.labels.table import LabelsConfig, read_labels
from raystellar.targets import TARGET_NAMES

SPEC_ID = "spec_id"

COLUMNS = (*TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))


@dataclass(frozen=True)
class GivenLabels:
    """A table of labels by spectrum; called with rows of a catalogue, it returns their labels and the errors of these.

    Attributes
    ----------
    key : (n,) rising, of plate, mjd and fiberid, or of spec_id
    values : (n, 6) labels, then their errors; NaN where there is none
    by_name : the key is that of spec_id
    """

    key: np.ndarray
    values: np.ndarray
    by_name: bool

    def __call__(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (n, 3) and their errors (n, 3) of the rows of a catalogue; NaN where there is none."""
        wanted = _named(rows) if self.by_name else pack_key(*(rows[name].to_numpy() for name in KEY))
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        found = np.where((self.key[place] == wanted)[:, None], self.values[place], np.nan)
        return found[:, : len(TARGET_NAMES)], found[:, len(TARGET_NAMES) :]


def read_given(path: str, config: LabelsConfig) -> GivenLabels:
    """Read labels by plate, mjd and fiberid, or else by spec_id; by the former only those that are fit to learn from.

    Parameters
    ----------
    path : what ``labels.table.read_labels`` takes, or Parquet or FITS with spec_id and the labels; a file or a URL
    config : which rows are fit to learn from

    Raises
    ------
    LabelTableError : it is no such table, or has no label at all
    """
    columns = _by_name(path)
    if columns is not None:
        key, values = columns
        order = np.argsort(key, kind="stable")
        return GivenLabels(key[order], values[order], by_name=True)
    table = read_labels(path, config)
    if not table.usable.any():
        raise LabelTableError(f"label table {path}: none of {table.rows} rows has labels to compare with")
    values = np.stack([getattr(table, name)[table.usable] for name in COLUMNS], axis=1)
    return GivenLabels(table.key[table.usable], values, by_name=False)


def _by_name(path: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return keys (n,) and values (n, 6) of a table that names its spectra by spec_id alone; None of any other."""
    if not path.endswith((".parquet", ".fits", ".fit")) or not places.exists(path):
        return None
    try:
        remote, name = places.filesystem(path)
        with remote.open(name, "rb") as stream:
            table = _arrow(stream, path)
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise LabelTableError(f"label table {path} cannot be read: {first_line(error)}") from None
    if table is None or SPEC_ID not in table.column_names or set(KEY) <= set(table.column_names):
        return None
    if missing := [name for name in TARGET_NAMES if name not in table.column_names]:
        raise LabelTableError(f"label table {path} has no column for {', '.join(missing)}")
    if not len(table):
        raise LabelTableError(f"label table {path} holds no rows")
    absent = np.full(len(table), np.nan)
    values = [table[name].to_numpy() if name in table.column_names else absent for name in COLUMNS]
    return _named(table), np.stack([column.astype(np.float64) for column in values], axis=1)


def _arrow(stream: object, path: str) -> pa.Table | None:
    """Return the columns that are needed of a table by spec_id; None where it has no such column."""
    wanted = (SPEC_ID, *KEY, *COLUMNS)
    if path.endswith(".parquet"):
        file = pq.ParquetFile(stream)
        names = file.schema_arrow.names
        return file.read(columns=[name for name in wanted if name in names]) if SPEC_ID in names else None
    with fits.open(stream) as file:
        tables = [hdu for hdu in file if isinstance(hdu, fits.BinTableHDU)]
        if not tables or SPEC_ID not in tables[0].columns.names:
            return None
        rows = tables[0].data
        names = [name for name in wanted if name in tables[0].columns.names]
        return pa.table({name: rows[name].tolist() for name in names})


def _named(rows: pa.Table) -> np.ndarray:
    return spectrum_keys(rows[SPEC_ID].to_pylist())
