"""Read Parquet tables of spectra: one spectrum a row, with lists of flux, wavelength and ivar.

``table_columns.COLUMN_NAMES`` holds the accepted names of the columns. The reader was made for four shapes of tables:

* The published data set https://huggingface.co/datasets/BrunoBarreto/sdss_dr12_stars_regression: 54,400 SDSS stars with
  lists of 2,070 to 3,860 values and the labels of the SSPP.
* MultimodalUniverse: the lists are in one column of structs, ``spectrum``.
* SPARCL: each list is a column.
* Nested columns of HATS catalogues: structs of lists, or lists of structs.

Quirks of the published data set:

* ``spec_id`` is a running number. A spectrum is therefore named by plate, mjd and fibre.
* It has no column of classes. The SSPP gives radial velocities to stars only. In a table without a class but with
  velocities all spectra are therefore stars, and the velocities stand in for the redshift of the pipeline, z = rv / c.
* ``mask`` is not needed, because a bad pixel has ivar = 0, as in all formats.
* Right ascensions go up to 361 degrees.

Quirks of the other tables:

* MultimodalUniverse pads spectra to equal length with wavelengths of -1, and writes a name as
  ``b' 461628614023079936'``. ZWARNING is a boolean, which does not tell sky fibres. ``mask`` of its SDSS spectra is not
  read, see ``table_columns.NO_MASK_BESIDE``.
* ``mask`` of SPARCL holds the bits of the survey. Such a mask is not applied, because a bad pixel has ivar = 0. A mask
  of booleans, or of zeros and ones, is applied.
* Wavelengths that a table rounds to float32 are put back on the lattice of SDSS.

A small file may claim any number of values. The claims are compared with the number of rows before values are decoded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby, repeat
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.errors import SpectrumError, first_line
from raystellar.spectra import prepared
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.content import Content
from raystellar.spectra.record import MAX_PIXELS, SPEED_OF_LIGHT_KM_S, Spectrum, check_loglam, median_sn
from raystellar.spectra.source import Item, Source
from raystellar.spectra.table_columns import VECTORS, Leaf, choose, is_text, leaves_of
from raystellar.spectra.table_values import Identity, Lists, identify, name_of, pixels_of, scalars, whole
from raystellar.spectra.table_wavelengths import Wavelengths, find_wavelengths

DECODED_ROWS = 128
"""Largest number of rows decoded at a time, about 6 MB."""

DECODED_VALUES = 1 << 20
"""Largest number of values of a column decoded at a time, where all rows have equally many."""

DECODED_TEXT_BYTES = 1 << 25
"""Largest size of a column of texts decoded at a time, where all rows hold the longest text that fits [bytes]."""

MAX_TEXT_BYTES = 1 << 10
"""Largest mean size of the texts of a column [bytes]."""

FREE_TEXT_BYTES = 1 << 16
"""Size of the texts of a column in a row group that is not compared with the number of rows [bytes]."""

BUFFER_BYTES = 1 << 20
"""Number of bytes of a column read at a time, so that a row group is never in memory as a whole."""

UNKNOWN_CLASS = "UNKNOWN"
"""Class that means no class."""

_MAGIC = b"PAR1"


class _Table(NamedTuple):
    """An open file with its chosen columns."""

    file: pq.ParquetFile
    leaves: Mapping[str, Leaf]
    """Leaf of each quantity that is read."""
    wavelengths: Wavelengths | None
    """Unit, grid or coefficients that the metadata gives; None where ``raystellar preprocess`` wrote the file."""

    def batches(self, rows: int, groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups in batches of at most ``rows`` rows."""
        schema = self.file.metadata.schema
        paths = [schema.column(leaf.number).path for leaf in self.leaves.values()]
        batches: Iterator[pa.RecordBatch] = self.file.iter_batches(rows, columns=paths, row_groups=groups)
        return batches

    def check(self, group: int) -> None:
        """Raise an error of pyarrow where the metadata of a row group is damaged; nothing is read or decoded.

        ``RowGroupMetaData.column`` ends the process on such metadata. Batches of 0 rows, which ``iter_batches`` of the
        file refuses, let pyarrow look at the metadata where it can catch its errors.
        """
        numbers = [leaf.number for leaf in self.leaves.values()]
        next(iter(self.file.reader.iter_batches(0, row_groups=[group], column_indices=numbers)), None)


def _claims(head: bytes, name: str) -> bool:
    return head.startswith(_MAGIC)


def _count(content: Content) -> int:
    with _opened(content) as table:
        return int(table.file.metadata.num_rows)


def _read(content: Content, first: int) -> Iterator[Item]:
    with _opened(content) as table:
        read_rows = _rows_reader(content.path, table)
        row = first
        for batch in _batches(table, first):
            if isinstance(batch, SpectrumError):
                yield batch
                row += 1
            else:
                yield from read_rows(batch, row)
                row += batch.num_rows


def _rows_reader(path: str, table: _Table) -> Callable[[pa.RecordBatch, int], Iterator[Item]]:
    """Return the function that yields the spectra of a batch, whose first row has a number in the file."""
    if table.wavelengths is not None:
        return partial(_rows, path, table.leaves, table.wavelengths)
    try:
        settings = prepared.settings_of(path)
    except SpectrumError as why:
        error = why
        return lambda batch, _: repeat(error, batch.num_rows)
    return lambda batch, _: prepared.read_rows(path, batch, settings)


@contextmanager
def _opened(content: Content) -> Iterator[_Table]:
    """Open a table of spectra and choose its columns; raise SpectrumError where the file is no such table."""
    with content.opened() as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        try:
            table = _table(pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False))
            metadata = table.file.metadata
            groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        except Exception as error:  # a library on damaged bytes may raise anything
            raise (why := _why(error)) from why.__cause__
        if sum(groups) != metadata.num_rows or min(groups, default=0) < 0 or metadata.num_rows > size:
            raise SpectrumError("read", "damaged Parquet file", f"{metadata.num_rows} rows in {size} bytes")
        yield table


