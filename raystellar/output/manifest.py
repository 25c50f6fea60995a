"""The list of input files, and how it is cut into shards.

Columns of Arrow throughout: a survey has millions of paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.spectra import Slice

SHARD_SCHEMA = pa.schema([("path", pa.string()), ("first", pa.int32()), ("spectra", pa.int32()), ("bytes", pa.int64())])
"""Of the manifest on disk: which spectra of which file, and the bytes of the whole file; one row group a shard."""


def cut(manifest: pa.Table, rows_per_shard: int, bytes_per_shard: int) -> Iterator[pa.Table]:
    """Cut the list of files into shards: tables of ``SHARD_SCHEMA``, each of at least one slice.

    A shard is full before it would have more than ``rows_per_shard`` spectra or ``bytes_per_shard`` bytes of files;
    a file of more spectra than that is sliced evenly, into parts of at most half as many more, for to open a plate
    once more costs as much as a hundred of its spectra.
    With 0 rows a shard there are some 64 shards, of 256 to 2048 spectra.
    """
    spectra, size = expected_rows(manifest), manifest["bytes"].to_numpy()
    rows_per_shard = rows_per_shard or int(np.clip(spectra.sum() // 64, 256, 2048))
    counted = manifest["spectra"].is_valid().to_numpy()
    slices = np.maximum(1, np.rint(spectra / rows_per_shard).astype(np.int64))
    file = np.repeat(np.arange(len(spectra)), slices)
    number = np.arange(len(file)) - np.repeat(np.cumsum(slices) - slices, slices)
    first = number * spectra[file] // slices[file]
    rows = (number + 1) * spectra[file] // slices[file] - first
    rows_before, bytes_before = (
        np.concatenate([[0], np.cumsum(values)]) for values in (rows, size[file] / slices[file])
    )
    start = 0
    while start < len(file):
        full = (
            np.searchsorted(rows_before, rows_before[start] + rows_per_shard, side="right"),
            np.searchsorted(bytes_before, bytes_before[start] + bytes_per_shard, side="right"),
        )
        end = min(max(int(min(full)) - 1, start + 1), len(file))
        here = slice(start, end)
        path = manifest["path"].take(pa.array(file[here]))
        count = pa.array(rows[here], pa.int32(), mask=~counted[file[here]])
        whole = pa.array(size[file[here]])
        yield pa.table([path, pa.array(first[here], pa.int32()), count, whole], schema=SHARD_SCHEMA)
        start = end


def slices_of(shard: pa.Table) -> list[Slice]:
    """Return what a shard, a table of ``SHARD_SCHEMA``, is to read."""
    return [Slice(**row) for row in shard.select(list(Slice._fields)).to_pylist()]


def expected_rows(files: pa.Table) -> np.ndarray:
    """Return the number of spectra (n,) of each file or slice of the column ``spectra``: 1 where it was not counted."""
    return files["spectra"].fill_null(1).to_numpy()


def table_digest(table: pa.Table) -> str:
    """Return 16 hexadecimal digits that identify the content of ``table``, row order included."""
    sink = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hasher(sink), "w"), table.schema) as stream:
        for batch in table.combine_chunks().to_batches(max_chunksize=1 << 16):
            stream.write_batch(batch)
    return sink.hexdigest()[:16]


class _Hasher:
    """A file to write to that only hashes."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...
