"""The wavelengths of a Parquet table of spectra: their unit, whether they are in vacuum, and grids in the metadata.

Nothing is guessed. A wavelength without a unit is read as angstrom, unless all values could as well be nanometres.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa

from raystellar.errors import SpectrumError
from raystellar.schema import CONTENT_KEY
from raystellar.spectra.record import lattice, loglam_of
from raystellar.spectra.table_columns import COLUMN_NAMES, Leaf, fold

LEAST_WAVELENGTH = 2000.0
"""Wavelengths without a unit that are all smaller than this may be nanometres [angstrom]."""

ANGSTROM = ("angstrom", "angstroms", "aa", "a", "å", "0.1nm", "0.1 nm")
"""Names of the unit angstrom, in lower case. astropy reads all other units, and takes 0.3 s to import."""

_ASTROPY_KEY = b"table_meta_yaml"
_AIR = re.compile(r"\bair\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wavelengths:
    """Facts about the wavelengths of all spectra of a file, which its metadata gives."""

    unit: float | None = None
    """Length of the unit of the column ``wavelength`` [angstrom]; None where the file does not tell the unit."""

    grid: np.ndarray | None = None
    """log10 of the wavelengths of every spectrum [angstrom], (n,) float32, where the metadata lists them."""

    coefficients: Mapping[str, float] = field(default_factory=dict)
    """COEFF0 and COEFF1 of every spectrum, where the metadata has them."""

    def loglam(self, values: Mapping[str, Any], pixels: int) -> np.ndarray:
        """Return the wavelengths of a spectrum that has no list of wavelengths, as in ``Spectrum``.

        Parameters
        ----------
        values : values of the row, by quantity
        pixels : number of pixels

        Raises
        ------
        SpectrumError : COEFF0 and COEFF1 declare no lattice, or a grid has another number of pixels
        """
        if self.grid is None:
            given = {**values, **self.coefficients}
            return lattice(given["coeff0"], given["coeff1"], pixels)
        if len(self.grid) != pixels:
            raise SpectrumError("read", "columns of unequal length", f"flux {pixels}, wavelengths {len(self.grid)}")
        return self.grid.copy()


def find_wavelengths(schema: pa.Schema, leaves: Mapping[str, Leaf]) -> Wavelengths:
    """Return what the metadata tells of the wavelengths.

    Parameters
    ----------
    schema : schema of the file
    leaves : leaf of each quantity, see ``table_columns.choose``

    Raises
    ------
    SpectrumError : there are no wavelengths, they are in air, or their unit is not a length
    """
    leaf = leaves.get("wavelength") or leaves.get("loglam")
    if leaf:
        unit, words = _described(schema, leaf)
        if _AIR.search(words):
            raise SpectrumError("read", "wavelengths in air", f"column {leaf.name}; convert the wavelengths to vacuum")
        return Wavelengths(unit=_angstrom(unit) if "wavelength" in leaves else None)
    if {"coeff0", "coeff1"} <= leaves.keys():
        return Wavelengths()
    metadata = {**(schema.metadata or {}), **leaves["flux"].about}
    return _in_metadata({fold(_text(key)): value for key, value in metadata.items()})


def to_loglam(wavelength: np.ndarray, unit: float | None) -> np.ndarray:
    """Return log10 of wavelengths [angstrom] (n,) float32.

    Parameters
    ----------
    wavelength : (n,) of any number type
    unit : length of the unit of ``wavelength`` [angstrom]; None where the unit is not known

    Raises
    ------
    SpectrumError : the unit is not known, and the values may be nanometres
    """
    if unit is None and len(wavelength) and (wavelength < LEAST_WAVELENGTH).all():
        raise SpectrumError("read", "unknown unit of wavelength", f"up to {wavelength.max():g}, without a unit")
    with np.errstate(all="ignore"):
        return loglam_of(wavelength if unit is None else wavelength.astype(np.float64) * unit)


def _in_metadata(metadata: Mapping[str, bytes]) -> Wavelengths:
    """Return the wavelengths in the metadata: COEFF0 and COEFF1, or a list in JSON under an accepted name."""
    if {"coeff0", "coeff1"} <= metadata.keys():
        return Wavelengths(coefficients={key: _number(key, metadata[key]) for key in ("coeff0", "coeff1")})
    accepted = [(key, name) for key in ("loglam", "wavelength") for name in COLUMN_NAMES[key]]
    for key, name in accepted:
        if fold(name) in metadata:
            grid = _list(key, metadata[fold(name)])
            return Wavelengths(grid=grid.astype(np.float32) if key == "loglam" else to_loglam(grid, None))
    names = ", ".join(name for _, name in accepted)
    raise SpectrumError("read", "missing column loglam", f"accepted: {names}; or COEFF0 and COEFF1")


def _number(key: str, text: bytes) -> float:
    """Return the number in a text."""
    try:
        return float(text)
    except ValueError:
        raise SpectrumError("read", f"bad value {key}", repr(text[:30])) from None


def _list(key: str, text: bytes) -> np.ndarray:
    """Return the numbers (n,) float64 in a list in JSON."""
    try:
        values = np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError, RecursionError):
        values = np.empty((0, 0))
    if values.ndim != 1:
        raise SpectrumError("read", f"bad value {key}", f"not a list of numbers: {text[:30]!r}")
    return values


def _angstrom(unit: str) -> float | None:
    """Return the length of a unit [angstrom]; None where no unit is named."""
    if not unit:
        return None
    if unit.lower() in ANGSTROM:
        return 1.0
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.AA))
    except (ValueError, TypeError, units.UnitConversionError):
        raise SpectrumError("read", "unknown unit of wavelength", repr(unit[:30])) from None


def _described(schema: pa.Schema, leaf: Leaf) -> tuple[str, str]:
    """Return the unit of a column, empty where none is named, and all words about the wavelengths in the metadata."""
    metadata = schema.metadata or {}
    about = {fold(_text(key)): _text(value) for key, value in leaf.about.items()}
    about = _in_votable(metadata, leaf.name) | _in_astropy(metadata, leaf.name) | about
    words = [_text(value) for value in metadata.values() if value.isalpha()]  # such as AIRORVAC = air
    return (about.get("unit") or about.get("units") or "").strip(), " ".join((*about.values(), *words))


def _in_votable(metadata: Mapping[bytes, bytes], name: str) -> dict[str, str]:
    """Return what the VOTable in the metadata of a file tells of a column, see ``schema.votable``."""
    try:
        elements = ElementTree.fromstring(metadata.get(CONTENT_KEY.encode(), b"<none/>")).iter()
    except ElementTree.ParseError:
        return {}
    for element in elements:
        if element.tag.endswith("FIELD") and element.get("name") == name:
            return {"unit": element.get("unit", ""), "description": " ".join(element.itertext())}
    return {}


def _in_astropy(metadata: Mapping[bytes, bytes], name: str) -> dict[str, str]:
    """Return what astropy wrote about a column in the metadata of a file."""
    if _ASTROPY_KEY not in metadata:
        return {}
    from astropy.table.meta import YamlParseError, get_header_from_yaml

    try:
        columns = get_header_from_yaml(_text(metadata[_ASTROPY_KEY]).splitlines())["datatype"]
        column = next(column for column in columns if column.get("name") == name)
    except (YamlParseError, StopIteration, KeyError, TypeError, AttributeError):
        return {}
    return {key: str(column[key]) for key in ("unit", "description") if key in column}


def _text(value: bytes) -> str:
    """Return a value of the metadata as text."""
    return value.decode(errors="replace")