def _table(file: pq.ParquetFile) -> _Table:
    """Return a file with its chosen columns; raise SpectrumError where the file is no table of spectra."""
    schema = file.schema_arrow
    if prepared.is_prepared(schema):
        columns = {leaf.name: leaf for leaf in leaves_of(schema) if not leaf.child}
        leaves, wavelengths = {name: columns[name] for name in prepared.READ_COLUMNS}, None
    else:
        leaves = choose(schema)
        wavelengths = find_wavelengths(schema, leaves)
    return _Table(file, leaves, wavelengths)


def _batches(table: _Table, first: int) -> Iterator[pa.RecordBatch | SpectrumError]:
    """Yield batches of the rows from ``first`` on, and one error for each row that cannot be decoded."""
    metadata = table.file.metadata
    rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    ends = np.cumsum(rows, dtype=int)
    group = int(np.searchsorted(ends, first, side="right"))  # the groups before this one are not read
    skip = first - (int(ends[group - 1]) if group else 0)
    for at_a_time, run in groupby(range(group, len(rows)), partial(_rows_at_a_time, table)):
        groups = list(run)
        left = sum(rows[i] for i in groups) - skip
        if at_a_time:
            yield from _decoded(table, groups, at_a_time, skip, left)
        else:
            limits = f"{MAX_PIXELS} values or {MAX_TEXT_BYTES} bytes of text a row"
            detail = f"row groups {groups[0]} to {groups[-1]} claim more than {limits}"
            yield from repeat(SpectrumError("read", "unreasonable size", detail), left)
        skip = 0


def _rows_at_a_time(table: _Table, group: int) -> int:
    """Return the number of rows of a row group to decode at a time; 0 where it claims unreasonably many values."""
    try:
        table.check(group)
    except Exception:  # a library on damaged bytes may raise anything
        return 1  # the error is raised again when the rows are decoded
    metadata = table.file.metadata.row_group(group)
    rows = metadata.num_rows
    most = DECODED_ROWS
    for key, leaf in table.leaves.items():
        chunk = metadata.column(leaf.number)
        values = chunk.num_values
        if not 0 <= values <= rows * (MAX_PIXELS if key in VECTORS else 1):
            return 0
        if key in VECTORS:
            most = min(most, DECODED_VALUES * rows // max(values, 1))
        elif is_text(leaf.type):
            size = chunk.total_uncompressed_size
            if not 0 <= size <= rows * MAX_TEXT_BYTES + FREE_TEXT_BYTES:
                return 0
            most = min(most, DECODED_TEXT_BYTES // max(size, 1))
    return 1 << max(most.bit_length() - 1, 0)  # few different numbers, so that many groups are decoded as one run


def _decoded(
    table: _Table, groups: Sequence[int], at_a_time: int, skip: int, left: int
) -> Iterator[pa.RecordBatch | SpectrumError]:
    """Yield batches of ``left`` rows of row groups after ``skip`` rows; one error for each row in damaged pages."""
    why = SpectrumError("read", "damaged Parquet file", "the file holds fewer rows than its footer claims")
    batches = table.batches(at_a_time, groups)
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
    yield from repeat(why, left)


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


def _rows(
    path: str, leaves: Mapping[str, Leaf], wavelengths: Wavelengths, batch: pa.RecordBatch, first: int
) -> Iterator[Item]:
    """Yield the items of a batch of rows, of which the first has the number ``first`` in the file."""
    vectors = {key: Lists(batch, leaf) for key, leaf in leaves.items() if key in VECTORS}
    columns = {key: scalars(key, batch.column(leaf.column)) for key, leaf in leaves.items() if key not in VECTORS}
    file = _file_name(path)
    for row in range(batch.num_rows):
        values = {key: column[row] for key, column in columns.items()}
        spec_id = f"{file}#{first + row}"
        try:
            identity = identify(values, spec_id)
            spec_id = identity.spec_id
            yield _spectrum(path, identity, values, pixels_of(vectors, wavelengths, values, row))
        except SpectrumError as error:
            error.spec_id = spec_id
            yield error


def _file_name(path: str) -> str:
    """Return the name of a file, with the folders before it that are parts of one data set, such as ``Norder=1``."""
    parts = path.replace(os.sep, "/").split("/")
    first = len(parts) - 1
    while first and "=" in parts[first - 1]:
        first -= 1
    return "/".join(parts[first:])


def _spectrum(path: str, identity: Identity, values: dict[str, Any], pixels: tuple[np.ndarray, ...]) -> Spectrum:
    """Return the record of a row with its loglam, flux and ivar."""
    loglam, flux, ivar = pixels
    check_loglam(loglam)
    zwarning = whole(values, "zwarning")
    sn = values.get("sn", math.nan)
    return Spectrum(
        path=path,
        **identity._asdict(),
        run2d=name_of(values.get("run2d"), "run2d"),
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
    """Return the class, empty where it is unknown; STAR in a table with velocities and without classes."""
    if "object_class" in values:
        name = values["object_class"].upper()
        return "" if name == UNKNOWN_CLASS else name
    return "STAR" if "rv" in values else ""


def _redshift(values: Mapping[str, Any], name: str, velocity: str) -> float:
    """Return a redshift, computed from a velocity [km/s] where the table has no redshift."""
    z = values.get(name, math.nan)
    return float(values.get(velocity, math.nan) / SPEED_OF_LIGHT_KM_S if math.isnan(z) else z)


SOURCE = Source("Parquet table of spectra", _claims, _read, _count)
