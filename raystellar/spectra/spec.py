"""Read SDSS spec files: one spectrum a file, of SDSS-I/II and BOSS, lite and full.

Data model: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html

Two ways lead to the same record. The bytes of a file as the survey writes it are decoded directly
(``fits_bytes``); whatever is written in another way goes to astropy (``fits_astropy``), which is five hundred
times slower and reads nearly everything. Both refuse what cannot be trusted, with one of these reasons:

=======  =======================================================================================
stage    reason
=======  =======================================================================================
fetch    file not found, no permission, is a directory, bad path, read failed
read     empty file, not a FITS file, truncated, damaged gzip, damaged header, unreadable FITS
read     not a spec file, no coadd table, no object table, unreasonable size
read     missing column NAME, bad column NAME, missing NAME, bad value NAME
read     too few pixels, non-finite wavelength, loglam out of range, loglam not increasing
=======  =======================================================================================

The survey's quirks that this file knows:

* HDUs are found by position (some files leave their names empty), columns by name without regard to case.
* RA and DEC of the primary header are the centre of the plate. The target is PLUG_RA and PLUG_DEC.
* RUN2D of the SDSS-I/II spectrograph stands only in the object table.
* Sky fibres carry CLASS = STAR as often as not; ZWARNING bit 0 or SOURCETYPE (SPECOBJ), OBJTYPE (SPALL) tell.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra import fits_astropy
from raystellar.spectra.fits_bytes import CARD, NotStandard, cards, header_end, read_table
from raystellar.spectra.record import Spectrum

HEAD_BYTES = 1 << 18
"""Read at first [bytes]: a whole lite file (at most 222 kB), and the part of a full one that is needed."""

MAX_BYTES = 1 << 25
"""Most that is ever read or decompressed [bytes]; full files have at most a few MB."""

MAX_ASTROPY_BYTES = 1 << 22
"""Most that astropy is given [bytes], so that a damaged header cannot keep it busy for seconds."""

MIN_PIXELS = 100
"""A spectrum with fewer is of no use. The shortest of DR12 has 2,070."""

MAX_PIXELS = 20_000
"""The lattice of 1e-4 dex has 17,000 pixels between the bounds below."""

MIN_LOGLAM, MAX_LOGLAM = 3.0, 4.7
"""Bounds of log10 of the wavelength [angstrom]: 1,000 to 50,000 angstrom. SDSS spans 3.55 to 4.02."""

SN_LOGLAM = (math.log10(3280), math.log10(9860))
"""Range of wavelengths of the ugriz bands [log10 angstrom], over which SN_MEDIAN_ALL is taken."""

ZWARNING_SKY = 1
"""Bit 0 of ZWARNING: the fibre looked at the sky. Source: https://www.sdss.org/dr16/algorithms/bitmasks/#ZWARNING."""

_COADD = {"flux": np.dtype(np.float32), "loglam": np.dtype(np.float32), "ivar": np.dtype(np.float32),
          "and_mask": np.dtype(np.int32)}
_ROW = ("plate", "mjd", "fiberid", "run2d", "plug_ra", "plug_dec", "class", "subclass", "z", "z_err",
        "zwarning", "sn_median_all", "sourcetype", "objtype")
_IN_PRIMARY = {"plate": "PLATEID", "mjd": "MJD", "fiberid": "FIBERID", "run2d": "RUN2D", "plug_ra": "PLUG_RA",
               "plug_dec": "PLUG_DEC"}
_GZIP = b"\x1f\x8b"
_SIGNATURE = re.compile(rb"SIMPLE *= *[TF]")
_PRIMARY = tuple(
    re.compile(rb"%-8s= +%s *(?:/[ -~]*)?" % card)
    for card in ((b"SIMPLE", b"T"), (b"BITPIX", b"(?:8|16|32|-32|-64)"), (b"NAXIS", b"0"), (b"EXTEND", b"T"))
)
_IMAGE = re.compile(rb"NAXIS   = +[1-9]")
_INT32 = 2**31


class _Parts(NamedTuple):
    """What either decoder finds: columns of the coadd, values of the object table by lower-case name."""

    coadd: dict[str, np.ndarray]
    row: dict[str, Any]


