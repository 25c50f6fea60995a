"""Label spectra in a notebook or a script: in this process, without Ray.

    model = raystellar.load("model")
    stars = model.label("spectra/0266")

The rows equal the rows of ``raystellar label`` to the last bit, since both run the same code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.table import Column, MaskedColumn, Table

from raystellar.catalog.labeller import Labeller
from raystellar.catalog.repeats import find_stars
from raystellar.config import or_default
from raystellar.errors import InputError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.files.places import PathOrUrl
from raystellar.model.bundle_files import load_bundle
from raystellar.output.folder import rejects_table
from raystellar.output.manifest import cut, slices_of
from raystellar.preprocessing.ingest import Admitted, Batch, choose_rv, gather, ingest, take_prepared
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import CATALOG, about_field, arrow_schema
from raystellar.spectra.arrays import ArraySpectrum, read_arrays
from raystellar.spectra.containers import as_mappings, is_container
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import Prepared, Spectrum

BATCH_ROWS = 1024
"""Largest number of spectra preprocessed at a time; they take 20 MB."""

BATCH_BYTES = 1 << 28
"""Size of the input files read at a time [bytes]."""


class Labels(Table):
    """Table of catalogue rows, with units."""

    rejects: Table | None = None
    """Table of the spectra that could not be used, with the reasons; None in a selection of the rows."""


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

    def __init__(self, bundle: PathOrUrl, quality: QualityConfig | None = None) -> None:
        self.bundle = load_bundle(bundle)
        self._labeller = Labeller(self.bundle, or_default(quality, QualityConfig))
        self._preprocessor = Preprocessor(self.bundle.preprocess)
        self._fetcher = Fetcher(FetchConfig())

    def __repr__(self) -> str:
        return f"Model({self.bundle.model_id}, made {self.bundle.created})"

    def label(self, spectra: Any) -> Labels:
        """Label spectra; each spectrum is a row of the returned table, or a row of its ``rejects``.

        ``star_id`` and ``is_primary`` compare the rows of this call only; arrays are compared by ``ra`` and ``dec``.

        Parameters
        ----------
        spectra : one or many files, folders, globs or lists of them; or one or many of the following

            - a mapping of arrays, see below. Where ``flux`` has two axes, each of its rows is a spectrum; the other
              values are either common to all spectra or one a spectrum
            - a ``Table`` or ``QTable`` of astropy or a ``DataFrame`` of pandas with such names for columns. Where the
              cells of ``flux`` are arrays, each row is a spectrum. Where they are numbers, the table is one spectrum,
              and each row a pixel. What is common to all rows may stand in ``meta`` or ``attrs``
            - a ``Dataset`` of xarray with such names
            - a ``Spectrum``, ``SpectrumList`` or ``SpectrumCollection`` of specutils. ``spectral_axis`` is as observed,
              and ``radial_velocity`` the velocity of the star in it; exactly 0, the default of specutils, is unknown.
              ``meta`` may hold ``spec_id``, ``ra`` and ``dec``. The reader of specutils for SDSS files masks each pixel
              with a bit in ``and_mask``, good ones too; with ``spectrum.mask = None`` the labels are those of the file
            - a record of a reader of ``raystellar.spectra``

            The names are

            ``wavelength``  vacuum wavelength [angstrom], or a Quantity of wavelength, frequency, wavenumber or energy,
            increasing or decreasing; or ``loglam``, log10 of the vacuum wavelength [angstrom]
            ``flux``  flux per wavelength F_lambda in any unit; a Quantity per frequency or in photons is converted
            ``ivar``  inverse variance of the flux, 0 where the pixel is bad; or ``variance``; or the standard deviation
            as ``sigma``, ``error`` or ``uncertainty``; or an uncertainty of astropy as ``uncertainty``
            ``mask``  True where the pixel is bad, as are masked pixels of the other arrays; may be left out
            ``rv``  heliocentric radial velocity [km/s]; a spectrum without it is labelled as if at rest, and flagged
            ``spec_id``, ``ra``, ``dec``, ``catalogid``, ``obs_id``  copied into the row; positions in degrees; may be
            left out

        Raises
        ------
        InputError : a file does not exist, a needed array is missing, a unit cannot be used, or the wavelengths are air
            wavelengths
        """
        rows, rejects = [], []
        for batch in self._batches(spectra):
            rows.append(self._labeller.rows(batch).cast(arrow_schema(CATALOG)))
            rejects += batch.rejects
        if not rows:
            raise InputError("there are no spectra to label")
        table = pa.concat_tables(rows)
        table = find_stars(lambda names: [table.select(names)]).decide(table).cast(arrow_schema(CATALOG))
        labels = Labels(_columns(table))
        labels.rejects = Table(_columns(rejects_table(rejects)))
        return labels

    def _batches(self, spectra: Any) -> Iterator[Batch]:
        items = _items(spectra)
        first: Any = next(items, None)
        if _is_path(first):
            for shard in cut(make_manifest(chain([first], items)), BATCH_ROWS, BATCH_BYTES):
                yield ingest(slices_of(shard), self._preprocessor, self._admit, self._fetcher)
        elif first is not None:
            records = _records(chain([first], items))
            while some := list(islice(records, BATCH_ROWS)):
                yield gather([("", some)], len(some), self._preprocessor, self._admit)

    def _admit(self, spectrum: Spectrum) -> Admitted:
        limit = self._preprocessor.config.max_abs_rv
        if isinstance(spectrum, Prepared):
            return take_prepared(spectrum, self.bundle.preprocess)
        if not isinstance(spectrum, ArraySpectrum):
            return choose_rv(spectrum, None, -1, limit)
        if abs(spectrum.rv) <= limit:
            return Admitted(spectrum.rv, "given")
        return Admitted(math.nan, "none")


def _is_path(item: Any) -> bool:
    return isinstance(item, str | os.PathLike)


def _is_one(item: Any) -> bool:
    """Return whether ``item`` is a path, a record, or a container of arrays."""
    return _is_path(item) or isinstance(item, Spectrum) or is_container(item)


def _items(spectra: Any) -> Iterator[Any]:
    """Yield the paths, or the records and containers, that the user passed.

    Raises
    ------
    InputError : an item is none of them, or there are paths and others
    """
    many = [spectra] if _is_one(spectra) else spectra
    if not isinstance(many, Iterable) or getattr(many, "ndim", 1) == 0:  # what has an index only may have no end
        raise _no_spectrum(spectra)
    paths = None
    for item in many:
        if not _is_one(item):
            raise _no_spectrum(item)
        if paths not in (None, _is_path(item)):
            raise InputError("files and arrays cannot be labelled in one call; make two calls")
        paths = _is_path(item)
        yield item


def _no_spectrum(item: Any) -> InputError:
    return InputError(
        f"an object of type {type(item).__name__} is no spectrum; give paths, mappings of arrays, tables of astropy or "
        "pandas, spectra of specutils, or a list of them"
    )


def _records(items: Iterable[Any]) -> Iterator[Spectrum | SpectrumError]:
    """Yield the spectra of records and containers, and a SpectrumError for each whose arrays cannot be used."""
    number = 0
    for item in items:
        if isinstance(item, Spectrum):
            yield item
            number += 1
            continue
        try:
            for mapping in as_mappings(item):
                for spectrum in read_arrays(mapping, number):
                    yield spectrum
                    number += 1
        except InputError as error:
            raise InputError(f"spectrum {number}: {error}") from None


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


def load(bundle: PathOrUrl, quality: QualityConfig | None = None) -> Model:
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
