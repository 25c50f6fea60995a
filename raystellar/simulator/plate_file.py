"""Write the two files of a plate: spPlate with all its spectra on one grid, and spZbest with classes and redshifts.

Row i belongs to fibre i + 1, as in real files. Fibres without a target have the bit NOPLUG and ivar = 0.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
from astropy.io import fits

from raystellar.files import places
from raystellar.simulator.instrument import FIBRES, SimulatedSpectrum, spectrograph
from raystellar.simulator.spec_file import primary_values
from raystellar.simulator.specobj import specobj_row
from raystellar.simulator.spectro1d import Fibre
from raystellar.spectra.bitmasks import NOPLUG, ZWARNING_UNPLUGGED
from raystellar.spectra.record import LATTICE_STEP

IMAGES = (
    ("flux", "PRIMARY", ">f4"),
    ("ivar", "IVAR", ">f4"),
    ("and_mask", "ANDMASK", ">i4"),
    ("or_mask", "ORMASK", ">i4"),
    ("wdisp", "WAVEDISP", ">f4"),
    ("sky", "SKY", ">f4"),
)
"""Images of spPlate: field of ``SimulatedSpectrum``, name of the HDU, type of the pixels."""

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
"""Columns of spZbest, a part of those of the SPECOBJ table."""


def write_plate_files(folder: str, exposures: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> int:
    """Write spPlate-PPPP-MMMMM.fits and spZbest-PPPP-MMMMM.fits and return their size, about 60 MB [bytes].

    Parameters
    ----------
    folder : folder of the files
    exposures : fibres with a target and their spectra, all of one plate

    Raises
    ------
    OutputError : a file cannot be written
    """
    first = exposures[0][0]
    name = f"{first.plate:04d}-{first.mjd:05d}.fits"
    contents = {f"spPlate-{name}": _sp_plate(exposures), f"spZbest-{name}": _sp_zbest(exposures)}
    for file_name, content in contents.items():
        places.write_bytes(os.path.join(folder, file_name), content, durable=False)
    return sum(map(len, contents.values()))


def _sp_plate(exposures: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> bytes:
    """Return the content of spPlate."""
    k0 = min(spectrum.k0 for _, spectrum in exposures)
    pixels = max(spectrum.k0 + len(spectrum.flux) for _, spectrum in exposures) - k0
    images = {name: np.zeros((FIBRES, pixels), dtype=form) for name, _, form in IMAGES}
    for name in ("and_mask", "or_mask"):
        images[name][:] = NOPLUG
    for fibre, spectrum in exposures:
        cut = slice(spectrum.k0 - k0, spectrum.k0 - k0 + len(spectrum.flux))
        for name, image in images.items():
            image[fibre.fiberid - 1] = 0
            image[fibre.fiberid - 1, cut] = getattr(spectrum, name)
    hdus = [fits.ImageHDU(images[name], name=hdu) for name, hdu, _ in IMAGES[1:]]
    hdus.insert(4, fits.BinTableHDU(_plug_map([fibre for fibre, _ in exposures]), name="PLUGMAP"))
    return _rendered(fits.HDUList([fits.PrimaryHDU(images["flux"], _header(exposures[0][0], k0)), *hdus]))


def _sp_zbest(exposures: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> bytes:
    """Return the content of spZbest."""
    rows = np.concatenate([specobj_row(fibre, spectrum) for fibre, spectrum in _all_fibres(exposures)])
    table = np.zeros(FIBRES, dtype=[(name, rows.dtype[name]) for name in ZBEST_COLUMNS])
    for name in ZBEST_COLUMNS:
        table[name] = rows[name]
    return _rendered(fits.HDUList([fits.PrimaryHDU(header=_header(exposures[0][0], None)), fits.BinTableHDU(table)]))


def _all_fibres(exposures: Sequence[tuple[Fibre, SimulatedSpectrum]]) -> list[tuple[Fibre, SimulatedSpectrum | None]]:
    """Return all 640 fibres in order; fibres without a target have no spectrum and ZWARNING_UNPLUGGED."""
    first = exposures[0][0]
    unplugged = Fibre(
        plate=first.plate,
        mjd=first.mjd,
        fiberid=0,
        ra=0.0,
        dec=0.0,
        plate_ra=first.plate_ra,
        plate_dec=first.plate_dec,
        object_class="",
        zwarning=ZWARNING_UNPLUGGED,
    )
    known = {fibre.fiberid: (fibre, spectrum) for fibre, spectrum in exposures}
    return [known.get(i) or (dataclasses.replace(unplugged, fiberid=i), None) for i in range(1, FIBRES + 1)]


def _plug_map(fibres: Sequence[Fibre]) -> np.ndarray:
    """Return the PLUGMAP table (640,): type and position of the target of each fibre."""
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
    table["SPECTROGRAPHID"] = [spectrograph(fiberid) for fiberid in range(1, FIBRES + 1)]
    table["HOLETYPE"], table["OBJTYPE"] = b"OBJECT".ljust(16), b"NA".ljust(16)
    for fibre in fibres:
        row = table[fibre.fiberid - 1]
        row["OBJTYPE"] = (b"SKY" if fibre.sky else b"NONLEGACY").ljust(16)
        row["RA"], row["DEC"], row["SECTARGET"] = fibre.ra, fibre.dec, 16 if fibre.sky else 2
    return table


def _header(fibre: Fibre, k0: int | None) -> fits.Header:
    """Return the cards of a primary header that readers of plate files use; ``k0`` None leaves out the wavelengths."""
    header = fits.Header()
    values = primary_values(fibre, k0 or 0)
    for name in ("PLATEID", "TILEID", "MJD", "RA", "DEC"):
        header[name] = values[name]
    header["TELESCOP"], header["VERS2D"], header["SIMULATE"] = "SDSS 2.5-M", "v5_3_12", True
    if k0 is not None:
        header["COEFF0"], header["COEFF1"], header["DC-FLAG"] = values["COEFF0"], LATTICE_STEP, 1
        header["VACUUM"], header["BUNIT"] = True, "1E-17 erg/cm^2/s/Ang"
    return header


def _rendered(hdus: fits.HDUList) -> bytes:
    """Return the content of a file with these HDUs."""
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()
