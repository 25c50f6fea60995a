"""Read SDSS spec files, lite and full, of SDSS-I/II, BOSS and SDSS-V: one spectrum a file.

Data models: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html until DR17,
https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/lite/FIELD/MJD/specLite.html since DR18

Two decoders give the same record. ``fits_bytes`` decodes a file as the survey writes it. Any other file goes to astropy
(``fits_astropy``), which is about 500 times slower and reads nearly every file. Both refuse a file that cannot be
trusted, with one of these reasons:

=======  =======================================================================================
stage    reason
=======  =======================================================================================
fetch    not found, no permission, is a directory, bad path, read failed
read     empty file, not a FITS file, truncated, damaged gzip, damaged bzip2
read     damaged header, unreadable FITS, unreasonable size
read     not a spec file, no coadd table, no object table, or the name of a format of ``foreign``
read     missing column NAME, bad column NAME, missing NAME, bad value NAME
read     too few pixels, non-finite wavelength, loglam out of range, loglam not increasing
=======  =======================================================================================

A file that ends where an HDU ends is not truncated, as far as its bytes tell: it lacks the tables that would follow. A
coadd table alone has neither a class nor a velocity, without which no later step could use the spectrum.

A spectrum of SDSS-V is known by its CATALOGID. It is named by field, date and CATALOGID, and has no plate.

Quirks of the survey:

* Some files leave the names of their HDUs empty. HDUs are therefore identified by position, and columns by name in
  upper or lower case.
* RA and DEC of the primary header are the centre of the plate. PLUG_RA and PLUG_DEC are the position of the target.
* In DR18, FIELD of the object table is a field of the imaging survey, with RUN and CAMCOL beside it, and the field of
  SDSS-V is FIELDID of the primary header. Since DR19, FIELD is the field of SDSS-V.
* PLATEID of SDSS-V is an empty text, and FIELDID is a number in quotes. FIBERID is missing since DR19, where several
  fibres may contribute to one spectrum.
* RUN2D of the SDSS-I/II spectrograph is in the object table only.
* Sky fibres have CLASS = STAR as often as not. A sky fibre has bit 0 of ZWARNING, or SKY in SOURCETYPE (of SPECOBJ)
  or OBJTYPE (of SPALL).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_CARD
from raystellar.spectra import fits_astropy, foreign
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.content import Content
from raystellar.spectra.fits_bytes import NotStandard, header_end, read_table
from raystellar.spectra.fits_image import find_cards
from raystellar.spectra.record import MAX_PIXELS, Spectrum, check_loglam, median_sn
from raystellar.spectra.source import Source
from raystellar.spectra.values import integer, number, real, string

MAX_ASTROPY_BYTES = 1 << 22
"""Largest number of bytes passed to astropy, so that a damaged header cannot keep it busy for seconds."""

LONG_HEAD_BYTES = 1 << 19
"""Number of bytes read of a file whose head is not enough. SDSS-V needs 230 kB, and full files have several MB."""

_COADD = {
    "flux": np.dtype(np.float32),
    "loglam": np.dtype(np.float32),
    "ivar": np.dtype(np.float32),
}
_ROW = (
    "plate",
    "mjd",
    "fiberid",
    "run2d",
    "plug_ra",
    "plug_dec",
    "class",
    "subclass",
    "z",
    "z_err",
    "zwarning",
    "sn_median_all",
    "sourcetype",
    "objtype",
    "catalogid",
)
_SDSS_V_ROW = ("field", "camcol")
_IN_PRIMARY = {
    "plate": ("PLATEID",),
    "mjd": ("MJD",),
    "fiberid": ("FIBERID",),
    "run2d": ("RUN2D",),
    "plug_ra": ("PLUG_RA",),
    "plug_dec": ("PLUG_DEC",),
    "field": ("FIELDID", "FIELD"),
    "catalogid": ("CATALOGID",),
}
"""Keywords of the primary header that stand in for values which the object table lacks, the preferred one first."""

_PRIMARY_KEYS = tuple(keyword for keywords in _IN_PRIMARY.values() for keyword in keywords)
_BY_PLATE = ("plate", "mjd", "fiberid", "run2d", "plug_ra", "plug_dec")
_BY_FIELD = ("field", "mjd", "run2d", "plug_ra", "plug_dec")
_SIGNATURE = re.compile(rb"SIMPLE *= *[TF]")
_PRIMARY = tuple(
    re.compile(rb"%-8s= +%s *(?:/[ -~]*)?" % card)
    for card in ((b"SIMPLE", b"T"), (b"BITPIX", b"(?:8|16|32|-32|-64)"), (b"NAXIS", b"0"), (b"EXTEND", b"T"))
)
_IMAGE = re.compile(rb"NAXIS   = +[1-9]")


class _Parts(NamedTuple):
    """The contents of a spec file."""

    coadd: dict[str, np.ndarray]
    """Columns of the coadd, by lower-case name."""

    row: dict[str, Any]
    """Values of the object table, by lower-case name."""


class _Unfinished(Exception):
    """Raised where the bytes read so far do not hold a needed part of the file."""


def read_spec(path: str, data: bytes | None = None) -> Spectrum:
    """Return the spectrum in an SDSS spec file.

    Parameters
    ----------
    path : path of the file
    data : contents of the file, plain or packed; None to read ``path``

    Returns
    -------
    Spectrum whose arrays are copies in native byte order; NaN and bad pixels of the flux stay as they are.

    Raises
    ------
    SpectrumError : the file cannot be used; nothing else is raised, whatever the bytes are
    """
    return _read(Content(path, data))


def _read(content: Content) -> Spectrum:
    data = content.unpacked() if content.packed else content.head
    try:
        try:
            parts = _parts(data, whole=content.whole or content.packed)
        except _Unfinished:
            parts = _parts_of_more(content)
    except SpectrumError as error:
        raise foreign.refusal(data, content.path, error) from error.__cause__
    return _spectrum(content.path, parts)


def _parts_of_more(content: Content) -> _Parts:
    """Return the contents of a file whose head is not enough, from a longer head or else from the whole file."""
    data = content.raw(LONG_HEAD_BYTES)
    if len(data) < LONG_HEAD_BYTES:
        return _parts(data, whole=True)
    try:
        return _parts(data, whole=False)
    except _Unfinished:
        return _parts(content.raw(), whole=True)


def _read_all(content: Content, first: int) -> Iterator[Spectrum]:
    yield _read(content)


def _claims(head: bytes, name: str) -> bool:
    """Claim every file that no other source has claimed; ``read_spec`` then refuses a file that is no spec file."""
    return True


def _parts(data: bytes, whole: bool) -> _Parts:
    """Return the contents of a file, decoded directly or else with astropy.

    Raises
    ------
    _Unfinished : ``data`` is not the whole file and is not enough
    SpectrumError : neither decoder can read the file
    """
    if not _SIGNATURE.match(data, 0, 80):
        raise SpectrumError("read", "not a FITS file" if data else "empty file", f"it begins with {data[:40]!r}")
    try:
        return _decode(data)
    except (NotStandard, SpectrumError) as error:
        if not whole:
            raise _Unfinished from None
        if isinstance(error, SpectrumError):
            raise
    return _decode_with_astropy(data[:MAX_ASTROPY_BYTES])


def _decode(data: bytes) -> _Parts:
    """Return the contents of a file that is written as the survey writes it.

    Raises
    ------
    NotStandard : the file is written in another way, which astropy may read
    SpectrumError : the file cannot be used
    """
    coadd_at = header_end(data, 0)
    if _IMAGE.match(data, 2 * FITS_CARD, 3 * FITS_CARD):
        raise SpectrumError("read", "not a spec file", "the primary HDU holds an image")
    if not all(card.fullmatch(data, i * FITS_CARD, (i + 1) * FITS_CARD) for i, card in enumerate(_PRIMARY)):
        raise NotStandard("primary header")
    _require_header(data, coadd_at, b"XTENSION", "no coadd table")
    coadd = read_table(data, coadd_at, MAX_PIXELS)
    _check_names(coadd.layout.names)
    columns = {}
    for name, dtype in _COADD.items():
        view = coadd.column(data, name)
        if view is None or view.dtype != dtype.newbyteorder(">"):
            raise NotStandard(f"type of {name}")
        columns[name] = view.astype(dtype)
    _require_header(data, coadd.end, b"XTENSION", "no object table")
    table = read_table(data, coadd.end, 1)
    if table.rows != 1:
        raise SpectrumError("read", "no object table", "it has no row")
    row = {name: table.first(data, name) for name in _ROW}
    if row["catalogid"] is not None:
        row |= {name: table.first(data, name) for name in _SDSS_V_ROW}
    _complete(row, data[:coadd_at])
    return _Parts(columns, row)


def _require_header(data: bytes, at: int, keyword: bytes, reason: str) -> None:
    """Raise SpectrumError where no header that begins with ``keyword`` is at byte ``at``; its reason is ``reason``."""
    if not data.startswith(keyword, at):
        if at == len(data):
            raise SpectrumError("read", reason, f"the file ends after a whole HDU, at byte {at}")
        reason = "truncated" if at > len(data) else reason
        raise SpectrumError("read", reason, f"no {keyword.decode()} at byte {at} of {len(data)}")


def _check_names(names: Collection[str]) -> None:
    """Raise SpectrumError where the first table lacks a column of the coadd; ``names`` are in lower case."""
    missing = [name for name in _COADD if name not in names]
    if {"flux", "loglam"} <= set(missing):
        raise SpectrumError("read", "not a spec file", "the first table has neither flux nor loglam")
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", f"needed: {', '.join(_COADD)}")


def _complete(row: dict[str, Any], primary: bytes) -> None:
    """Fill in values that the object table lacks from the primary header."""
    if row.get("camcol") is not None:
        row["field"] = None  # of the imaging survey
    for name in _BY_PLATE if row["catalogid"] is None else _BY_FIELD:
        if row[name] is None or row[name] == "":
            break
    else:
        return
    cards = find_cards(primary, _PRIMARY_KEYS)
    for name, keywords in _IN_PRIMARY.items():
        if row.get(name) in (None, ""):
            row[name] = next((cards[key] for key in keywords if cards.get(key) not in (None, "")), None)


def _decode_with_astropy(data: bytes) -> _Parts:
    """Return the contents of a file that the direct decoder does not read, with astropy."""
    with fits_astropy.opened(data) as hdus:
        if hdus[0].header["NAXIS"] != 0:
            raise SpectrumError("read", "not a spec file", "the primary HDU holds an image")
        coadd = fits_astropy.table_at(hdus, 1, MAX_PIXELS, "no coadd table")
        _check_names({name.lower() for name in coadd.columns.names})
        columns = {name: fits_astropy.column(coadd, name, dtype) for name, dtype in _COADD.items()}
        table = fits_astropy.table_at(hdus, 2, 1, "no object table")
        row = {name: fits_astropy.first(table, name) for name in (*_ROW, *_SDSS_V_ROW)}
    _complete(row, data[: header_end(data, 0)])
    return _Parts(columns, row)


def _spectrum(path: str, parts: _Parts) -> Spectrum:
    """Return the record, after checking the types and the wavelengths that later steps rely on."""
    coadd, row = parts
    check_loglam(coadd["loglam"])
    zwarning = integer(row, "zwarning", default=0)
    if row.get("sn_median_all") is None:
        row["sn_median_all"] = median_sn(coadd["loglam"], coadd["flux"], coadd["ivar"])
    return Spectrum(
        path=path,
        **_identity(row),
        run2d=str(row.get("run2d") or ""),
        ra=real(row, "plug_ra"),
        dec=real(row, "plug_dec"),
        object_class=string(row, "class"),
        subclass=string(row, "subclass"),
        is_sky=bool(zwarning & ZWARNING_SKY) or "SKY" in (row.get("sourcetype"), row.get("objtype")),
        z=real(row, "z"),
        z_err=real(row, "z_err"),
        zwarning=zwarning,
        sn=real(row, "sn_median_all"),
        loglam=coadd["loglam"],
        flux=coadd["flux"],
        ivar=coadd["ivar"],
    )


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values by which a spectrum is known: plate, mjd and fibre, or field, mjd and CATALOGID in SDSS-V."""
    mjd = integer(row, "mjd")
    catalogid = -1 if row["catalogid"] is None else number(row, "catalogid")
    if row["catalogid"] is None or (catalogid <= 0 and number(row, "plate") > 0):
        plate, fiberid = integer(row, "plate"), integer(row, "fiberid")
        return {"spec_id": f"{plate}-{mjd}-{fiberid}", "plate": plate, "mjd": mjd, "fiberid": fiberid}
    field = number(row, "field")
    for name, value in (("field", field), ("catalogid", catalogid)):
        if value <= 0:
            raise SpectrumError("read", f"missing {name}", f"{name} is {row[name]!r}")
    return {
        "spec_id": f"{field}-{mjd}-{catalogid}",
        "plate": 0,
        "mjd": mjd,
        "fiberid": max(0, number(row, "fiberid")),
        "fieldid": field,
        "catalogid": catalogid,
    }


SOURCE = Source("SDSS spec file", _claims, _read_all)
