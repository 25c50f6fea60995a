"""A simulated survey on disk: plates of spectra, a table of labels like ssppOut, and the true parameters.

``write_plate`` writes one plate, on one worker. ``finish`` joins the parts of all plates. A finished plate is not
written again. A plate that is written twice has the same bytes, because each star, night and error is a function of
the seed and its own number.

    OUT/spectra/PPPP/spec-PPPP-MMMMM-FFFF.fits    the spectra
    OUT/ssppOut.fits                              labels of the labelled plates
    OUT/truth.parquet                             true parameters of all stars
    OUT/_parts/plate-PPPP.parquet                 truth and labels of one plate, written after its other files
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.config import digest
from raystellar.errors import IncompleteError, OutputError
from raystellar.files import places
from raystellar.schema import Column
from raystellar.simulator.instrument import FIBRES, Conditions, SimulatedSpectrum, draw_conditions, observe
from raystellar.simulator.labels import SSPP_COLUMNS, label_row, write_sspp_table
from raystellar.simulator.plate_file import write_plate_files
from raystellar.simulator.population import (
    MAX_SEED,
    STREAM_FIELD,
    STREAM_LABEL,
    STREAM_POSITION,
    STREAM_SKY,
    STREAM_SPECTRUM,
    STREAM_SURVEY,
    Population,
    Star,
    draw_sn,
    draw_star,
    generator,
)
from raystellar.simulator.spec_file import spec_name, write_spec
from raystellar.simulator.spectro1d import Fibre, classify_sky, classify_star

SPECTRA_DIR, PARTS_DIR, SSPP_NAME, TRUTH_NAME = "spectra", "_parts", "ssppOut.fits", "truth.parquet"
"""Names in the folder of a survey."""

FIRST_PLATE, N_PLATES, PLATE_STRIDE = 266, 3215, 1013
"""First plate number and count of the plates of SSPP, 266 to 3480, and the stride between plates of the simulation.

The stride spreads a small survey over all numbers. It has no common factor with the count, so no number repeats.
"""

MJD_OF_PLATE = ((266, 1123, 1944, 2942, 3480), (51602, 52882, 53385, 54521, 54990))
"""Plate numbers, and the dates on which real plates of these numbers were observed [d]."""

PLATE_RADIUS_DEG = 1.49
"""Radius of the field of a plate."""

DEC_RANGE_DEG = (-10.0, 65.0)
"""Range of the declinations of plates."""

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


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """Settings of a simulated survey."""

    stars: int = 4000
    """Number of spectra of stars."""

    seed: int = 1
    """Seed of all random numbers, 0 to 2**63 - 1."""

    stars_per_plate: int = 160
    """Stars on a plate, 1 to 640. A plate is the unit of work."""

    labelled_fraction: float = 0.8
    """Share of the plates whose stars are in ssppOut.fits, 0 to 1. A share above 0 includes the first plate."""

    sky_fibres: int = 0
    """Fibres on empty sky per plate, which a catalogue must not contain as stars. A real plate has 32."""

    repeat_fraction: float = 0.02
    """Share of the spectra that repeat a star of the plate before with another S/N, 0 to 0.5."""

    spplate: bool = False
    """Whether to write spPlate and spZbest files too, about 60 MB a plate."""

    population: Population = field(default_factory=Population)
    """Population of the stars."""

    def __post_init__(self) -> None:
        limits = (
            ("seed", 0, MAX_SEED),
            ("stars_per_plate", 1, FIBRES),
            ("labelled_fraction", 0.0, 1.0),
            ("sky_fibres", 0, FIBRES - self.stars_per_plate),
            ("repeat_fraction", 0.0, 0.5),
            ("stars", 1, N_PLATES * self.stars_per_plate),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                hint = " with these stars_per_plate" if name in ("stars", "sky_fibres") else ""
                raise ValueError(f"{name} = {getattr(self, name)} must lie between {low} and {high}{hint}")


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


@dataclass(frozen=True)
class _PlateSetup:
    """A plate before its stars are drawn."""

    index: int
    """Index of the plate in the survey."""

    number: int
    """Number on the plate, 266 to 3480."""

    mjd: int
    """Modified Julian date of the observation [d]."""

    ra: float
    """Right ascension of the centre [deg]."""

    dec: float
    """Declination of the centre [deg]."""

    labelled: bool
    """Whether ssppOut.fits has the stars of the plate."""

    conditions: Conditions
    """Conditions of the exposure."""

    fiberids: np.ndarray
    """Permutation of the numbers 1 to 640: stars take the first fibres, empty sky the next."""


_Exposure = tuple[Fibre, "Star | None", SimulatedSpectrum, dict[str, Any]]
"""Fibre, star (None for empty sky), spectrum and row of ssppOut."""


def plates(config: SimulateConfig) -> list[int]:
    """Return the indices of the plates of the survey, for ``write_plate``."""
    return list(range(-(-config.stars // config.stars_per_plate)))


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


def plate_number(index: int) -> int:
    """Return the number on the plate of this index, 266 to 3480."""
    return FIRST_PLATE + index * PLATE_STRIDE % N_PLATES


def is_labelled(config: SimulateConfig, index: int) -> bool:
    """Return whether ssppOut.fits has the stars of a plate: an even share of the plates, which depends on the seed."""
    share = config.labelled_fraction
    start = 1.0 - share * (1.0 - generator(config.seed, STREAM_SURVEY, 0).random())
    return math.floor((index + 1) * share + start) > math.floor(index * share + start)


def write_plate(config: SimulateConfig, out: str, plate_index: int) -> PlateSummary:
    """Write all files of a plate into the folder ``out``, unless the plate is finished.

    Raises
    ------
    OutputError : ``out`` cannot be written, or has a survey with other settings
    """
    part = _part_path(out, plate_index)
    if os.path.exists(part):
        return _summary(config, part)
    plate = _plate_setup(config, plate_index)
    folder = os.path.join(out, SPECTRA_DIR, f"{plate.number:04d}")
    places.make_folder(folder)
    places.make_folder(os.path.dirname(part))
    rows, exposures, size = [], [], 0
    for fibre, star, spectrum, labels in _exposures(config, plate):
        name = spec_name(fibre.plate, fibre.mjd, fibre.fiberid)
        size += write_spec(os.path.join(folder, name), fibre, spectrum)
        path = f"{SPECTRA_DIR}/{plate.number:04d}/{name}"
        rows.append(_truth_row(path, fibre, star, spectrum, plate) | labels)
        if config.spplate:
            exposures.append((fibre, spectrum))
    if exposures:
        size += write_plate_files(folder, exposures)
    stars = sum(row["star"] >= 0 for row in rows)
    summary = PlateSummary(stars, len(rows) + (2 if exposures else 0), size)
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


def rest_spectrum(star: Star) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 of the vacuum wavelengths [A] and the flux of a star at rest."""
    # its tables take a second to load
    from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, synthesize

    return SYNTHESIS_LOGLAM, synthesize(star.teff, star.logg, star.feh, alpha=star.alpha, vmicro=star.vmicro)


