"""Read coadd files of DESI: all spectra in one pixel of the sky, with the redshifts of the redrock file beside it.

Data models: https://desidatamodel.readthedocs.io, ``healpix/.../coadd-SURVEY-PROGRAM-PIXNUM`` and
``redrock-SURVEY-PROGRAM-PIXNUM``; coadd files of tiles have the same HDUs

Each arm of the spectrograph (B, R, Z) has images of flux, inverse variance and mask, with a row for each target, and a
vector of wavelengths. The arms are joined: all lie on one grid of 0.8 angstrom. Where two arms have a pixel, its flux
is the mean weighted by the inverse variances, and its inverse variance is their sum. The pipeline of DESI joins arms in
the same way (``desispec.coaddition.coadd_cameras``).

Quirks of the survey:

* The wavelengths are linear, in vacuum and barycentric: 3600 to 9824 angstrom, 7,781 pixels when joined.
* A pixel whose mask is not 0 is bad, and gets ivar = 0.
* The grid is finer than that of SDSS, so that S/N per pixel is lower: by a quarter at 6000 angstrom.
* A target is known by TARGETID, which several files of one survey may share. It is negative where the positioner had no
  target. OBJTYPE is TGT, SKY, or another text where nothing can be learnt from the fibre.
* A mask is stored as integers without a sign, in a plain image or in a compressed one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra import fits_astropy
from raystellar.spectra.bitmasks import ZWARNING_SKY
from raystellar.spectra.content import MAX_PLATE_BYTES, Content
from raystellar.spectra.fits_image import (
    Hdu,
    Image,
    count_axes,
    find_cards,
    has_sdss_telescope,
    hdus,
    image,
    read_at,
)
from raystellar.spectra.fits_tables import MAX_TABLE_BYTES, table_columns, typed
from raystellar.spectra.record import MAX_PIXELS, Spectrum, check_loglam, good_pixels, median_sn
from raystellar.spectra.redrock import REDROCK_BYTES, Redshifts, read_redshifts, redrock_paths
from raystellar.spectra.source import Item, Source
from raystellar.spectra.values import INT32_END

STEP = 0.8
"""Distance of two pixels of all arms [angstrom]."""

MAX_OFF_GRID = 0.01
"""Largest distance of a pixel from the common grid [pixel]."""

MAX_TARGETS = 20_000
"""Largest number of targets of a file; crowded fields of the survey validation have some thousands."""

MAX_HDU_BYTES = 1 << 32
"""Largest size of one HDU [bytes]. The resolution matrices, which are not read, have 120 kB for a target and an arm."""

STRIDE = 32
"""Number of targets read at a time, about 3 MB of images."""

_NEEDED = ("targetid", "target_ra", "target_dec", "objtype")
_FIBERMAP = (*_NEEDED, "max_mjd")
_TARGET, _SKY = "TGT", "SKY"
_NAME = re.compile(r"coadd-(?:(?:cmx|main|special|sv\d)-[a-z\d]+|\d-\d+)-\w+\.fits")
_DEPENDENCIES = tuple(f"{key}{number:02d}" for number in range(100) for key in ("DEPNAM", "DEPVER"))
_FOLDER = re.compile(r"/([a-z]\w*)/(?:healpix|tiles)/")
_FLUX_TYPE, _MASK_TYPE = np.dtype(">f4"), np.dtype(">i4")
_WAVELENGTH_TYPES: dict[object, np.dtype] = {-64: np.dtype(">f8"), -32: np.dtype(">f4")}

ReadMask = Callable[[IO[bytes], int, int], np.ndarray]
"""Function that returns whether the pixels of some rows are masked: (stream, first row, number of rows)."""


class _Arm(NamedTuple):
    """The images of one arm, which are not read yet."""

    first: int
    """Pixel of the joined grid at which the arm begins."""
    flux: Image
    ivar: Image
    masked: ReadMask


class _Coadds(NamedTuple):
    """The contents of a coadd file."""

    run2d: str
    """Production of the archive, such as ``iron``."""
    loglam: np.ndarray
    """Wavelengths of the joined grid."""
    arms: list[_Arm]
    fibermap: dict[str, np.ndarray]
    """Columns of FIBERMAP, by lower-case name, one value a target."""

    @property
    def rows(self) -> int:
        """Number of targets."""
        return self.arms[0].flux.rows


def _claims(head: bytes, name: str) -> bool:
    """Claim files that were made of DESI spectra files, or that have the name of a coadd file."""
    if has_sdss_telescope(head) or count_axes(head) != 0:
        return False
    return b"INFIL000" in head or _NAME.match(os.path.basename(name)) is not None


def _count(content: Content) -> int:
    with content.opened(MAX_PLATE_BYTES) as stream:
        return _coadds(stream, content.path).rows


def _read(content: Content, first: int) -> Iterator[Item]:
    paths = redrock_paths(content.path)
    redrock = content.beside(paths, REDROCK_BYTES) if paths else None
    with content.opened(MAX_PLATE_BYTES) as stream:
        coadds = _coadds(stream, content.path)
        redshifts = read_redshifts(redrock() if redrock else None, MAX_TARGETS)
        for start in range(first, coadds.rows, STRIDE):
            yield from _stride(content.path, stream, coadds, redshifts, start)


def _coadds(stream: IO[bytes], path: str) -> _Coadds:
    """Locate the images, and read the wavelengths and FIBERMAP.

    Raises
    ------
    SpectrumError : a part of the file is missing, or two parts do not fit each other
    """
    every = hdus(stream, MAX_HDU_BYTES)
    run2d = _run2d(next(every).header, path)
    named = {str(find_cards(hdu.header, ("EXTNAME",)).get("EXTNAME")): hdu for hdu in every}
    names = [name.removesuffix("_WAVELENGTH") for name in named if name.endswith("_WAVELENGTH")]
    missing = [
        part
        for part in ("FIBERMAP", *(f"{name}_{kind}" for name in names for kind in ("FLUX", "IVAR", "MASK")))
        if part not in named
    ]
    if missing or not names:
        raise SpectrumError("read", f"missing HDU {(missing or ['B_WAVELENGTH'])[0]}", f"HDUs: {', '.join(named)}")
    waves = [_wavelengths(stream, named[f"{name}_WAVELENGTH"]) for name in names]
    firsts, loglam = _join(waves)
    arms = [_arm(named, name, first, len(wave)) for name, first, wave in zip(names, firsts, waves, strict=True)]
    fibermap = table_columns(stream, named["FIBERMAP"], _FIBERMAP, MAX_TARGETS)
    fibermap = typed(fibermap, texts=("objtype",), whole=(), long=("targetid",))
    absent = [name for name in _NEEDED if name not in fibermap]
    if absent:
        raise SpectrumError("read", f"missing column {absent[0]}", f"FIBERMAP needs: {', '.join(_NEEDED)}")
    rows = {arm.flux.rows for arm in arms} | {len(values) for values in fibermap.values()}
    if len(rows) != 1:
        raise SpectrumError("read", "not a DESI coadd file", f"images and FIBERMAP have {sorted(rows)} rows")
    return _Coadds(run2d, loglam, arms, fibermap)


def _wavelengths(stream: IO[bytes], hdu: Hdu) -> np.ndarray:
    """Return the wavelengths of an arm (n,) float64 [angstrom]."""
    cards = hdu.cards
    dtype, pixels = _WAVELENGTH_TYPES.get(cards.get("BITPIX")), cards.get("NAXIS1")
    plain = cards.get("XTENSION") == "IMAGE" and cards["NAXIS"] == 1
    plain &= cards.get("BSCALE", 1) == 1 and cards.get("BZERO", 0) == 0
    if not plain or dtype is None or type(pixels) is not int:
        raise SpectrumError("read", "not a DESI coadd file", f"the HDU at byte {hdu.at} is not a vector of wavelengths")
    if not 0 < pixels <= MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{pixels} pixels")
    return np.frombuffer(read_at(stream, hdu.start, pixels * dtype.itemsize), dtype).astype(np.float64)


def _join(waves: list[np.ndarray]) -> tuple[list[int], np.ndarray]:
    """Return the pixel at which each arm begins on the joined grid, and the loglam of that grid (n,) float32."""
    start = min(float(wave[0]) for wave in waves)
    with np.errstate(all="ignore"):
        for wave in waves:
            pixels = (wave - start) / STEP
            off = np.abs(pixels - np.rint(pixels[0]) - np.arange(len(wave)))
            if not (off <= MAX_OFF_GRID).all():  # NaN too
                raise SpectrumError(
                    "read", "wavelengths off the grid", f"{wave[0]} to {wave[-1]} in {len(wave)} pixels"
                )
    firsts = [round((float(wave[0]) - start) / STEP) for wave in waves]
    size = max(first + len(wave) for first, wave in zip(firsts, waves, strict=True))
    if size > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{size} pixels")
    with np.errstate(all="ignore"):
        loglam = np.log10(start + STEP * np.arange(size)).astype(np.float32)
    check_loglam(loglam)
    return firsts, loglam


def _arm(named: dict[str, Hdu], name: str, first: int, pixels: int) -> _Arm:
    """Return the images of an arm."""
    flux, ivar = (image(named[f"{name}_{kind}"], "not a DESI coadd file") for kind in ("FLUX", "IVAR"))
    for part in (flux, ivar):
        if part.columns != pixels or part.rows != flux.rows or part.dtype != _FLUX_TYPE:
            raise SpectrumError("read", "not a DESI coadd file", f"images of {name} differ in shape or type")
    if not 0 < flux.rows <= MAX_TARGETS:
        raise SpectrumError("read", "unreasonable size", f"{flux.rows} targets")
    return _Arm(first, flux, ivar, _mask(named[f"{name}_MASK"], flux))


def _mask(hdu: Hdu, like: Image) -> ReadMask:
    """Return the function that reads a mask with the shape of ``like``.

    Raises
    ------
    SpectrumError : the HDU is neither a plain nor a compressed image of that shape
    """
    zipped = find_cards(hdu.header, ("ZIMAGE", "ZNAXIS", "ZNAXIS1", "ZNAXIS2"))
    if zipped.get("ZIMAGE") is True:
        shape = (zipped.get("ZNAXIS"), zipped.get("ZNAXIS2"), zipped.get("ZNAXIS1"))
        read: ReadMask = partial(_compressed_mask, hdu)
    else:
        shape = (hdu.cards["NAXIS"], hdu.cards.get("NAXIS2"), hdu.cards.get("NAXIS1"))
        zero = hdu.cards.get("BZERO", 0)
        read = partial(_plain_mask, Image(_MASK_TYPE, like.rows, like.columns, hdu.start), zero)
        if hdu.cards.get("BITPIX") != 32 or hdu.cards.get("BSCALE", 1) != 1 or not isinstance(zero, (int, float)):
            raise SpectrumError("read", "not a DESI coadd file", f"the HDU at byte {hdu.at} is not a mask")
    if shape != (2, like.rows, like.columns):
        raise SpectrumError("read", "not a DESI coadd file", f"a mask of the shape {shape}")
    return read


def _plain_mask(pixels: Image, zero: Any, stream: IO[bytes], first: int, count: int) -> np.ndarray:
    """Return which pixels of an image are not 0; ``zero`` is its BZERO."""
    return pixels.read(stream, first, count) != -zero


def _compressed_mask(hdu: Hdu, stream: IO[bytes], first: int, count: int) -> np.ndarray:
    """Return which pixels of a compressed image are not 0."""
    size = hdu.end - hdu.at
    if size > MAX_TABLE_BYTES:
        raise SpectrumError("read", "unreasonable size", f"a compressed mask of {size} bytes")
    with fits_astropy.opened_image(read_at(stream, hdu.at, size)) as pixels:
        return np.asarray(pixels.section[first : first + count]) != 0


def _run2d(header: bytes, path: str) -> str:
    """Return the production, such as ``iron``, from the primary header or else from a path of the archive."""
    cards = find_cards(header, _DEPENDENCIES)
    for key, value in cards.items():
        if value == "SPECPROD":
            return str(cards.get(key.replace("DEPNAM", "DEPVER")) or "")
    folder = _FOLDER.search(path)
    return folder[1] if folder else ""


def _stride(path: str, stream: IO[bytes], coadds: _Coadds, redshifts: Redshifts, first: int) -> Iterator[Item]:
    """Yield the items of a stride of targets, from row ``first`` on."""
    count = min(STRIDE, coadds.rows - first)
    columns = {name: values[first : first + count].tolist() for name, values in coadds.fibermap.items()}
    names = [f"desi-{targetid}" for targetid in columns["targetid"]]
    try:
        flux, ivar = _joined(stream, coadds, first, count)
    except (OSError, SpectrumError) as error:  # the file was whole when it was opened; each target still gives an item
        for name in names:
            failed = SpectrumError("fetch", "read failed", str(error), name)
            failed.__cause__ = error  # an outage is recognised by the cause
            yield failed
        return
    for row in range(count):
        target = {name: values[row] for name, values in columns.items()}
        found = redshifts.rows.get(target["targetid"])
        note = "" if found else redshifts.note
        try:
            yield _spectrum(
                path, target | (found or {}), coadds.run2d, coadds.loglam.copy(), flux[row], ivar[row], note
            )
        except SpectrumError as error:
            yield SpectrumError(error.stage, error.reason, error.detail, names[row])


def _joined(stream: IO[bytes], coadds: _Coadds, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and ivar of some rows on the joined grid, (count, n) float32.

    The flux of a pixel that is bad in all arms is that of the last arm.
    """
    shape = (count, len(coadds.loglam))
    total, weight, bad = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.float32)
    _expect(stream, coadds, first + STRIDE)
    for arm in coadds.arms:
        pixels = slice(arm.first, arm.first + arm.flux.columns)
        flux = arm.flux.read(stream, first, count).astype(np.float32)
        ivar = arm.ivar.read(stream, first, count).astype(np.float32)
        good = good_pixels(flux, ivar) & ~arm.masked(stream, first, count)
        bad[:, pixels] = flux
        ivar = np.where(good, ivar, 0.0).astype(np.float64)
        weight[:, pixels] += ivar
        total[:, pixels] += ivar * np.where(good, flux, 0.0)
    known = weight > 0
    with np.errstate(all="ignore"):  # a bad pixel may hold any bits, and a sum may be too large for a float32
        joined = np.where(known, total / np.where(known, weight, 1.0), bad)
        return joined.astype(np.float32), weight.astype(np.float32)


