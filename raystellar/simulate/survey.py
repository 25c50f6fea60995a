"""A whole survey on disk: plates of simulated spectra, a table of labels like SSPP's, and the truth.

``write_plate`` is what one worker does, ``finish`` joins what all have done. A plate that was written is not
written again, and a plate written twice has the same bytes: each star, night and error is a function of the
seed and its own number.

    OUT/spectra/PPPP/spec-PPPP-MMMMM-FFFF.fits    the spectra
    OUT/ssppOut.fits                              labels of the labelled plates
    OUT/truth.parquet                             true parameters of all stars
    OUT/_parts/plate-PPPP.parquet                 truth and labels of one plate: the plate is complete
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
from raystellar.simulate.instrument import Conditions, SimulatedSpectrum, draw_conditions, observe
from raystellar.simulate.labels import SSPP_COLUMNS, label_row, write_sspp_table
from raystellar.simulate.plate_file import FIBRES, write_plate_files
from raystellar.simulate.population import (
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
from raystellar.simulate.spec_file import spec_name, write_atomic, write_spec
from raystellar.simulate.spectro1d import Fibre, classify_sky, classify_star

SPECTRA_DIR, PARTS_DIR, SSPP_NAME, TRUTH_NAME = "spectra", "_parts", "ssppOut.fits", "truth.parquet"

FIRST_PLATE, N_PLATES, PLATE_STRIDE = 266, 3215, 1013
"""SSPP's plates are 266 to 3480; the stride, without a common factor, spreads a small survey over them."""

MJD_OF_PLATE = ((266, 1123, 1944, 2942, 3480), (51602, 52882, 53385, 54521, 54990))
"""When real plates were observed [d]."""

PLATE_RADIUS_DEG = 1.49

DEC_RANGE_DEG = (-10.0, 65.0)

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


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """What survey is simulated."""

    stars: int = 4000
    """Number of spectra of stars."""

    seed: int = 1
    """Seed of all that is random, 0 to 2**63 - 1."""

    stars_per_plate: int = 160
    """Stars on one plate, 1 to 640: a plate is the unit of work."""

    labelled_fraction: float = 0.8
    """Share of the plates whose stars stand in ssppOut.fits, 0 to 1; the first plate is always among them."""

    sky_fibres: int = 0
    """Fibres per plate on empty sky, which must not come out as stars. A real plate has 32."""

    repeat_fraction: float = 0.02
    """Share of the spectra that show again a star of the plate before, 0 to 0.5, with another S/N."""

    spplate: bool = False
    """Write spPlate and spZbest of each plate too (about 60 MB a plate)."""

    population: Population = field(default_factory=Population)
    """Which stars."""

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
    """What one plate holds."""

    stars: int
    files: int
    bytes: int


@dataclass(frozen=True)
class SurveySummary:
    """What the survey holds."""

    plates: int
    stars: int
    labelled: int
    """Rows of ssppOut.fits, those without labels included."""


@dataclass(frozen=True)
class _PlateSetup:
    index: int
    number: int
    mjd: int
    ra: float
    dec: float
    labelled: bool
    conditions: Conditions
    fibres: np.ndarray
    """A permutation of 1 .. 640: stars take the first ones, sky fibres the next."""


_Exposure = tuple[Fibre, "Star | None", SimulatedSpectrum, dict[str, Any]]