class _Unfinished(Exception):
    """Raised where the part of a file that was read does not hold all that is needed."""


def read_spec(path: str, data: bytes | None = None) -> Spectrum:
    """Return the spectrum in an SDSS spec file.

    Parameters
    ----------
    path : name of the file; read here unless ``data`` is given
    data : contents of the file, plain or gzip, where they were fetched from elsewhere

    Returns
    -------
    Spectrum
        with arrays of its own, in native byte order; NaN and bad pixels of the flux are left as they are

    Raises
    ------
    SpectrumError
        for every file that cannot be used; nothing else, whatever the bytes are
    """
    if data is not None:
        return _spectrum(path, _parts(bytes(data), whole=True))
    head = _read(path, HEAD_BYTES)
    try:
        parts = _parts(head, whole=len(head) < HEAD_BYTES)
    except _Unfinished:
        parts = _parts(_read(path, MAX_BYTES), whole=True)
    return _spectrum(path, parts)


def _read(path: str, size: int) -> bytes:
    """Return the first ``size`` bytes of a file, or all of it where it is shorter."""
    try:
        # O_NONBLOCK: a named pipe among the files must not stop the job
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            data = os.read(descriptor, size)
            while 0 < len(data) < size and (more := os.read(descriptor, size - len(data))):
                data += more  # some network file systems return less than asked for
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SpectrumError("fetch", "file not found", str(error)) from error
    except PermissionError as error:
        raise SpectrumError("fetch", "no permission", str(error)) from error
    except IsADirectoryError as error:
        raise SpectrumError("fetch", "is a directory", str(error)) from error
    except OSError as error:
        raise SpectrumError("fetch", "read failed", str(error)) from error
    except (ValueError, TypeError) as error:  # a zero byte or half a character in the name; no name at all
        raise SpectrumError("fetch", "bad path", f"{path!r}: {error}") from error
    return data


def _parts(data: bytes, whole: bool) -> _Parts:
    """Return what is in the file, by the direct decoder or else by astropy.

    Raises
    ------
    _Unfinished : where ``data`` is not the whole file and does not suffice
    SpectrumError : where neither reads it
    """
    if data.startswith(_GZIP):
        if not whole:
            raise _Unfinished
        data = _gunzip(data)
    if not _SIGNATURE.match(data, 0, 80):
        raise SpectrumError("read", "not a FITS file" if data else "empty file", f"begins with {data[:40]!r}")
    try:
        return _decode(data)
    except (NotStandard, SpectrumError) as error:
        if not whole:
            raise _Unfinished from None
        if isinstance(error, SpectrumError):
            raise
    return _decode_with_astropy(data[:MAX_ASTROPY_BYTES])


def _gunzip(data: bytes) -> bytes:
    """Return the contents of a gzip file of one member; its checksum is verified."""
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise SpectrumError("read", "damaged gzip", str(error)) from error
    if not stream.eof:
        reason = "unreasonable size" if len(plain) >= MAX_BYTES else "truncated"
        raise SpectrumError("read", reason, f"gzip ends or is cut off after {len(plain)} bytes")
    return plain


def _decode(data: bytes) -> _Parts:
    """Return what is in a file as the survey writes it.

    Raises
    ------
    NotStandard : where astropy has to try
    SpectrumError : where the file cannot be used
    """
    coadd_at = header_end(data, 0)
    if _IMAGE.match(data, 2 * CARD, 3 * CARD):
        raise SpectrumError("read", "not a spec file", "the primary HDU holds an image")
    plain = all(card.fullmatch(data, i * CARD, (i + 1) * CARD) for i, card in enumerate(_PRIMARY))
    if not plain or data.find(b"CONTINUE", 0, coadd_at) >= 0:
        raise NotStandard("primary header")
    _expect(data, coadd_at, b"XTENSION", "no coadd table")
    coadd = read_table(data, coadd_at, MAX_PIXELS)
    _check_names(coadd.layout.names)
    columns = {}
    for name, dtype in _COADD.items():
        view = coadd.column(data, name)
        if view is None or view.dtype != dtype.newbyteorder(">"):
            raise NotStandard(f"type of {name}")
        columns[name] = view.astype(dtype)
    _expect(data, coadd.end, b"XTENSION", "no object table")
    table = read_table(data, coadd.end, 1)
    if table.rows != 1:
        raise SpectrumError("read", "no object table", "it has no row")
    row = {name: table.first(data, name) for name in _ROW}
    if any(row[name] in (None, "") for name in _IN_PRIMARY):
        _complete(row, dict(reversed(cards(data[:coadd_at]))))  # of keywords given twice the first one counts
    return _Parts(columns, row)


