"""The manifest: the list of input files, divided into shards.

All work is done on Arrow columns, because a survey has millions of paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from raystellar.spectra import Slice

SHARD_SCHEMA = pa.schema([("path", pa.string()), ("first", pa.int32()), ("spectra", pa.int32()), ("bytes", pa.int64())])
"""Columns of the manifest on disk, one row a slice of a file and one row group a shard.

``first`` and ``spectra`` are the range of the slice, and ``bytes`` is the size of the whole file.
"""


def cut(manifest: pa.Table, rows_per_shard: int, bytes_per_shard: int) -> Iterator[pa.Table]:
    """Yield the shards of a list of files: tables with the columns ``SHARD_SCHEMA``, each of at least one slice.

    A shard has at most ``rows_per_shard`` spectra and ``bytes_per_shard`` bytes of files, unless its only slice has
    more. A file with more than ``rows_per_shard`` spectra is divided evenly. Its slices may have up to half as many
    spectra more than a shard, because opening a plate once more costs as much as a hundred of its spectra.

    With ``rows_per_shard`` 0 there are about 64 shards, of 256 to 2048 spectra.
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
        of_shard = slice(start, end)
        path = manifest["path"].take(pa.array(file[of_shard]))
        count = pa.array(rows[of_shard], pa.int32(), mask=~counted[file[of_shard]])
        file_bytes = pa.array(size[file[of_shard]])
        yield pa.table([path, pa.array(first[of_shard], pa.int32()), count, file_bytes], schema=SHARD_SCHEMA)
        start = end


def slices_of(shard: pa.Table) -> list[Slice]:
    """Return the slices of files in a shard, a table with the columns ``SHARD_SCHEMA``."""
    return [Slice(**row) for row in shard.select(list(Slice._fields)).to_pylist()]


def expected_rows(files: pa.Table) -> np.ndarray:
    """Return the number of spectra (n,) in each file or slice, by the column ``spectra``; 1 where it is null."""
    return files["spectra"].fill_null(1).to_numpy()


def table_digest(table: pa.Table) -> str:
    """Return 16 hexadecimal digits that identify the content of ``table``, including the order of its rows."""
    sink = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hasher(sink), "w"), table.schema) as stream:
        for batch in table.combine_chunks().to_batches(max_chunksize=1 << 16):
            stream.write_batch(batch)
    return sink.hexdigest()[:16]


class _Hasher:
    """A file that passes its content to a hash and stores no content."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...
