"""TODO."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import InputError, SpectrumError
from raystellar.files import listing
from raystellar.files.fetcher import Fetcher
from raystellar.files.identity import distinct_files
from raystellar.files.remote_file import RemoteFile
from raystellar.spectra import count_spectra

MANIFEST_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("spectra", pa.int32())])
"""Of the list of input files; ``spectra`` is null where by its name a file holds one, and no one has counted."""


MANY_SPECTRA = r"(?i)(/|^)spplate-[^/]*$|\.parquet$"
"""Names of files that may hold more than one spectrum, whose number is looked up when they are listed."""


LISTED_AT_ONCE = 1 << 16
"""Paths held as Python objects while listing."""


def make_manifest(spectra: Iterable[str]) -> pa.Table:
    """List the files that the user named, each once, in the order of their paths, with their number of spectra.

    Returns
    -------
    Table of ``MANIFEST_SCHEMA``; paths as named or found, of two paths of one file the one that sorts first.

    Raises
    ------
    InputError : a place does not exist or cannot be listed, or there are no spectra at all
    """
    spectra = list(spectra)
    found = listing.expand(spectra)
    chunks = []
    while some := list(itertools.islice(found, LISTED_AT_ONCE)):
        path, size = zip(*some, strict=True)
        chunks.append(pa.table([path, size, pa.nulls(len(some), pa.int32())], schema=MANIFEST_SCHEMA))
    if not chunks:
        raise InputError(f"no spectra (FITS or Parquet files) in {', '.join(spectra) or 'an empty list of places'}")
    return _count_many(distinct_files(pa.concat_tables(chunks)))


def _count_many(manifest: pa.Table) -> pa.Table:
    """Fill in the number of spectra of files that may hold many."""
    many = pc.match_substring_regex(manifest["path"], MANY_SPECTRA).to_numpy()
    if not many.any():
        return manifest
    counts = np.zeros(len(many), dtype=np.int32)
    with Fetcher() as fetcher:
        counts[many] = [_count(*found) for found in fetcher.stream(manifest["path"].filter(pa.array(many)).to_pylist())]
    return manifest.set_column(2, MANIFEST_SCHEMA.field("spectra"), pa.array(counts, mask=~many))


def _count(path: str, file: RemoteFile | SpectrumError | None) -> int:
    try:
        if isinstance(file, SpectrumError):
            raise file
        return count_spectra(path, file)
    except SpectrumError as error:
        raise InputError(f"{path}: its spectra cannot be counted, {error}") from None
