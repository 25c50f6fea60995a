"""What the SDSS pipeline says of a fibre: class, subclass, redshift, the nearest ELODIE star, and warnings.

Its faults are simulated too: a sky fibre is as likely a STAR as not and only ZWARNING bit 0 and SOURCETYPE tell,
and its velocities are 7.3 km/s too low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from raystellar.simulate.population import Star
from raystellar.spectra.bitmasks import ZWARNING_NEGATIVE_MODEL, ZWARNING_SKY, ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

VELOCITY_OFFSET_KM_S = -7.3
"""What the pipeline's velocities lack. Source: Lee et al. 2008, AJ 136, 2022."""

VELOCITY_ERROR_KM_S = 10.0
"""Error of the pipeline's redshift of a star at S/N 35."""

SUBCLASSES = (
    (3900.0, "K7"),
    (4350.0, "K5"),
    (4750.0, "K3"),
    (5000.0, "K1"),
    (5250.0, "G5"),
    (5500.0, "G2"),
    (5800.0, "G0"),
    (6000.0, "F9"),
    (6400.0, "F5"),
    (6900.0, "F2"),
    (7300.0, "A0p"),
    (8200.0, "A0"),
)
"""Lowest temperature [K] of the templates that the pipeline knows."""

SKY_CLASSES = (("STAR", ("T2", "L2", "WD", "L1", "K5")), ("GALAXY", ("",)), ("QSO", ("",)))


@dataclass(frozen=True)
class Elodie:
    """The star of the ELODIE library which fits best, as the ELODIE_* columns give it."""

    name: str
    teff: float
    logg: float
    feh: float
    z: float
    z_err: float


@dataclass(frozen=True, kw_only=True)
class Fibre:
    """One fibre of a plate: where it points, and what the pipeline makes of it."""

    plate: int
    mjd: int
    fiberid: int
    ra: float
    """Right ascension of the fibre [deg]."""
    dec: float
    """Declination of the fibre [deg]."""
    plate_ra: float
    """Right ascension of the plate's centre [deg]: what RA of the primary header is."""
    plate_dec: float
    """Declination of the plate's centre [deg]."""
    sky: bool = False
    """The fibre looks at empty sky."""
    primary: bool = True
    """The best spectrum of its object."""
    object_class: str = "STAR"
    subclass: str = ""
    z: float = 0.0
    z_err: float = 0.0
    zwarning: int = 0
    elodie: Elodie = field(default=Elodie("", 0.0, 0.0, 0.0, 0.0, 0.0))


def specobj_id(target: Fibre, with_fibre: bool = True) -> int:
    """Return SPECOBJID, or PLATEID without the fibre: the bit fields of SDSS-III for run2d 26."""
    fibre = target.fiberid if with_fibre else 0
    return (target.plate << 50) | (fibre << 38) | ((target.mjd - 50000) << 24) | (26 << 10)


def classify_star(star: Star, rng: np.random.Generator) -> dict[str, object]:
    """Return the fields of ``Fibre`` that the pipeline finds for a star."""
    growth = math.sqrt(35.0 / star.sn)
    guess = star.teff + 120.0 * growth * rng.standard_normal()
    subclass = [name for bound, name in SUBCLASSES if guess >= bound or name == "K7"][-1]
    velocity = star.rv + VELOCITY_OFFSET_KM_S
    z = (velocity + VELOCITY_ERROR_KM_S * growth * rng.standard_normal()) / SPEED_OF_LIGHT_KM_S
    unsure = star.sn < 12.0 and rng.random() < 0.03
    return {
        "object_class": "STAR",
        "subclass": subclass,
        "z": z,
        "z_err": 0.4 * VELOCITY_ERROR_KM_S * growth / SPEED_OF_LIGHT_KM_S * float(np.exp(rng.normal(0.0, 0.2))),
        "zwarning": ZWARNING_SMALL_DELTA_CHI2 if unsure else 0,
        "elodie": _elodie(star, velocity, growth, rng),
    }


def classify_sky(rng: np.random.Generator) -> dict[str, object]:
    """Return the fields of ``Fibre`` that the pipeline finds for a sky fibre: nonsense with a warning."""
    u = rng.random()
    name, subclasses = SKY_CLASSES[0 if u < 0.41 else 1 if u < 0.71 else 2]
    z = rng.normal(0.0, 0.003) if name == "STAR" else rng.uniform(0.0, 1.0 if name == "GALAXY" else 7.0)
    warning = ZWARNING_SKY | ZWARNING_SMALL_DELTA_CHI2
    if name == "STAR":
        warning |= ZWARNING_NEGATIVE_MODEL
    return {
        "sky": True,
        "object_class": name,
        "subclass": subclasses[int(rng.integers(len(subclasses)))],
        "z": float(z),
        "z_err": float(rng.uniform(1e-4, 3.0)),
        "zwarning": warning,
        "elodie": Elodie("HD124425", 6361.0, 4.04, 0.15, float(rng.normal(0.0, 0.002)), 2.6e-4),
    }


def _elodie(star: Star, velocity: float, growth: float, rng: np.random.Generator) -> Elodie:
    """Return the nearest of a coarse library; a star never agrees with it exactly."""
    teff = 10 * round((star.teff + 130.0 * rng.standard_normal()) / 10.0)
    logg, feh = star.logg + 0.25 * rng.standard_normal(), star.feh + 0.2 * rng.standard_normal()
    z = (velocity + 4.0 * growth * rng.standard_normal()) / SPEED_OF_LIGHT_KM_S
    return Elodie(f"SIM{teff:05d}", float(teff), round(logg, 2), round(feh, 2), z, 1.0e-5 * growth)
