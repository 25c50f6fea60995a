"""Results of the SDSS pipeline for a fibre: class, subclass, redshift, nearest ELODIE star, and warnings.

The simulated pipeline has the faults of the real pipeline. A sky fibre has the class STAR about as often as not, and
only ZWARNING bit 0 and SOURCETYPE identify it as sky. Velocities are 7.3 km/s too low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from raystellar.simulator.population import Star
from raystellar.spectra.bitmasks import ZWARNING_NEGATIVE_MODEL, ZWARNING_SKY, ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

VELOCITY_OFFSET_KM_S = -7.3
"""Offset of the velocities of the pipeline from the true ones. Source: Lee et al. 2008, AJ 136, 2022."""

VELOCITY_ERROR_KM_S, VELOCITY_ERROR_SN = 10.0, 35.0
"""Error of the redshift of a star, as a velocity, and the S/N at which the redshift has this error."""

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
"""Lowest temperature [K] and subclass of each template of the pipeline."""

SKY_CLASSES = (("STAR", ("T2", "L2", "WD", "L1", "K5")), ("GALAXY", ("",)), ("QSO", ("",)))
"""Classes that the pipeline gives to sky fibres, each with its subclasses."""


@dataclass(frozen=True)
class Elodie:
    """The best-fitting star of the ELODIE library, as in the ELODIE_* columns."""

    name: str
    """Name of the star."""

    teff: float
    """Effective temperature [K]."""

    logg: float
    """log10 of the surface gravity [cm/s2]."""

    feh: float
    """[Fe/H] [dex]."""

    z: float
    """Redshift of the spectrum by this star."""

    z_err: float
    """Error of the redshift."""


@dataclass(frozen=True, kw_only=True)
class Fibre:
    """A fibre of a plate: its position on the sky, and the results of the pipeline for its spectrum."""

    plate: int
    """Number of the plate."""

    mjd: int
    """Modified Julian date of the observation [d]."""

    fiberid: int
    """Number of the fibre on the plate, 1 to 640."""

    ra: float
    """Right ascension of the fibre [deg]."""

    dec: float
    """Declination of the fibre [deg]."""

    plate_ra: float
    """Right ascension of the centre of the plate [deg], the RA of primary headers."""

    plate_dec: float
    """Declination of the centre of the plate [deg], the DEC of primary headers."""

    sky: bool = False
    """Whether the fibre observes empty sky."""

    primary: bool = True
    """Whether this is the best spectrum of its object."""

    object_class: str = "STAR"
    """Class, e.g. ``STAR``."""

    subclass: str = ""
    """Subclass, e.g. ``F9``."""

    z: float = 0.0
    """Redshift."""

    z_err: float = 0.0
    """Error of the redshift."""

    zwarning: int = 0
    """Bits of ZWARNING."""

    elodie: Elodie = field(default=Elodie("", 0.0, 0.0, 0.0, 0.0, 0.0))
    """Best-fitting star of the ELODIE library."""


def specobj_id(fibre: Fibre, with_fibre: bool = True) -> int:
    """Return SPECOBJID, or PLATEID without the fibre, as the bit fields of SDSS-III for run2d 26."""
    fiberid = fibre.fiberid if with_fibre else 0
    return (fibre.plate << 50) | (fiberid << 38) | ((fibre.mjd - 50000) << 24) | (26 << 10)


def velocity_error(sn: float) -> float:
    """Return the standard deviation of the velocity errors of the pipeline [km/s] at this S/N per pixel.

    The pipeline itself states a smaller error, ``z_err``.
    """
    return VELOCITY_ERROR_KM_S * _growth(sn)


def classify_star(star: Star, rng: np.random.Generator) -> dict[str, object]:
    """Return the results of the pipeline for a star, as fields of ``Fibre``."""
    growth = _growth(star.sn)
    guess = star.teff + 120.0 * growth * rng.standard_normal()
    subclass = [name for bound, name in SUBCLASSES if guess >= bound or name == "K7"][-1]
    velocity = star.rv + VELOCITY_OFFSET_KM_S
    z = (velocity + velocity_error(star.sn) * rng.standard_normal()) / SPEED_OF_LIGHT_KM_S
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
    """Return the results of the pipeline for a sky fibre, as fields of ``Fibre``: nonsense with a warning."""
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


def _growth(sn: float) -> float:
    """Return the ratio of errors at this S/N to errors at ``VELOCITY_ERROR_SN``."""
    return math.sqrt(VELOCITY_ERROR_SN / sn)


def _elodie(star: Star, velocity: float, growth: float, rng: np.random.Generator) -> Elodie:
    """Return a star of the library near to ``star``; the library is coarse, so the two never agree exactly."""
    teff = 10 * round((star.teff + 130.0 * rng.standard_normal()) / 10.0)
    logg, feh = star.logg + 0.25 * rng.standard_normal(), star.feh + 0.2 * rng.standard_normal()
    z = (velocity + 4.0 * growth * rng.standard_normal()) / SPEED_OF_LIGHT_KM_S
    return Elodie(f"SIM{teff:05d}", float(teff), round(logg, 2), round(feh, 2), z, 1.0e-5 * growth)
