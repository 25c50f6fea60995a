"""Read spPlate files: all spectra of one SDSS plate, with classes and redshifts from the spZbest file beside it.

Data models: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/PLATE4/spPlate.html,
https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/PLATE4/RUN1D/spZbest.html

A plate gives the records that the spec files made from it give: those were cut from the same images.

The survey's quirks that this file knows:

* HDUs are found by position, as some files leave their names empty: 0 flux, 1 ivar, 2 AND mask, 5 PLUGMAP. Row i of
  every image and table belongs to fibre i + 1.
* All fibres share one grid and are padded with ivar = 0. A spec file keeps the pixels from the first to the last of
  ivar > 0, bad ones between them included, and so does this reader.
* spZbest is beside the plate (SDSS-I/II) or in a folder there that has the name of the reduction (BOSS).
* A fibre without target (NOPLUG, OBJTYPE NA) has ivar = 0 everywhere. OBJTYPE alone does not tell: good spectra of
  ancillary programs are NA too.
* RA and DEC of the primary header are the centre of the plate. The target is PLUG_RA and PLUG_DEC of spZbest, RA
  and DEC of the PLUGMAP.
* SN_MEDIAN is one number for SDSS-I/II, five for BOSS, which has SN_MEDIAN_ALL; else it is made as there.
* Of its images only flux and ivar are read, and the mask of a fibre without good pixels.
* RUN2D of the SDSS-I/II spectrograph stands nowhere in the file, only in the path of the archive.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK
from raystellar.spectra.bitmasks import NOPLUG, ZWARNING_SKY, ZWARNING_UNPLUGGED
from raystellar.spectra.content import Content, expect
from raystellar.spectra.fits_bytes import Value
from raystellar.spectra.fits_image import HEADER_BYTES, Hdu, Image, axes, find_cards, hdus, image, table_columns
from raystellar.spectra.record import MAX_PIXELS, MIN_PIXELS, Spectrum, check_loglam, lattice, median_sn
from raystellar.spectra.source import Item, Source
from raystellar.spectra.values import INT32_END, integer, string

MAX_FIBRES = 2000
"""A plate has 640 or 1000 fibres."""

MIN_FIBRES = 16
"""Images with fewer rows are other files."""

STRIDE = 128
"""Fibres read at a time: some 4 MB of images."""

STRIDES_AHEAD = 3
"""So many are on their way from a server while one is decoded."""

PLUGMAP_BYTES = 1 << 19
"""Asked for of the PLUGMAP before its size is known [bytes]."""

ZBEST_BYTES = 1 << 19
"""Asked for of spZbest before its size is known [bytes]."""

_CARDS = ("COEFF0", "COEFF1", "PLATEID", "MJD", "RUN2D")
_PLUGMAP = ("objtype", "ra", "dec")
_ZBEST = (
    "plate",
    "mjd",
    "fiberid",
    "plug_ra",
    "plug_dec",
    "class",
    "subclass",
    "z",
    "z_err",
    "zwarning",
    "sn_median_all",
    "sn_median",
)
_TEXTS = ("objtype", "class", "subclass")
_WHOLE = ("plate", "mjd", "fiberid", "zwarning")
_RUN2D = re.compile(r"26|103|104|v\d+_\d+_\d+")


class _Plan(NamedTuple):
    """Where everything is in one plate file."""

    plate: int
    mjd: int
    loglam: np.ndarray
    flux: Image
    ivar: Image
    mask: Image
    plugmap: dict[str, np.ndarray]


class _Plate(NamedTuple):
    """What is known of the fibres of one plate."""

    plan: _Plan
    mjd: int
    run2d: str
    known: dict[str, list[Any]]  # of PLUGMAP and spZbest, one value a fibre
    note: str

    def spec_id(self, fibre: int) -> str:
        """Return the name of the spectrum in row ``fibre``."""
        return f"{self.plan.plate}-{self.mjd}-{fibre + 1}"

    def of(self, fibre: int) -> dict[str, Any]:
        """Return what the tables say of the fibre in row ``fibre``."""
        return {name: values[fibre] for name, values in self.known.items()}


def _claims(head: bytes, name: str) -> bool:
    """Take images of many rows that have a PLATEID or, cut off before that card, the name of a plate file."""
    if axes(head) != 2:
        return False
    cards = find_cards(head, ("NAXIS2", "PLATEID"))
    rows = cards.get("NAXIS2")
    if not isinstance(rows, int) or rows < MIN_FIBRES:
        return False
    return "PLATEID" in cards or os.path.basename(name).startswith("spPlate-")


def _count(content: Content) -> int:
    with content.opened() as stream:
        found = hdus(stream)
        primary = next(found)
        _expect_headers(stream, primary)
        return _plan(stream, chain((primary,), found)).flux.rows


def _read(content: Content, first: int) -> Iterator[Item]:
    """Ask for all that is needed before it is: a server takes its time for each answer."""
    with content.opened() as stream:
        found = hdus(stream)
        primary = next(found)
        cards = find_cards(primary.header, _CARDS)
        run2d = string(cards, "RUN2D") or _run2d_of_path(content.path)
        zbest = content.beside(_zbest_paths(content.path, cards, run2d), ZBEST_BYTES)
        _expect_headers(stream, primary)
        flux = image(primary, "not a spPlate file")
        coming = (flux, flux._replace(start=primary.end + FITS_BLOCK))
        for ahead in range(STRIDES_AHEAD):
            _expect_stride(stream, coming, first + ahead * STRIDE)
        plan = _plan(stream, chain((primary,), found))
        plate = _plate(plan, run2d, zbest())
        for start in range(first, plan.flux.rows, STRIDE):
            _expect_stride(stream, (plan.flux, plan.ivar), start + STRIDES_AHEAD * STRIDE)
            yield from _stride(content.path, stream, plate, start)


def _expect_headers(stream: IO[bytes], primary: Hdu) -> None:
    """Ask for the next five headers, and the PLUGMAP, where they are in all plates: after images of one size."""
    step = FITS_BLOCK + primary.end - primary.start
    for k in range(4):
        expect(stream, primary.end + k * step, HEADER_BYTES)
    expect(stream, primary.end + 4 * step, PLUGMAP_BYTES)


def _expect_stride(stream: IO[bytes], images: tuple[Image, Image], first: int) -> None:
    count = min(STRIDE, images[0].rows - first)
    if count > 0:
        for found in images:
            found.expect(stream, first, count)


def _plan(stream: IO[bytes], every: Iterator[Hdu]) -> _Plan:
    """Find the images and read the PLUGMAP.

    Raises
    ------
    SpectrumError : something is missing, or does not fit the rest
    """
    found = list(islice(every, 6))
    if len(found) < 6:
        raise SpectrumError("read", "truncated", f"{len(found)} of the 6 HDUs that are needed")
    flux, ivar, mask = (image(hdu, "not a spPlate file") for hdu in found[:3])
    kinds = " ".join(found.dtype.str for found in (flux, ivar, mask))
    if len({found.rows for found in (flux, ivar, mask)}) + len({found.columns for found in (flux, ivar, mask)}) != 2:
        raise SpectrumError("read", "not a spPlate file", "flux, ivar and mask are of unequal shape")
    if kinds != ">f4 >f4 >i4":
        raise SpectrumError("read", "not a spPlate file", f"flux, ivar and mask are of the kinds {kinds}")
    if flux.rows > MAX_FIBRES or flux.columns > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{flux.rows} fibres of {flux.columns} pixels")
    cards = find_cards(found[0].header, _CARDS)
    loglam = lattice(cards.get("COEFF0"), cards.get("COEFF1"), flux.columns)
    check_loglam(loglam)
    plugmap = table_columns(stream, found[5], _PLUGMAP, MAX_FIBRES)
    if any(len(values) != flux.rows for values in plugmap.values()):
        raise SpectrumError("read", "not a spPlate file", "the PLUGMAP has another number of fibres")
    plate, mjd = integer(cards, "PLATEID"), integer(cards, "MJD")
    return _Plan(plate, mjd, loglam, flux, ivar, mask, _typed(plugmap))


def _plate(plan: _Plan, run2d: str, content: Content | None) -> _Plate:
    """Return what is known of the fibres; without spZbest no class and no redshift, and a note that says so.

    Raises
    ------
    SpectrumError : stage fetch, where spZbest is there but cannot be had now
    """
    mjd, zbest, note = plan.mjd, {}, ""
    if content is None:
        note = "no spZbest file beside the spPlate file: class and redshift are unknown"
    else:
        try:
            zbest = _read_zbest(content, plan)
            mjd = int(zbest["mjd"].max()) if "mjd" in zbest else plan.mjd
        except SpectrumError as error:
            if error.stage == "fetch":
                raise
            note = f"{os.path.basename(content.path)} cannot be used ({error.reason}): class and redshift are unknown"
    known = {name: values.tolist() for name, values in (plan.plugmap | zbest).items()}
    return _Plate(plan, mjd, run2d, known, note)


def _run2d_of_path(path: str) -> str:
    """Return the folder of the archive that is named by the reduction, as in ``redux/26/0266/spPlate-...``."""
    folder = os.path.basename(os.path.dirname(os.path.dirname(path)))
    return folder if _RUN2D.fullmatch(folder) else ""


def _zbest_paths(path: str, cards: dict[str, Value], run2d: str) -> list[str]:
    """Return where the spZbest file may be."""
    folder, name = os.path.split(path)
    names = [name.replace("spPlate-", "spZbest-")] if name.startswith("spPlate-") else []
    names.append(f"spZbest-{integer(cards, 'PLATEID'):04d}-{integer(cards, 'MJD'):05d}.fits")
    names += [other.removesuffix(".gz") if other.endswith(".gz") else f"{other}.gz" for other in names]
    folders = [folder, os.path.join(folder, run2d)] if run2d else [folder]
    return [os.path.join(folder, name) for folder in folders for name in dict.fromkeys(names)]


def _read_zbest(content: Content, plan: _Plan) -> dict[str, np.ndarray]:
    """Return columns of spZbest, one value a fibre.

    Raises
    ------
    SpectrumError : it is damaged, or of another plate
    """
    with content.opened() as stream:
        found = hdus(stream)
        next(found)
        table = next(found, None)
        if table is None:
            raise SpectrumError("read", "truncated", "no table")
        columns = _typed(table_columns(stream, table, _ZBEST, MAX_FIBRES))
    fibres = plan.flux.rows
    fiberid = columns.get("fiberid", np.arange(1, fibres + 1))
    if len(fiberid) != fibres or (fiberid != np.arange(1, fibres + 1)).any():
        raise SpectrumError("read", "of other fibres", f"{len(fiberid)} rows for {fibres} fibres")
    if (columns.get("plate", np.zeros(0)) != plan.plate).any():
        raise SpectrumError("read", "of another plate", "")
    missing = [name for name in ("class", "z", "zwarning") if name not in columns]
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", "")
    return columns


def _typed(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return texts as str and numbers as they are; raise where a column holds another kind."""
    for name, values in columns.items():
        kinds = "S" if name in _TEXTS else "iu" if name in _WHOLE else "iuf"
        if values.dtype.kind not in kinds or (kinds == "iu" and (np.abs(values.astype(np.float64)) >= INT32_END).any()):
            raise SpectrumError("read", f"bad column {name}", f"of kind {values.dtype.kind}, or more than 32 bits")
    return {
        name: np.char.decode(values, "ascii", "replace") if name in _TEXTS else values
        for name, values in columns.items()
    }


