"""Write a finished catalogue as one file: FITS with the rejects as a second table, Parquet or CSV; or as a HATS folder.

Rows are read part by part, so that memory does not grow with the catalogue. They are read twice: the first pass counts
the rows and measures the longest text of each column, the second pass writes. Columns have the names, units,
descriptions and UCDs of the catalogue's own files.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from astropy.io import fits

import raystellar
from raystellar.catalog.finished import Catalog, open_catalog
from raystellar.errors import ConfigError, InputError, OutputError
from raystellar.files import places
from raystellar.output.folder import Accounting
from raystellar.schema import (
    CATALOG,
    CONTENT_KEY,
    FITS_BLOCK,
    REJECTS,
    VERSION_KEY,
    VOPARQUET_VERSION,
    about_field,
    described_schema,
    votable,
)

ROW_GROUP_ROWS = 1 << 16
"""Least number of rows in a row group of a Parquet file; the last group may have fewer."""

RUN_KEY = "raystellar.run"
"""Key in the footer of a Parquet file; its value is the ``_run.json`` of the catalogue."""

FITS_FORMATS: Mapping[pa.DataType, tuple[str, str]] = {
    pa.bool_(): ("L", "S1"),
    pa.int32(): ("J", ">i4"),
    pa.int64(): ("K", ">i8"),
    pa.float32(): ("E", ">f4"),
    pa.float64(): ("D", ">f8"),
}
"""TFORM code and numpy type of each type of column, text excepted."""

HATS = ".hats"
"""End of the name of a HATS folder."""


@dataclass
class Extent:
    """Size of a table, which a FITS header states before the first row."""

    schema: pa.Schema
    """Columns of the table."""

    rows: int = 0
    """Number of rows."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Length of the longest text of each text column [ASCII characters]."""

    nulls: set[str] = field(default_factory=set)
    """Names of the columns in which a value is missing."""


@dataclass(frozen=True)
class ExportSummary:
    """Result of an export."""

    out: str
    """File or folder that was written."""

    rows: int
    """Number of rows written."""

    accounting: Accounting
    """Numbers of input rows, catalogue rows and rejects of the whole catalogue."""

    seconds: dict[str, float]
    """Time of the pass that measures and of the pass that writes [s]."""


def export(catalog: str, out: str, *, good: bool = False, primary: bool = False) -> ExportSummary:
    """Write a finished catalogue to the file ``out``, completely or not at all. An older file is replaced.

    Parameters
    ----------
    catalog : folder written by ``raystellar label``, a path or URL
    out : path or URL that ends in .fits, .parquet or .csv, or path of a new folder that ends in .hats
    good : leave out rows with ``flag_warn`` or ``flag_bad``
    primary : leave out all but the primary row of each star

    Raises
    ------
    RaystellarError : ``catalog`` is not a finished catalogue, or ``out`` cannot be written
    """
    kind = Path(out).suffix
    if kind not in (*TABLE_WRITERS, HATS):
        raise ConfigError(f"{out} cannot be written; its name must end in {', '.join((*TABLE_WRITERS, HATS))}")
    began = time.perf_counter()
    finished = open_catalog(catalog, good, primary)
    extent = measure(finished.rows(), described_schema(CATALOG, "catalog"))
    measured = time.perf_counter()
    if kind == HATS:
        write_hats(out, finished, extent)
    else:
        with places.whole_file(out) as path:
            TABLE_WRITERS[kind](path, finished, extent)
    seconds = {"measure": measured - began, "write": time.perf_counter() - measured}
    return ExportSummary(out, extent.rows, finished.accounting, seconds)


def measure(tables: Iterable[pa.Table], schema: pa.Schema) -> Extent:
    """Return the number of rows and the length of the longest texts of a table in parts.

    Parameters
    ----------
    tables : parts of the table
    schema : columns to return if there are no parts

    Raises
    ------
    InputError : the parts have different columns
    """
    extent = None
    for table in tables:
        extent = extent or Extent(table.schema)
        if not table.schema.equals(extent.schema):
            raise InputError("the parts of the catalogue have different columns; label the spectra again")
        extent.rows += table.num_rows
        for name, column in zip(table.column_names, table.columns, strict=True):
            if column.null_count:
                extent.nulls.add(name)
            if pa.types.is_string(column.type):
                longest = pc.max(pc.binary_length(_ascii(column))).as_py() or 1
                extent.sizes[name] = max(longest, extent.sizes.get(name, 1))
    return extent or Extent(schema)


