"""TODO."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.files.places import is_local

FOLDER_AND_NAME = r"(?s)^(?P<folder>.*/)?(?P<name>[^/]*)$"


AT_ONCE = 1 << 16
"""Paths taken apart at a time."""


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
