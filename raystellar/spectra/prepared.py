"""Read the parts that ``raystellar preprocess`` writes: spectra on the grid, with the velocity removed.

A model that was trained with the same settings labels these spectra without preprocessing them again. The settings are
in ``_run.json`` beside the parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.errors import InputError, SpectrumError
from raystellar.files.facts import read_run
from raystellar.schema import IDENTITY, N_NOISE, N_PIXELS, OPTIONAL_IDS, SPECTRA
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.record import Prepared
from raystellar.spectra.source import Item

READ_COLUMNS = tuple(column.name for column in (*IDENTITY, *SPECTRA))
"""Columns that are read from a part; labels and splits are left out."""

NO_LOGLAM = np.empty(0, dtype=np.float32)
"""Empty ``loglam`` of a preprocessed spectrum, whose wavelengths are those of the grid."""


def is_prepared(schema: pa.Schema) -> bool:
    """Return whether a Parquet file holds preprocessed spectra, with each column as it was written."""
    return all(
        schema.get_field_index(column.name) >= 0 and schema.field(column.name).type == column.type
        for column in (*IDENTITY, *SPECTRA)
    )


def refusal(schema: pa.Schema) -> SpectrumError:
    """Return why an output of raystellar is not read: it holds no spectra, or not as this version writes them."""
    missing = [column.name for column in (*IDENTITY, *SPECTRA) if column.name not in schema.names]
    if any(column.name in missing for column in SPECTRA):
        return SpectrumError(
            "read", "an output of raystellar", "it holds no spectra; name the files that were its input"
        )
    detail = f"it has no column {', '.join(missing)}" if missing else "its columns have other types"
    cure = "run raystellar preprocess again on the files that were its input"
    return SpectrumError("read", "made by an older raystellar", f"{detail}; {cure}")


def settings_of(path: str) -> dict[str, Any]:
    """Return the preprocessing settings of the folder that holds the part ``path``.

    Raises
    ------
    SpectrumError : ``_run.json`` is missing, cannot be read, or has no preprocessing settings
    """
    folder = path.rpartition("/")[0] or "."
    try:
        settings = (read_run(folder) or {}).get("preprocess")
    except InputError as error:
        raise SpectrumError("read", "settings of preprocessed spectra cannot be read", str(error)) from None
    if not isinstance(settings, dict):
        raise SpectrumError("read", "preprocessed with unknown settings", f"{folder} has no _run.json with settings")
    return settings


def read_rows(path: str, columns: pa.RecordBatch, settings: dict[str, Any]) -> Iterator[Item]:
    """Yield the spectra of a batch of rows.

    Parameters
    ----------
    path : path of the part
    columns : rows with the columns ``READ_COLUMNS``
    settings : settings with which the spectra were preprocessed
    """
    flux, ivar = (columns[name].flatten().to_numpy(zero_copy_only=False) for name in ("flux", "ivar"))
    if len(flux) != len(columns["flux"]) * N_PIXELS or len(ivar) != len(columns["ivar"]) * N_NOISE:
        yield from [SpectrumError("read", "damaged Parquet file", "rows without flux")] * len(columns["flux"])
        return
    flux, ivar = flux.reshape(-1, N_PIXELS), ivar.reshape(-1, N_NOISE)
    names = [column.name for column in IDENTITY]
    rows = zip(*(columns[name].to_pylist() for name in names), strict=True)
    for row, values in enumerate(rows):
        identity = dict(zip(names, values, strict=True))
        if not np.isfinite(flux[row]).all():
            yield SpectrumError("read", "flux is not finite", spec_id=identity["spec_id"] or "")
            continue
        yield _record(path, identity, flux[row], ivar[row], settings)


def _record(
    path: str, identity: dict[str, Any], flux: np.ndarray, ivar: np.ndarray, settings: dict[str, Any]
) -> Prepared:
    """Return the record of one row; a null becomes an empty text, 0 or NaN, and -1 in ``OPTIONAL_IDS``."""
    absent: dict[str, Any] = {"string": "", "int32": 0}
    values: dict[str, Any] = {
        column.name: absent.get(str(column.type), math.nan) if identity[column.name] is None else identity[column.name]
        for column in IDENTITY
    }
    values |= {name: -1 for name in OPTIONAL_IDS if identity[name] is None}
    values |= {"path": path, "is_sky": bool(values["zwarning"] & ZWARNING_SKY), "z": math.nan, "z_err": math.nan}
    return Prepared(**values, loglam=NO_LOGLAM, flux=flux, ivar=ivar, preprocess=settings)
