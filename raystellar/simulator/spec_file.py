"""Write spec-PLATE-MJD-FIBER.fits files in the layout of the SDSS "lite" spectra of run2d 26.

astropy renders each header once, as a template. Every file replaces values in the bytes of the templates and is written
by one call. The files have the traps of real files: RA and DEC of the primary header are the centre of the plate,
PLUG_RA and PLUG_DEC are the target, and RUN2D is in HDU2 only.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from astropy.io import fits

from raystellar.files import places
from raystellar.schema import FITS_BLOCK, FITS_CARD
from raystellar.simulator.instrument import SimulatedSpectrum
from raystellar.simulator.specobj import array_type, dtype, layout, specobj_row, spzline_rows
from raystellar.simulator.spectro1d import Fibre, specobj_id
from raystellar.spectra.record import LATTICE_STEP

COADD = (
    ("flux", "E"),
    ("loglam", "E"),
    ("ivar", "E"),
    ("and_mask", "J"),
    ("or_mask", "J"),
    ("wdisp", "E"),
    ("sky", "E"),
    ("model", "E"),
)
"""Columns of HDU1 and their FITS formats."""

PRIMARY: tuple[tuple[str, Any, str], ...] = (
    ("TAI", 0.0, "1st row - Number of seconds since Nov 17 1858"),
    ("RA", 0.0, "1st row - Right ascension of telescope boresigh"),
    ("DEC", 0.0, "1st row - Declination of telescope boresight (d"),
    ("EQUINOX", 2000.0, ""),
    ("RADECSYS", "FK5", ""),
    ("TIMESYS", "tai", "TAI, not UTC"),
    ("MJD", 0, "MJD of observation"),
    ("MJDLIST", "00000", ""),
    ("VERSION", "simulated", "version of IOP"),
    ("CAMVER", "SPEC2 v4_5", "Camera code version"),
    ("OBSERVER", "raystellar", ""),
    ("SIMULATE", True, "Made by a simulator, not by a telescope"),
    ("TELESCOP", "SDSS 2.5-M", "Sloan Digital Sky Survey"),
    ("NEXP_B1", 4, "b1 camera number of exposures"),
    ("NEXP_R1", 4, "r1 camera number of exposures"),
    ("EXPT_B1", 5200.0, "b1 camera exposure time (seconds)"),
    ("EXPT_R1", 5200.0, "r1 camera exposure time (seconds)"),
    ("EXPTIME", 5200.0, "Minimum of exposure times for all cameras"),
    ("FLAVOR", "science", "Flavor of this sequence (e.g., dome flat, etc."),
    ("QUALITY", "excellent", "night/image quality"),
    ("RADEG", 0.0, "Right Ascension. (degrees)"),
    ("DECDEG", 0.0, "Declination. (degrees)"),
    ("PLATEID", 0, "Plate Id"),
    ("TILEID", 0, "Tile Id"),
    ("CARTID", 4, "Cartridge used in this plugging"),
    ("MAPID", 0, "Map Id"),
    ("NAME", "0000-00000-01", "Name of target; PlateId-MJD-Mapper ReRun"),
    ("COLBIN", 1, "Binning factor perpendicular to the columns"),
    ("ROWBIN", 1, "Binning factor perpendicular to the rows"),
    ("AIRTEMP", 9.35, "Temperature reported by TCC"),
    ("PRESSURE", 72012.75, "Atmospheric Pressure as reported by TCC"),
    ("VERSIDL", "6.3", "Version of IDL"),
    ("VERSUTIL", "v5_3_0", "Version of idlutils"),
    ("VERSREAD", "v5_3_12", "Version of idlspec2d for pre-processing raw dat"),
    ("VERS2D", "v5_3_12", "Version of idlspec2d for 2D reduction"),
    ("VERSCOMB", "v5_3_12", "Version of idlspec2d for combining multiple spe"),
    ("HELIO_RV", 4.97, "Heliocentric correction (added to velocities)"),
    ("VACUUM", True, "Wavelengths are in vacuum"),
    ("SFLATTEN", True, "Superflat has been applied"),
    ("PSFSKY", 3, "Order of PSF skysubtraction"),
    ("SKYCHI2", 1.0, "Mean chi^2 of sky-subtraction"),
    ("SCHI2MIN", 0.95, ""),
    ("SCHI2MAX", 1.1, ""),
    ("PREJECT", 0.2, "Profile area rejection threshold"),
    *(
        (f"SPEC{s}_{b}", 20.0, f"(S/N)^2 for spec  {s} at mag {m}")
        for s in (1, 2)
        for b, m in (("G", 20.20), ("R", 20.25), ("I", 19.90))
    ),
    *(
        (f"{b}{kind}STD", value, f"Spectrophoto {text} for std stars in {b}")
        for b in ("G", "R", "I", "GR", "RI")
        for kind, text, value in (("OFF", "offset", 0.0), ("RMS", "RMS", 0.02))
    ),
    ("SECFOCUS", 1300.0, "Secondary Mirror Position as reported by TCC"),
    ("HUMIDITY", 0.175, "Percent Humidity as reported by TCC"),
    ("PROGRAM", "binning 1   1", "Program for the CCD"),
    ("SCATPOLY", 0, "Extraction: Order of scattered light polynomial"),
    ("NFITPOLY", 1, "Extraction: Number of parameters in each profil"),
    ("XCHI2", 1.0, "Extraction: Mean chi^2"),
    ("XCHI2MIN", 0.95, ""),
    ("XCHI2MAX", 1.05, ""),
    ("SHIFT", 0.0, "Angstroms, at 4000AA"),
    ("FBADPIX1", 0.0015, "Fraction of bad pixels on spectro-1"),
    ("FBADPIX2", 0.0015, "Fraction of bad pixels on spectro-2"),
    ("NSTD", 14, "Number of (good) std stars"),
    ("LOWREJ", 5, "Extraction: low rejection"),
    ("HIGHREJ", 8, "Extraction: high rejection"),
    ("PROFTYPE", 3, "Extraction profile: 1=Gaussian"),
    ("NWORDER", 2, "Linear-log10 coefficients"),
    ("WFITTYPE", "LOG-LINEAR", "Linear-log10 dispersion"),
    ("COEFF0", 3.5785, "Central wavelength (log10) of first pixel"),
    ("COEFF1", 0.0001, "Log10 dispersion per pixel"),
    ("FBADPIX", 0.0015, "Fraction of bad pixels"),
    ("WAT0_001", "system=linear", ""),
    ("WAT1_001", "wtype=linear label=Wavelength units=Angstroms", ""),
    ("DC-FLAG", 1, "Log-linear flag"),
    ("BUNIT", "1E-17 erg/cm^2/s/Ang", ""),
    ("PLUG_RA", 0.0, "RA of object [deg]"),
    ("PLUG_DEC", 0.0, "dec of object [deg]"),
    ("SPEC_ID", " " * 22, "Unique object identifier"),
    ("FIBERID", 1, "Fiber number (1-640)"),
    ("NEXP", 8, "Number of individual exposures"),
    *((f"EXPID{i + 1:02d}", f"{'br'[i // 4]}1-{2591 + i % 4:08d}-00002595-00002596", "") for i in range(8)),
)
"""Cards of the primary header: name, value in the template, comment. ``primary_values`` has the values that vary."""


class Template:
    """The bytes of a header, padded to blocks, in which values can be replaced."""

    def __init__(self, cards: list[tuple[str, Any, str]]) -> None:
        header = fits.Header([fits.Card(*card) for card in cards])
        self.text = header.tostring().encode("ascii")
        self.offsets = {name: FITS_CARD * i for i, name in enumerate(header) if name != "COMMENT"}

    def fill(self, values: dict[str, Any]) -> bytes:
        """Return the header with these values; a string must be as long as the string in the template."""
        text = bytearray(self.text)
        for name, value in values.items():
            start = self.offsets[name] + 10
            field = f"'{value:<8}'" if isinstance(value, str) else f"{value!r:>20}".replace("e", "E")
            text[start : start + len(field)] = field.encode("ascii")
        return bytes(text)


def spec_name(plate: int, mjd: int, fiberid: int) -> str:
    """Return the name of the file of a spectrum."""
    return f"spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


def write_spec(path: str, fibre: Fibre, spectrum: SimulatedSpectrum) -> int:
    """Write the file of a spectrum whole or not at all, and return its size [bytes].

    Raises
    ------
    OutputError : the file cannot be written
    """
    content = spec_bytes(fibre, spectrum)
    places.write_bytes(path, content, durable=False)  # a plate has hundreds of files; its part marks that all are there
    return len(content)


def spec_bytes(fibre: Fibre, spectrum: SimulatedSpectrum) -> bytes:
    """Return the content of the file of a spectrum."""
    coadd, specobj, spzline = coadd_table(spectrum), specobj_row(fibre, spectrum), spzline_rows(fibre)
    primary, coadd_header, specobj_header, spzline_header = _templates()
    return b"".join(
        (
            primary.fill(primary_values(fibre, spectrum.k0)),
            coadd_header.fill({"NAXIS2": len(coadd)}),
            _padded(coadd.tobytes()),
            specobj_header.text,
            _padded(specobj.tobytes()),
            spzline_header.text,
            _padded(spzline.tobytes()),
        )
    )


def coadd_table(spectrum: SimulatedSpectrum) -> np.ndarray:
    """Return the rows of HDU1 (n,), big-endian."""
    table = np.empty(len(spectrum.flux), dtype=[(name, dtype(form)) for name, form in COADD])
    for name, _ in COADD:
        table[name] = getattr(spectrum, name)
    return table


def primary_values(fibre: Fibre, k0: int) -> dict[str, Any]:
    """Return the values of the primary header that vary from file to file."""
    return {
        "TAI": (fibre.mjd + 0.25) * 86400.0,
        "RA": round(fibre.plate_ra, 6),
        "DEC": round(fibre.plate_dec, 6),
        "RADEG": round(fibre.plate_ra, 4),
        "DECDEG": round(fibre.plate_dec, 4),
        "MJD": fibre.mjd,
        "MJDLIST": f"{fibre.mjd:05d}",
        "PLATEID": fibre.plate,
        "TILEID": fibre.plate,
        "MAPID": fibre.mjd,
        "NAME": f"{fibre.plate:04d}-{fibre.mjd:05d}-01",
        "COEFF0": round(k0 * LATTICE_STEP, 4),
        "PLUG_RA": round(fibre.ra, 6),
        "PLUG_DEC": round(fibre.dec, 6),
        "FIBERID": fibre.fiberid,
        "SPEC_ID": f"{specobj_id(fibre):>22}",
    }


@functools.lru_cache(maxsize=1)
def _templates() -> tuple[Template, Template, Template, Template]:
    """Return the templates of the four headers of a spec file."""
    primary: list[tuple[str, Any, str]] = [
        ("SIMPLE", True, "conforms to FITS standard"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, ""),
    ]
    spzline, specobj = layout()["spzline"], layout()["specobj"]
    return (
        Template([*primary, *PRIMARY]),
        Template(_table_cards(COADD, 0, "COADD")),
        Template(_table_cards(specobj, 1, "SPECOBJ")),
        Template(_table_cards(spzline, len(layout()["lines"]), "SPZLINE")),
    )


def _table_cards(columns: Any, rows: int, name: str) -> list[tuple[str, Any, str]]:
    """Return the cards of the header of a binary table."""
    width = sum(np.dtype(array_type(form)).itemsize for _, form in columns)
    cards: list[tuple[str, Any, str]] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", width, "length of dimension 1"),
        ("NAXIS2", rows, "length of dimension 2"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(columns), "number of table fields"),
    ]
    for i, (column, form) in enumerate(columns, start=1):
        cards += [(f"TTYPE{i}", column, ""), (f"TFORM{i}", form, "")]
    return [*cards, ("EXTNAME", name, "")]


def _padded(data: bytes) -> bytes:
    """Return ``data``, padded with zeros to whole blocks."""
    return data + b"\0" * (-len(data) % FITS_BLOCK)
