"""What a folder holds already, and what is new: files are compared, however their paths are spelled.

All of it in Arrow's columns: a survey has millions of paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
    mended: pa.Table
    """Files of one spectrum that were rejected and have other bytes now: ``path`` as held, and ``bytes``."""


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


def compare(held: pa.Table, named: pa.Table, place: str, rejected: pa.Array) -> Growth:
    """Compare the files that the folder ``place`` holds with those that a command names.

    Parameters
    ----------
    held, named : files, columns ``path``, ``bytes``, ``spectra``; each file once
    rejected : paths as held of files that may have changed, if they hold one spectrum

    Raises
    ------
    OutputError : another file has other bytes or spectra than when it came into the folder
    """
    keys = file_keys(pa.chunked_array([*held["path"].chunks, *named["path"].chunks], pa.string()))
    at = pc.index_in(keys[len(held) :], value_set=keys[: len(held)])
    rows, before = pa.array(np.flatnonzero(at.is_valid())), at.drop_null()
    changed = _changed(named, rows, held, before)
    now, was = named.take(rows.take(changed)), held.take(before.take(changed))
    alone = pc.and_(pc.is_null(now["spectra"]), pc.is_null(was["spectra"]))
    excused = pc.and_(alone, pc.is_in(was["path"], value_set=rejected))
    if not pc.all(excused, min_count=0).as_py():
        first = pc.index(excused, False).as_py()
        _refuse(now.slice(first, 1).to_pylist()[0], was.slice(first, 1).to_pylist()[0], place)
    mended = pa.table({"path": was["path"], "bytes": now["bytes"]})
    return Growth(named.filter(at.is_null()), len(held) - len(rows), mended)


def _refuse(now: dict[str, Any], was: dict[str, Any], place: str) -> None:
    what = "bytes" if now["bytes"] != was["bytes"] else "spectra"
    raise OutputError(
        f"{now['path']} has changed since {place} was begun with it ({now[what]} {what}, before {was[what]}); put the "
        "file back, name a new folder, or, if it was rejected and is mended, add --retry-rejects"
    )


def mend(files: pa.Table, mended: pa.Table) -> pa.Table:
    """Return ``files``, or slices of them, with the ``bytes`` of those that are mended as they are now."""
    if not len(mended):
        return files
    at = pc.index_in(files["path"], value_set=mended["path"].combine_chunks())
    size = pc.coalesce(mended["bytes"].take(at), files["bytes"])
    return files.set_column(files.schema.get_field_index("bytes"), files.schema.field("bytes"), size)


def _changed(named: pa.Table, rows: pa.Array, held: pa.Table, before: pa.Array) -> pa.Array:
    """Return which of the files ``rows`` are not what they were; a size of 0 says nothing of a file on a server."""
    size, was = named["bytes"].take(rows).to_numpy(), held["bytes"].take(before).to_numpy()
    local = pc.invert(pc.match_substring(named["path"], "://")).take(rows).to_numpy()
    counts = pc.not_equal(named["spectra"].take(rows), held["spectra"].take(before)).fill_null(False).to_numpy()
    return pa.array(np.flatnonzero(((size != was) & (local | ((size > 0) & (was > 0)))) | counts))
