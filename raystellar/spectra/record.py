"""The record that every reader returns, the checks of its wavelengths, and the facts of the SDSS pixel lattice.

All SDSS files store their spectra on one lattice: log10 of the vacuum wavelength is k * 1e-4 with an integer k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError

LATTICE_STEP = 1e-4
"""Distance of two pixels of the SDSS lattice [dex of wavelength]."""

MOST_ROUNDING = 0.05
"""Largest distance of a rounded wavelength from its pixel of the lattice [pixels]; float32 rounds by 0.003 at most."""

MIN_PIXELS = 100
"""Least number of pixels of a useful spectrum. The shortest spectrum of DR12 has 2,070."""

MAX_PIXELS = 20_000
"""Largest number of pixels. The lattice has 17,000 pixels between ``MIN_LOGLAM`` and ``MAX_LOGLAM``."""

MIN_LOGLAM, MAX_LOGLAM = 3.0, 4.7
"""Bounds of log10 of the wavelength [angstrom], at 1,000 and 50,000 angstrom. SDSS spans 3.55 to 4.02."""

SN_LOGLAM = (math.log10(3280), math.log10(9860))
"""First and last log10 of the wavelength [angstrom] of the ugriz bands, in which SN_MEDIAN_ALL is measured."""

LEAST_VALUE, MOST_VALUE = 2.0**-63, 2.0**64
"""Bounds of the flux and of ivar of a good pixel. The square of a number between them is a normal number of 32 bits."""

SPEED_OF_LIGHT_KM_S = 299_792.458
"""Speed of light in vacuum [km/s], exact by the definition of the metre."""


@dataclass(slots=True)
class Spectrum:
    """One spectrum as observed, with heliocentric vacuum wavelengths and with no pixel masked or corrected.

    Attributes
    ----------
    path : path or URL of the file, as the user gave it
    spec_id : name of the spectrum, unique in its survey; plate-mjd-fiberid without leading zeros for SDSS
    plate, mjd, fiberid : plate, date and fibre in the SDSS; plate is 0 where the survey has no plate numbers, and mjd
        and fiberid are 0 where they are unknown
    run2d : version of the reduction, such as ``26`` or ``v5_7_0``
    ra, dec : position of the target, not of the plate centre [deg]; NaN where it is unknown
    object_class, subclass : classification by the pipeline, such as ``STAR`` and ``F9``; empty where it is unknown
    is_sky : whether the fibre observed the sky (bit 0 of ZWARNING, or SKY in SOURCETYPE or OBJTYPE)
    z, z_err : redshift of the pipeline and its error; NaN where there is none
    zwarning : bits of ZWARNING, the doubts of the pipeline
    sn : median signal-to-noise ratio per pixel (SN_MEDIAN_ALL), computed from flux and ivar where the file has none
    loglam : log10 of the vacuum wavelength [angstrom], strictly increasing, (n,) float32
    flux : flux [1e-17 erg/s/cm2/angstrom], (n,) float32
    ivar : inverse variance of flux, 0 where the pixel is masked, (n,) float32; see ``good_pixels``
    note : information that the reader lacked, repeated in the reject if the spectrum is rejected; mostly empty
    fieldid : field in SDSS-V; -1 where the survey has no fields
    catalogid : number of the target in its survey: CATALOGID of SDSS-V, TARGETID of DESI; -1 where there is none
    obs_id : number of the observation in its survey: OBSID of LAMOST; -1 where there is none
    aliases : further names by which a label table may call the spectrum, in the form of ``spec_id``
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
    fieldid: int = -1
    catalogid: int = -1
    obs_id: int = -1
    aliases: tuple[str, ...] = ()

    @property
    def is_star(self) -> bool:
        """Whether the pipeline classified the spectrum as a star and the fibre did not observe the sky."""
        return self.object_class == "STAR" and not self.is_sky


@dataclass(slots=True)
class Prepared(Spectrum):
    """A spectrum that ``raystellar preprocess`` resampled to the grid, so that ``loglam`` is empty.

    Attributes
    ----------
    flux : standardised flux, (4000,) float32
    ivar : inverse variance of ``flux`` in blocks of pixels, (500,) float32
    rv, e_rv : radial velocity that was removed, and its error [km/s]; NaN where unknown
    rv_source : origin of ``rv``
    good_fraction : fraction of the grid covered by good pixels
    preprocess : settings of the preprocessing, as plain values
    """

    rv: float = math.nan
    e_rv: float = math.nan
    rv_source: str = ""
    good_fraction: float = math.nan
    preprocess: dict[str, Any] = field(default_factory=dict)


