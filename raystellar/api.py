"""A model in a notebook or a script: spectra in, a table out, in this process and without Ray.

    model = raystellar.load("model")
    stars = model.label("spectra/0266")

The rows are those of the stage label, to the last bit: both read, preprocess, predict and judge by the same code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Union

import numpy as np
import pyarrow as pa
from astropy import units
from astropy.table import Column, Table

from raystellar.catalog.labeller import Labeller
from raystellar.catalog.repeats import find_stars
from raystellar.config import nearest
from raystellar.errors import InputError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.model.bundle_files import load_bundle
from raystellar.output.folder import rejects_table
from raystellar.output.manifest import cut, slices_of
from raystellar.preprocess.ingest import Admitted, Batch, choose_rv, gather, ingest, take_prepared
from raystellar.preprocess.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import CATALOG, about_field, arrow_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum, check_loglam, median_sn

Given = Union[str, "os.PathLike[str]", Mapping[str, Any], Spectrum]
"""A place of spectra, arrays by name, or a record of one of our readers."""

ROWS_AT_ONCE = 1024
"""Spectra preprocessed at a time: 20 MB."""

BYTES_AT_ONCE = 1 << 28
"""Of their files."""

WAVELENGTHS = ("loglam", "wavelength")
NEEDED = ("flux", "ivar", "rv")
SCALARS = ("rv", "spec_id", "ra", "dec")


class Labels(Table):
    """Rows of the catalogue, with units; ``rejects`` is the table of what could not be used, and why."""

    rejects: Table | None = None
    """Not in a selection of the rows."""


@dataclass(slots=True)
class _Given(Spectrum):
    """A spectrum from arrays."""

    rv: float = math.nan
    """[km/s]; NaN where it is unknown."""


class Model:
    """A model bundle with all that is needed to apply it.

    Parameters
    ----------
    bundle : folder written by ``raystellar train``
    quality : limits of the flags

    Raises
    ------
    BundleError : the bundle is missing, damaged or of another version
    """

    def __init__(self, bundle: str | os.PathLike[str], quality: QualityConfig | None = None) -> None:
        self.bundle = load_bundle(os.fspath(bundle))
        self._labeller = Labeller(self.bundle, quality or QualityConfig())
        self._preprocessor = Preprocessor(self.bundle.preprocess)
        self._fetcher = Fetcher(FetchConfig())

    def __repr__(self) -> str:
        return f"Model({self.bundle.model_id}, made {self.bundle.created})"

    def label(self, spectra: Given | Iterable[Given]) -> Labels:
        """Label spectra; each is a row of the table that is returned, or one of its ``rejects``.

        ``star_id`` and ``is_primary`` are decided among the rows of the call, for arrays by ``ra`` and ``dec`` only.

        Parameters
        ----------
        spectra : files, folders, globs or lists of them, one or many; or arrays, as a mapping or a sequence of such:

            ``loglam``  log10 of the vacuum wavelength [angstrom], increasing; or ``wavelength`` itself, a number of
            angstroms or a Quantity
            ``flux``  in any unit
            ``ivar``  its inverse variance, <= 0 where the pixel is bad
            ``rv``  heliocentric radial velocity [km/s]; NaN where it is unknown, and the row is labelled as if at rest
            ``spec_id``, ``ra``, ``dec``  go into the row as they are, and may be left out

            Where ``flux`` has two axes, its rows are spectra; the others may be the same for all, or one a spectrum.

        Raises
        ------
        InputError : a place does not exist, or something needed is not given
        """
        batches = list(self._batches(_listed(spectra)))
        rows = pa.concat_tables([self._labeller.rows(batch).cast(arrow_schema(CATALOG)) for batch in batches])
        rows = find_stars(lambda names: [rows.select(names)]).decide(rows).cast(arrow_schema(CATALOG))
        rejects = [reject for batch in batches for reject in batch.rejects]
        labels = Labels(_columns(rows))
        labels.rejects = Table(_columns(rejects_table(rejects)))
        return labels

    def _batches(self, spectra: Sequence[Given]) -> Iterator[Batch]:
        places = [os.fspath(one) for one in spectra if isinstance(one, str | os.PathLike)]
        if len(places) == len(spectra):
            for shard in cut(make_manifest(places), ROWS_AT_ONCE, BYTES_AT_ONCE):
                yield ingest(slices_of(shard), self._preprocessor, self._admit, self._fetcher)
            return
        if places:
            raise InputError(f"places such as {places[0]} and arrays cannot be labelled in one call; make it two")
        items = _spectra(spectra)
        while some := list(islice(items, ROWS_AT_ONCE)):
            yield gather([("", some)], len(some), self._preprocessor, self._admit)

    def _admit(self, spectrum: Spectrum) -> Admitted:
        limit = self._preprocessor.config.max_abs_rv
        if isinstance(spectrum, Prepared):
            return take_prepared(spectrum, self.bundle.preprocess)
        if not isinstance(spectrum, _Given):
            return choose_rv(spectrum, None, -1, limit)
        if abs(spectrum.rv) <= limit:
            return Admitted(spectrum.rv, "given")
        return Admitted(math.nan, "none")


def _listed(spectra: Given | Iterable[Given]) -> Sequence[Given]:
    one = isinstance(spectra, str | os.PathLike | Mapping | Spectrum)
    found: list[Any] = [spectra] if one else list(spectra)  # type: ignore[arg-type]  # it is no single one
    for item in found:
        if not isinstance(item, str | os.PathLike | Mapping | Spectrum):
            raise InputError(f"a {type(item).__name__} is no spectrum; give places, or mappings of arrays")
    if not found:
        raise InputError("there are no spectra to label")
    return found


def _spectra(given: Iterable[Any]) -> Iterator[Spectrum | SpectrumError]:
    """Yield the spectra of mappings and records, and a SpectrumError for each whose arrays make none."""
    for number, one in enumerate(given):
        if isinstance(one, Spectrum):
            yield one
            continue
        _check_names(one, number)
        for row, values in enumerate(_rows(one)):
            name = str(values.get("spec_id", number if np.ndim(one["flux"]) < 2 else row))
            try:
                yield _spectrum(name, values)
            except SpectrumError as error:
                yield SpectrumError(error.stage, error.reason, error.detail, name)


def _check_names(given: Mapping[str, Any], number: int) -> None:
    known = (*WAVELENGTHS, *NEEDED, *SCALARS)
    for name in given:
        if name not in known:
            raise InputError(f"spectrum {number} has {name}, which is not known{nearest(name, known)}")
    missing = [name for name in NEEDED if name not in given]
    if not any(name in given for name in WAVELENGTHS):
        missing.insert(0, " or ".join(WAVELENGTHS))
    if missing:
        raise InputError(f"spectrum {number} lacks {', '.join(missing)}")


def _rows(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping a spectrum, where the flux has two axes."""
    if np.ndim(given["flux"]) < 2:
        yield given
        return
    one_each = {name for name, value in given.items() if np.ndim(value) > (0 if name in SCALARS else 1)}
    lengths = {name: len(given[name]) for name in one_each}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the numbers of spectra differ: {lengths}")
    for row in range(len(given["flux"])):
        yield {name: value[row] if name in one_each else value for name, value in given.items()}


