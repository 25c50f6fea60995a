"""Paths that name the same file.

All work is done on Arrow columns, because a survey has millions of paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.files.places import is_local

FOLDER_AND_NAME = r"(?s)^(?P<folder>.*/)?(?P<name>[^/]*)$"
"""Regular expression that splits a path into folder and name."""

PATHS_PER_CHUNK = 1 << 16
"""Number of paths that are split into folder and name at a time."""


def file_keys(paths: pa.ChunkedArray) -> pa.StringArray:
    """Return a short text for each path (n,), which is the same for all paths of one file.

    Local folders are compared by their real paths: ``a``, ``./a/`` and a link to ``a`` are one folder. URLs are
    compared as they are written. A link to a single file counts as another file. Keys of different calls cannot be
    compared.
    """
    numbers: dict[str, int] = {}
    keys = [_keys(part, numbers) for part in _slices(paths)]
    return pa.chunked_array(keys, pa.string()).combine_chunks()


def _slices(paths: pa.ChunkedArray) -> Iterator[pa.StringArray]:
    for chunk in paths.chunks:
        for start in range(0, len(chunk), PATHS_PER_CHUNK):
            yield chunk.slice(start, PATHS_PER_CHUNK)


def _keys(paths: pa.StringArray, numbers: dict[str, int]) -> pa.StringArray:
    """Return the keys of some paths: number of the folder, slash, name. New folders are added to ``numbers``."""
    parts = pc.extract_regex(paths, FOLDER_AND_NAME)
    folders = parts.field("folder").dictionary_encode()
    real = [numbers.setdefault(_real(folder), len(numbers)) for folder in folders.dictionary.to_pylist()]
    number = pa.array(np.array(real, dtype=np.int64)[folders.indices.to_numpy()]).cast(pa.string())
    return pc.binary_join_element_wise(number, parts.field("name"), "/")


def _real(folder: str) -> str:
    return os.path.realpath(folder or ".") if is_local(folder) else folder


def distinct_files(files: pa.Table) -> pa.Table:
    """Return the rows of ``files`` in the order of ``path``, without the rows whose file has an earlier path."""
    files = files.sort_by("path").combine_chunks()
    first = _first_of_each(file_keys(files["path"]))
    return files if first.all() else files.filter(pa.array(first)).combine_chunks()


def _first_of_each(keys: pa.StringArray) -> np.ndarray:
    """Return (n,) bool, True where a key occurs for the first time."""
    codes = keys.dictionary_encode().indices.to_numpy()  # numbered in the order of their first occurrence
    return np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
