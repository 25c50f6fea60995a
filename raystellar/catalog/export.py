"""A finished catalogue as one file: a FITS binary table with its rejects beside it, Parquet, or CSV; or as HATS.

Rows go through part by part, twice: once to find how long texts are, once to be written. Columns are those of the
folder, with the names, units, descriptions and UCDs of its files.
"""

from __future__ import annotations

import json
import os
import tempfile
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
from raystellar.engine.progress import Stopwatch
from raystellar.errors import ConfigError, InputError, OutputError
from raystellar.files import places
from raystellar.output.folder import Accounting
from raystellar.schema import (
    CATALOG,
    CONTENT_KEY,
    REJECTS,
    VERSION_KEY,
    VOPARQUET_VERSION,
    about_field,
    described_schema,
    votable,
)

ROWS_AT_ONCE = 1 << 16
"""Rows in a row group of a Parquet file."""

RUN_KEY = "raystellar.run"
"""In the footer of a Parquet file: ``_run.json`` of the catalogue."""

FITS_FORMATS: Mapping[pa.DataType, tuple[str, str]] = {
    pa.bool_(): ("L", "S1"),
    pa.int32(): ("J", ">i4"),
    pa.int64(): ("K", ">i8"),
    pa.float32(): ("E", ">f4"),
    pa.float64(): ("D", ">f8"),
}
"""TFORM and numpy's name for the bytes of the columns that are no texts."""

FITS_BLOCK = 2880

HATS = ".hats"


@dataclass
class Extent:
    """How much there is of a table, which a file must say before its first row."""

    schema: pa.Schema
    rows: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    """Characters of the longest text of each column of texts, in ASCII."""
    nulls: set[str] = field(default_factory=set)
    """Columns in which a value is missing."""


@dataclass(frozen=True)
class ExportSummary:
    """What was written."""

    out: str
    rows: int
    accounting: Accounting
    """Of the catalogue."""
    seconds: dict[str, float]


def export(catalog: str, out: str, *, good: bool = False, primary: bool = False) -> ExportSummary:
    """Write the finished ``catalog`` to the file ``out``, whole or not at all; an older file is replaced.

    Parameters
    ----------
    catalog : folder written by the stage label, a path or URL
    out : path or URL that ends in .fits, .parquet or .csv, or path of a new folder that ends in .hats
    good : leave out rows with a flag that warns or forbids
    primary : leave out all but the best row of each star

    Raises
    ------
    RaystellarError : ``catalog`` is no catalogue or not finished, or ``out`` cannot be written
    """
    kind = Path(out).suffix
    if kind not in (*WRITERS, HATS):
        raise ConfigError(f"{out} cannot be written; its name must end in {', '.join((*WRITERS, HATS))}")
    watch = Stopwatch()
    with watch.part("measure"):
        found = open_catalog(catalog, good, primary)
        extent = measure(found.rows(), described_schema(CATALOG, "catalog"))
    with watch.part("write"):
        if kind == HATS:
            write_hats(out, found, extent)
        else:
            with places.whole_file(out) as path:
                WRITERS[kind](path, found, extent)
    return ExportSummary(out, extent.rows, found.accounting, watch.seconds)


def measure(tables: Iterable[pa.Table], schema: pa.Schema) -> Extent:
    """Find how many rows there are and how long texts are; ``schema`` is that of a table without parts.

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
    """Return texts as the bytes of FITS, which knows no others than ASCII."""
    if pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
        return texts.cast(pa.binary())
    return pa.chunked_array([[(text or "").encode("ascii", "backslashreplace") for text in texts.to_pylist()]])


# FITS ------------------------------------------------------------------------------------------------------


def write_fits(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write a FITS file: a header that says what made it, the table CATALOG, and the table REJECTS."""
    rejects = measure(catalog.output.rejects(), described_schema(REJECTS, "rejects"))
    with open(path, "wb") as stream:
        stream.write(_bytes(_about(catalog, extent)))
        for name, tables, size in (
            ("CATALOG", catalog.rows(), extent),
            ("REJECTS", catalog.output.rejects(), rejects),
        ):
            stream.write(_bytes(_table_header(name, size)))
            _write_rows(stream, tables, size)
    with fits.open(path, mode="update") as file:  # sums the bytes block by block
        for hdu in file:
            hdu.add_checksum()


