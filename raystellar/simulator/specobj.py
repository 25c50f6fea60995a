"""Rows of the SPECOBJ and SPZLINE tables, the results of the pipeline in spec and spZbest files.

The columns are those of real files, listed in ``specobj.json``.
"""

from __future__ import annotations

import functools
import json
import math
from importlib import resources
from typing import Any

import numpy as np

from raystellar.simulator.instrument import SimulatedSpectrum, spectrograph
from raystellar.simulator.spectro1d import Fibre, specobj_id
from raystellar.spectra.record import LATTICE_STEP

SN_BANDS = ((3800.0, 4000.0), (4000.0, 5500.0), (5500.0, 6900.0), (6900.0, 8200.0), (8200.0, 9220.0))
"""Bands in which SN_MEDIAN is computed, about ugriz [A]."""


@functools.lru_cache(maxsize=1)
def layout() -> dict[str, Any]:
    """Return the content of ``specobj.json``: the columns of HDU2 ("specobj") and HDU3 ("spzline"), and the lines."""
    text = resources.files("raystellar.simulator").joinpath("specobj.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def specobj_row(fibre: Fibre, spectrum: SimulatedSpectrum | None) -> np.ndarray:
    """Return the row of HDU2 (1,), big-endian; without a spectrum only the values that depend on the fibre."""
    row = _empty_row().copy()
    record = row[0]
    for name, value in _fibre_values(fibre).items():
        record[name] = _spaced(value, row.dtype[name].itemsize) if isinstance(value, str) else value
    if spectrum is not None:
        for name, value in _spectrum_values(spectrum).items():
            record[name] = value
    return row


def spzline_rows(fibre: Fibre) -> np.ndarray:
    """Return the rows of HDU3 (lines,), big-endian: the emission lines that the pipeline looks for."""
    rows = _spzline_template().copy()
    rows["PLATE"], rows["MJD"], rows["FIBERID"] = fibre.plate, fibre.mjd, fibre.fiberid
    rows["LINEZ"] = fibre.z
    return rows


def array_type(form: str) -> tuple[str, tuple[int, ...]]:
    """Return the NumPy type and shape of a FITS column format."""
    count = int(form[:-1] or 1)
    if form.endswith("A"):
        return f"S{count}", ()
    return dtype(form[-1]), (count,) if count > 1 else ()


def dtype(code: str) -> str:
    """Return the NumPy type of the letter of a FITS column format."""
    return {"E": ">f4", "D": ">f8", "J": ">i4", "I": ">i2", "K": ">i8", "B": "u1"}[code]


def _fibre_values(fibre: Fibre) -> dict[str, Any]:
    """Return the values of HDU2 that depend on the fibre."""
    ra, dec = math.radians(fibre.ra), math.radians(fibre.dec)
    elodie, kind = fibre.elodie, "SKY" if fibre.sky else "NONLEGACY"
    return {
        "PLATE": fibre.plate,
        "TILE": fibre.plate,
        "MJD": fibre.mjd,
        "FIBERID": fibre.fiberid,
        "PLUG_RA": fibre.ra,
        "PLUG_DEC": fibre.dec,
        "CX": math.cos(dec) * math.cos(ra),
        "CY": math.cos(dec) * math.sin(ra),
        "CZ": math.sin(dec),
        "SPECPRIMARY": int(fibre.primary),
        "SPECSEGUE": int(fibre.primary),
        "SPECSEGUE1": int(fibre.primary),
        "SPECOBJID": f"{specobj_id(fibre):>22}",
        "PLATEID": f"{specobj_id(fibre, with_fibre=False):>19}",
        "SOURCETYPE": kind,
        "TARGETTYPE": "SKY" if fibre.sky else "SCIENCE",
        "SECTARGET": 16 if fibre.sky else 2,
        "SPECTROGRAPHID": spectrograph(fibre.fiberid),
        "CLASS": fibre.object_class,
        "SUBCLASS": fibre.subclass,
        "Z": fibre.z,
        "Z_ERR": fibre.z_err,
        "ZWARNING": fibre.zwarning,
        "ELODIE_FILENAME": elodie.name + ".fits",
        "ELODIE_OBJECT": elodie.name,
        "ELODIE_TEFF": elodie.teff,
        "ELODIE_LOGG": elodie.logg,
        "ELODIE_FEH": elodie.feh,
        "ELODIE_Z": elodie.z,
        "ELODIE_Z_ERR": elodie.z_err,
    }


def _spectrum_values(spectrum: SimulatedSpectrum) -> dict[str, Any]:
    """Return the values of HDU2 that are measured on the spectrum."""
    good = spectrum.ivar > 0
    loglam = spectrum.loglam[good]
    sn = spectrum.flux[good] * np.sqrt(spectrum.ivar[good])
    edges = np.searchsorted(loglam, np.log10(SN_BANDS))
    ends = 10.0 ** loglam[[0, -1]].astype(np.float64) if len(loglam) else np.zeros(2)
    return {
        "WAVEMIN": ends[0],
        "WAVEMAX": ends[1],
        "WCOVERAGE": LATTICE_STEP * len(loglam),
        "SN_MEDIAN_ALL": spectrum.sn_median,
        "SN_MEDIAN": [np.median(sn[a:b]) if b > a else 0.0 for a, b in edges],
        "DOF": max(len(loglam) - 10, 0),
        "ANYANDMASK": np.bitwise_or.reduce(spectrum.and_mask),
        "ANYORMASK": np.bitwise_or.reduce(spectrum.or_mask),
    }


@functools.lru_cache(maxsize=1)
def _empty_row() -> np.ndarray:
    """Return a row of HDU2 (1,) with the values that all files share."""
    row = np.zeros(1, dtype=[(name, *array_type(form)) for name, form in layout()["specobj"]])
    constant = {
        "SURVEY": "segue1",
        "INSTRUMENT": "SDSS",
        "CHUNK": "simulated",
        "PROGRAMNAME": "simulated",
        "PLATERUN": "simulated",
        "PLATEQUALITY": "good",
        "FIRSTRELEASE": "dr7",
        "RUN2D": "26",
        "RUN1D": "",
        "TFILE": "spEigenStar-54474.fits",
        "ELODIE_SPTYPE": "unknown",
    }
    for name in row.dtype.names or ():
        if row.dtype[name].kind == "S":
            row[name] = _spaced(constant.get(name, ""), row.dtype[name].itemsize)
    numbers = {
        "PLATESN2": 20.0,
        "LAMBDA_EFF": 5000.0,
        "BLUEFIBER": -1,
        "SNTURNOFF": -9999.0,
        "NTURNOFF": -1,
        "NSPECOBS": 1,
        "DESIGNID": -1,
        "TCOLUMN": -1,
        "NPOLY": 4,
        "RCHI2": 1.0,
        "CHI68P": 1.0,
        "ELODIE_RCHI2": 1.0,
        "ELODIE_DOF": 2147,
        "SPEC1_G": 25.0,
        "SPEC1_R": 22.0,
        "SPEC1_I": 20.0,
        "SPEC2_G": 25.0,
        "SPEC2_R": 22.0,
        "SPEC2_I": 20.0,
    }
    for name, value in numbers.items():
        row[name] = value
    return row


@functools.lru_cache(maxsize=1)
def _spzline_template() -> np.ndarray:
    """Return the rows of HDU3 with the values that all files share."""
    lines = layout()["lines"]
    rows = np.zeros(len(lines), dtype=[(name, *array_type(form)) for name, form in layout()["spzline"]])
    rows["LINENAME"] = [name.ljust(13).encode() for name, _ in lines]
    rows["LINEWAVE"] = [wave for _, wave in lines]
    for name in rows.dtype.names or ():
        if name.endswith("_ERR") or name == "LINECHI2":
            rows[name] = -1.0  # the lines are not fitted, because these stars have no emission
    return rows


def _spaced(text: str, width: int) -> bytes:
    """Return ``text`` in ASCII, padded with spaces as IDL does; astropy strips them."""
    return text[:width].ljust(width).encode("ascii")
