"""Shards: the one mechanism by which a job is cut, committed, resumed and accounted for.

An output folder holds

    _run.json             what makes it: configuration, digest of the inputs, versions
    _manifest.parquet     every input path with its shard; row group i is shard i
    part-00012.parquet    the rows of shard 12, in the order of the manifest
    rejects/part-00012.parquet    what was rejected of shard 12, where something was

The rejects of a shard are written before its part, and each file whole or not at all: where the part is, the shard
is done. A killed job is started again with the same command: it skips those, and what it writes again is the same.
A job of another configuration or input is refused by the digest in ``_run.json``.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import raystellar
from raystellar import places
from raystellar.config import digest, to_plain
from raystellar.errors import IncompleteError, InputError, OutputError, SpectrumError
from raystellar.schema import MANIFEST_NAME, PART_NAME, REJECTS, REJECTS_DIR, RUN_NAME, arrow_schema

FORMAT_VERSION = 1
"""Of an output folder; raised when older folders can no longer be resumed or read."""

MANIFEST_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.int64())])


def make_manifest(spectra: Iterable[str]) -> pa.Table:
    """List the spectra that the user named, each once, in the order of their paths.

    Returns
    -------
    Table of ``path`` and ``bytes``; paths as named or found.

    Raises
    ------
    InputError : a place does not exist or cannot be listed, or there are no spectra at all
    """
    spectra = list(spectra)
    paths, sizes = [], []
    for path, size in places.expand(spectra):
        paths.append(path)
        sizes.append(size)
    found = pa.table([paths, sizes], schema=MANIFEST_SCHEMA)
    if not found.num_rows:
        raise InputError(f"no spectra (FITS files) in {', '.join(spectra) or 'an empty list of places'}")
    found = found.sort_by("path")
    path = found["path"].combine_chunks()
    first = np.ones(len(path), dtype=bool)
    first[1:] = pc.not_equal(path[1:], path[:-1]).to_numpy(zero_copy_only=False)
    return found.filter(pa.array(first)).combine_chunks()


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


class ShardedOutput:
    """An output folder in shards. Cheap to send to workers: it holds the place and no open file."""

    def __init__(self, place: str, schema: pa.Schema) -> None:
        self.place, self.schema = place, schema

    def begin(self, kind: str, identity: Mapping[str, Any], manifest: pa.Table, rows_per_shard: int) -> None:
        """Open the folder for the job ``identity`` on ``manifest``, new or to be resumed.

        Parameters
        ----------
        kind : what the folder is: ``dataset`` or ``catalog``
        identity : all that decides the rows besides the manifest; stored in ``_run.json``
        manifest : table of ``path`` and ``bytes``
        rows_per_shard : of a new folder; a folder that is resumed keeps its own

        Raises
        ------
        OutputError : the folder cannot be written, or holds the result of another job
        """
        places.make_folder(self.place)
        run = {
            "format": FORMAT_VERSION,
            "kind": kind,
            "rows": manifest.num_rows,
            "inputs": table_digest(manifest),
            **to_plain(identity),
        }
        run["digest"] = digest(run)
        run_place = places.join(self.place, RUN_NAME)
        if places.exists(run_place):
            _refuse_other_job(self.place, json.loads(places.read_bytes(run_place)), run)
        else:
            self._refuse_foreign_files()
            places.write_table(
                places.join(self.place, MANIFEST_NAME), manifest, row_group_size=rows_per_shard, use_dictionary=False
            )
            made = {"created": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions()}
            places.write_bytes(run_place, json.dumps(run | made, indent=2).encode())
        for folder in (self.place, places.join(self.place, REJECTS_DIR)):
            places.remove_temporaries(folder)

    def rows_in(self) -> int:
        """Return the number of input rows."""
        return self._manifest().metadata.num_rows

    def pending(self) -> dict[int, int]:
        """Return the shards whose part is not there yet, each with its number of input rows."""
        present = places.names(self.place)
        metadata = self._manifest().metadata
        return {
            shard: metadata.row_group(shard).num_rows
            for shard in range(metadata.num_row_groups)
            if PART_NAME.format(shard) not in present
        }

    def paths(self, shard: int) -> list[str]:
        """Return the input paths of one shard."""
        return self._manifest().read_row_group(shard, columns=["path"])["path"].to_pylist()

    def commit(self, shard: int, rows: pa.Table, rejects: list[tuple[str, SpectrumError]]) -> None:
        """Write the rows and rejects (path, error) of one shard; the part comes last and marks it done."""
        if rejects:
            columns = [[path, error.spec_id, error.stage, error.reason, error.detail] for path, error in rejects]
            table = pa.table([list(column) for column in zip(*columns, strict=True)], schema=arrow_schema(REJECTS))
            folder = places.join(self.place, REJECTS_DIR)
            places.make_folder(folder)
            places.write_table(places.join(folder, PART_NAME.format(shard)), table)
        text = [entry.name for entry in self.schema if pa.types.is_string(entry.type)]
        place = places.join(self.place, PART_NAME.format(shard))
        places.write_table(place, rows.cast(self.schema), use_dictionary=text)

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield one column of the rows, part by part."""
        for part in sorted(places.names(self.place)):
            if part.startswith("part-"):
                yield self._open(places.join(self.place, part)).read(columns=[name])[name]

    def account(self) -> Accounting:
        """Count what is there against the manifest; reads only footers and reasons.

        Raises
        ------
        OutputError : a part cannot be read
        """
        manifest = self._manifest()
        accounting = Accounting(manifest.metadata.num_rows, 0)
        shards = range(manifest.num_row_groups)
        present = places.names(self.place)
        rejects_folder = places.join(self.place, REJECTS_DIR)
        rejected = places.names(rejects_folder)
        for name in map(PART_NAME.format, shards):
            if name not in present:
                continue
            accounting.rows_out += self._open(places.join(self.place, name)).metadata.num_rows
            if name in rejected:
                table = self._open(places.join(rejects_folder, name)).read(columns=["stage", "reason"])
                accounting.rejected.update(f"{row['stage']}: {row['reason']}" for row in table.to_pylist())
        return accounting

    def _manifest(self) -> pq.ParquetFile:
        return self._open(places.join(self.place, MANIFEST_NAME))

    def _open(self, place: str) -> pq.ParquetFile:
        try:
            remote, path = places.filesystem(place)
            return pq.ParquetFile(remote.open(path, "rb"))
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{place} is damaged: {error}; remove it and run the same command again") from None

    def _refuse_foreign_files(self) -> None:
        ours = (MANIFEST_NAME, places.TEMPORARY)  # of a job that was killed before it had said what it is
        foreign = sorted(name for name in places.names(self.place) if not name.startswith(ours))
        if foreign:
            raise OutputError(f"{self.place} already holds something else, such as {foreign[0]}; name a new folder")


def read_run(place: str) -> dict[str, Any] | None:
    """Return what ``_run.json`` in the folder ``place`` says, or None where there is none."""
    run_place = places.join(place, RUN_NAME)
    if not places.exists(run_place):
        return None
    try:
        return json.loads(places.read_bytes(run_place))
    except ValueError as error:
        raise InputError(f"{run_place} is damaged: {error}") from None


def versions() -> dict[str, str]:
    """Return the versions that matter to a result."""
    return {"raystellar": raystellar.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "pyarrow": pa.__version__}  # fmt: skip


def _refuse_other_job(place: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise OutputError unless the folder was begun by the same job; name what differs."""
    if found.get("digest") == wanted["digest"]:
        return
    different = sorted(key for key in wanted if key != "digest" and found.get(key) != wanted[key])
    words = {"inputs": "the list of input files", "rows": "their number", "labels": "the label table"}
    named = ", ".join(words.get(key, key) for key in different) or "its format"
    raise OutputError(f"{place} holds the result of another job (different: {named}); name a new folder or remove it")
