"""A simulated survey on disk: plates of spectra, a table of labels like ssppOut, and the true parameters.

``write_plate`` writes one plate, on one worker. ``finish`` joins the parts of all plates. A finished plate is not
written again, and a plate that is written twice has the same bytes.

    OUT/spectra/PPPP/spec-PPPP-MMMMM-FFFF.fits    the spectra
    OUT/ssppOut.fits                              labels of the labelled plates
    OUT/truth.parquet                             true parameters of all stars
    OUT/_parts/plate-PPPP.parquet                 truth and labels of one plate, written after its other files
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.config import digest
from raystellar.errors import IncompleteError, OutputError
from raystellar.files import places
from raystellar.schema import Column
from raystellar.simulator.config import SimulateConfig
from raystellar.simulator.instrument import SimulatedSpectrum
from raystellar.simulator.labels import SSPP_COLUMNS, write_sspp_table
from raystellar.simulator.plate_file import write_plate_files
from raystellar.simulator.plates import Plate, draw_plate, exposures, plate_number, plates
from raystellar.simulator.population import Star
from raystellar.simulator.spec_file import spec_name, write_spec
from raystellar.simulator.spectro1d import Fibre

SPECTRA_DIR, PARTS_DIR, SSPP_NAME, TRUTH_NAME = "spectra", "_parts", "ssppOut.fits", "truth.parquet"
"""Names in the folder of a survey."""

TRUTH = (
    Column("path", pa.string(), "", "file of the spectrum, relative to the survey's folder"),
    Column("plate", pa.int32(), "", "plate number"),
    Column("mjd", pa.int32(), "d", "modified Julian date of the observation"),
    Column("fiberid", pa.int32(), "", "fibre number on the plate"),
    Column("ra", pa.float64(), "deg", "right ascension"),
    Column("dec", pa.float64(), "deg", "declination"),
    Column("teff", pa.float64(), "K", "true effective temperature"),
    Column("logg", pa.float64(), "dex", "true log10 of the surface gravity in cm/s2"),
    Column("feh", pa.float64(), "dex", "true metallicity"),
    Column("alpha", pa.float64(), "dex", "true [alpha/Fe]"),
    Column("vmicro", pa.float64(), "km/s", "true microturbulent velocity"),
    Column("rv", pa.float64(), "km/s", "true heliocentric radial velocity"),
    Column("ebv", pa.float64(), "mag", "true reddening E(B-V)"),
    Column("g", pa.float64(), "mag", "apparent g magnitude"),
    Column("sn", pa.float64(), "", "median S/N per pixel of the spectrum as written"),
    Column("star", pa.int64(), "", "number of the star: the same for all its spectra; -1 for a sky fibre"),
    Column("labelled", pa.bool_(), "", "the plate is in ssppOut.fits"),
)
"""Columns of truth.parquet."""


@dataclass(frozen=True)
class PlateSummary:
    """Counts of a plate."""

    stars: int
    """Number of spectra of stars."""

    files: int
    """Number of files with spectra."""

    bytes: int
    """Size of these files [bytes]."""


@dataclass(frozen=True)
class SurveySummary:
    """Counts of a survey."""

    plates: int
    """Number of plates."""

    stars: int
    """Number of spectra of stars."""

    labelled: int
    """Number of rows of ssppOut.fits, with or without labels."""


def pending_plates(config: SimulateConfig, out: str) -> dict[int, int]:
    """Return the number of stars of each plate that is not written yet, by the index of the plate.

    Raises
    ------
    OutputError : a plate in ``out`` belongs to a survey with other settings
    """
    for name in sorted(places.names(os.path.join(out, PARTS_DIR))):
        if name.startswith("plate-"):
            _summary(config, os.path.join(out, PARTS_DIR, name))
    return {
        index: min(config.stars - index * config.stars_per_plate, config.stars_per_plate)
        for index in plates(config)
        if not os.path.exists(_part_path(out, index))
    }


def write_plate(config: SimulateConfig, out: str, plate_index: int) -> PlateSummary:
    """Write all files of a plate into the folder ``out``, unless the plate is finished.

    Raises
    ------
    OutputError : ``out`` cannot be written, or has a survey with other settings
    """
    part = _part_path(out, plate_index)
    if os.path.exists(part):
        return _summary(config, part)
    plate = draw_plate(config, plate_index)
    folder = os.path.join(out, SPECTRA_DIR, f"{plate.number:04d}")
    places.make_folder(folder)
    places.make_folder(os.path.dirname(part))
    rows, exposed, size = [], [], 0
    for fibre, star, spectrum, labels in exposures(config, plate):
        name = spec_name(fibre.plate, fibre.mjd, fibre.fiberid)
        size += write_spec(os.path.join(folder, name), fibre, spectrum)
        path = f"{SPECTRA_DIR}/{plate.number:04d}/{name}"
        rows.append(_truth_row(path, fibre, star, spectrum, plate) | labels)
        if config.spplate:
            exposed.append((fibre, spectrum))
    if exposed:
        size += write_plate_files(folder, exposed)
    stars = sum(row["star"] >= 0 for row in rows)
    summary = PlateSummary(stars, len(rows) + (2 if exposed else 0), size)
    table = pa.Table.from_pylist(rows, schema=_part_schema(config, summary))
    places.write_bytes(part, _parquet(table), durable=False)
    return summary


def finish(config: SimulateConfig, out: str) -> SurveySummary:
    """Join the parts of all plates to ssppOut.fits and truth.parquet.

    Raises
    ------
    IncompleteError : a plate is missing
    OutputError : ``out`` cannot be written, or has a survey with other settings
    """
    parts = [_part_path(out, index) for index in plates(config)]
    missing = [path for path in parts if not os.path.exists(path)]
    if missing:
        raise IncompleteError(
            f"{len(missing)} of {len(parts)} plates are missing in {out}, the first is "
            f"{os.path.basename(missing[0])}; run the simulation again to write them"
        )
    for path in parts:
        _summary(config, path)
    table = pa.concat_tables([pq.read_table(path).replace_schema_metadata() for path in parts])
    labelled = table.filter(table["labelled"])
    write_sspp_table(os.path.join(out, SSPP_NAME), {name: labelled[name].to_numpy() for name, _ in SSPP_COLUMNS})
    truth = table.select([column.name for column in TRUTH])
    truth = truth.filter(pc.greater_equal(truth["star"], 0))
    truth = truth.replace_schema_metadata({"simulate": digest(config)})
    places.write_bytes(os.path.join(out, TRUTH_NAME), _parquet(truth))
    return SurveySummary(len(parts), truth.num_rows, labelled.num_rows)


def _truth_row(path: str, fibre: Fibre, star: Star | None, spectrum: SimulatedSpectrum, plate: Plate) -> dict[str, Any]:
    """Return the row of a spectrum in truth.parquet; parameters are missing for empty sky."""
    names = ("teff", "logg", "feh", "alpha", "vmicro", "rv", "ebv", "g")
    return {
        "path": path,
        "plate": fibre.plate,
        "mjd": fibre.mjd,
        "fiberid": fibre.fiberid,
        "ra": fibre.ra,
        "dec": fibre.dec,
        **{name: getattr(star, name, None) for name in names},
        "sn": spectrum.sn_median,
        "star": -1 if star is None else star.index,
        "labelled": plate.labelled,
    }


def _part_schema(config: SimulateConfig, summary: PlateSummary) -> pa.Schema:
    """Return the schema of a part: truth and labels, with settings and counts as metadata."""
    kinds = {"A": pa.string(), "J": pa.int32(), "I": pa.int16(), "E": pa.float32(), "D": pa.float64()}
    fields = [column.field() for column in TRUTH] + [pa.field(name, kinds[form[-1]]) for name, form in SSPP_COLUMNS]
    counts = {name: str(value) for name, value in dataclasses.asdict(summary).items()}
    return pa.schema(fields, metadata={"simulate": digest(config), **counts})


def _part_path(out: str, plate_index: int) -> str:
    """Return the path of the part of a plate."""
    return os.path.join(out, PARTS_DIR, f"plate-{plate_number(plate_index):04d}.parquet")


def _summary(config: SimulateConfig, part: str) -> PlateSummary:
    """Return the counts of a finished plate.

    Raises
    ------
    OutputError : the part cannot be read, or belongs to a survey with other settings
    """
    try:
        metadata = pq.read_schema(part).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise OutputError(
            f"{part} cannot be read ({error}); remove it, and the next run writes its plate again"
        ) from None
    if metadata.get(b"simulate") != digest(config).encode():
        raise OutputError(f"{part} belongs to a survey with other settings; choose an empty folder")
    return PlateSummary(*(int(metadata[name]) for name in (b"stars", b"files", b"bytes")))


def _parquet(table: pa.Table) -> bytes:
    """Return the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
