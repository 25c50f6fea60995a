"""Shards: the one mechanism by which a job is cut, committed, resumed and accounted for.

An output folder holds

    _run.json             what makes it: configuration, digest of the inputs, versions
    _manifest.parquet     every input path, and which of its spectra; row group i is shard i
    part-00012.parquet    the rows of shard 12, in the order of the manifest
    rejects/part-00012.parquet    what was rejected of shard 12, where something was
    _job.json             how long a catalogue took, and where its model is; it can be done without
    _summary.json         of a catalogue, what was found in all rows together; gone while any shard is to be done

The rejects of a shard are written before its part, and each file whole or not at all: where the part is, the shard
is done. A killed job is started again with the same command: it skips those, and what it writes again is the same.
A job of another configuration or input is refused by the digest in ``_run.json``; a folder that may grow takes further
files, as new row groups and parts after the old ones. What it holds is always what its manifest says: that is replaced
first, and ``_run.json`` after it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.errors import IncompleteError, OutputError, SpectrumError
from raystellar.files import places
from raystellar.output.additions import compare, mend, whole_files
from raystellar.output.manifest import SHARD_SCHEMA, cut, expected_rows, slices_of, table_digest
from raystellar.output.run import begin_run
from raystellar.schema import MANIFEST_NAME, PART_NAME, REJECTS, REJECTS_DIR, SUMMARY_NAME, described_schema
from raystellar.spectra import Slice

NONE = pa.array([], pa.string())

PARTS_AT_ONCE = 8
"""Parts read or written at a time where all of them are gone through."""

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``work(item)`` in the order of the items, a few at a time: on servers it is mostly waiting."""
    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > PARTS_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def rejects_table(rejects: Iterable[tuple[str, SpectrumError]]) -> pa.Table:
    """Return rejects (path, error) as a table of ``schema.REJECTS``."""
    rows = [(path, error.spec_id, error.stage, error.reason, error.detail) for path, error in rejects]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(REJECTS)
    return pa.table(columns, schema=described_schema(REJECTS, "rejects"))


class ShardRows(NamedTuple):
    """The output of one shard."""

    rows: pa.Table
    """Rows, in the order of the manifest."""

    rejects: list[tuple[str, SpectrumError]]
    """Path and error of each spectrum that cannot be used."""


@dataclass
class Accounting:
    """What became of the input rows of a job, read back from what it wrote."""

    rows_in: int
    rows_out: int
    rejected: Counter[str] = field(default_factory=Counter)
    """Rows by ``stage: reason``."""

    def check(self, out: str) -> None:
        """Raise IncompleteError unless every input row is a row or a reject."""
        found = self.rows_out + self.rejected.total()
        if found != self.rows_in:
            raise IncompleteError(
                f"{out} accounts for {found} of {self.rows_in} input rows ({self.rows_out} rows, "
                f"{self.rejected.total()} rejects); run the same command again"
            )


def _described(files: pa.Table) -> dict[str, Any]:
    """Return what ``_run.json`` says of the input, see ``runs.GROWING``."""
    return {"rows": int(expected_rows(files).sum()), "inputs": table_digest(files)}


