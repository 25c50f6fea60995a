"""The one record that every reader of a survey format returns, and what it has to satisfy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError

LATTICE_STEP = 1e-4
"""Pixel of the SDSS lattice [dex of wavelength]: loglam = k * 1e-4 with integer k in every SDSS file."""

MIN_PIXELS = 100
"""A spectrum with fewer is of no use. The shortest of DR12 has 2,070."""

MAX_PIXELS = 20_000
"""The lattice of 1e-4 dex has 17,000 pixels between the bounds below."""

MIN_LOGLAM, MAX_LOGLAM = 3.0, 4.7
"""Bounds of log10 of the wavelength [angstrom]: 1,000 to 50,000 angstrom. SDSS spans 3.55 to 4.02."""

SN_LOGLAM = (math.log10(3280), math.log10(9860))
"""Range of wavelengths of the ugriz bands [log10 angstrom], over which SN_MEDIAN_ALL is taken."""

SPEED_OF_LIGHT_KM_S = 299792.458


@dataclass(slots=True)
class Spectrum:
    """One spectrum as observed: vacuum wavelengths, heliocentric, nothing masked or corrected.

    Attributes
    ----------
    path : where it was read from, as the user gave it
    spec_id : its name, unique in its survey: plate-mjd-fiberid without leading zeros for SDSS
    plate, mjd, fiberid : SDSS identity; plate 0 where the survey has no plate numbers
    run2d : version of the reduction, e.g. ``26``, ``v5_7_0``
    ra, dec : position of the target [deg]; NaN where unknown (the plate centre is not the target)
    object_class, subclass : the pipeline's classification, e.g. ``STAR`` and ``F9``; empty where unknown
    is_sky : the fibre looked at the sky (ZWARNING bit 0, or SOURCETYPE/OBJTYPE SKY)
    z, z_err : the pipeline's redshift and error; NaN where there is none
    zwarning : the pipeline's warning bits
    sn : median signal-to-noise ratio per pixel, SN_MEDIAN_ALL; computed from flux and ivar where absent
    loglam : (n,) float32, log10 of the vacuum wavelength [angstrom], strictly increasing
    flux : (n,) float32 [1e-17 erg/s/cm2/angstrom]
    ivar : (n,) float32, inverse variance of flux; <= 0 where the pixel is bad
    note : what its reader missed, for the reject if it becomes one; mostly empty
    """

    path: str
    spec_id: str
    plate: int
    mjd: int
    fiberid: int
    run2d: str
    ra: float
    dec: float
    object_class: str
    subclass: str
    is_sky: bool
    z: float
    z_err: float
    zwarning: int
    sn: float
    loglam: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    note: str = ""

    @property
    def is_star(self) -> bool:
        """Whether the pipeline takes it for a star and the fibre was not on the sky."""
        return self.object_class == "STAR" and not self.is_sky


@dataclass(slots=True)
class Prepared(Spectrum):
    """A spectrum that ``raystellar preprocess`` has brought to the grid; its wavelengths are those of the grid.

    Attributes
    ----------
    flux : (4000,) float32, standardised
    ivar : (500,) float32, of ``flux`` in blocks of pixels
    rv : velocity that was taken out [km/s]
    rv_source : where that came from
    good_fraction : share of the grid covered by good pixels
    preprocess : settings with which it was made, as plain values
    """

    rv: float = math.nan
    rv_source: str = ""
    good_fraction: float = math.nan
    preprocess: dict[str, Any] = field(default_factory=dict)


def median_sn(loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> float:
    """Return the median of flux * sqrt(ivar) as BOSS makes SN_MEDIAN_ALL; NaN without good pixels.

    Over the pixels of the ugriz bands, 3280 to 9860 angstrom, with ivar > 0; of an even number of values the
    upper of the middle two. The SDSS-I/II files hold the median of the absolute value, 0.67 for pure sky.

    Source: sn_median.pro, https://github.com/sdss/idlspec2d
    """
    good = (ivar > 0) & (loglam >= SN_LOGLAM[0]) & (loglam < SN_LOGLAM[1])
    with np.errstate(all="ignore"):
        sn = flux[good] * np.sqrt(ivar[good])
    return float(np.partition(sn, len(sn) // 2)[len(sn) // 2]) if len(sn) else math.nan


def check_loglam(loglam: np.ndarray) -> None:
    """Raise SpectrumError where the wavelengths are no grid."""
    if len(loglam) < MIN_PIXELS:
        raise SpectrumError("read", "too few pixels", f"{len(loglam)}, at least {MIN_PIXELS} are needed")
    if (loglam[1:] > loglam[:-1]).all() and loglam[0] >= MIN_LOGLAM and loglam[-1] <= MAX_LOGLAM:
        return  # NaN would have failed the first comparison
    bad = np.sum(~np.isfinite(loglam))
    if bad:
        raise SpectrumError("read", "non-finite wavelength", f"{bad} of {len(loglam)} pixels")
    if loglam.min() < MIN_LOGLAM or loglam.max() > MAX_LOGLAM:
        raise SpectrumError("read", "loglam out of range", f"{loglam.min()} to {loglam.max()}")
    at = np.argmin(loglam[1:] > loglam[:-1]) + 1
    raise SpectrumError("read", "loglam not increasing", f"{loglam[at - 1]} to {loglam[at]} at pixel {at}")


def lattice(coeff0: object, coeff1: object, pixels: int) -> np.ndarray:
    """Return the wavelengths (pixels,) float32 of COEFF0 and COEFF1, as spec files hold them: float32(k * 1e-4).

    Raises
    ------
    SpectrumError : they are no numbers, off the lattice of 1e-4 dex, or out of range
    """
    if not (isinstance(coeff0, (int, float)) and isinstance(coeff1, (int, float))):
        raise SpectrumError("read", "missing COEFF0 and COEFF1", f"{coeff0!r}, {coeff1!r}")
    k0 = coeff0 / LATTICE_STEP
    if not MIN_LOGLAM / LATTICE_STEP <= k0 <= MAX_LOGLAM / LATTICE_STEP:  # NaN and infinity fail
        raise SpectrumError("read", "loglam out of range", f"COEFF0 = {coeff0}")
    if abs(k0 - round(k0)) > 0.01 or abs(coeff1 - LATTICE_STEP) > 1e-9:
        raise SpectrumError("read", "wavelengths off the lattice", f"COEFF0 = {coeff0}, COEFF1 = {coeff1}")
    return ((round(k0) + np.arange(pixels)) * LATTICE_STEP).astype(np.float32)