def _exposures(config: SimulateConfig, plate: _PlateSetup) -> Iterator[_Exposure]:
    """Yield the exposure of each fibre of a plate: first the stars, then empty sky."""
    first = plate.index * config.stars_per_plate
    count = min(config.stars - first, config.stars_per_plate)
    for slot in range(count):
        observation = first + slot
        rng = generator(config.seed, STREAM_SPECTRUM, observation)
        star, primary = _star_of(config, plate.index, observation, rng)
        fiberid = int(plate.fiberids[slot])
        fibre = _fibre(config.seed, plate, fiberid, star.index, primary=primary, **classify_star(star, rng))
        spectrum = observe(*rest_spectrum(star), star, plate.conditions, fibre.fiberid, rng)
        labels = label_row(fibre, star, spectrum.sn_median, generator(config.seed, STREAM_LABEL, observation))
        yield fibre, star, spectrum, labels
    for fiberid in plate.fiberids[count : count + config.sky_fibres].tolist():
        number = plate.index * 1024 + fiberid
        rng = generator(config.seed, STREAM_SKY, number)
        fibre = _fibre(config.seed, plate, fiberid, (1 << 40) + number, **classify_sky(rng))
        spectrum = observe(np.zeros(0), None, None, plate.conditions, fiberid, rng)
        yield fibre, None, spectrum, label_row(fibre, None, spectrum.sn_median, rng)


def _star_of(config: SimulateConfig, plate_index: int, observation: int, rng: np.random.Generator) -> tuple[Star, bool]:
    """Return the star of an observation, and whether this is its best spectrum.

    Two plates share a field, as the bright and faint plates of SEGUE; the second repeats some stars of the first.
    """
    repeats = rng.random() < 2.0 * config.repeat_fraction and plate_index % 2 == 1
    if not repeats:
        return draw_star(config.population, config.seed, observation), True
    star = draw_star(config.population, config.seed, observation - config.stars_per_plate)
    return dataclasses.replace(star, sn=draw_sn(config.population, rng)), False


def _plate_setup(config: SimulateConfig, index: int) -> _PlateSetup:
    """Draw field, date and conditions of a plate."""
    rng = generator(config.seed, STREAM_SURVEY, 1 + index)
    field_rng = generator(config.seed, STREAM_FIELD, index // 2)
    number = plate_number(index)
    low, high = (math.sin(math.radians(dec)) for dec in DEC_RANGE_DEG)
    return _PlateSetup(
        index=index,
        number=number,
        mjd=int(np.interp(number, *MJD_OF_PLATE)) + int(rng.integers(-20, 21)),
        ra=round(float(field_rng.uniform(0.0, 360.0)), 5),
        dec=round(math.degrees(math.asin(field_rng.uniform(low, high))), 5),
        labelled=is_labelled(config, index),
        conditions=draw_conditions(config.seed, index),
        fiberids=rng.permutation(FIBRES) + 1,
    )


def _fibre(seed: int, plate: _PlateSetup, fiberid: int, star_index: int, **results: Any) -> Fibre:
    """Return a fibre at a position in the field of its plate.

    Parameters
    ----------
    seed : seed of the survey
    plate : plate of the fibre
    fiberid : number of the fibre
    star_index : number of the star; the position is a function of it, so a star has one position on both plates
    results : results of the pipeline, as fields of ``Fibre``
    """
    rng = generator(seed, STREAM_POSITION, star_index)
    radius, angle = PLATE_RADIUS_DEG * math.sqrt(rng.random()), rng.uniform(0.0, 2.0 * math.pi)
    dec = plate.dec + radius * math.sin(angle)
    ra = (plate.ra + radius * math.cos(angle) / math.cos(math.radians(dec))) % 360.0
    return Fibre(
        plate=plate.number,
        mjd=plate.mjd,
        fiberid=fiberid,
        ra=round(ra, 6),
        dec=round(dec, 6),
        plate_ra=plate.ra,
        plate_dec=plate.dec,
        **results,
    )


def _truth_row(
    path: str, fibre: Fibre, star: Star | None, spectrum: SimulatedSpectrum, plate: _PlateSetup
) -> dict[str, Any]:
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
