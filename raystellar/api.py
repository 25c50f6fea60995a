"""Label spectra in a notebook or a script: in this process, without Ray.

    model = raystellar.load("model")
    stars = model.label("spectra/0266")

The rows equal the rows of ``raystellar label`` to the last bit, since both run the same code.
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
from astropy.table import Column, MaskedColumn, Table

from raystellar.catalog.labeller import Labeller
from raystellar.catalog.repeats import find_stars
from raystellar.config import nearest
from raystellar.errors import InputError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.model.bundle_files import load_bundle
from raystellar.output.folder import rejects_table
from raystellar.output.manifest import cut, slices_of
from raystellar.preprocessing.ingest import Admitted, Batch, choose_rv, gather, ingest, take_prepared
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import CATALOG, about_field, arrow_schema
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum, check_loglam, median_sn

SpectrumLike = Union[str, "os.PathLike[str]", Mapping[str, Any], Spectrum]
"""A path or URL of spectra, arrays by name, or a record of a reader of ``raystellar.spectra``."""

BATCH_ROWS = 1024
"""Largest number of spectra preprocessed at a time; they take 20 MB."""

BATCH_BYTES = 1 << 28
"""Size of the input files read at a time [bytes]."""

WAVELENGTHS = ("loglam", "wavelength")
"""Accepted names of the array of wavelengths, which every spectrum needs."""

NEEDED_ARRAYS = ("flux", "ivar", "rv")
"""Names of the other values that every spectrum needs."""

SCALARS = ("rv", "spec_id", "ra", "dec")
"""Names of the values that are not arrays: numbers and texts."""


class Labels(Table):
    """Table of catalogue rows, with units."""

    rejects: Table | None = None
    """Table of the spectra that could not be used, with the reasons; None in a selection of the rows."""


@dataclass(slots=True)
class _ArraySpectrum(Spectrum):
    """A spectrum that the user passed as arrays."""

    rv: float = math.nan
    """Heliocentric radial velocity [km/s]; NaN where it is unknown."""


class Model:
    """A trained model, ready to label spectra.

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

    def label(self, spectra: SpectrumLike | Iterable[SpectrumLike]) -> Labels:
        """Label spectra; each spectrum is a row of the returned table, or a row of its ``rejects``.

        ``star_id`` and ``is_primary`` compare the rows of this call only; arrays are compared by ``ra`` and ``dec``.

        Parameters
        ----------
        spectra : one or many files, folders, globs or lists of them; or one or many mappings of arrays:

            ``loglam``  log10 of the vacuum wavelength [angstrom], increasing; or ``wavelength``, the vacuum wavelength
            itself [angstrom] or as a Quantity
            ``flux``  flux per wavelength F_lambda, in any unit
            ``ivar``  inverse variance of the flux, <= 0 where the pixel is bad
            ``rv``  heliocentric radial velocity [km/s]; a spectrum with NaN is labelled as if at rest, and flagged
            ``spec_id``, ``ra``, ``dec``  name and position [deg], copied into the row; may be left out

            Where ``flux`` has two axes, each of its rows is a spectrum; the other values are either common to all
            spectra or one a spectrum.

        Raises
        ------
        InputError : a file does not exist, or a needed array is missing
        """
        batches = list(self._batches(_listed(spectra)))
        rows = pa.concat_tables([self._labeller.rows(batch).cast(arrow_schema(CATALOG)) for batch in batches])
        rows = find_stars(lambda names: [rows.select(names)]).decide(rows).cast(arrow_schema(CATALOG))
        rejects = [reject for batch in batches for reject in batch.rejects]
        labels = Labels(_columns(rows))
        labels.rejects = Table(_columns(rejects_table(rejects)))
        return labels

    def _batches(self, spectra: Sequence[SpectrumLike]) -> Iterator[Batch]:
        paths = [os.fspath(item) for item in spectra if isinstance(item, str | os.PathLike)]
        if len(paths) == len(spectra):
            for shard in cut(make_manifest(paths), BATCH_ROWS, BATCH_BYTES):
                yield ingest(slices_of(shard), self._preprocessor, self._admit, self._fetcher)
            return
        if paths:
            raise InputError(f"files such as {paths[0]} and arrays cannot be labelled in one call; make two calls")
        items = _spectra(spectra)
        while some := list(islice(items, BATCH_ROWS)):
            yield gather([("", some)], len(some), self._preprocessor, self._admit)

    def _admit(self, spectrum: Spectrum) -> Admitted:
        limit = self._preprocessor.config.max_abs_rv
        if isinstance(spectrum, Prepared):
            return take_prepared(spectrum, self.bundle.preprocess)
        if not isinstance(spectrum, _ArraySpectrum):
            return choose_rv(spectrum, None, -1, limit)
        if abs(spectrum.rv) <= limit:
            return Admitted(spectrum.rv, "given")
        return Admitted(math.nan, "none")