def _about(catalog: Catalog, extent: Extent) -> fits.Header:
    """Return the primary header: what made the catalogue, and what became of its input."""
    accounting, run = catalog.accounting, catalog.run
    header = fits.PrimaryHDU().header
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    for key, value, comment in (
        ("CREATOR", f"raystellar {raystellar.__version__}", "program that wrote this file"),
        ("DATE", now, "when it was written, UTC"),
        ("CATVERS", run.get("raystellar", ""), "raystellar that made the catalogue"),
        ("CATDATE", run.get("created", ""), "when it was begun"),
        ("MODEL_ID", run.get("model", ""), "model bundle that made the labels"),
        ("DIGEST", run.get("digest", ""), "of the job: model, settings, input"),
        ("INPUTS", run.get("inputs", ""), "of the list of input files"),
        ("ROWSIN", accounting.rows_in, "spectra given"),
        ("ROWSOUT", accounting.rows_out, "rows of the catalogue"),
        ("REJECTED", accounting.rejected.total(), "spectra that are no rows"),
        ("ROWS", extent.rows, "rows in this file"),
        ("GOODONLY", catalog.good, "rows with a flag are left out"),
        ("PRIMONLY", catalog.primary, "all but the best row of each star are left out"),
    ):
        header[key] = (value, comment)
    for reason, count in accounting.rejected.most_common():
        header.add_comment(f"{count} rejected, {reason.encode('ascii', 'backslashreplace').decode()}")
    return _with_room_for_sums(header)


def _table_header(name: str, extent: Extent) -> fits.Header:
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
    """Return the number that stands for none, where it is needed."""
    if entry.name not in extent.nulls or not pa.types.is_integer(entry.type):
        return None
    return int(np.iinfo(entry.type.to_pandas_dtype()).min)


def _with_room_for_sums(header: fits.Header) -> fits.Header:
    """Add the cards of the checksums, so that to fill them in moves nothing."""
    header["CHECKSUM"] = ("0" * 16, "HDU checksum")
    header["DATASUM"] = ("0" * 10, "data unit checksum")
    return header


def _bytes(header: fits.Header) -> bytes:
    return header.tostring().encode("ascii")


def _write_rows(stream: IO[bytes], tables: Iterable[pa.Table], extent: Extent) -> None:
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
    """Return values as they stand in a row of FITS, but for the order of their bytes."""
    if pa.types.is_string(column.type):
        return _ascii(column).fill_null(b"").to_numpy()
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, b"T", b"F").fill_null(b"\0").to_numpy()
    return (column if null is None else column.fill_null(null)).to_numpy()


# Parquet, CSV and HATS -----------------------------------------------------------------------------------


def write_parquet(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write one Parquet file with the metadata of VOParquet and what made the catalogue."""
    content = votable(extent.schema, "catalog", extent.sizes)
    metadata = {VERSION_KEY: VOPARQUET_VERSION, CONTENT_KEY: content, RUN_KEY: json.dumps(catalog.run)}
    text = [entry.name for entry in extent.schema if pa.types.is_string(entry.type)]
    with places.parquet_writer(str(path), extent.schema.with_metadata(metadata), use_dictionary=text) as writer:
        for table in _large(catalog.rows()):
            writer.write_table(table.replace_schema_metadata())


def _large(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in larger tables."""
    some: list[pa.Table] = []
    for table in tables:
        some.append(table)
        if sum(map(len, some)) >= ROWS_AT_ONCE:
            yield pa.concat_tables(some)
            some = []
    if some:
        yield pa.concat_tables(some)


def write_csv(path: Path, catalog: Catalog, extent: Extent) -> None:
    """Write a CSV file with a line of names; what is missing is empty."""
    with pyarrow.csv.CSVWriter(str(path), extent.schema) as writer:
        for table in catalog.rows():
            writer.write_table(table)


def write_hats(out: str, catalog: Catalog, extent: Extent) -> None:
    """Write a folder of Parquet files by place on the sky, as the IVOA note HATS describes, with hats-import.

    Raises
    ------
    ConfigError : hats-import is not installed
    InputError : a row has no position
    OutputError : ``out`` is there already, or on no disk
    """
    try:
        from dask.distributed import Client
        from hats_import.catalog.arguments import ImportArguments
        from hats_import.pipeline import pipeline_with_client
    except ImportError:
        raise ConfigError(f"{out} needs hats-import; pip install 'raystellar[hats]'") from None
    if missing := {"ra", "dec"} & extent.nulls:
        raise InputError(f"some rows have no {' and '.join(sorted(missing))}, and HATS has no place for them")
    if not places.is_local(out) or places.exists(out):
        raise OutputError(f"{out} is there already, or on no disk; name a new folder")
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


WRITERS: Mapping[str, Callable[[Path, Catalog, Extent], None]] = {
    ".fits": write_fits,
    ".parquet": write_parquet,
    ".csv": write_csv,
}
"""By the end of the file's name."""