def _expect(stream: IO[bytes], coadds: _Coadds, first: int) -> None:
    """Announce the rows of the next stride in all images."""
    count = min(STRIDE, coadds.rows - first)
    if count > 0:
        for arm in coadds.arms:
            arm.flux.expect(stream, first, count)
            arm.ivar.expect(stream, first, count)


def _spectrum(
    path: str, values: dict[str, Any], run2d: str, loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray, note: str
) -> Spectrum:
    """Return the spectrum of one target, from the values of FIBERMAP and of redrock."""
    objtype, targetid = values["objtype"], int(values["targetid"])
    if objtype not in (_TARGET, _SKY):
        raise SpectrumError("read", "fibre not plugged", f"OBJTYPE is {objtype!r}")
    if not (ivar > 0).any():
        raise SpectrumError("read", "no good pixels", "ivar is 0 or the mask is set everywhere")
    is_sky = objtype == _SKY
    return Spectrum(
        path=path,
        spec_id=f"desi-{targetid}",
        plate=0,
        mjd=_day(values.get("max_mjd")),
        fiberid=0,
        run2d=run2d,
        ra=float(values["target_ra"]),
        dec=float(values["target_dec"]),
        object_class=values.get("spectype", ""),
        subclass=values.get("subtype", ""),
        is_sky=is_sky,
        z=float(values.get("z", math.nan)),
        z_err=float(values.get("zerr", math.nan)),
        zwarning=int(values.get("zwarn", 0)) | ZWARNING_SKY * is_sky,
        sn=median_sn(loglam, flux, ivar),
        loglam=loglam,
        flux=np.ascontiguousarray(flux),
        ivar=np.ascontiguousarray(ivar),
        note=note,
        catalogid=targetid if targetid > 0 else -1,
    )


def _day(mjd: float | None) -> int:
    """Return the day of the last exposure; 0 where it is unknown."""
    return int(mjd) if mjd is not None and 0 < mjd < INT32_END else 0


SOURCE = Source("DESI coadd file", _claims, _read, _count)
