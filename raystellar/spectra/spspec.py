"""Read spSpec files: one spectrum a file, of SDSS-I/II as it was published until DR7.

Data model: https://classic.sdss.org/dr7/dm/flatFiles/spSpec.html

The primary image has four or five rows: flux, continuum-subtracted flux, error, mask. Everything else stands in
the primary header.

The survey's quirks that this file knows:

* The wavelengths stand nowhere: they are COEFF0 + COEFF1 * i, in vacuum, on the lattice of the later spec files.
* RA and DEC are the centre of the plate. The target is RAOBJ and DECOBJ.
* Bad pixels have the error 0, not an infinite one.
* The mask is a float32: of sums beyond 2**24 the low bits are rounded off. It is AND and OR mask in one.
* SN_G, SN_R and SN_I are medians in bands; the median over all is made as in later files.
* Class, redshift and warnings come from another pipeline (spectro1d) than those of spec files; its warning bits
  have other meanings, and any of them says here what SMALL_DELTA_CHI2 says there: the redshift is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra.bitmasks import FULLREJECT, NODATA, NOSKY, ZWARNING_SKY, ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.content import Content
from raystellar.spectra.fits_image import Image, axes, find_cards, hdus, image
from raystellar.spectra.record import MAX_PIXELS, Spectrum, check_loglam, lattice, median_sn
from raystellar.spectra.source import Source
from raystellar.spectra.values import integer, real, string

CLASSES = {1: "STAR", 2: "GALAXY", 3: "QSO", 4: "QSO", 5: "", 6: "STAR", 7: "GALAXY"}
"""SPEC_CLN in the words of later files; 4 is a quasar of z > 2.3, 5 is sky, 6 a star of type M or later, 7 a galaxy
with emission lines, 0 unknown."""

SKY = 5
"""SPEC_CLN of sky."""

LATE_STAR = 6
"""SPEC_CLN of a star with molecular bands."""

MEASURED = 2
"""Z_STATUS of the first kind of redshift that was measured; 0 is not measured, 1 failed."""

NO_DATA = FULLREJECT | NOSKY | NODATA
"""SPPIXMASK bits FULLREJECT, NOSKY and NODATA: the pixel holds nothing."""

ROWS = (4, 5)
"""Rows of the image: four in the data model, five in the files of DR7."""

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
    """Take images of four or five rows from the telescope of the SDSS; their own cards come too late to be seen."""
    if axes(head) != 2:
        return False
    cards = find_cards(head, ("NAXIS2", "TELESCOP"))
    return cards.get("NAXIS2") in ROWS and cards.get("TELESCOP") == "SDSS 2.5-M"


def _read(content: Content, first: int) -> Iterator[Spectrum]:
    with content.opened() as stream:
        hdu = next(hdus(stream))
        pixels = _image(image(hdu, "not a spSpec file"))
        rows = pixels.read(stream, 0, pixels.rows)
    yield _spectrum(content.path, find_cards(hdu.header, _CARDS), rows)


def _image(found: Image) -> Image:
    if found.rows not in ROWS or found.dtype != np.dtype(">f4"):
        raise SpectrumError("read", "not a spSpec file", f"an image of {found.rows} rows of {found.dtype}")
    if found.columns > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{found.columns} pixels")
    return found


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
    """Return a mask that was stored as floating point numbers as (n,) int32; what is no such number as 0."""
    whole = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.where(np.abs(whole) < 2.0**32, whole, 0.0).astype(np.int64).astype(np.int32)


def _inverse_variance(sigma: np.ndarray, mask: np.ndarray) -> np.ndarray:
    good = (sigma > 0) & np.isfinite(sigma) & (mask & NO_DATA == 0)
    with np.errstate(all="ignore"):
        ivar = np.where(good, 1 / np.where(good, sigma, 1).astype(np.float64) ** 2, 0.0)
        return ivar.astype(np.float32)


def _zwarning(cards: dict[str, Any], is_sky: bool) -> int:
    """Return the warning bits of the later pipeline that say the same."""
    failed = integer(cards, "Z_STATUS", default=MEASURED) < MEASURED
    doubt = failed or integer(cards, "Z_WARNIN", default=0) != 0
    return ZWARNING_SKY * is_sky | ZWARNING_SMALL_DELTA_CHI2 * doubt


SOURCE = Source("SDSS spSpec file", _claims, _read)