def _spectrum(name: str, values: Mapping[str, Any]) -> _Given:
    if "loglam" in values:
        loglam = _floats(values["loglam"])
    else:
        with np.errstate(all="ignore"):  # what has no logarithm is refused below
            loglam = _floats(np.log10(units.Quantity(values["wavelength"], units.angstrom).value))
    flux, ivar = _floats(values["flux"]), _floats(values["ivar"])
    if not loglam.shape == flux.shape == ivar.shape == (loglam.size,):
        shapes = f"wavelengths {loglam.shape}, flux {flux.shape}, ivar {ivar.shape}"
        raise SpectrumError("read", "arrays do not have one length", shapes)
    check_loglam(loglam)
    return _Given(
        path="", spec_id=name, plate=0, mjd=0, fiberid=0, run2d="",
        ra=_number(values.get("ra", math.nan), units.deg), dec=_number(values.get("dec", math.nan), units.deg),
        object_class="STAR", subclass="", is_sky=False, z=math.nan, z_err=math.nan, zwarning=0,
        sn=median_sn(loglam, flux, ivar), loglam=loglam, flux=flux, ivar=ivar,
        rv=_number(values["rv"], units.km / units.s),
    )  # fmt: skip


def _number(value: Any, unit: Any) -> float:
    return float(units.Quantity(value, unit).value)


def _floats(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _columns(table: pa.Table) -> list[Column]:
    """Return the columns of a table with their units, descriptions and UCDs; an unknown number is NaN."""
    found = []
    for field, values in zip(table.schema, table.columns, strict=True):
        text = pa.types.is_string(field.type)
        data = values.fill_null("").to_numpy().astype(str) if text else values.to_numpy()
        about = about_field(field)
        meta = {"ucd": about["ucd"]} if about["ucd"] else {}
        unit, description = about["unit"] or None, about["description"]
        found.append(Column(data, field.name, unit=unit, description=description, meta=meta))
    return found
