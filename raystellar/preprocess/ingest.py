"""One shard of paths -> preprocessed spectra and rejects; shared by the stages dataset and label.

Pure: it knows no Ray and writes nothing. Each spectrum passes read -> admit -> preprocess, and one that cannot be
used becomes a reject with its stage and reason, never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.config import to_plain
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.files.remote_file import RemoteFile
from raystellar.labels.table import LabelTable
from raystellar.preprocess.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import IDENTITY, N_NOISE, N_PIXELS, Column, arrow_schema
from raystellar.spectra import Slice, read_spectra, read_spectrum
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S, Prepared, Spectrum

MANY_SPECTRA = 10
"""That all fail are taken for an outage; fewer may be files that someone named and then removed."""


@dataclass(slots=True)
class Admitted:
    """What the stage knows of a spectrum that it takes."""

    rv: float
    """Radial velocity to take out [km/s]; NaN where there is none, then nothing is shifted."""

    rv_source: str
    """``table``, ``pipeline`` or ``none``."""

    rv_error: float = math.nan
    """Error of a velocity that is the pipeline's [km/s], negative where its fit failed; NaN where it is not known."""

    row: int = -1
    """Its row in the label table; -1 where it has none."""


Admit = Callable[[Spectrum], Admitted]
"""Take a spectrum, or raise SpectrumError."""


@dataclass
class Batch:
    """The spectra of one shard, in the order of the paths and, of one file, in its own."""

    flux: np.ndarray
    """(n, 4000) float32, standardised."""

    ivar: np.ndarray
    """(n, 500) float32."""

    identity: pa.Table
    """Columns ``schema.IDENTITY``."""

    is_sky: np.ndarray
    """(n,) bool."""

    rv_error: np.ndarray
    """(n,) float [km/s], see ``Admitted``."""

    rows: np.ndarray
    """(n,) int64, rows in the label table; -1 where there is none."""

    rejects: list[tuple[str, SpectrumError]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """A step of a stage: slices of files -> a batch of preprocessed spectra, and rejects.

    It is sent to workers as settings; each worker compiles its kernel and opens its connections when it begins.
    """

    config: PreprocessConfig
    """Grid, interpolation and standardisation."""

    admit: Admit
    """Which spectra are taken, and with which velocity."""

    fetch: FetchConfig
    """Requests for files on servers."""

    def __call__(self, slices: Iterable[Slice]) -> Batch:
        """Read, admit and preprocess the spectra of ``slices``; see ``ingest``."""
        return ingest(slices, self._preprocessor, self.admit, self._fetcher)

    @cached_property
    def _preprocessor(self) -> Preprocessor:
        return Preprocessor(self.config)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self.fetch)


def ingest(slices: Iterable[Slice], preprocessor: Preprocessor, admit: Admit, fetcher: Fetcher | None = None) -> Batch:
    """Read, admit and preprocess spectra; each is a row of the batch or one of its rejects.

    ``fetcher`` brings what is on servers before it is needed, and knows an outage; without one, readers open all files
    themselves.

    Raises
    ------
    InputError : a server or disk is gone: too many files in a row failed, or all of these
    """
    slices = list(slices)
    room = sum(1 if part.spectra is None else part.spectra for part in slices)
    files = fetcher.stream(part.path for part in slices) if fetcher else repeat((None, None))
    parts = _begun((part, file) for part, (_, file) in zip(slices, files, strict=False))
    items = ((part.path, items) for part, items in (_watched(parts, fetcher) if fetcher else parts))
    batch = gather(items, room, preprocessor, admit)
    if fetcher and room >= MANY_SPECTRA:
        fetcher.check(len(slices))
    return batch


def gather(
    parts: Iterable[tuple[str, Iterable[Spectrum | SpectrumError]]],
    room: int,
    preprocessor: Preprocessor,
    admit: Admit,
) -> Batch:
    """Admit and preprocess at most ``room`` spectra, given as the path and the items of every file."""
    flux = np.empty((room, N_PIXELS), dtype=np.float32)
    ivar = np.empty((room, N_NOISE), dtype=np.float32)
    taken: list[tuple[Any, ...]] = []
    rejects: list[tuple[str, SpectrumError]] = []
    for path, items in parts:
        for spectrum in items:
            if isinstance(spectrum, SpectrumError):
                rejects.append((path, spectrum))
                continue
            n = len(taken)
            try:
                admitted = admit(spectrum)
                good = _prepare(spectrum, preprocessor, admitted.rv, flux[n], ivar[n])
            except SpectrumError as error:
                rejects.append((path, _named(error, spectrum)))
                continue
            taken.append((*_identity(spectrum, admitted, good), spectrum.is_sky, admitted.rv_error, admitted.row))
    columns = list(zip(*taken, strict=True)) if taken else [()] * (len(IDENTITY) + 3)
    n = len(taken)
    return Batch(
        flux=flux[:n],
        ivar=ivar[:n],
        identity=pa.table(
            [_array(*pair) for pair in zip(IDENTITY, columns, strict=False)], schema=arrow_schema(IDENTITY)
        ),
        is_sky=np.array(columns[-3], dtype=bool),
        rv_error=np.array(columns[-2], dtype=float),
        rows=np.array(columns[-1], dtype=np.int64),
        rejects=rejects,
    )


