"""What the pipeline found in one spectrum, as spec files and spZbest give it: class, redshift, lines.

The columns are those of the real files (``specobj.json``).
"""

from __future__ import annotations

import functools
import json
import math
from importlib import resources
from typing import Any

import numpy as np

from raystellar.simulate.instrument import SimulatedSpectrum
from raystellar.simulate.spectro1d import Fibre, specobj_id

SN_BANDS = ((3800.0, 4000.0), (4000.0, 5500.0), (5500.0, 6900.0), (6900.0, 8200.0), (8200.0, 9220.0))
"""Where SN_MEDIAN is taken, about ugriz [A]."""


@functools.lru_cache(maxsize=1)
def layout() -> dict[str, Any]:
    """Return ``specobj.json``: the columns of HDU2 ("specobj") and HDU3 ("spzline"), and the fitted lines."""
    text = resources.files("raystellar.simulate").joinpath("specobj.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def specobj_row(target: Fibre, spectrum: SimulatedSpectrum | None) -> np.ndarray:
    """Return HDU2: one big-endian record; without a spectrum, what only depends on the target."""
    row = _empty_row().copy()
    one = row[0]
    for name, value in _target_values(target).items():
        one[name] = _spaced(value, row.dtype[name].itemsize) if isinstance(value, str) else value
    if spectrum is not None:
        for name, value in _spectrum_values(spectrum).items():
            one[name] = value
    return row


def spzline_rows(target: Fibre) -> np.ndarray:
    """Return HDU3: the lines that were looked for, as big-endian records."""
    rows = _spzline_template().copy()
    rows["PLATE"], rows["MJD"], rows["FIBERID"] = target.plate, target.mjd, target.fiberid
    rows["LINEZ"] = target.z
    return rows


def array_type(form: str) -> tuple[str, tuple[int, ...]]:
    """Return NumPy type and shape of one FITS column format."""
    count = int(form[:-1] or 1)
    if form.endswith("A"):
        return f"S{count}", ()
    return dtype(form[-1]), (count,) if count > 1 else ()


def dtype(code: str) -> str:
    """Return NumPy type of one letter of a FITS column format."""
    return {"E": ">f4", "D": ">f8", "J": ">i4", "I": ">i2", "K": ">i8", "B": "u1"}[code]


def _target_values(target: Fibre) -> dict[str, Any]:
    ra, dec = math.radians(target.ra), math.radians(target.dec)
    elodie, kind = target.elodie, "SKY" if target.sky else "NONLEGACY"
    return {
        "PLATE": target.plate,
        "TILE": target.plate,
        "MJD": target.mjd,
        "FIBERID": target.fiberid,
        "PLUG_RA": target.ra,
        "PLUG_DEC": target.dec,
        "CX": math.cos(dec) * math.cos(ra),
        "CY": math.cos(dec) * math.sin(ra),
        "CZ": math.sin(dec),
        "SPECPRIMARY": int(target.primary),
        "SPECSEGUE": int(target.primary),
        "SPECSEGUE1": int(target.primary),
        "SPECOBJID": f"{specobj_id(target):>22}",
        "PLATEID": f"{specobj_id(target, with_fibre=False):>19}",
        "SOURCETYPE": kind,
        "TARGETTYPE": "SKY" if target.sky else "SCIENCE",
        "SECTARGET": 16 if target.sky else 2,
        "SPECTROGRAPHID": 1 if target.fiberid <= 320 else 2,
        "CLASS": target.object_class,
        "SUBCLASS": target.subclass,
        "Z": target.z,
        "Z_ERR": target.z_err,
        "ZWARNING": target.zwarning,
        "ELODIE_FILENAME": elodie.name + ".fits",
        "ELODIE_OBJECT": elodie.name,
        "ELODIE_TEFF": elodie.teff,
        "ELODIE_LOGG": elodie.logg,
        "ELODIE_FEH": elodie.feh,
        "ELODIE_Z": elodie.z,
        "ELODIE_Z_ERR": elodie.z_err,
    }


def _spectrum_values(spectrum: SimulatedSpectrum) -> dict[str, Any]:
    good = spectrum.ivar > 0
    loglam = spectrum.loglam[good]
    sn = spectrum.flux[good] * np.sqrt(spectrum.ivar[good])
    edges = np.searchsorted(loglam, np.log10(SN_BANDS))
    ends = 10.0 ** loglam[[0, -1]].astype(np.float64) if len(loglam) else np.zeros(2)
    return {
        "WAVEMIN": ends[0],
        "WAVEMAX": ends[1],
        "WCOVERAGE": 1e-4 * len(loglam),
        "SN_MEDIAN_ALL": spectrum.sn_median,
        "SN_MEDIAN": [np.median(sn[a:b]) if b > a else 0.0 for a, b in edges],
        "DOF": max(len(loglam) - 10, 0),
        "ANYANDMASK": np.bitwise_or.reduce(spectrum.and_mask),
        "ANYORMASK": np.bitwise_or.reduce(spectrum.or_mask),
    }


@functools.lru_cache(maxsize=1)
def _empty_row() -> np.ndarray:
    """One row of HDU2 with what is the same in all files."""
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
    lines = layout()["lines"]
    rows = np.zeros(len(lines), dtype=[(name, *array_type(form)) for name, form in layout()["spzline"]])
    rows["LINENAME"] = [name.ljust(13).encode() for name, _ in lines]
    rows["LINEWAVE"] = [wave for _, wave in lines]
    for name in rows.dtype.names or ():
        if name.endswith("_ERR") or name == "LINECHI2":
            rows[name] = -1.0  # not fitted: there is no emission in these stars
    return rows


def _spaced(text: str, width: int) -> bytes:
    """Pad with spaces, as IDL does; astropy strips them."""
    return text[:width].ljust(width).encode("ascii")