def _ascii(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as ASCII bytes, because FITS allows no other characters; other characters become escapes."""
    if pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
        return texts.cast(pa.binary())
    return pa.chunked_array([[(text or "").encode("ascii", "backslashreplace") for text in texts.to_pylist()]])


# FITS ------------------------------------------------------------------------------------------------------


def write_fits(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write a FITS file: a primary header with the provenance, the table CATALOG and the table REJECTS."""
    rejects = measure(catalog.output.rejects(), described_schema(REJECTS, "rejects"))
    with open(path, "wb") as stream:
        stream.write(_bytes(_about(catalog, extent)))
        for name, tables, size in (
            ("CATALOG", catalog.rows(), extent),
            ("REJECTS", catalog.output.rejects(), rejects),
        ):
            stream.write(_bytes(_table_header(name, size)))
            _write_rows(stream, tables, size)
    with fits.open(path, mode="update") as file:  # astropy computes the checksums block by block
        for hdu in file:
            hdu.add_checksum()


def _about(catalog: Catalog, extent: Extent) -> fits.Header:
    """Return the primary header: versions, model and settings of the catalogue, and the account of its input."""
    accounting, run = catalog.accounting, catalog.run
    header = fits.PrimaryHDU().header
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    for key, value, comment in (
        ("CREATOR", f"raystellar {raystellar.__version__}", "program that wrote this file"),
        ("DATE", now, "time of writing, UTC"),
        ("CATVERS", run.get("raystellar", ""), "raystellar version of the catalogue"),
        ("CATDATE", run.get("created", ""), "time the catalogue was begun, UTC"),
        ("MODEL_ID", run.get("model", ""), "model of the labels"),
        ("DIGEST", run.get("digest", ""), "digest of model, settings and input"),
        ("INPUTS", run.get("inputs", ""), "digest of the list of input files"),
        ("ROWSIN", accounting.rows_in, "input spectra"),
        ("ROWSOUT", accounting.rows_out, "rows of the catalogue"),
        ("REJECTED", accounting.rejected.total(), "rejected spectra"),
        ("ROWS", extent.rows, "rows in this file"),
        ("GOODONLY", catalog.good, "T if rows with a flag are left out"),
        ("PRIMONLY", catalog.primary, "T if only primary rows are kept"),
    ):
        header[key] = (value, comment)
    for reason, count in accounting.rejected.most_common():
        header.add_comment(f"{count} rejected, {reason.encode('ascii', 'backslashreplace').decode()}")
    return _with_room_for_sums(header)


def _table_header(name: str, extent: Extent) -> fits.Header:
    """Return the header of a binary table with units, UCDs and descriptions of its columns."""
    columns = []
    for entry in extent.schema:
        form = FITS_FORMATS[entry.type][0] if entry.type in FITS_FORMATS else f"{extent.sizes.get(entry.name, 1)}A"
        unit = about_field(entry)["unit"] or None
        columns.append(fits.Column(entry.name, form, unit=unit, null=_null(entry, extent)))
    header = fits.BinTableHDU.from_columns(columns, name=name).header
    header["NAXIS2"] = extent.rows
    for number, entry in enumerate(extent.schema, start=1):
        about = about_field(entry)
        for key, text in (("TUCD", about["ucd"]), ("TCOMM", about["description"])):
            if text:
                header.set(f"{key}{number}", text, after=f"TFORM{number}")
    return _with_room_for_sums(header)


def _null(entry: pa.Field, extent: Extent) -> int | None:
    """Return the integer that marks a missing value (TNULL), or None where the column needs none."""
    if entry.name not in extent.nulls or not pa.types.is_integer(entry.type):
        return None
    return int(np.iinfo(entry.type.to_pandas_dtype()).min)


def _with_room_for_sums(header: fits.Header) -> fits.Header:
    """Add empty checksum cards, so that the header keeps its length when they are filled in."""
    header["CHECKSUM"] = ("0" * 16, "HDU checksum")
    header["DATASUM"] = ("0" * 10, "data unit checksum")
    return header


def _bytes(header: fits.Header) -> bytes:
    return header.tostring().encode("ascii")


def _write_rows(stream: IO[bytes], tables: Iterable[pa.Table], extent: Extent) -> None:
    """Write the rows of a binary table, filled up with zeros to a whole FITS block."""
    kinds = {
        entry.name: FITS_FORMATS[entry.type][1] if entry.type in FITS_FORMATS else f"S{extent.sizes.get(entry.name, 1)}"
        for entry in extent.schema
    }
    written = 0
    for table in tables:
        rows = np.zeros(table.num_rows, dtype=list(kinds.items()))
        for entry, column in zip(extent.schema, table.columns, strict=True):
            rows[entry.name] = _fits_values(column, _null(entry, extent))
        written += stream.write(rows.tobytes())
    stream.write(bytes(-written % FITS_BLOCK))


def _fits_values(column: pa.ChunkedArray, null: int | None) -> np.ndarray:
    """Return the values of a column as FITS stores them, in native byte order."""
    if pa.types.is_string(column.type):
        return _ascii(column).fill_null(b"").to_numpy()
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, b"T", b"F").fill_null(b"\0").to_numpy()
    return (column if null is None else column.fill_null(null)).to_numpy()