class ShardedOutput:
    """An output folder in shards. Cheap to send to workers: it holds the place and no open file."""

    def __init__(self, place: str, schema: pa.Schema) -> None:
        self.place, self.schema = place, schema

    def begin(
        self,
        kind: str,
        identity: Mapping[str, Any],
        manifest: pa.Table,
        rows_per_shard: int,
        bytes_per_shard: int = 1 << 40,
        *,
        grows: bool = False,
        retry: bool = False,
    ) -> int:
        """Open the folder for the job ``identity`` on ``manifest``, new or to be resumed.

        Parameters
        ----------
        kind : what the folder is: ``dataset`` or ``catalog``
        identity : all that decides the rows besides the manifest; stored in ``_run.json``
        manifest : what ``make_manifest`` returns
        rows_per_shard, bytes_per_shard : of what is new, see ``cut``; a folder that is resumed keeps its shards
        grows : a folder that was begun with other files takes those that it does not hold yet, and keeps all others
        retry : one that grows takes files that were rejected and have changed, too, and makes their shards pending

        Returns
        -------
        The number of files that the folder holds and ``manifest`` does not name; with ``grows`` only.

        Raises
        ------
        OutputError : the folder cannot be written, holds the result of another job, or a file of it has changed
        """
        further = 0

        def shards(files: pa.Table) -> Iterator[pa.Table]:
            return cut(files, rows_per_shard, bytes_per_shard)

        def grow() -> dict[str, Any]:
            nonlocal further
            files, further = self._grow(manifest, shards, self._rejected() if retry else NONE)
            return _described(files)

        begin_run(
            self.place,
            kind,
            {**_described(manifest), **identity},
            prepare=lambda: self._write_manifest(shards(manifest)),
            grow=grow if grows else None,
        )
        for folder in (self.place, places.join(self.place, REJECTS_DIR)):
            places.remove_temporaries(folder)
        return further

    def rows_in(self) -> int:
        """Return the number of input rows."""
        return sum(self._rows_of_shards())

    def pending(self) -> dict[int, int]:
        """Return the shards whose part is not there yet, each with its number of input rows."""
        present = places.names(self.place)
        rows = enumerate(self._rows_of_shards())
        return {shard: count for shard, count in rows if PART_NAME.format(shard) not in present}

    def slices(self, shard: int) -> list[Slice]:
        """Return what one shard is to read."""
        return slices_of(self._manifest().read_row_group(shard))

    def commit(self, shard: int, output: ShardRows) -> dict[str, int]:
        """Write the rows and rejects of one shard; the part comes last and marks the shard as done.

        Returns
        -------
        The number of input ``rows`` of the shard, and how many of them were ``rejected``.
        """
        rows, rejects = output
        folder = places.join(self.place, REJECTS_DIR)
        place = places.join(folder, PART_NAME.format(shard))
        if rejects:
            places.make_folder(folder)
            places.write_table(place, rejects_table(rejects))
        else:
            places.remove(place)  # of an earlier try that was killed, for a cause that has passed
        self.write_part(shard, rows)
        return {"rows": len(rows) + len(rejects), "rejected": len(rejects)}

    def write_part(self, shard: int, rows: pa.Table) -> None:
        """Write the rows of one shard, whole or not at all."""
        text = [entry.name for entry in self.schema if pa.types.is_string(entry.type)]
        pixels = [f"{entry.name}.list.element" for entry in self.schema if pa.types.is_fixed_size_list(entry.type)]
        place = places.join(self.place, PART_NAME.format(shard))
        # split by bytes, floats are a seventh smaller at no cost
        places.write_table(place, rows.cast(self.schema), use_dictionary=text, use_byte_stream_split=pixels)

    def reopen(self, stage: str) -> int:
        """Take away the parts of the shards in which something was rejected at ``stage``, which makes them pending.

        Their rejects stay until they are done again. Returns the number of shards.
        """
        return self._reopen("stage", pa.array([stage]))

    def _reopen(self, column: str, values: pa.Array) -> int:
        """Reopen the shards with a reject that has one of these values in ``column``."""
        rejects = self._tables(places.join(self.place, REJECTS_DIR), [column])
        again = [name for name, table in rejects if pc.any(pc.is_in(table[column], value_set=values)).as_py()]
        if again:
            self.remove_summary()
        for name in again:
            places.remove(places.join(self.place, name))
        return len(again)

    def summary(self) -> dict[str, Any] | None:
        """Return what was found in all rows together; None where it is still to be found."""
        place = places.join(self.place, SUMMARY_NAME)
        if not places.exists(place):
            return None
        try:
            return json.loads(places.read_bytes(place))
        except ValueError as error:
            raise _damaged(place, error) from None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Say what was found in all rows together, which ends the job."""
        places.write_bytes(places.join(self.place, SUMMARY_NAME), json.dumps(summary, indent=2).encode())

    def remove_summary(self) -> None:
        """Take back what was found in all rows together: some are about to change."""
        places.remove(places.join(self.place, SUMMARY_NAME))

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield one column of the rows, part by part."""
        for _, table in self._tables(self.place, [name]):
            yield table[name]

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows, part by part; of ``columns`` those that are there, or all."""
        return (table for _, table in self._tables(self.place, columns))

    def columns(self, names: Iterable[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield some columns of the rows of each shard that is done, with its number, in their order."""
        names = list(names)
        parts = sorted(name for name in places.names(self.place) if name.startswith("part-"))
        tables = ahead(lambda name: self._read(places.join(self.place, name), names), parts)
        for name, table in zip(parts, tables, strict=True):
            yield int(name.removesuffix(".parquet").rpartition("-")[2]), table.select(names)

    def part(self, shard: int) -> pa.Table:
        """Return the rows of one shard."""
        return self._read(places.join(self.place, PART_NAME.format(shard)))

    def rejects(self) -> Iterator[pa.Table]:
        """Yield the rejects, part by part."""
        return (table for _, table in self._tables(places.join(self.place, REJECTS_DIR)))

    def _tables(self, folder: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        for name in sorted(places.names(folder)):
            if name.startswith("part-"):
                yield name, self._read(places.join(folder, name), columns)

    def _read(self, place: str, columns: list[str] | None = None) -> pa.Table:
        file = self._open(place)
        try:
            return file.read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(place, error) from None

    def account(self) -> Accounting:
        """Count what is there against the manifest; reads only footers and reasons.

        Raises
        ------
        OutputError : a part cannot be read
        """
        rows = self._rows_of_shards()
        accounting = Accounting(sum(rows), 0)
        present = places.names(self.place)
        rejects_folder = places.join(self.place, REJECTS_DIR)
        rejected = places.names(rejects_folder)
        for name in map(PART_NAME.format, range(len(rows))):
            if name not in present:
                continue
            accounting.rows_out += self._open(places.join(self.place, name)).metadata.num_rows
            if name in rejected:
                table = self._open(places.join(rejects_folder, name)).read(columns=["stage", "reason"])
                accounting.rejected.update(f"{row['stage']}: {row['reason']}" for row in table.to_pylist())
        return accounting

    def _grow(
        self, named: pa.Table, shards: Callable[[pa.Table], Iterator[pa.Table]], rejected: pa.Array
    ) -> tuple[pa.Table, int]:
        """Add the files that are not held yet; return all files, and how many of them are not among those named."""
        manifest = self._manifest()
        held = whole_files(manifest.read())
        growth = compare(held, named, self.place, rejected)
        if len(growth.mended):  # before the manifest is written, which says of them what holds then
            self._reopen("path", growth.mended["path"].combine_chunks())
        if len(growth.new) or len(growth.mended):
            groups = map(manifest.read_row_group, range(manifest.num_row_groups))
            before = (mend(group, growth.mended) for group in groups)
            self._write_manifest(itertools.chain(before, shards(growth.new)))
        return pa.concat_tables([mend(held, growth.mended), growth.new]).sort_by("path"), growth.further

    def _rejected(self) -> pa.Array:
        """Return the paths of all rejects."""
        rejects = self._tables(places.join(self.place, REJECTS_DIR), ["path"])
        return pa.concat_arrays([NONE, *(chunk for _, table in rejects for chunk in table["path"].chunks)])

    def _write_manifest(self, shards: Iterable[pa.Table]) -> None:
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SHARD_SCHEMA, compression="zstd", use_dictionary=False) as writer:
            for shard in shards:
                writer.write_table(shard)
        places.write_bytes(places.join(self.place, MANIFEST_NAME), memoryview(sink.getvalue()))

    def _rows_of_shards(self) -> list[int]:
        """Return the number of input rows of every shard."""
        manifest = self._manifest()
        sizes = [manifest.metadata.row_group(shard).num_rows for shard in range(manifest.num_row_groups)]
        spectra = expected_rows(manifest.read(columns=["spectra"]))
        return np.add.reduceat(spectra, np.cumsum([0, *sizes[:-1]])).tolist()

    def _manifest(self) -> pq.ParquetFile:
        return self._open(places.join(self.place, MANIFEST_NAME))

    def _open(self, place: str) -> pq.ParquetFile:
        try:
            return places.parquet_file(place)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(place, error) from None


def _damaged(place: str, error: Exception) -> OutputError:
    return OutputError(f"{place} is damaged: {error}; remove it and run the same command again")
