"""Write the two files of a whole plate: spPlate (all its spectra on one grid) and spZbest (class and redshift).

Row i belongs to fibre i + 1, as in the real files; fibres without a target carry the bit NOPLUG and ivar = 0.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
from astropy.io import fits

from raystellar.simulate.instrument import SimulatedSpectrum
from raystellar.simulate.spec_file import primary_values, write_atomic
from raystellar.simulate.specobj import specobj_row
from raystellar.simulate.spectro1d import Fibre
from raystellar.spectra.bitmasks import NOPLUG, ZWARNING_UNPLUGGED

FIBRES = 640

IMAGES = (
    ("flux", "PRIMARY", ">f4"),
    ("ivar", "IVAR", ">f4"),
    ("and_mask", "ANDMASK", ">i4"),
    ("or_mask", "ORMASK", ">i4"),
    ("wdisp", "WAVEDISP", ">f4"),
    ("sky", "SKY", ">f4"),
)

ZBEST_COLUMNS = (
    "PLATE",
    "TILE",
    "MJD",
    "FIBERID",
    "OBJID",
    "PLUG_RA",
    "PLUG_DEC",
    "CLASS",
    "SUBCLASS",
    "Z",
    "Z_ERR",
    "RCHI2",
    "DOF",
    "RCHI2DIFF",
    "SN_MEDIAN_ALL",
    "TFILE",
    "TCOLUMN",
    "NPOLY",
    "THETA",
    "VDISP",
    "VDISP_ERR",
    "WAVEMIN",
    "WAVEMAX",
    "WCOVERAGE",
    "ZWARNING",
    "SN_MEDIAN",
    "CHI68P",
)


def write_plate_files(folder: str, fibres: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> int:
    """Write spPlate-PPPP-MMMMM.fits and spZbest-PPPP-MMMMM.fits, and return their bytes (about 60 MB).

    Raises
    ------
    OutputError : a file cannot be written
    """
    first = fibres[0][0]
    name = f"{first.plate:04d}-{first.mjd:05d}.fits"
    count = write_atomic(os.path.join(folder, f"spPlate-{name}"), _sp_plate(fibres))
    return count + write_atomic(os.path.join(folder, f"spZbest-{name}"), _sp_zbest(fibres))


def _sp_plate(fibres: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> bytes:
    k0 = min(spectrum.k0 for _, spectrum in fibres)
    pixels = max(spectrum.k0 + len(spectrum.flux) for _, spectrum in fibres) - k0
    images = {name: np.zeros((FIBRES, pixels), dtype=form) for name, _, form in IMAGES}
    for name in ("and_mask", "or_mask"):
        images[name][:] = NOPLUG
    for target, spectrum in fibres:
        cut = slice(spectrum.k0 - k0, spectrum.k0 - k0 + len(spectrum.flux))
        for name, image in images.items():
            image[target.fiberid - 1] = 0
            image[target.fiberid - 1, cut] = getattr(spectrum, name)
    hdus = [fits.ImageHDU(images[name], name=hdu) for name, hdu, _ in IMAGES[1:]]
    hdus.insert(4, fits.BinTableHDU(_plug_map([target for target, _ in fibres]), name="PLUGMAP"))
    return _rendered(fits.HDUList([fits.PrimaryHDU(images["flux"], _header(fibres[0][0], k0)), *hdus]))


def _sp_zbest(fibres: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> bytes:
    rows = np.concatenate([specobj_row(target, spectrum) for target, spectrum in _all_fibres(fibres)])
    table = np.zeros(FIBRES, dtype=[(name, rows.dtype[name]) for name in ZBEST_COLUMNS])
    for name in ZBEST_COLUMNS:
        table[name] = rows[name]
    return _rendered(fits.HDUList([fits.PrimaryHDU(header=_header(fibres[0][0], None)), fits.BinTableHDU(table)]))


def _all_fibres(fibres: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> list[tuple[Fibre, SimulatedSpectrum | None]]:
    """Return all 640 fibres; those without a target have a warning that says so."""
    some = fibres[0][0]
    nothing = Fibre(
        plate=some.plate,
        mjd=some.mjd,
        fiberid=0,
        ra=0.0,
        dec=0.0,
        plate_ra=some.plate_ra,
        plate_dec=some.plate_dec,
        object_class="",
        zwarning=ZWARNING_UNPLUGGED,
    )
    known = {target.fiberid: (target, spectrum) for target, spectrum in fibres}
    return [known.get(i) or (dataclasses.replace(nothing, fiberid=i), None) for i in range(1, FIBRES + 1)]


def _plug_map(targets: Sequence[Fibre]) -> np.ndarray:
    table = np.zeros(
        FIBRES,
        dtype=[
            ("HOLETYPE", "S16"),
            ("OBJTYPE", "S16"),
            ("RA", ">f8"),
            ("DEC", ">f8"),
            ("SPECTROGRAPHID", ">i4"),
            ("FIBERID", ">i4"),
            ("SECTARGET", ">i4"),
        ],
    )
    table["FIBERID"] = np.arange(1, FIBRES + 1)
    table["SPECTROGRAPHID"] = np.where(table["FIBERID"] <= FIBRES // 2, 1, 2)
    table["HOLETYPE"], table["OBJTYPE"] = b"OBJECT".ljust(16), b"NA".ljust(16)
    for target in targets:
        row = table[target.fiberid - 1]
        row["OBJTYPE"] = (b"SKY" if target.sky else b"NONLEGACY").ljust(16)
        row["RA"], row["DEC"], row["SECTARGET"] = target.ra, target.dec, 16 if target.sky else 2
    return table


def _header(target: Fibre, k0: int | None) -> fits.Header:
    """Return the cards that readers of plate files use."""
    header = fits.Header()
    values = primary_values(target, k0 or 0)
    for name in ("PLATEID", "TILEID", "MJD", "RA", "DEC"):
        header[name] = values[name]
    header["TELESCOP"], header["VERS2D"], header["SIMULATE"] = "SDSS 2.5-M", "v5_3_12", True
    if k0 is not None:
        header["COEFF0"], header["COEFF1"], header["DC-FLAG"] = values["COEFF0"], 1e-4, 1
        header["VACUUM"], header["BUNIT"] = True, "1E-17 erg/cm^2/s/Ang"
    return header


def _rendered(hdus: fits.HDUList) -> bytes:
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()