# Parquet, CSV and HATS -----------------------------------------------------------------------------------


def write_parquet(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write one Parquet file with VOParquet metadata and the ``_run.json`` of the catalogue in its footer."""
    content = votable(extent.schema, "catalog", extent.sizes)
    metadata = {VERSION_KEY: VOPARQUET_VERSION, CONTENT_KEY: content, RUN_KEY: json.dumps(catalog.run)}
    text = [entry.name for entry in extent.schema if pa.types.is_string(entry.type)]
    with places.parquet_writer(str(path), extent.schema.with_metadata(metadata), use_dictionary=text) as writer:
        for table in _large(catalog.rows()):
            writer.write_table(table.replace_schema_metadata())


def _large(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of at least ``ROW_GROUP_ROWS`` rows."""
    some: list[pa.Table] = []
    for table in tables:
        some.append(table)
        if sum(map(len, some)) >= ROW_GROUP_ROWS:
            yield pa.concat_tables(some)
            some = []
    if some:
        yield pa.concat_tables(some)


def write_csv(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write a CSV file with a header line; missing values are empty."""
    with pyarrow.csv.CSVWriter(str(path), extent.schema) as writer:
        for table in catalog.rows():
            writer.write_table(table)


def write_hats(out: str, catalog: Catalog, extent: Extent) -> None:
    """Write a HATS folder with hats-import: Parquet files partitioned by position on the sky.

    Source: IVOA note HATS.

    Raises
    ------
    ConfigError : hats-import is not installed
    InputError : a row has no position
    OutputError : ``out`` exists, or is not on a local disk
    """
    try:
        from dask.distributed import Client
        from hats_import.catalog.arguments import ImportArguments
        from hats_import.pipeline import pipeline_with_client
    except ImportError:
        raise ConfigError(f"{out} needs hats-import; pip install 'raystellar[hats]'") from None
    if missing := {"ra", "dec"} & extent.nulls:
        raise InputError(f"some rows have no {' or '.join(sorted(missing))}, and HATS needs the position of each row")
    if not places.is_local(out) or places.exists(out):
        raise OutputError(f"{out} exists, or is not on a local disk; name a new folder")
    path = Path(places.local_path(out)).absolute()
    places.make_folder(str(path.parent))
    with tempfile.TemporaryDirectory(prefix=places.TEMPORARY, dir=path.parent) as folder:
        rows = Path(folder, "rows.parquet")
        write_parquet(rows, catalog, extent)
        arguments = ImportArguments(
            output_path=folder,
            output_artifact_name=path.stem,
            input_file_list=[rows],
            file_reader="parquet",
            ra_column="ra",
            dec_column="dec",
            sort_columns="spec_id",
            progress_bar=False,
        )
        with Client(n_workers=1, processes=False, dashboard_address=None) as client:
            pipeline_with_client(arguments, client)
        os.rename(Path(folder, path.stem), path)


TABLE_WRITERS: Mapping[str, Callable[[Path, Catalog, Extent], None]] = {
    ".fits": write_fits,
    ".parquet": write_parquet,
    ".csv": write_csv,
}
"""Writer of each kind of file, by the end of its name."""