def good_pixels(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return which pixels are good (n,) bool: this is the only definition of a good pixel.

    A pixel is good if its ivar and the absolute value of its flux lie between ``LEAST_VALUE`` and ``MOST_VALUE``. A
    flux of exactly 0 is good, too. A pixel with NaN, an infinite value, or ivar <= 0 is bad. The readers give a masked
    pixel ivar = 0. ``preprocessing.pixels`` compiles the same rule.

    Parameters
    ----------
    flux, ivar : (n,)
    """
    size = np.abs(flux)
    known = (ivar > LEAST_VALUE) & (ivar < MOST_VALUE) & (size < MOST_VALUE)
    return np.asarray(known & ((size > LEAST_VALUE) | (size == 0.0)))


def near_one(flux: np.ndarray, ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and ivar (n,) multiplied by powers of 2 that bring the median flux near 1, where that is needed.

    Labels do not depend on the unit of the flux. A flux of 1e-17, in units of erg/s/cm2/angstrom, has squares that 32
    bits cannot hold. A power of 2 changes no digit of a number. A median between 1e-6 and 1e6 stays as it is.
    """
    if 2.0**-40 < np.max(ivar, initial=0.0) < 2.0**40:
        return flux, ivar
    size = np.abs(flux[(flux != 0.0) & np.isfinite(flux) & (ivar > 0.0)])
    exponent = int(np.frexp(np.median(size))[1]) if size.size else 0
    return (flux, ivar) if abs(exponent) <= 20 else (np.ldexp(flux, -exponent), np.ldexp(ivar, 2 * exponent))


def median_sn(loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> float:
    """Return the median of flux * sqrt(ivar), as BOSS computes SN_MEDIAN_ALL; NaN where no pixel is good.

    The median is taken over the good pixels from 3280 to 9860 angstrom, the ugriz bands. For an even number
    of pixels it is the upper of the middle two. SDSS-I/II files instead store the median of the absolute value, which
    is 0.67 for pure sky.

    Source: sn_median.pro, https://github.com/sdss/idlspec2d
    """
    good = good_pixels(flux, ivar) & (loglam >= SN_LOGLAM[0]) & (loglam < SN_LOGLAM[1])
    sn = flux[good] * np.sqrt(ivar[good])
    return float(np.partition(sn, len(sn) // 2)[len(sn) // 2]) if len(sn) else math.nan


def check_loglam(loglam: np.ndarray) -> None:
    """Raise SpectrumError where the wavelengths are too few, out of range, not finite or not increasing."""
    if len(loglam) < MIN_PIXELS:
        raise SpectrumError("read", "too few pixels", f"{len(loglam)}, at least {MIN_PIXELS} are needed")
    if (loglam[1:] > loglam[:-1]).all() and loglam[0] >= MIN_LOGLAM and loglam[-1] <= MAX_LOGLAM:
        return  # NaN would have failed the first comparison
    bad = np.sum(~np.isfinite(loglam))
    if bad:
        raise SpectrumError("read", "non-finite wavelength", f"{bad} of {len(loglam)} pixels")
    if loglam.min() < MIN_LOGLAM or loglam.max() > MAX_LOGLAM:
        raise SpectrumError("read", "loglam out of range", f"{loglam.min()} to {loglam.max()}")
    pixel = np.argmin(loglam[1:] > loglam[:-1]) + 1
    raise SpectrumError("read", "loglam not increasing", f"{loglam[pixel - 1]} to {loglam[pixel]} at pixel {pixel}")


def lattice(coeff0: object, coeff1: object, pixels: int) -> np.ndarray:
    """Return the wavelengths that COEFF0 and COEFF1 declare, as spec files store them: float32(k * 1e-4).

    Parameters
    ----------
    coeff0, coeff1 : values of the header cards: log10 of the first wavelength [angstrom] and the step [dex]
    pixels : number of pixels

    Returns
    -------
    (pixels,) float32, log10 of the vacuum wavelength [angstrom].

    Raises
    ------
    SpectrumError : the values are not numbers, are off the SDSS lattice, or are out of range
    """
    if not (isinstance(coeff0, (int, float)) and isinstance(coeff1, (int, float))):
        raise SpectrumError("read", "missing COEFF0 and COEFF1", f"{coeff0!r}, {coeff1!r}")
    k0 = coeff0 / LATTICE_STEP
    if not MIN_LOGLAM / LATTICE_STEP <= k0 <= MAX_LOGLAM / LATTICE_STEP:  # NaN and infinity fail
        raise SpectrumError("read", "loglam out of range", f"COEFF0 = {coeff0}")
    if abs(k0 - round(k0)) > 0.01 or abs(coeff1 - LATTICE_STEP) > 1e-9:
        raise SpectrumError("read", "wavelengths off the lattice", f"COEFF0 = {coeff0}, COEFF1 = {coeff1}")
    return ((round(k0) + np.arange(pixels)) * LATTICE_STEP).astype(np.float32)


def loglam_of(wavelength: np.ndarray) -> np.ndarray:
    """Return log10 of wavelengths (n,) float32, on the SDSS lattice where they differ from it only by rounding.

    Parameters
    ----------
    wavelength : vacuum wavelengths [angstrom], (n,); the result is not finite where they are not positive
    """
    with np.errstate(all="ignore"):
        loglam = np.log10(wavelength.astype(np.float64))
        k = np.rint(loglam / LATTICE_STEP)
        near = bool((np.abs(loglam / LATTICE_STEP - k) < MOST_ROUNDING).all() and (np.diff(k) == 1).all())
        return (k * LATTICE_STEP if near else loglam).astype(np.float32)
