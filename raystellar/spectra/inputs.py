"""The list of input files: one row a file, with its size and its number of spectra.

``make_manifest`` expands the files, folders, globs and lists that the user names. Two paths of one file give one row.
A file of a format that may hold many spectra is known by its name (spPlate, DESI coadd, mwmStar and mwmVisit files, and
Parquet tables). Such a file is opened and its spectra are counted. A job can then be cut into shards of equal size
before any spectrum is read.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import InputError, SpectrumError
from raystellar.files import listing
from raystellar.files.fetcher import Fetcher
from raystellar.files.identity import distinct_files
from raystellar.files.places import PathOrUrl, as_path
from raystellar.files.remote_file import RemoteFile
from raystellar.spectra import count_spectra

MANIFEST_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("spectra", pa.int32())])
"""Schema of the list of input files.

``spectra`` is null where the name says that the file holds one spectrum; the file is then not opened.
"""

COUNTED_NAMES = r"(?i)(/|^)(spplate|coadd|mwmvisit|mwmstar)-[^/]*$|\.parquet$"
"""Regular expression for the paths of files that may hold many spectra, which are counted when the list is made."""

PATHS_AT_ONCE = 1 << 16
"""Number of paths held as Python objects while the list is made."""


def make_manifest(spectra: PathOrUrl | Iterable[PathOrUrl]) -> pa.Table:
    """List the files that the user named, each once, sorted by path, with their numbers of spectra.

    Parameters
    ----------
    spectra : one or many files, folders, globs and lists, as ``files.listing.expand`` takes them

    Returns
    -------
    Table with ``MANIFEST_SCHEMA``. The paths are kept as the user or a list wrote them. Where two paths lead to one
    file, the table has the path that sorts first.

    Raises
    ------
    InputError : a path does not exist or cannot be listed, the spectra of a file cannot be counted, or there is no file
    """
    paths = spectra if isinstance(spectra, Iterable) and not isinstance(spectra, str | os.PathLike) else [spectra]
    named = [as_path(path) for path in paths]
    files = listing.expand(named)
    chunks = []
    while some := list(itertools.islice(files, PATHS_AT_ONCE)):
        path, size = zip(*some, strict=True)
        chunks.append(pa.table([path, size, pa.nulls(len(some), pa.int32())], schema=MANIFEST_SCHEMA))
    if not chunks:
        raise InputError(f"no spectra (FITS or Parquet files) in {', '.join(named) or 'an empty list of files'}")
    return _count_many(distinct_files(pa.concat_tables(chunks)))


def _count_many(manifest: pa.Table) -> pa.Table:
    """Fill in the numbers of spectra of the files that may hold many."""
    many = pc.match_substring_regex(manifest["path"], COUNTED_NAMES).to_numpy()
    if not many.any():
        return manifest
    paths = manifest["path"].filter(pa.array(many)).to_pylist()
    counts = np.zeros(len(many), dtype=np.int32)
    with Fetcher() as fetcher:
        counts[many] = [_count(path, file) for path, file in fetcher.stream(paths)]
    return manifest.set_column(2, MANIFEST_SCHEMA.field("spectra"), pa.array(counts, mask=~many))


def _count(path: str, file: RemoteFile | SpectrumError | None) -> int:
    """Return the number of spectra in a file; raise InputError where they cannot be counted."""
    try:
        if isinstance(file, SpectrumError):
            raise file
        return count_spectra(path, file)
    except SpectrumError as error:
        raise InputError(f"the spectra in {path} cannot be counted: {error}") from None