def _stride(path: str, stream: IO[bytes], plate: _Plate, first: int) -> Iterator[Item]:
    """Yield the spectra of some fibres."""
    plan = plate.plan
    count = min(STRIDE, plan.flux.rows - first)
    try:
        flux, ivar = plan.flux.read(stream, first, count), plan.ivar.read(stream, first, count)
    except (OSError, SpectrumError) as error:  # the file was whole when it was opened: still one item a fibre
        for fibre in range(first, first + count):
            failed = SpectrumError("fetch", "read failed", str(error), plate.spec_id(fibre))
            failed.__cause__ = error  # by which an outage is known
            yield failed
        return
    for row in range(count):
        fibre = first + row
        good = np.flatnonzero(ivar[row] > 0)
        try:
            if not good.size:
                raise _no_pixel(stream, plate, fibre)
            cut = slice(good[0], good[-1] + 1)
            yield _fibre(path, plate, fibre, plan.loglam[cut], flux[row, cut], ivar[row, cut])
        except SpectrumError as error:
            yield error


def _no_pixel(stream: IO[bytes], plate: _Plate, fibre: int) -> SpectrumError:
    """Say why a fibre has no good pixel."""
    known = plate.of(fibre)
    free = known.get("objtype") == "NA" or int(known.get("zwarning", 0)) & ZWARNING_UNPLUGGED
    free = free or (plate.plan.mask.read(stream, fibre, 1) & NOPLUG).all()
    return SpectrumError(
        "read", "fibre not plugged" if free else "no good pixel", "ivar is 0 everywhere", plate.spec_id(fibre)
    )


