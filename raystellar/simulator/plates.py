"""The plates of a simulated survey: their fields, nights and stars, and an exposure of each fibre.

Each star, night and error is a function of the seed and its own number, so that plates can be made in any order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from raystellar.simulator.config import N_PLATES, SimulateConfig
from raystellar.simulator.instrument import FIBRES, Conditions, SimulatedSpectrum, draw_conditions, observe
from raystellar.simulator.labels import label_row
from raystellar.simulator.population import (
    STREAM_FIELD,
    STREAM_LABEL,
    STREAM_POSITION,
    STREAM_SKY,
    STREAM_SPECTRUM,
    STREAM_SURVEY,
    Star,
    draw_sn,
    draw_star,
    generator,
)
from raystellar.simulator.spectro1d import Fibre, classify_sky, classify_star
from raystellar.simulator.starlight import rest_spectrum

FIRST_PLATE, PLATE_STRIDE = 266, 1013
"""First plate number of SSPP, and the stride between plates of the simulation.

The stride spreads a small survey over all numbers. It has no common factor with ``N_PLATES``, so no number repeats.
"""

MJD_OF_PLATE = ((266, 1123, 1944, 2942, 3480), (51602, 52882, 53385, 54521, 54990))
"""Plate numbers, and the dates on which real plates of these numbers were observed [d]."""

PLATE_RADIUS_DEG = 1.49
"""Radius of the field of a plate."""

DEC_RANGE_DEG = (-10.0, 65.0)
"""Range of the declinations of plates."""


@dataclass(frozen=True)
class Plate:
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


Exposure = tuple[Fibre, "Star | None", SimulatedSpectrum, dict[str, Any]]
"""Fibre, star (None for empty sky), spectrum and row of ssppOut."""


def plates(config: SimulateConfig) -> list[int]:
    """Return the indices of the plates of the survey, for ``write_plate``."""
    return list(range(-(-config.stars // config.stars_per_plate)))


def plate_number(index: int) -> int:
    """Return the number on the plate of this index, 266 to 3480."""
    return FIRST_PLATE + index * PLATE_STRIDE % N_PLATES


def is_labelled(config: SimulateConfig, index: int) -> bool:
    """Return whether ssppOut.fits has the stars of a plate: an even share of the plates, which depends on the seed."""
    share = config.labelled_fraction
    start = 1.0 - share * (1.0 - generator(config.seed, STREAM_SURVEY, 0).random())
    return math.floor((index + 1) * share + start) > math.floor(index * share + start)


def draw_plate(config: SimulateConfig, index: int) -> Plate:
    """Draw field, date and conditions of a plate."""
    rng = generator(config.seed, STREAM_SURVEY, 1 + index)
    field_rng = generator(config.seed, STREAM_FIELD, index // 2)
    number = plate_number(index)
    low, high = (math.sin(math.radians(dec)) for dec in DEC_RANGE_DEG)
    return Plate(
        index=index,
        number=number,
        mjd=int(np.interp(number, *MJD_OF_PLATE)) + int(rng.integers(-20, 21)),
        ra=round(float(field_rng.uniform(0.0, 360.0)), 5),
        dec=round(math.degrees(math.asin(field_rng.uniform(low, high))), 5),
        labelled=is_labelled(config, index),
        conditions=draw_conditions(config.seed, index),
        fiberids=rng.permutation(FIBRES) + 1,
    )


def exposures(config: SimulateConfig, plate: Plate) -> Iterator[Exposure]:
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


def _fibre(seed: int, plate: Plate, fiberid: int, star_index: int, **results: Any) -> Fibre:
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
