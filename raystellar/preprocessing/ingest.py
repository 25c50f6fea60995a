"""From slices of files to a batch of preprocessed spectra, and rejects.

The stages ``preprocess`` and ``label``, the benchmarks and the Python interface share this module. Each spectrum is
read, admitted and preprocessed. A spectrum that cannot be used becomes a reject with its stage and its reason; it never
raises an exception. The module knows no Ray and writes no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.config import to_plain
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.files.remote_file import RemoteFile
from raystellar.labels.table import LabelTable
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import IDENTITY, N_NOISE, N_PIXELS, OPTIONAL_IDS, Column, arrow_schema
from raystellar.spectra import Item, Slice, read_spectra, read_spectrum
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S, Prepared, Spectrum

MIN_OUTAGE_SPECTRA = 10
"""Least number of spectra that mean an outage when all of them fail; fewer may be files that a user has removed."""

_SPECTRUM_FIELDS = (
    "path",
    "spec_id",
    "plate",
    "mjd",
    "fiberid",
    *OPTIONAL_IDS,
    "run2d",
    "ra",
    "dec",
    "object_class",
    "subclass",
    "zwarning",
    "sn",
    "is_sky",
)
_ADMITTED_FIELDS = ("rv", "e_rv", "rv_source", "row")
_ROW_FIELDS = (*_SPECTRUM_FIELDS, *_ADMITTED_FIELDS, "good_fraction")
_spectrum_values, _admitted_values = attrgetter(*_SPECTRUM_FIELDS), attrgetter(*_ADMITTED_FIELDS)


@dataclass(slots=True)
class Admitted:
    """Decision of a stage to admit a spectrum, with the velocity to remove from it."""

    rv: float
    """Radial velocity to remove [km/s]; NaN where none is known, and then the spectrum is not shifted."""

    rv_source: str
    """Origin of the velocity: ``table``, ``pipeline``, ``given`` or ``none``."""

    e_rv: float = math.nan
    """Error of the velocity [km/s]; NaN where it is not known."""

    row: int = -1
    """Row of the spectrum in the label table; -1 where it has none."""


Admit = Callable[[Spectrum], Admitted]
"""Function that admits a spectrum, or raises SpectrumError to reject it."""


@dataclass
class Batch:
    """The spectra of one shard, in the order of the slices, and within a file in the order of the file."""

    flux: np.ndarray
    """Standardised flux in the rest frame, (n, 4000) float32."""

    ivar: np.ndarray
    """Inverse variance of the flux in blocks of pixels, (n, 500) float32."""

    identity: pa.Table
    """Columns ``schema.IDENTITY``."""

    is_sky: np.ndarray
    """Whether the fibre observed the sky, (n,) bool."""

    rows: np.ndarray
    """Rows in the label table, (n,) int64; -1 where a spectrum has none."""

    rejects: list[tuple[str, SpectrumError]] = field(default_factory=list)
    """Paths of the rejected spectra, and the reasons."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """The step of a stage that turns slices of files into a batch of preprocessed spectra and rejects.

    A worker receives the settings only. It compiles the kernel and opens the connections when it begins.
    """

    config: PreprocessConfig
    """Grid, interpolation and standardisation."""

    admit: Admit
    """Function that chooses the spectra and their velocities."""

    fetch: FetchConfig
    """Limits of the requests to servers."""

    def __call__(self, slices: Iterable[Slice]) -> Batch:
        """Read, admit and preprocess the spectra of ``slices``, see ``ingest``."""
        return ingest(slices, self._preprocessor, self.admit, self._fetcher)

    @cached_property
    def _preprocessor(self) -> Preprocessor:
        return Preprocessor(self.config)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self.fetch)


def ingest(slices: Iterable[Slice], preprocessor: Preprocessor, admit: Admit, fetcher: Fetcher | None = None) -> Batch:
    """Read, admit and preprocess the spectra of ``slices``.

    Parameters
    ----------
    slices : slices of files on disks or servers
    preprocessor : kernel that writes each spectrum on the grid
    admit : function that chooses the spectra and their velocities
    fetcher : downloads files from servers ahead of time, and recognises an outage; without a fetcher each reader opens
        its file itself

    Returns
    -------
    Batch with one row or one reject for each spectrum.

    Raises
    ------
    InputError : a server or disk is gone: too many files in a row failed, or all files of ``slices``
    """
    slices = list(slices)
    room = sum(1 if file_slice.spectra is None else file_slice.spectra for file_slice in slices)
    files = fetcher.stream(file_slice.path for file_slice in slices) if fetcher else repeat((None, None))
    opened = _open_ahead((file_slice, file) for file_slice, (_, file) in zip(slices, files, strict=False))
    checked = _report_to(fetcher, opened) if fetcher else opened
    batch = gather(((file_slice.path, items) for file_slice, items in checked), room, preprocessor, admit)
    if fetcher and room >= MIN_OUTAGE_SPECTRA:
        fetcher.check(len(slices))
    return batch


def gather(
    parts: Iterable[tuple[str, Iterable[Item]]],
    room: int,
    preprocessor: Preprocessor,
    admit: Admit,
) -> Batch:
    """Admit and preprocess at most ``room`` spectra.

    Parameters
    ----------
    parts : path and items of each slice of a file
    room : number of rows to allocate
    preprocessor : kernel that writes each spectrum on the grid
    admit : function that chooses the spectra and their velocities
    """
    flux = np.empty((room, N_PIXELS), dtype=np.float32)
    ivar = np.empty((room, N_NOISE), dtype=np.float32)
    rows: list[tuple[Any, ...]] = []
    rejects: list[tuple[str, SpectrumError]] = []
    for path, items in parts:
        for spectrum in items:
            if isinstance(spectrum, SpectrumError):
                rejects.append((path, spectrum))
                continue
            n = len(rows)
            try:
                admitted = admit(spectrum)
                good_fraction = _prepare(spectrum, preprocessor, admitted.rv, flux[n], ivar[n])
            except SpectrumError as error:
                rejects.append((path, _complete(error, spectrum)))
                continue
            rows.append((*_spectrum_values(spectrum), *_admitted_values(admitted), good_fraction))  # as _ROW_FIELDS
    return _batch(flux[: len(rows)], ivar[: len(rows)], rows, rejects)


def _batch(
    flux: np.ndarray, ivar: np.ndarray, rows: list[tuple[Any, ...]], rejects: list[tuple[str, SpectrumError]]
) -> Batch:
    """Return a batch; each row holds the values of ``_ROW_FIELDS``."""
    columns: dict[str, Sequence[Any]] = dict.fromkeys(_ROW_FIELDS, ())
    if rows:
        columns = dict(zip(_ROW_FIELDS, zip(*rows, strict=True), strict=True))
    return Batch(
        flux=flux,
        ivar=ivar,
        identity=pa.table([_array(column, columns[column.name]) for column in IDENTITY], schema=arrow_schema(IDENTITY)),
        is_sky=np.array(columns["is_sky"], dtype=bool),
        rows=np.array(columns["row"], dtype=np.int64),
        rejects=rejects,
    )


def _prepare(spectrum: Spectrum, preprocessor: Preprocessor, rv: float, flux: np.ndarray, ivar: np.ndarray) -> float:
    """Write a spectrum and its noise on the grid; return the fraction of the grid with good pixels."""
    if isinstance(spectrum, Prepared):
        flux[:], ivar[:] = spectrum.flux, spectrum.ivar
        return spectrum.good_fraction
    return preprocessor(spectrum.loglam, spectrum.flux, spectrum.ivar, 0.0 if math.isnan(rv) else rv, flux, ivar)


def _open_ahead(
    files: Iterable[tuple[Slice, RemoteFile | SpectrumError | None]],
) -> Iterator[tuple[Slice, Iterable[Item]]]:
    """Yield each slice with its items.

    A thread reads the first item of a large file on a server while the items of the file before are in use.
    """
    with ThreadPoolExecutor(1) as aside:
        before: tuple[Slice, Callable[[], Iterator[Item]]] | None = None
        for file_slice, file in files:
            items = _items(file_slice, file)
            large = isinstance(file, RemoteFile) and not file.complete and file_slice.spectra is not None
            ready = aside.submit(_read_first, iter(items)).result if large else partial(iter, items)
            if before:
                yield before[0], before[1]()
            before = file_slice, ready
        if before:
            yield before[0], before[1]()


def _report_to(
    fetcher: Fetcher, files: Iterable[tuple[Slice, Iterable[Item]]]
) -> Iterator[tuple[Slice, Iterable[Item]]]:
    """Yield each slice with its items, and tell the fetcher whether its file was read."""
    for file_slice, items in files:
        first = list(islice(rest := iter(items), 1))
        fetcher.seen(file_slice.path, next((item for item in first if isinstance(item, SpectrumError)), None))
        yield file_slice, chain(first, rest)


def _read_first(items: Iterator[Item]) -> Iterator[Item]:
    """Return the items after reading the first."""
    return chain(list(islice(items, 1)), items)


def _items(file_slice: Slice, file: RemoteFile | SpectrumError | None) -> Iterable[Item]:
    """Return the items of a slice.

    A file whose spectra were not counted must hold one spectrum. A file with more is refused, so that no spectrum is
    lost unnoticed.
    """
    if isinstance(file, SpectrumError):
        return repeat(file, 1 if file_slice.spectra is None else file_slice.spectra)
    if file_slice.spectra is not None:
        return read_spectra(file_slice.path, file, file_slice.first, file_slice.spectra)
    try:
        return (read_spectrum(file_slice.path, file),)
    except SpectrumError as error:
        return (error,)


def take_prepared(spectrum: Prepared, config: PreprocessConfig) -> Admitted:
    """Admit a spectrum that is already preprocessed, with the velocity that was removed.

    Raises
    ------
    SpectrumError : the spectrum was preprocessed with other settings than ``config``
    """
    wanted, used = to_plain(config), spectrum.preprocess
    different = sorted(key for key in {*wanted, *used} if wanted.get(key) != used.get(key))
    if different:
        raise SpectrumError("preprocess", "preprocessed in another way than the model wants", ", ".join(different))
    return Admitted(spectrum.rv, spectrum.rv_source, spectrum.e_rv)


def choose_rv(spectrum: Spectrum, labels: LabelTable | None, row: int, max_abs_rv: float) -> Admitted:
    """Admit a spectrum with the velocity of the label table where it has one, else with c z of the pipeline.

    A velocity beyond ``max_abs_rv`` [km/s] is not that of a star. The spectrum is then admitted without a velocity,
    with the source ``none``.

    Raises
    ------
    SpectrumError : neither the label table nor the pipeline has a velocity
    """
    if labels is not None and row >= 0 and np.isfinite(labels.rv[row]):
        return Admitted(float(labels.rv[row]), "table", float(labels.e_rv[row]), row)
    if not math.isfinite(spectrum.z):
        raise SpectrumError("rv", "no radial velocity", "neither the label table nor the pipeline has one")
    rv = SPEED_OF_LIGHT_KM_S * spectrum.z
    if abs(rv) > max_abs_rv:
        return Admitted(math.nan, "none", row=row)
    error = spectrum.z_err if spectrum.z_err >= 0.0 else math.nan  # negative where the fit of the pipeline failed
    return Admitted(rv, "pipeline", SPEED_OF_LIGHT_KM_S * error, row)


def matrix_column(values: np.ndarray) -> pa.FixedSizeListArray:
    """Return the rows of a contiguous (n, m) float32 matrix as a list column, without copying."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _complete(error: SpectrumError, spectrum: Spectrum) -> SpectrumError:
    """Return the error with the name of the spectrum and the note of its reader."""
    detail = "; ".join(text for text in (error.detail, spectrum.note) if text)
    return SpectrumError(error.stage, error.reason, detail, spectrum.spec_id)


def _array(column: Column, values: Iterable[Any]) -> pa.Array:
    """Return an Arrow array; an unknown number (NaN, or a negative optional number) becomes null."""
    if column.name in OPTIONAL_IDS:
        numbers = np.fromiter(values, dtype=np.int64)
        return pa.array(numbers, mask=numbers < 0).cast(column.type)
    return pa.array(values, type=column.type, from_pandas=pa.types.is_floating(column.type))
