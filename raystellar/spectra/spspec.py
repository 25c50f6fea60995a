"""Read spSpec files, in which SDSS-I/II was published until DR7: one spectrum a file.

Data model: https://classic.sdss.org/dr7/dm/flatFiles/spSpec.html

The primary image has four or five rows: flux, continuum-subtracted flux, error, mask. Everything else is in the
primary header.

Quirks of the survey:

* The file does not store the wavelengths. Their log10 is COEFF0 + COEFF1 * i, in vacuum, on the lattice of the later
  spec files.
* RA and DEC are the centre of the plate. RAOBJ and DECOBJ are the position of the target.
* A bad pixel has the error 0, not an infinite error.
* The mask is a float32, so that the low bits of sums beyond 2**24 are lost. It combines the AND mask and the OR mask.
* SN_G, SN_R and SN_I are medians in single bands. The median over all bands is computed as for later files.
* Class, redshift and warnings come from another pipeline (spectro1d) than those of spec files. Its warning bits have
  other meanings. Any of them becomes SMALL_DELTA_CHI2 here: the redshift is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra.bitmasks import FULLREJECT, NODATA, NOSKY, ZWARNING_SKY, ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.content import Content
from raystellar.spectra.fits_image import Image, count_axes, find_cards, hdus, image
from raystellar.spectra.record import MAX_PIXELS, Spectrum, check_loglam, lattice, median_sn
from raystellar.spectra.source import Source
from raystellar.spectra.values import integer, real, string

CLASSES = {1: "STAR", 2: "GALAXY", 3: "QSO", 4: "QSO", 5: "", 6: "STAR", 7: "GALAXY"}
"""Class of later files for each SPEC_CLN. 4 is a quasar with z > 2.3, 5 is sky, 6 a star of type M or later, and 7 a
galaxy with emission lines; 0 is unknown."""

SKY = 5
"""SPEC_CLN of sky."""

LATE_STAR = 6
"""SPEC_CLN of a star with molecular bands, of type M or later."""

MEASURED = 2
"""Least Z_STATUS of a measured redshift; 0 is not measured, 1 failed."""

NO_DATA = FULLREJECT | NOSKY | NODATA
"""Bits of SPPIXMASK of a pixel without data."""

SPSPEC_ROWS = (4, 5)
"""Numbers of rows of the image: four in the data model, five in the files of DR7."""

_CARDS = (
    "COEFF0",
    "COEFF1",
    "PLATEID",
    "MJD",
    "FIBERID",
    "RAOBJ",
    "DECOBJ",
    "SPEC_CLN",
    "OBJTYPE",
    "Z",
    "Z_ERR",
    "Z_STATUS",
    "Z_WARNIN",
    "VERS2D",
)


def _claims(head: bytes, name: str) -> bool:
    """Claim images of four or five rows from the telescope of the SDSS; cards of spSpec files come after the head."""
    if count_axes(head) != 2:
        return False
    cards = find_cards(head, ("NAXIS2", "TELESCOP"))
    return cards.get("NAXIS2") in SPSPEC_ROWS and cards.get("TELESCOP") == "SDSS 2.5-M"


def _read(content: Content, first: int) -> Iterator[Spectrum]:
    with content.opened() as stream:
        hdu = next(hdus(stream))
        pixels = image(hdu, "not a spSpec file")
        _check_image(pixels)
        rows = pixels.read(stream, 0, pixels.rows)
    yield _spectrum(content.path, find_cards(hdu.header, _CARDS), rows)


def _check_image(pixels: Image) -> None:
    """Raise SpectrumError where an image is not that of a spSpec file."""
    if pixels.rows not in SPSPEC_ROWS or pixels.dtype != np.dtype(">f4"):
        raise SpectrumError("read", "not a spSpec file", f"an image of {pixels.rows} rows of {pixels.dtype}")
    if pixels.columns > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{pixels.columns} pixels")


def _spectrum(path: str, cards: dict[str, Any], rows: np.ndarray) -> Spectrum:
    loglam = lattice(cards.get("COEFF0"), cards.get("COEFF1"), rows.shape[1])
    check_loglam(loglam)
    flux, mask = rows[0].astype(np.float32), mask_bits(rows[3])
    ivar = _inverse_variance(rows[2].astype(np.float32), mask)
    plate, mjd, fiberid = integer(cards, "PLATEID"), integer(cards, "MJD"), integer(cards, "FIBERID")
    kind = integer(cards, "SPEC_CLN", default=0)
    is_sky = kind == SKY or string(cards, "OBJTYPE") == "SKY"
    return Spectrum(
        path=path,
        spec_id=f"{plate}-{mjd}-{fiberid}",
        plate=plate,
        mjd=mjd,
        fiberid=fiberid,
        run2d=string(cards, "VERS2D"),
        ra=real(cards, "RAOBJ"),
        dec=real(cards, "DECOBJ"),
        object_class=CLASSES.get(kind, ""),
        subclass="late" if kind == LATE_STAR else "",
        is_sky=is_sky,
        z=real(cards, "Z"),
        z_err=real(cards, "Z_ERR"),
        zwarning=_zwarning(cards, is_sky),
        sn=median_sn(loglam, flux, ivar),
        loglam=loglam,
        flux=flux,
        ivar=ivar,
    )


def mask_bits(values: np.ndarray) -> np.ndarray:
    """Return a mask that is stored as floating point numbers as (n,) int32; 0 where a number is no mask."""
    with np.errstate(all="ignore"):  # a signalling NaN warns where it is cast
        whole = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.where(np.abs(whole) < 2.0**32, whole, 0.0).astype(np.int64).astype(np.int32)


def _inverse_variance(sigma: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return 1 / sigma^2 as float32; 0 where the pixel is bad."""
    good = (sigma > 0) & np.isfinite(sigma) & (mask & NO_DATA == 0)
    with np.errstate(all="ignore"):
        ivar = np.where(good, 1 / np.where(good, sigma, 1).astype(np.float64) ** 2, 0.0)
        return ivar.astype(np.float32)


def _zwarning(cards: dict[str, Any], is_sky: bool) -> int:
    """Return the bits of ZWARNING that correspond to the warnings of spectro1d."""
    failed = integer(cards, "Z_STATUS", default=MEASURED) < MEASURED
    doubt = failed or integer(cards, "Z_WARNIN", default=0) != 0
    return ZWARNING_SKY * is_sky | ZWARNING_SMALL_DELTA_CHI2 * doubt


SOURCE = Source("SDSS spSpec file", _claims, _read)
