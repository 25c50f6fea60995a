"""Read spectra of the low-resolution survey of LAMOST: one spectrum a file.

Description: http://www.lamost.org/dr8/v1.0/doc/lr-data-production-description,
https://dr3.lamost.org/doc/data-production-description

Until DR7 the primary image has five rows: flux, inverse variance, a row that differs between releases, AND mask, OR
mask. Since DR8 the first extension is a table of one row, with a vector in each of the columns FLUX, IVAR, WAVELENGTH,
ANDMASK and ORMASK. Everything else is in the primary header.

Quirks of the survey:

* The third row is the wavelength in DR7 and another quantity in DR1. COEFF0 and COEFF1 are right in both. The pixels
  are those of the SDSS lattice, in vacuum and heliocentric.
* There are no plates. OBSID names a spectrum. The pilot survey has no OBSID; its files are named by local day, plan,
  spectrograph and fibre. MJD is the day of the observation, LMJD the day of the local calendar.
* The files give signal-to-noise ratios in single bands, in DR1 never above 99. The median over all bands is computed
  as for SDSS.
* The flux has only a relative calibration, so that its unit is arbitrary.
* Z is -9999 where there is no redshift.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra import fits_astropy
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.content import Content
from raystellar.spectra.fits_bytes import NotStandard, Table, read_table
from raystellar.spectra.fits_image import Hdu, count_axes, find_cards, has_sdss_telescope, hdus, image, read_at
from raystellar.spectra.record import MAX_PIXELS, Spectrum, check_loglam, lattice, loglam_of, median_sn
from raystellar.spectra.source import Source
from raystellar.spectra.values import identifier, integer, number, real, string

LAMOST_ROWS = 5
"""Number of rows of the image until DR7."""

MISSING_REDSHIFT = -9000.0
"""Bound at and below which a redshift is missing."""

UNUSED = ("UNUSED", "DEAD")
"""Values of FIBERTYP of fibres without a target."""

_CARDS = (
    "COEFF0",
    "COEFF1",
    "OBSID",
    "PLANID",
    "SPID",
    "FIBERID",
    "MJD",
    "LMJD",
    "RA",
    "DEC",
    "CLASS",
    "SUBCLASS",
    "Z",
    "Z_ERR",
    "FIBERTYP",
    "OBJTYPE",
    "VERSPIPE",
)
_TELESCOPE = re.compile(rb"(?:TELESCOP|ORIGIN  )= '[A-Z-]*LAMOST *'")
_VECTORS = ("flux", "ivar", "wavelength")
_VECTOR_DTYPE = {"E": ">f4", "D": ">f8", "J": ">i4", "I": ">i2", "K": ">i8"}


def _claims(head: bytes, name: str) -> bool:
    """Claim FITS files of the telescope LAMOST, with an image or a table."""
    if has_sdss_telescope(head) or count_axes(head) < 0:
        return False
    return b"LAMOST" in head and _TELESCOPE.search(head) is not None


def _read(content: Content, first: int) -> Iterator[Spectrum]:
    with content.opened() as stream:
        every = hdus(stream)
        primary = next(every)
        cards = find_cards(primary.header, _CARDS)
        if primary.cards["NAXIS"] == 0:
            arrays = _from_table(stream, next(every, None))
        else:
            arrays = _from_image(stream, primary, cards)
    yield _spectrum(content.path, cards, *arrays)


def _from_image(stream: IO[bytes], hdu: Hdu, cards: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return loglam, flux and ivar from the image of a file until DR7."""
    pixels = image(hdu, "not a LAMOST spectrum")
    if pixels.rows != LAMOST_ROWS or pixels.dtype != np.dtype(">f4"):
        raise SpectrumError("read", "not a LAMOST spectrum", f"an image of {pixels.rows} rows of {pixels.dtype}")
    _check_pixels(pixels.columns)
    rows = pixels.read(stream, 0, 2)
    loglam = lattice(cards.get("COEFF0"), cards.get("COEFF1"), pixels.columns)
    return loglam, rows[0].astype(np.float32), rows[1].astype(np.float32)


