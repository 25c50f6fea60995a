"""Read spPlate files: all spectra of one SDSS plate, with the classes and redshifts of the spZbest file beside it.

Data models: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/PLATE4/spPlate.html,
https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/PLATE4/RUN1D/spZbest.html

A plate gives the same records as the spec files of its fibres, which were cut from the same images.

Quirks of the survey:

* Some files leave the names of their HDUs empty. HDUs are therefore identified by position: 0 flux, 1 ivar, 2 AND mask,
  5 PLUGMAP. Row i of every image and table belongs to fibre i + 1.
* All fibres share one grid and are padded with ivar = 0. A spec file keeps the pixels from the first to the last with
  ivar > 0, including bad pixels between them, and so does this reader.
* spZbest is in the folder of the plate (SDSS-I/II), or in a folder in it that is named by the reduction (BOSS).
* A fibre without a target (NOPLUG, OBJTYPE NA) has ivar = 0 everywhere. OBJTYPE alone does not identify such a fibre,
  because good spectra of ancillary programs have OBJTYPE NA, too.
* RA and DEC of the primary header are the centre of the plate. The position of the target is PLUG_RA and PLUG_DEC of
  spZbest, or RA and DEC of the PLUGMAP.
* SN_MEDIAN is one number for SDSS-I/II, and five numbers for BOSS, which has SN_MEDIAN_ALL. Where both are missing the
  median is computed as SN_MEDIAN_ALL is.
* Only the images of flux and ivar are read, and the mask of each fibre without good pixels.
* RUN2D of the SDSS-I/II spectrograph is not in the file; it is in the path of the archive.
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
from raystellar.spectra.content import MAX_PLATE_BYTES, Content, expect
from raystellar.spectra.fits_bytes import Value
from raystellar.spectra.fits_image import HEADER_BYTES, Hdu, Image, count_axes, find_cards, hdus, image
from raystellar.spectra.fits_tables import first_table, table_columns, typed
from raystellar.spectra.record import MAX_PIXELS, MIN_PIXELS, Spectrum, check_loglam, lattice, median_sn
from raystellar.spectra.source import Item, Source
from raystellar.spectra.values import integer, string

MAX_FIBRES = 2000
"""Largest number of fibres; a plate has 640 or 1000."""

MIN_FIBRES = 16
"""Least number of rows of the image; a file whose image has fewer rows is not a plate file."""

STRIDE = 128
"""Number of fibres read at a time, about 4 MB of images."""

STRIDES_AHEAD = 3
"""Number of strides requested from a server while one is decoded."""

PLUGMAP_BYTES = 1 << 19
"""Number of bytes of the PLUGMAP requested before its size is known."""

ZBEST_BYTES = 1 << 19
"""Number of bytes of spZbest requested before its size is known."""

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


class _PlateFile(NamedTuple):
    """The contents of a plate file: its images, which are not read yet, and its tables."""

    plate: int
    mjd: int
    """Day in the primary header."""
    loglam: np.ndarray
    """Wavelengths of the grid that all fibres share."""
    flux: Image
    ivar: Image
    mask: Image
    plugmap: dict[str, np.ndarray]
    """Columns of the PLUGMAP, by lower-case name, one value a fibre."""


class _Fibres(NamedTuple):
    """The fibres of a plate, with the values of its tables."""

    file: _PlateFile
    mjd: int
    """Last day of spZbest, which the spec files have too; the day of the plate file where spZbest has none."""
    run2d: str
    columns: dict[str, list[Any]]
    """Columns of the PLUGMAP and of spZbest, by lower-case name, one value a fibre."""
    note: str
    """Reason why class and redshift are unknown; empty where they are known."""

    def spec_id(self, fibre: int) -> str:
        """Return the name of the spectrum in row ``fibre``."""
        return f"{self.file.plate}-{self.mjd}-{fibre + 1}"

    def values(self, fibre: int) -> dict[str, Any]:
        """Return the values of the tables for the fibre in row ``fibre``."""
        return {name: values[fibre] for name, values in self.columns.items()}


def _claims(head: bytes, name: str) -> bool:
    """Claim images of many rows with a PLATEID, or with the name of a plate file where that card is cut off."""
    if count_axes(head) != 2:
        return False
    cards = find_cards(head, ("NAXIS2", "PLATEID"))
    rows = cards.get("NAXIS2")
    if not isinstance(rows, int) or rows < MIN_FIBRES:
        return False
    return "PLATEID" in cards or os.path.basename(name).startswith("spPlate-")


def _count(content: Content) -> int:
    with content.opened(MAX_PLATE_BYTES) as stream:
        every = hdus(stream)
        primary = next(every)
        _expect_headers(stream, primary)
        return _plate_file(stream, chain((primary,), every)).flux.rows


def _read(content: Content, first: int) -> Iterator[Item]:
    """Yield the items of a plate; request the bytes before they are needed, as a server takes long for each answer."""
    with content.opened(MAX_PLATE_BYTES) as stream:
        every = hdus(stream)
        primary = next(every)
        cards = find_cards(primary.header, _CARDS)
        run2d = string(cards, "RUN2D") or _run2d_of_path(content.path)
        zbest = content.beside(_zbest_paths(content.path, cards, run2d), ZBEST_BYTES)
        _expect_headers(stream, primary)
        flux = image(primary, "not a spPlate file")
        likely_ivar = flux._replace(start=primary.end + FITS_BLOCK)  # in all plates, after a header of one block
        for ahead in range(STRIDES_AHEAD):
            _expect_stride(stream, (flux, likely_ivar), first + ahead * STRIDE)
        file = _plate_file(stream, chain((primary,), every))
        fibres = _fibres(file, run2d, zbest())
        for start in range(first, file.flux.rows, STRIDE):
            _expect_stride(stream, (file.flux, file.ivar), start + STRIDES_AHEAD * STRIDE)
            yield from _stride(content.path, stream, fibres, start)


def _expect_headers(stream: IO[bytes], primary: Hdu) -> None:
    """Announce the next five headers and the PLUGMAP, at their usual offsets: after images of equal size."""
    step = FITS_BLOCK + primary.end - primary.start
    for k in range(4):
        expect(stream, primary.end + k * step, HEADER_BYTES)
    expect(stream, primary.end + 4 * step, PLUGMAP_BYTES)


def _expect_stride(stream: IO[bytes], images: tuple[Image, Image], first: int) -> None:
    """Announce the rows of a stride in both images."""
    count = min(STRIDE, images[0].rows - first)
    if count > 0:
        for rows in images:
            rows.expect(stream, first, count)


def _plate_file(stream: IO[bytes], every: Iterator[Hdu]) -> _PlateFile:
    """Locate the images and read the PLUGMAP.

    Raises
    ------
    SpectrumError : a part of the file is missing, or two parts do not fit each other
    """
    needed = list(islice(every, 6))
    if len(needed) < 6:
        raise SpectrumError("read", "too few HDUs", f"{len(needed)} of the 6 that are needed")
    images = flux, ivar, mask = [image(hdu, "not a spPlate file") for hdu in needed[:3]]
    if len({(pixels.rows, pixels.columns) for pixels in images}) != 1:
        raise SpectrumError("read", "not a spPlate file", "flux, ivar and mask differ in shape")
    types = " ".join(pixels.dtype.str for pixels in images)
    if types != ">f4 >f4 >i4":
        raise SpectrumError("read", "not a spPlate file", f"flux, ivar and mask are of the types {types}")
    if flux.rows > MAX_FIBRES or flux.columns > MAX_PIXELS:
        raise SpectrumError("read", "unreasonable size", f"{flux.rows} fibres of {flux.columns} pixels")
    cards = find_cards(needed[0].header, _CARDS)
    loglam = lattice(cards.get("COEFF0"), cards.get("COEFF1"), flux.columns)
    check_loglam(loglam)
    plugmap = table_columns(stream, needed[5], _PLUGMAP, MAX_FIBRES)
    if any(len(values) != flux.rows for values in plugmap.values()):
        raise SpectrumError("read", "not a spPlate file", f"the PLUGMAP does not have {flux.rows} fibres")
    plate, mjd = integer(cards, "PLATEID"), integer(cards, "MJD")
    return _PlateFile(plate, mjd, loglam, flux, ivar, mask, typed(plugmap, _TEXTS, _WHOLE))


def _fibres(file: _PlateFile, run2d: str, content: Content | None) -> _Fibres:
    """Return the fibres with the values of the PLUGMAP and of spZbest.

    Without a usable spZbest they have no class and no redshift, and a note gives the reason.

    Parameters
    ----------
    file : contents of the plate file
    run2d : version of the reduction
    content : contents of the spZbest file; None where the file does not exist

    Raises
    ------
    SpectrumError : stage fetch, where spZbest exists but cannot be read now
    """
    mjd, zbest, note = file.mjd, {}, ""
    if content is None:
        note = "no spZbest file beside the spPlate file: class and redshift are unknown"
    else:
        try:
            zbest = _read_zbest(content, file)
            mjd = int(zbest["mjd"].max()) if "mjd" in zbest else file.mjd
        except SpectrumError as error:
            if error.stage == "fetch":
                raise
            note = f"{os.path.basename(content.path)} cannot be used ({error.reason}): class and redshift are unknown"
    columns = {name: values.tolist() for name, values in (file.plugmap | zbest).items()}
    return _Fibres(file, mjd, run2d, columns, note)


def _run2d_of_path(path: str) -> str:
    """Return the reduction in a path of the archive, as in ``redux/26/0266/spPlate-...``; empty for other paths."""
    folder = os.path.basename(os.path.dirname(os.path.dirname(path)))
    return folder if _RUN2D.fullmatch(folder) else ""


def _zbest_paths(path: str, cards: dict[str, Value], run2d: str) -> list[str]:
    """Return the paths at which the spZbest file may be."""
    folder, name = os.path.split(path)
    names = [name.replace("spPlate-", "spZbest-")] if name.startswith("spPlate-") else []
    names.append(f"spZbest-{integer(cards, 'PLATEID'):04d}-{integer(cards, 'MJD'):05d}.fits")
    names += [other.removesuffix(".gz") if other.endswith(".gz") else f"{other}.gz" for other in names]
    folders = [folder, os.path.join(folder, run2d)] if run2d else [folder]
    return [os.path.join(folder, name) for folder in folders for name in dict.fromkeys(names)]


def _read_zbest(content: Content, file: _PlateFile) -> dict[str, np.ndarray]:
    """Return columns of spZbest, by lower-case name, with one value a fibre.

    Raises
    ------
    SpectrumError : spZbest is damaged, or that of another plate
    """
    columns = typed(first_table(content, _ZBEST, MAX_FIBRES), _TEXTS, _WHOLE)
    fibres = file.flux.rows
    fiberid = columns.get("fiberid", np.arange(1, fibres + 1))
    if len(fiberid) != fibres or (fiberid != np.arange(1, fibres + 1)).any():
        raise SpectrumError("read", "of other fibres", f"{len(fiberid)} rows for {fibres} fibres")
    if (columns.get("plate", np.zeros(0)) != file.plate).any():
        raise SpectrumError("read", "of another plate", f"its plate is not {file.plate}")
    missing = [name for name in ("class", "z", "zwarning") if name not in columns]
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", "needed: class, z, zwarning")
    return columns


def _stride(path: str, stream: IO[bytes], fibres: _Fibres, first: int) -> Iterator[Item]:
    """Yield the items of a stride of fibres, from row ``first`` on."""
    file = fibres.file
    count = min(STRIDE, file.flux.rows - first)
    try:
        flux, ivar = file.flux.read(stream, first, count), file.ivar.read(stream, first, count)
    except (OSError, SpectrumError) as error:  # the file was whole when it was opened; each fibre still gives an item
        for fibre in range(first, first + count):
            failed = SpectrumError("fetch", "read failed", str(error), fibres.spec_id(fibre))
            failed.__cause__ = error  # an outage is recognised by the cause
            yield failed
        return
    for row in range(count):
        fibre = first + row
        good = np.flatnonzero(ivar[row] > 0)
        try:
            if not good.size:
                raise _no_good_pixel(stream, fibres, fibre)
            cut = slice(good[0], good[-1] + 1)
            yield _spectrum(path, fibres, fibre, file.loglam[cut], flux[row, cut], ivar[row, cut])
        except SpectrumError as error:
            yield error


def _no_good_pixel(stream: IO[bytes], fibres: _Fibres, fibre: int) -> SpectrumError:
    """Return the error of a fibre without good pixels: it has no target, or its spectrum is bad."""
    values = fibres.values(fibre)
    unplugged = values.get("objtype") == "NA" or int(values.get("zwarning", 0)) & ZWARNING_UNPLUGGED
    unplugged = unplugged or (fibres.file.mask.read(stream, fibre, 1) & NOPLUG).all()
    reason = "fibre not plugged" if unplugged else "no good pixels"
    return SpectrumError("read", reason, "ivar is 0 everywhere", fibres.spec_id(fibre))


def _spectrum(
    path: str, fibres: _Fibres, fibre: int, loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray
) -> Spectrum:
    """Return the spectrum of one fibre; its arrays are already cut as those of its spec file."""
    spec_id = fibres.spec_id(fibre)
    values = fibres.values(fibre)
    zwarning = int(values.get("zwarning", 0))
    if loglam.size < MIN_PIXELS:
        raise SpectrumError("read", "too few pixels", f"{loglam.size}, at least {MIN_PIXELS} are needed", spec_id)
    loglam, flux, ivar = loglam.copy(), flux.astype(np.float32), ivar.astype(np.float32)
    sn = values.get("sn_median_all", values.get("sn_median"))
    return Spectrum(
        path=path,
        spec_id=spec_id,
        plate=fibres.file.plate,
        mjd=fibres.mjd,
        fiberid=fibre + 1,
        run2d=fibres.run2d,
        ra=float(values.get("plug_ra", values.get("ra", math.nan))),
        dec=float(values.get("plug_dec", values.get("dec", math.nan))),
        object_class=values.get("class", ""),
        subclass=values.get("subclass", ""),
        is_sky=bool(zwarning & ZWARNING_SKY) or values.get("objtype") == "SKY",
        z=float(values.get("z", math.nan)),
        z_err=float(values.get("z_err", math.nan)),
        zwarning=zwarning,
        sn=median_sn(loglam, flux, ivar) if sn is None else float(sn),
        loglam=loglam,
        flux=flux,
        ivar=ivar,
        note=fibres.note,
    )


SOURCE = Source("SDSS spPlate file", _claims, _read, _count)