def _expect(data: bytes, at: int, keyword: bytes, reason: str) -> None:
    """Raise where no header with this first keyword begins at byte ``at``."""
    if not data.startswith(keyword, at):
        reason = "truncated" if at >= len(data) else reason
        raise SpectrumError("read", reason, f"no {keyword.decode()} at byte {at} of {len(data)}")


def _check_names(names: Collection[str]) -> None:
    """Raise where the first table lacks a column of the coadd; ``names`` are in lower case."""
    missing = [name for name in _COADD if name not in names]
    if {"flux", "loglam"} <= set(missing):
        raise SpectrumError("read", "not a spec file", "the first table has neither flux nor loglam")
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", f"of {', '.join(_COADD)}")


def _complete(row: dict[str, Any], primary: Mapping[str, Any]) -> None:
    """Take from the primary header what the object table does not have."""
    for name, keyword in _IN_PRIMARY.items():
        if row.get(name) in (None, "") and isinstance(primary.get(keyword), (int, float, str)):
            row[name] = primary[keyword]


def _decode_with_astropy(data: bytes) -> _Parts:
    """Return what is in a file by way of astropy, which reads what the direct decoder leaves."""
    with fits_astropy.opened(data) as hdus:
        if hdus[0].header["NAXIS"] != 0:
            raise SpectrumError("read", "not a spec file", "the primary HDU holds an image")
        coadd = fits_astropy.table_at(hdus, 1, MAX_PIXELS, "no coadd table")
        _check_names({name.lower() for name in coadd.columns.names})
        columns = {name: fits_astropy.column(coadd, name, dtype) for name, dtype in _COADD.items()}
        table = fits_astropy.table_at(hdus, 2, 1, "no object table")
        row = {name: fits_astropy.first(table, name) for name in _ROW}
        _complete(row, hdus[0].header)
    return _Parts(columns, row)


def _spectrum(path: str, parts: _Parts) -> Spectrum:
    """Return the record, after checking what every later step relies on."""
    coadd, row = parts
    _check_loglam(coadd["loglam"])
    zwarning = _integer(row, "zwarning", default=0)
    if row.get("sn_median_all") is None:
        row["sn_median_all"] = median_sn(coadd["loglam"], coadd["flux"], coadd["ivar"])
    return Spectrum(
        path=path,
        plate=_integer(row, "plate"),
        mjd=_integer(row, "mjd"),
        fiberid=_integer(row, "fiberid"),
        run2d=str(row.get("run2d") or ""),
        ra=_real(row, "plug_ra"),
        dec=_real(row, "plug_dec"),
        object_class=_string(row, "class"),
        subclass=_string(row, "subclass"),
        is_sky=bool(zwarning & ZWARNING_SKY) or "SKY" in (row.get("sourcetype"), row.get("objtype")),
        z=_real(row, "z"),
        z_err=_real(row, "z_err"),
        zwarning=zwarning,
        sn=_real(row, "sn_median_all"),
        **coadd,
    )


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


def _check_loglam(loglam: np.ndarray) -> None:
    """Raise where the wavelengths are no grid."""
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


def _integer(row: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a whole number of 32 bits."""
    value = row.get(name)
    value = default if value is None else value
    if value is None:
        raise SpectrumError("read", f"missing {name}", "neither in HDU 2 nor in the primary header")
    if type(value) not in (int, float) or not -_INT32 <= value < _INT32 or value != int(value):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return int(value)


def _real(row: Mapping[str, Any], name: str) -> float:
    """Return a number, NaN where there is none."""
    value = row.get(name)
    if value is None:
        return math.nan
    if type(value) not in (int, float):  # bool is an int to isinstance
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return float(value)


def _string(row: Mapping[str, Any], name: str) -> str:
    """Return a text, empty where there is none."""
    value = row.get(name)
    if not isinstance(value, (str, type(None))):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return value or ""