def _prepare(spectrum: Spectrum, preprocessor: Preprocessor, rv: float, flux: np.ndarray, ivar: np.ndarray) -> float:
    """Write a spectrum on the grid, standardised, and its noise; return the share of the grid with good pixels."""
    if isinstance(spectrum, Prepared):
        flux[:], ivar[:] = spectrum.flux, spectrum.ivar
        return spectrum.good_fraction
    return preprocessor(spectrum.loglam, spectrum.flux, spectrum.ivar, 0.0 if math.isnan(rv) else rv, flux, ivar)


def _begun(
    parts: Iterable[tuple[Slice, RemoteFile | SpectrumError | None]],
) -> Iterator[tuple[Slice, Iterable[Spectrum | SpectrumError]]]:
    """Yield each slice with its items; a large file on a server is opened while those of the one before are used."""
    with ThreadPoolExecutor(1) as aside:
        before: tuple[Slice, Callable[[], Iterator[Spectrum | SpectrumError]]] | None = None
        for part, file in parts:
            items = _items(part, file)
            large = isinstance(file, RemoteFile) and not file.complete and part.spectra is not None
            ready = aside.submit(_begin, iter(items)).result if large else partial(iter, items)
            if before:
                yield before[0], before[1]()
            before = part, ready
        if before:
            yield before[0], before[1]()


def _watched(
    parts: Iterable[tuple[Slice, Iterable[Spectrum | SpectrumError]]], fetcher: Fetcher
) -> Iterator[tuple[Slice, Iterable[Spectrum | SpectrumError]]]:
    """Yield each slice with its items, and let the fetcher know whether its file was read."""
    for part, items in parts:
        first = list(islice(rest := iter(items), 1))
        fetcher.seen(part.path, next((item for item in first if isinstance(item, SpectrumError)), None))
        yield part, chain(first, rest)


def _begin(items: Iterator[Spectrum | SpectrumError]) -> Iterator[Spectrum | SpectrumError]:
    """Read the first of some items."""
    return chain(list(islice(items, 1)), items)


def _items(part: Slice, file: RemoteFile | SpectrumError | None) -> Iterable[Spectrum | SpectrumError]:
    """Yield the spectra of a slice; a file that was not counted and holds many is refused, not cut short."""
    if isinstance(file, SpectrumError):
        return repeat(file, 1 if part.spectra is None else part.spectra)
    if part.spectra is not None:
        return read_spectra(part.path, file, part.first, part.spectra)
    try:
        return (read_spectrum(part.path, file),)
    except SpectrumError as error:
        return (error,)


def take_prepared(spectrum: Prepared, config: PreprocessConfig) -> Admitted:
    """Take a spectrum that is preprocessed already, with its velocity.

    Raises
    ------
    SpectrumError : it was preprocessed with other settings than ``config``
    """
    wanted, mine = to_plain(config), spectrum.preprocess
    other = sorted(key for key in {*wanted, *mine} if wanted.get(key) != mine.get(key))
    if other:
        raise SpectrumError("preprocess", "preprocessed in another way than the model wants", ", ".join(other))
    return Admitted(spectrum.rv, spectrum.rv_source)


def choose_rv(spectrum: Spectrum, labels: LabelTable | None, row: int, max_abs_rv: float) -> Admitted:
    """Choose the radial velocity: the label table's where it has one, else c z of the pipeline.

    A velocity beyond ``max_abs_rv`` [km/s] is not a star's: the spectrum is taken as it is, source ``none``.

    Raises
    ------
    SpectrumError : there is neither
    """
    if labels is not None and row >= 0 and np.isfinite(labels.rv[row]):
        return Admitted(float(labels.rv[row]), "table", row=row)
    if not math.isfinite(spectrum.z):
        raise SpectrumError("rv", "no radial velocity", "neither in the label table nor from the pipeline")
    rv = SPEED_OF_LIGHT_KM_S * spectrum.z
    if abs(rv) > max_abs_rv:
        return Admitted(math.nan, "none", row=row)
    return Admitted(rv, "pipeline", SPEED_OF_LIGHT_KM_S * spectrum.z_err, row)


def find_label(labels: LabelTable | None, spectrum: Spectrum) -> int:
    """Return the row of the spectrum in the label table, -1 where it has none."""
    return -1 if labels is None else int(labels.find(spectrum.plate, spectrum.mjd, spectrum.fiberid))


def matrix_column(values: np.ndarray) -> pa.FixedSizeListArray:
    """Return the rows of a contiguous (n, m) float32 matrix as a list column, without copying."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _named(error: SpectrumError, spectrum: Spectrum) -> SpectrumError:
    """Say which spectrum was rejected, and what its reader missed."""
    detail = "; ".join(part for part in (error.detail, spectrum.note) if part)
    return SpectrumError(error.stage, error.reason, detail, spectrum.spec_id)


def _identity(spectrum: Spectrum, admitted: Admitted, good: float) -> tuple[Any, ...]:
    """Return the values of ``schema.IDENTITY``."""
    return (
        spectrum.path,
        spectrum.spec_id,
        spectrum.plate,
        spectrum.mjd,
        spectrum.fiberid,
        spectrum.run2d,
        spectrum.ra,
        spectrum.dec,
        spectrum.object_class,
        spectrum.subclass,
        spectrum.zwarning,
        spectrum.sn,
        admitted.rv,
        admitted.rv_source,
        good,
    )


def _array(column: Column, values: Iterable[Any]) -> pa.Array:
    """Return an Arrow array; an unknown number (NaN) is null."""
    return pa.array(values, type=column.type, from_pandas=pa.types.is_floating(column.type))