def plates(config: SimulateConfig) -> list[int]:
    """Return the indices of the plates of the survey, each of which ``write_plate`` takes."""
    return list(range(-(-config.stars // config.stars_per_plate)))


def pending_plates(config: SimulateConfig, out: str) -> dict[int, int]:
    """Return the indices of the plates that are not there yet, each with its number of stars.

    Raises
    ------
    OutputError : a plate that is there belongs to a survey of another configuration
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
    """Return the number on the plate, 266 to 3480."""
    return FIRST_PLATE + index * PLATE_STRIDE % N_PLATES


def is_labelled(config: SimulateConfig, index: int) -> bool:
    """Say whether SSPP knows this plate: an even share of the plates, which ones depends on the seed."""
    share = config.labelled_fraction
    start = 1.0 - share * (1.0 - generator(config.seed, STREAM_SURVEY, 0).random())
    return math.floor((index + 1) * share + start) > math.floor(index * share + start)


def write_plate(config: SimulateConfig, out: str, plate_index: int) -> PlateSummary:
    """Write all files of one plate under ``out``, unless they are there.

    Raises
    ------
    OutputError : ``out`` cannot be written, or holds a survey of another configuration
    """
    part = _part_path(out, plate_index)
    if os.path.exists(part):
        return _summary(config, part)
    plate = _plate(config, plate_index)
    folder = os.path.join(out, SPECTRA_DIR, f"{plate.number:04d}")
    _make_folders(folder, os.path.dirname(part))
    rows, written, size = [], [], 0
    for target, star, spectrum, labels in _exposures(config, plate):
        name = spec_name(target.plate, target.mjd, target.fiberid)
        size += write_spec(os.path.join(folder, name), target, spectrum)
        path = f"{SPECTRA_DIR}/{plate.number:04d}/{name}"
        rows.append(_truth_row(path, target, star, spectrum, plate) | labels)
        if config.spplate:
            written.append((target, spectrum))
    if written:
        size += write_plate_files(folder, written)
    stars = sum(row["star"] >= 0 for row in rows)
    summary = PlateSummary(stars, len(rows) + (2 if written else 0), size)
    table = pa.Table.from_pylist(rows, schema=_part_schema(config, summary))
    write_atomic(part, _parquet(table))
    return summary


def finish(config: SimulateConfig, out: str) -> SurveySummary:
    """Join the parts of all plates into ssppOut.fits and truth.parquet.

    Raises
    ------
    IncompleteError : a plate has not been written
    OutputError : ``out`` cannot be written, or holds a survey of another configuration
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
    write_atomic(os.path.join(out, TRUTH_NAME), _parquet(truth.replace_schema_metadata({"simulate": digest(config)})))
    return SurveySummary(len(parts), truth.num_rows, labelled.num_rows)


def rest_spectrum(star: Star) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 wavelength [A] and flux of a star at rest."""
    from raystellar.simulate.photosphere.synthesis import (
        SYNTHESIS_LOGLAM,
        synthesize,
    )  # its tables take a second to load

    return SYNTHESIS_LOGLAM, synthesize(star.teff, star.logg, star.feh, alpha=star.alpha, vmicro=star.vmicro)


def _exposures(config: SimulateConfig, plate: _PlateSetup) -> Iterator[_Exposure]:
    """Yield (target, star or None, spectrum, row of labels) for each fibre of the plate."""
    first = plate.index * config.stars_per_plate
    count = min(config.stars - first, config.stars_per_plate)
    for slot in range(count):
        observation = first + slot
        rng = generator(config.seed, STREAM_SPECTRUM, observation)
        star, primary = _star_of(config, plate.index, observation, rng)
        target = _target(
            config.seed, plate, int(plate.fibres[slot]), star.index, primary=primary, **classify_star(star, rng)
        )
        spectrum = observe(*rest_spectrum(star), star, plate.conditions, target.fiberid, rng)
        labels = label_row(target, star, spectrum.sn_median, generator(config.seed, STREAM_LABEL, observation))
        yield target, star, spectrum, labels
    for fibre in plate.fibres[count : count + config.sky_fibres].tolist():
        number = plate.index * 1024 + fibre
        rng = generator(config.seed, STREAM_SKY, number)
        target = _target(config.seed, plate, fibre, (1 << 40) + number, **classify_sky(rng))
        spectrum = observe(np.zeros(0), None, None, plate.conditions, fibre, rng)
        yield target, None, spectrum, label_row(target, None, spectrum.sn_median, rng)


def _star_of(config: SimulateConfig, plate_index: int, observation: int, rng: np.random.Generator) -> tuple[Star, bool]:
    """Return the star of one observation, and whether this is its best spectrum.

    Plates come in pairs on one field, as SEGUE's bright and faint ones; the second repeats some of the first.
    """
    again = rng.random() < 2.0 * config.repeat_fraction and plate_index % 2 == 1
    if not again:
        return draw_star(config.population, config.seed, observation), True
    star = draw_star(config.population, config.seed, observation - config.stars_per_plate)
    return dataclasses.replace(star, sn=draw_sn(config.population, rng)), False


def _plate(config: SimulateConfig, index: int) -> _PlateSetup:
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
        fibres=rng.permutation(FIBRES) + 1,
    )


def _target(seed: int, plate: _PlateSetup, fibre: int, place: int, **pipeline: Any) -> Fibre:
    """Place a fibre on the plate; ``place`` is the number of the star, so that it stays where it is."""
    rng = generator(seed, STREAM_POSITION, place)
    radius, angle = PLATE_RADIUS_DEG * math.sqrt(rng.random()), rng.uniform(0.0, 2.0 * math.pi)
    dec = plate.dec + radius * math.sin(angle)
    ra = (plate.ra + radius * math.cos(angle) / math.cos(math.radians(dec))) % 360.0
    return Fibre(
        plate=plate.number,
        mjd=plate.mjd,
        fiberid=fibre,
        ra=round(ra, 6),
        dec=round(dec, 6),
        plate_ra=plate.ra,
        plate_dec=plate.dec,
        **pipeline,
    )


def _truth_row(
    path: str, target: Fibre, star: Star | None, spectrum: SimulatedSpectrum, plate: _PlateSetup
) -> dict[str, Any]:
    names = ("teff", "logg", "feh", "alpha", "vmicro", "rv", "ebv", "g")
    return {
        "path": path,
        "plate": target.plate,
        "mjd": target.mjd,
        "fiberid": target.fiberid,
        "ra": target.ra,
        "dec": target.dec,
        **{name: getattr(star, name, None) for name in names},
        "sn": spectrum.sn_median,
        "star": -1 if star is None else star.index,
        "labelled": plate.labelled,
    }


def _part_schema(config: SimulateConfig, summary: PlateSummary) -> pa.Schema:
    kinds = {"A": pa.string(), "J": pa.int32(), "I": pa.int16(), "E": pa.float32(), "D": pa.float64()}
    fields = [column.field() for column in TRUTH] + [pa.field(name, kinds[form[-1]]) for name, form in SSPP_COLUMNS]
    counts = {name: str(value) for name, value in dataclasses.asdict(summary).items()}
    return pa.schema(fields, metadata={"simulate": digest(config), **counts})


def _part_path(out: str, plate_index: int) -> str:
    return os.path.join(out, PARTS_DIR, f"plate-{plate_number(plate_index):04d}.parquet")


def _summary(config: SimulateConfig, part: str) -> PlateSummary:
    """Read what a complete plate holds, and refuse it if it belongs to another survey."""
    try:
        metadata = pq.read_schema(part).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise OutputError(f"{part} cannot be read ({error}); remove it, and its plate is written again") from None
    if metadata.get(b"simulate") != digest(config).encode():
        raise OutputError(f"{part} belongs to a survey of another configuration; choose an empty folder")
    return PlateSummary(*(int(metadata[name]) for name in (b"stars", b"files", b"bytes")))


def _make_folders(*folders: str) -> None:
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make folder {folder} ({error.strerror}); choose another output") from None


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