def _listed(spectra: SpectrumLike | Iterable[SpectrumLike]) -> Sequence[SpectrumLike]:
    single = isinstance(spectra, str | os.PathLike | Mapping | Spectrum)
    items: list[Any] = [spectra] if single else list(spectra)  # type: ignore[arg-type]  # an iterable
    for item in items:
        if not isinstance(item, str | os.PathLike | Mapping | Spectrum):
            raise InputError(f"a {type(item).__name__} is no spectrum; give paths, or mappings of arrays")
    if not items:
        raise InputError("there are no spectra to label")
    return items


def _spectra(items: Iterable[Any]) -> Iterator[Spectrum | SpectrumError]:
    """Yield the spectra of mappings and records, and a SpectrumError for each mapping whose arrays do not fit."""
    for number, item in enumerate(items):
        if isinstance(item, Spectrum):
            yield item
            continue
        _check_names(item, number)
        for row, values in enumerate(_rows(item)):
            name = str(values.get("spec_id", number if np.ndim(item["flux"]) < 2 else row))
            try:
                yield _spectrum(name, values)
            except SpectrumError as error:
                yield SpectrumError(error.stage, error.reason, error.detail, name)


def _check_names(arrays: Mapping[str, Any], number: int) -> None:
    known = (*WAVELENGTHS, *NEEDED_ARRAYS, *SCALARS)
    for name in arrays:
        if name not in known:
            raise InputError(f"spectrum {number} has {name}, which is not known{nearest(name, known)}")
    missing = [name for name in NEEDED_ARRAYS if name not in arrays]
    if not any(name in arrays for name in WAVELENGTHS):
        missing.insert(0, " or ".join(WAVELENGTHS))
    if missing:
        raise InputError(f"spectrum {number} lacks {', '.join(missing)}")


def _rows(arrays: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping for each spectrum of ``arrays``; a flux with two axes holds one spectrum in each row."""
    if np.ndim(arrays["flux"]) < 2:
        yield arrays
        return
    one_each = {name for name, value in arrays.items() if np.ndim(value) > (0 if name in SCALARS else 1)}
    lengths = {name: len(arrays[name]) for name in one_each}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the numbers of spectra differ: {lengths}; give each array one row for each spectrum")
    for row in range(len(arrays["flux"])):
        yield {name: value[row] if name in one_each else value for name, value in arrays.items()}


def _spectrum(name: str, values: Mapping[str, Any]) -> _ArraySpectrum:
    if "loglam" in values:
        loglam = _floats(values["loglam"])
    else:
        with np.errstate(all="ignore"):  # a wavelength without a logarithm is refused below
            loglam = _floats(np.log10(units.Quantity(values["wavelength"], units.angstrom).value))
    flux, ivar = _floats(values["flux"]), _floats(values["ivar"])
    if not loglam.shape == flux.shape == ivar.shape == (loglam.size,):
        shapes = f"wavelengths {loglam.shape}, flux {flux.shape}, ivar {ivar.shape}"
        raise SpectrumError("read", "arrays do not have one length", shapes)
    check_loglam(loglam)
    return _ArraySpectrum(
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
    """Return the columns of a table with their units, descriptions and UCDs."""
    columns = []
    for field, values in zip(table.schema, table.columns, strict=True):
        data = _data(values)
        about = about_field(field)
        meta = {"ucd": about["ucd"]} if about["ucd"] else {}
        unit, description = about["unit"] or None, about["description"]
        kind = MaskedColumn if isinstance(data, np.ma.MaskedArray) else Column
        columns.append(kind(data, field.name, unit=unit, description=description, meta=meta))
    return columns


def _data(values: pa.ChunkedArray) -> np.ndarray:
    """Return the values of a column: an unknown number is NaN, an unknown integer is masked."""
    if pa.types.is_string(values.type):
        return values.fill_null("").to_numpy().astype(str)
    if pa.types.is_integer(values.type) and values.null_count:  # as floats, large integers would be rounded
        return np.ma.array(values.fill_null(0).to_numpy(), mask=values.is_null().to_numpy())
    return values.to_numpy()


def load(bundle: str | os.PathLike[str], quality: QualityConfig | None = None) -> Model:
    """Load a model, to label spectra in this process without Ray.

    Parameters
    ----------
    bundle : folder written by ``raystellar train``, a path or URL
    quality : limits of the flags

    Raises
    ------
    BundleError : the bundle is missing, damaged or of another version
    """
    return Model(bundle, quality)
