"""What a folder holds already, and what is new: files are compared, however their paths are spelled.

All of it in Arrow's columns: a survey has millions of paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import OutputError
from raystellar.places import is_local

FOLDER_AND_NAME = r"(?s)^(?P<folder>.*/)?(?P<name>[^/]*)$"

AT_ONCE = 1 << 16
"""Paths taken apart at a time."""


@dataclass(frozen=True)
class Growth:
    """The files that a command names, beside those of a folder."""

    new: pa.Table
    """Files that the folder does not hold yet, columns as given."""
    further: int
    """Files that the folder holds and the command does not name."""


def file_keys(paths: pa.ChunkedArray) -> pa.StringArray:
    """Return a short text for each path, the same for all paths of one file; other calls give other texts.

    Local folders are compared by their real paths: ``a``, ``./a/`` and a link to it are one. URLs are taken as they
    are. A link to a single file is a file of its own.
    """
    numbers: dict[str, int] = {}
    keys = [_keys(part, numbers) for part in _slices(paths)]
    return pa.chunked_array(keys, pa.string()).combine_chunks()


def _slices(paths: pa.ChunkedArray) -> Iterator[pa.StringArray]:
    for chunk in paths.chunks:
        for start in range(0, len(chunk), AT_ONCE):
            yield chunk.slice(start, AT_ONCE)


def _keys(paths: pa.StringArray, numbers: dict[str, int]) -> pa.StringArray:
    """Return the keys of some paths: the number of the folder, which is added where it is new, and the name."""
    parts = pc.extract_regex(paths, FOLDER_AND_NAME)
    folders = parts.field("folder").dictionary_encode()
    real = [numbers.setdefault(_real(folder), len(numbers)) for folder in folders.dictionary.to_pylist()]
    number = pa.array(np.array(real, dtype=np.int64)[folders.indices.to_numpy()]).cast(pa.string())
    return pc.binary_join_element_wise(number, parts.field("name"), "/")


def _real(folder: str) -> str:
    return os.path.realpath(folder or ".") if is_local(folder) else folder


def distinct_files(files: pa.Table) -> pa.Table:
    """Return one row of each file of the column ``path``, that of the path that sorts first, in the order of paths."""
    files = files.sort_by("path").combine_chunks()
    first = _first_of_each(file_keys(files["path"]))
    return files if first.all() else files.filter(pa.array(first)).combine_chunks()


def _first_of_each(keys: pa.StringArray) -> np.ndarray:
    """Return (n,) bool: where a key stands for the first time."""
    codes = keys.dictionary_encode().indices.to_numpy()  # numbered as they come
    return np.diff(np.maximum.accumulate(codes), prepend=-1) > 0


def whole_files(slices: pa.Table) -> pa.Table:
    """Return the files (path, bytes, spectra) of a manifest's slices, which are of one file where they follow."""
    start = np.flatnonzero(slices["first"].to_numpy() == 0)
    spectra = np.add.reduceat(slices["spectra"].fill_null(0).to_numpy(), start)
    files = slices.select(["path", "bytes", "spectra"]).take(pa.array(start))
    counted = files["spectra"].is_valid().to_numpy()
    return files.set_column(2, files.schema.field("spectra"), pa.array(spectra, pa.int32(), mask=~counted))


def compare(held: pa.Table, named: pa.Table, place: str) -> Growth:
    """Compare the files that the folder ``place`` holds with those that a command names.

    Parameters
    ----------
    held, named : files, columns ``path``, ``bytes``, ``spectra``; each file once

    Raises
    ------
    OutputError : a file has other bytes or spectra than when it came into the folder
    """
    keys = file_keys(pa.chunked_array([*held["path"].chunks, *named["path"].chunks], pa.string()))
    at = pc.index_in(keys[len(held) :], value_set=keys[: len(held)])
    rows, before = pa.array(np.flatnonzero(at.is_valid())), at.drop_null()
    changed = _changed(named, rows, held, before)
    if len(changed):
        now = named.take(rows.take(changed[:1])).to_pylist()[0]
        was = held.take(before.take(changed[:1])).to_pylist()[0]
        what = "bytes" if now["bytes"] != was["bytes"] else "spectra"
        raise OutputError(
            f"{now['path']} has changed since {place} was begun with it ({now[what]} {what}, before {was[what]}); "
            "put the file back, or name a new folder"
        )
    return Growth(named.filter(at.is_null()), len(held) - len(rows))


def _changed(named: pa.Table, rows: pa.Array, held: pa.Table, before: pa.Array) -> pa.Array:
    """Return which of the files ``rows`` are not what they were; a size of 0 says nothing of a file on a server."""
    size, was = named["bytes"].take(rows).to_numpy(), held["bytes"].take(before).to_numpy()
    local = pc.invert(pc.match_substring(named["path"], "://")).take(rows).to_numpy()
    counts = pc.not_equal(named["spectra"].take(rows), held["spectra"].take(before)).fill_null(False).to_numpy()
    return pa.array(np.flatnonzero(((size != was) & (local | ((size > 0) & (was > 0)))) | counts))
