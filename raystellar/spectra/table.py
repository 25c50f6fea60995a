"""Read Parquet tables of spectra: one spectrum a row, with lists of flux, loglam and ivar.

The reader was made for the published data set
https://huggingface.co/datasets/BrunoBarreto/sdss_dr12_stars_regression: 54,400 SDSS stars with lists of 2,070 to 3,860
values and the labels of the SSPP. It reads any other table whose columns have names in ``COLUMN_NAMES``.

Quirks of the published data set:

* ``spec_id`` is a running number. A spectrum is therefore named by plate, mjd and fibre.
* It has no column of classes. The SSPP gives radial velocities to stars only. In a table without a class but with
  velocities all spectra are therefore stars, and the velocities stand in for the redshift of the pipeline, z = rv / c.
* ``mask`` is not needed, because a bad pixel has ivar = 0, as in all formats.
* Right ascensions go up to 361 degrees.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.errors import SpectrumError, first_line
from raystellar.labels.sspp import SPELLINGS
from raystellar.spectra import prepared
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.content import Content
from raystellar.spectra.record import MAX_PIXELS, SPEED_OF_LIGHT_KM_S, Spectrum, check_loglam, median_sn
from raystellar.spectra.source import Item, Source
from raystellar.spectra.values import INT32_END

COLUMN_NAMES: Mapping[str, Sequence[str]] = {
    "flux": ("flux", "native_flux"),
    "loglam": ("loglam", "native_loglam"),
    "ivar": ("ivar", "native_ivar"),
    "plate": SPELLINGS["plate"],
    "mjd": SPELLINGS["mjd"],
    "fiberid": SPELLINGS["fiberid"],
    "ra": (*SPELLINGS["ra"], "catalog_plug_ra"),
    "dec": (*SPELLINGS["dec"], "catalog_plug_dec"),
    "rv": SPELLINGS["rv"],
    "e_rv": SPELLINGS["e_rv"],
    "sn": (*SPELLINGS["sn"], "sn_median_all", "official_snr"),
    "z": ("z", "redshift"),
    "z_err": ("z_err", "catalog_redshift_err"),
    "zwarning": ("zwarning", "catalog_zwarning"),
    "object_class": ("object_class", "class", "class_label"),
    "subclass": ("subclass", "catalog_subclass"),
    "run2d": ("run2d", "catalog_run2d"),
}
"""Accepted names of each column, the preferred one first. Case and underscores do not matter."""

VECTORS = ("flux", "loglam", "ivar")
NEEDED_COLUMNS = ("flux", "loglam", "ivar", "plate", "mjd", "fiberid")
TEXTS = ("object_class", "subclass", "run2d")

DECODED_ROWS = 128
"""Number of rows decoded at a time, about 6 MB."""

BUFFER_BYTES = 1 << 20
"""Number of bytes of a column read at a time, so that a row group is never in memory as a whole."""

MISSING_NUMBER = -9990.0
"""Bound at and below which a number is missing; the SSPP writes -9999."""

_MAGIC = b"PAR1"
_OURS = "rv_source"  # a column of all outputs of raystellar, and of no other table


def _claims(head: bytes, name: str) -> bool:
    return head.startswith(_MAGIC)


def _count(content: Content) -> int:
    with _opened(content) as (file, _):
        return int(file.metadata.num_rows)


def _read(content: Content, first: int) -> Iterator[Item]:
    with _opened(content) as (file, chosen):
        rows = _prepared(content.path) if prepared.is_prepared(file.schema_arrow) else _rows
        for batch in _batches(file, list(chosen.values()), first):
            if isinstance(batch, SpectrumError):
                yield batch
            else:
                yield from rows(content.path, {key: batch.column(name) for key, name in chosen.items()})


def _prepared(path: str) -> Callable[[str, Mapping[str, Any]], Iterator[Item]]:
    """Return the function that yields the spectra of a batch of rows which ``raystellar preprocess`` wrote."""
    try:
        settings = prepared.settings_of(path)
    except SpectrumError as why:
        error = why
        return lambda path, columns: repeat(error, len(columns["flux"]))
    return lambda path, columns: prepared.read_rows(path, columns, settings)


@contextmanager
def _opened(content: Content) -> Iterator[tuple[pq.ParquetFile, dict[str, str]]]:
    """Open a table of spectra and choose its columns; raise SpectrumError where the file is no such table."""
    with content.opened() as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        try:
            file = pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False)
            schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        except Exception as error:  # a library on damaged bytes may raise anything
            raise (why := _why(error)) from why.__cause__
        chosen = _choose(schema)
        if sum(groups) != metadata.num_rows or min(groups, default=0) < 0 or metadata.num_rows > size:
            raise SpectrumError("read", "damaged Parquet file", f"{metadata.num_rows} rows in {size} bytes")
        yield file, chosen


def _choose(schema: pa.Schema) -> dict[str, str]:
    """Return the name in the file of each column of ``COLUMN_NAMES`` that the file has.

    Raises
    ------
    SpectrumError : a needed column is missing, or a column has the wrong type
    """
    names = {_fold(name): name for name in reversed(schema.names)}
    in_file = {
        key: next((names[_fold(n)] for n in spellings if _fold(n) in names), None)
        for key, spellings in COLUMN_NAMES.items()
    }
    if prepared.is_prepared(schema):
        return {name: name for name in prepared.READ_COLUMNS}
    if _fold(_OURS) in names:
        raise SpectrumError(
            "read", "an output of raystellar", "it holds no spectra; name the files that were its input"
        )
    chosen = {key: name for key, name in in_file.items() if name is not None}
    for key in NEEDED_COLUMNS:
        if key not in chosen:
            raise SpectrumError("read", f"missing column {key}", f"accepted: {', '.join(COLUMN_NAMES[key])}")
    for key, name in chosen.items():
        if schema.names.count(name) > 1 or not _fits(key, schema.field(name).type):
            raise SpectrumError("read", f"bad column {key}", f"{name} is of type {schema.field(name).type}")
    return chosen


def _fits(key: str, kind: pa.DataType) -> bool:
    """Return whether a column may have this type."""
    if key in VECTORS:
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            return False
        value = kind.value_type
        return bool(pa.types.is_floating(value) or pa.types.is_integer(value) or pa.types.is_boolean(value))
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if key in TEXTS:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))


def _batches(file: pq.ParquetFile, names: Sequence[str], first: int) -> Iterator[pa.RecordBatch | SpectrumError]:
    """Yield batches of the rows from ``first`` on; where the file is damaged, one error for each remaining row."""
    ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)], dtype=int)
    group = int(np.searchsorted(ends, first, side="right"))  # the groups before this one are not read
    skip = first - (int(ends[group - 1]) if group else 0)
    left = int(file.metadata.num_rows) - first
    why = SpectrumError("read", "damaged Parquet file", "the file holds fewer rows than its footer claims")
    batches = file.iter_batches(DECODED_ROWS, columns=list(names), row_groups=list(range(group, len(ends))))
    while left > 0:
        try:
            batch = next(batches)
            batch.validate(full=True)
        except StopIteration:
            break
        except Exception as error:  # a library on damaged bytes may raise anything
            why = _why(error)
            break
        wanted = batch.slice(skip, left)
        skip = max(skip - batch.num_rows, 0)
        left -= wanted.num_rows
        yield wanted
    for _ in range(left):
        yield why


def _why(error: Exception) -> SpectrumError:
    """Map an exception to a SpectrumError: the disk or server failed, or the bytes are damaged."""
    if isinstance(error, SpectrumError):
        return error
    if isinstance(error, OSError) and error.errno:  # an error of the system has a number, one of the library has none
        why = SpectrumError("fetch", "read failed", str(error))
    else:
        why = SpectrumError("read", "damaged Parquet file", first_line(error))
    why.__cause__ = error
    return why


def _rows(path: str, columns: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the items of one batch of rows."""
    vectors = {key: _Lists(columns[key]) for key in VECTORS if key in columns}
    scalars = {key: _scalars(key, values) for key, values in columns.items() if key not in VECTORS}
    for row in range(len(columns["flux"])):
        values = {key: column[row] for key, column in scalars.items()}
        spec_id = ""
        try:
            plate, mjd, fiberid = (_whole(values, key) for key in ("plate", "mjd", "fiberid"))
            spec_id = f"{plate}-{mjd}-{fiberid}"
            yield _spectrum(path, spec_id, (plate, mjd, fiberid), values, vectors, row)
        except SpectrumError as error:
            error.spec_id = spec_id
            yield error