def _from_table(stream: IO[bytes], hdu: Hdu | None) -> tuple[np.ndarray, ...]:
    """Return loglam, flux and ivar from the table of a file since DR8."""
    if hdu is None:
        raise SpectrumError("read", "no spectrum table", "the file ends after its primary header")
    extension = string(find_cards(hdu.header, ("EXTNAME",)), "EXTNAME")
    if extension.startswith(("COADD_B", "COADD_R", "B-", "R-")):
        raise SpectrumError("read", "medium-resolution spectrum", f"extension {extension}; only low resolution is read")
    vectors = _vectors(stream, hdu)
    missing = [name for name in _VECTORS if name not in vectors]
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", f"needed: {', '.join(_VECTORS)}")
    if len({vector.size for vector in vectors.values()}) != 1:
        raise SpectrumError("read", "columns of unequal length", str({n: v.size for n, v in vectors.items()}))
    _check_pixels(vectors["flux"].size)
    with np.errstate(all="ignore"):  # a float64 may be too large for a float32
        flux, ivar = vectors["flux"].astype(np.float32), vectors["ivar"].astype(np.float32)
    return loglam_of(vectors["wavelength"]), flux, ivar


def _vectors(stream: IO[bytes], hdu: Hdu) -> dict[str, np.ndarray]:
    """Return columns as vectors, of a table with one row of all pixels or with one row for each pixel."""
    if hdu.end - hdu.at > (MAX_PIXELS + 1) * 100:
        raise SpectrumError("read", "unreasonable size", f"a table of {hdu.end - hdu.start} bytes")
    data = read_at(stream, hdu.at, hdu.end - hdu.at)
    try:
        table = read_table(data, 0, MAX_PIXELS)
        if not table.rows:
            raise SpectrumError("read", "not a LAMOST spectrum", "the table has no row")
        columns = {name: _vector(table, data, name) for name in _VECTORS}
    except NotStandard:
        with fits_astropy.opened_table(data, MAX_PIXELS) as astropy_table:
            columns = {name: fits_astropy.values_of(astropy_table, name) for name in _VECTORS}
    return {
        name: values.reshape(-1)
        for name, values in columns.items()
        if values is not None and values.dtype.kind in "iuf" and values.size == max(values.shape)
    }


def _vector(table: Table, data: bytes, name: str) -> np.ndarray | None:
    """Return a column of numbers as an array (rows, values in a row); None where it is missing or holds no numbers."""
    field = table.layout.field(name)
    if field is None or field.code not in _VECTOR_DTYPE:
        return None
    if not field.plain:
        raise NotStandard(f"column {name}")
    item = np.dtype(_VECTOR_DTYPE[field.code])
    strides = (table.layout.row_bytes, item.itemsize)
    return np.ndarray((table.rows, field.repeat), item, data, table.start + field.offset, strides)


def _check_pixels(pixels: int) -> None:
    """Raise SpectrumError where there are too many pixels."""
    if pixels > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{pixels} pixels")


def _spectrum(path: str, cards: dict[str, Any], loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> Spectrum:
    spec_id, aliases = _names(cards)
    fibre = string(cards, "FIBERTYP").upper()
    if fibre in UNUSED:
        raise SpectrumError("read", "fibre not plugged", f"FIBERTYP {fibre}", spec_id)
    check_loglam(loglam)
    is_sky = fibre == "SKY" or string(cards, "OBJTYPE").upper() == "SKY"
    z, z_err = real(cards, "Z"), real(cards, "Z_ERR")
    kind = string(cards, "CLASS").upper()
    return Spectrum(
        path=path,
        spec_id=spec_id,
        plate=0,
        mjd=integer(cards, "MJD"),
        fiberid=integer(cards, "FIBERID"),
        run2d=string(cards, "VERSPIPE"),
        ra=real(cards, "RA"),
        dec=real(cards, "DEC"),
        object_class="" if kind == "UNKNOWN" else kind,
        subclass=string(cards, "SUBCLASS"),
        is_sky=is_sky,
        z=z if z > MISSING_REDSHIFT else math.nan,
        z_err=z_err if z_err > MISSING_REDSHIFT else math.nan,
        zwarning=ZWARNING_SKY * is_sky,
        sn=median_sn(loglam, flux, ivar),
        loglam=loglam,
        flux=flux,
        ivar=ivar,
        obs_id=number(cards, "OBSID"),
        aliases=aliases,
    )


def _names(cards: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the name of the spectrum and its further names.

    The name is ``lamost-OBSID``, or ``lamost-LMJD-PLANID-SPID-FIBERID`` where there is no OBSID, as in the files of the
    pilot survey. Where both exist, the second one is a further name.
    """
    parts = {name: identifier(cards, name) for name in ("LMJD", "PLANID", "SPID", "FIBERID")}
    by_fibre = "-".join(["lamost", *parts.values()])
    if obs_id := identifier(cards, "OBSID"):
        return f"lamost-{obs_id}", (by_fibre,) if all(parts.values()) else ()
    for name, part in parts.items():
        if not part:
            raise SpectrumError("read", f"missing {name}", "without OBSID it is a part of the name of the spectrum")
    return by_fibre, ()


SOURCE = Source("LAMOST low-resolution spectrum", _claims, _read)