def _fibre(path: str, plate: _Plate, fibre: int, loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> Spectrum:
    """Return the spectrum of one fibre, trimmed as its spec file is."""
    spec_id = plate.spec_id(fibre)
    known = plate.of(fibre)
    zwarning = int(known.get("zwarning", 0))
    if loglam.size < MIN_PIXELS:
        raise SpectrumError("read", "too few pixels", f"{loglam.size}, at least {MIN_PIXELS} are needed", spec_id)
    loglam, flux, ivar = loglam.copy(), flux.astype(np.float32), ivar.astype(np.float32)
    sn = known.get("sn_median_all", known.get("sn_median"))
    return Spectrum(
        path=path,
        spec_id=spec_id,
        plate=plate.plan.plate,
        mjd=plate.mjd,
        fiberid=fibre + 1,
        run2d=plate.run2d,
        ra=float(known.get("plug_ra", known.get("ra", math.nan))),
        dec=float(known.get("plug_dec", known.get("dec", math.nan))),
        object_class=known.get("class", ""),
        subclass=known.get("subclass", ""),
        is_sky=bool(zwarning & ZWARNING_SKY) or known.get("objtype") == "SKY",
        z=float(known.get("z", math.nan)),
        z_err=float(known.get("z_err", math.nan)),
        zwarning=zwarning,
        sn=median_sn(loglam, flux, ivar) if sn is None else float(sn),
        loglam=loglam,
        flux=flux,
        ivar=ivar,
        note=plate.note,
    )


SOURCE = Source("SDSS spPlate file", _claims, _read, _count)