class _Lists:
    """A column of lists that returns single rows without converting the others."""

    def __init__(self, column: Any) -> None:
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = column.flatten()  # leaves out the values behind null lists
        if pa.types.is_boolean(flat.type):
            flat = flat.cast(pa.int8())
        elif pa.types.is_floating(flat.type):
            flat = flat.fill_null(math.nan)
        else:
            flat = flat.fill_null(0)
        self._values = flat.to_numpy(zero_copy_only=False)
        self._ends = np.cumsum(lengths)
        self._lengths = lengths

    def row(self, row: int, dtype: type) -> np.ndarray:
        """Return the list in one row as a new array."""
        end = self._ends[row]
        with np.errstate(all="ignore"):
            return self._values[end - self._lengths[row] : end].astype(dtype)


def _scalars(key: str, column: Any) -> list[Any]:
    """Return a column as Python values: texts, or numbers with NaN where one is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if key in TEXTS:
        return list(column.fill_null("").to_pylist())
    numbers = column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
    return list(np.where(numbers > MISSING_NUMBER, numbers, math.nan).tolist())


def _spectrum(
    path: str, spec_id: str, key: tuple[int, int, int], values: dict[str, Any], vectors: dict[str, _Lists], row: int
) -> Spectrum:
    flux, loglam, ivar = (vectors[name].row(row, np.float32) for name in ("flux", "loglam", "ivar"))
    if len({len(flux), len(loglam), len(ivar)}) != 1:
        lengths = f"flux {len(flux)}, loglam {len(loglam)}, ivar {len(ivar)}"
        raise SpectrumError("read", "columns of unequal length", lengths)
    if len(flux) > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{len(flux)} pixels")
    check_loglam(loglam)
    zwarning = _whole(values, "zwarning", default=0)
    sn = values.get("sn", math.nan)
    plate, mjd, fiberid = key
    return Spectrum(
        path=path,
        spec_id=spec_id,
        plate=plate,
        mjd=mjd,
        fiberid=fiberid,
        run2d=values.get("run2d", ""),
        ra=values.get("ra", math.nan) % 360.0,
        dec=values.get("dec", math.nan),
        object_class=_class(values),
        subclass=values.get("subclass", ""),
        is_sky=bool(zwarning & ZWARNING_SKY),
        z=_redshift(values, "z", "rv"),
        z_err=_redshift(values, "z_err", "e_rv"),
        zwarning=zwarning,
        sn=median_sn(loglam, flux, ivar) if math.isnan(sn) else sn,
        loglam=loglam,
        flux=flux,
        ivar=ivar,
    )


def _class(values: Mapping[str, Any]) -> str:
    """Return the class; STAR in a table with velocities and without classes."""
    if "object_class" in values:
        return str(values["object_class"]).strip().upper()
    return "STAR" if "rv" in values else ""


def _redshift(values: Mapping[str, Any], name: str, velocity: str) -> float:
    """Return a redshift, computed from a velocity [km/s] where the table has no redshift."""
    z = values.get(name, math.nan)
    return float(values.get(velocity, math.nan) / SPEED_OF_LIGHT_KM_S if math.isnan(z) else z)


def _whole(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a number that must be an integer of 32 bits."""
    value = values.get(name, math.nan)
    if math.isnan(value) and default is not None:
        return default
    if not (abs(value) < INT32_END and value == int(value)):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return int(value)


def _fold(name: str) -> str:
    """Return the name of a column in lower case without underscores, for comparisons."""
    return name.strip().lower().replace("_", "")


SOURCE = Source("Parquet table of spectra", _claims, _read, _count)
