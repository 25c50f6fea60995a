"""Shards: the mechanism by which the output of a job is divided, written, resumed and accounted for.

An output folder holds

    _run.json             the job: its configuration, a digest of its inputs, and versions
    _manifest.parquet     the path of every input file, and the range of its spectra; row group i is shard i
    part-00012.parquet    the rows of shard 12, in the order of the manifest
    _rejects/part-00012.parquet    the rejects of shard 12, if there are any
    _job.json             time and model of a catalogue, for the report; its absence does no harm
    _summary.json         results about all rows of a catalogue together; absent while a shard is pending

Every file is written as a whole or not at all. The rejects of a shard are written before its part, so that a shard is
done if its part exists. A job that was killed is started again by the same command: it skips the shards that are done,
and writes the same rows for the others. A job with another configuration or other inputs is refused, because its digest
differs from the one in ``_run.json``. A catalogue accepts further files, which become new row groups and parts after
the existing ones. The manifest always says what the folder holds: it is replaced first, and ``_run.json`` after it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.errors import IncompleteError, SpectrumError
from raystellar.files import places
from raystellar.output.additions import find_additions, merge_slices, with_new_sizes
from raystellar.output.manifest import SHARD_SCHEMA, cut, expected_rows, slices_of, table_digest
from raystellar.output.parts import damaged, map_ahead, open_parquet, part_names, read_part, read_parts, shard_number
from raystellar.output.run import begin_run
from raystellar.schema import MANIFEST_NAME, PART_NAME, REJECTS, REJECTS_DIR, SUMMARY_NAME, described_schema
from raystellar.spectra import Slice

NO_PATHS = pa.array([], pa.string())


def rejects_table(rejects: Iterable[tuple[str, SpectrumError]]) -> pa.Table:
    """Return rejects (path, error) as a table with the columns ``schema.REJECTS``."""
    rows = [(path, error.spec_id, error.stage, error.reason, error.detail) for path, error in rejects]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(REJECTS)
    return pa.table(columns, schema=described_schema(REJECTS, "rejects"))


class ShardRows(NamedTuple):
    """The output of one shard."""

    rows: pa.Table
    """Rows, in the order of the manifest."""

    rejects: list[tuple[str, SpectrumError]]
    """Path and error of each rejected spectrum."""


@dataclass
class Accounting:
    """Numbers of the input rows of a job and of their outcomes, counted in the files that the job wrote."""

    rows_in: int
    """Number of input rows in the manifest."""
    rows_out: int
    """Number of rows in the parts."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Number of rejects by ``stage: reason``."""

    def check(self, out: str) -> None:
        """Raise IncompleteError unless every input row became a row or a reject of the folder ``out``."""
        accounted = self.rows_out + self.rejected.total()
        if accounted != self.rows_in:
            raise IncompleteError(
                f"{out} accounts for {accounted} of {self.rows_in} input rows ({self.rows_out} rows, "
                f"{self.rejected.total()} rejects); run the same command again"
            )


def _input_entries(files: pa.Table) -> dict[str, Any]:
    """Return the entries ``run.GROWING`` of ``_run.json``, which describe the input files."""
    return {"rows": int(expected_rows(files).sum()), "inputs": table_digest(files)}


class ShardedOutput:
    """An output folder that is divided into shards. It is cheap to send to workers, as it holds no open file.

    Parameters
    ----------
    path : the folder, a path or URL
    schema : columns of the rows, with their metadata
    """

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema

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
        """Open the folder for a new or resumed job ``identity`` on the files of ``manifest``.

        Parameters
        ----------
        kind : ``dataset`` or ``catalog``
        identity : settings that determine the rows besides the manifest; stored in ``_run.json``
        manifest : input files, as ``make_manifest`` returns them
        rows_per_shard, bytes_per_shard : size of new shards, see ``cut``; the shards of a resumed folder stay
        grows : add the files that the folder does not hold to a folder that was begun with other files
        retry : with ``grows``, accept rejected files that have changed, and make their shards pending

        Returns
        -------
        With ``grows``, the number of files that the folder holds and ``manifest`` does not name; otherwise 0.

        Raises
        ------
        OutputError : the folder cannot be written, holds the result of another job, or a file has changed
        """
        unnamed = 0

        def shards(files: pa.Table) -> Iterator[pa.Table]:
            return cut(files, rows_per_shard, bytes_per_shard)

        def grow() -> dict[str, Any]:
            nonlocal unnamed
            files, unnamed = self._add_files(manifest, shards, self._rejected_paths() if retry else NO_PATHS)
            return _input_entries(files)

        begin_run(
            self.path,
            kind,
            {**_input_entries(manifest), **identity},
            prepare=lambda: self._write_manifest(shards(manifest)),
            grow=grow if grows else None,
        )
        for folder in (self.path, places.join(self.path, REJECTS_DIR)):
            places.remove_temporaries(folder)
        return unnamed

    def rows_in(self) -> int:
        """Return the number of input rows."""
        return sum(self._rows_of_shards())

    def pending(self) -> dict[int, int]:
        """Return the number of input rows of each shard whose part does not exist yet, by shard."""
        present = places.names(self.path)
        rows = enumerate(self._rows_of_shards())
        return {shard: count for shard, count in rows if PART_NAME.format(shard) not in present}

    def slices(self, shard: int) -> list[Slice]:
        """Return the slices of files that one shard reads."""
        return slices_of(self._manifest().read_row_group(shard))

    def commit(self, shard: int, output: ShardRows) -> dict[str, int]:
        """Write the rows and rejects of one shard; the part is written last and marks the shard as done.

        Returns
        -------
        ``rows``, the number of input rows of the shard, and ``rejected``, the number of rejects among them.
        """
        rows, rejects = output
        folder = places.join(self.path, REJECTS_DIR)
        path = places.join(folder, PART_NAME.format(shard))
        if rejects:
            places.make_folder(folder)
            places.write_table(path, rejects_table(rejects))
        else:
            places.remove(path)  # an earlier run may have been killed after it wrote rejects, whose cause has passed
        self.write_part(shard, rows)
        return {"rows": len(rows) + len(rejects), "rejected": len(rejects)}

    def write_part(self, shard: int, rows: pa.Table) -> None:
        """Write the rows of one shard as a whole or not at all."""
        text = [entry.name for entry in self.schema if pa.types.is_string(entry.type)]
        pixels = [f"{entry.name}.list.element" for entry in self.schema if pa.types.is_fixed_size_list(entry.type)]
        path = places.join(self.path, PART_NAME.format(shard))
        # byte-stream split makes the floats a seventh smaller at no cost
        places.write_table(path, rows.cast(self.schema), use_dictionary=text, use_byte_stream_split=pixels)

    def reopen(self, stage: str) -> int:
        """Make the shards with a reject at ``stage`` pending by removing their parts; return their number.

        The rejects of these shards stay until the shards are done again.
        """
        return self._reopen("stage", pa.array([stage]))

    def _reopen(self, column: str, values: pa.Array) -> int:
        """Remove the parts of the shards with a reject whose ``column`` has one of ``values``; return their number."""
        rejects = read_parts(places.join(self.path, REJECTS_DIR), [column])
        again = [name for name, table in rejects if pc.any(pc.is_in(table[column], value_set=values)).as_py()]
        if again:
            self.remove_summary()
        for name in again:
            places.remove(places.join(self.path, name))
        return len(again)

    def summary(self) -> dict[str, Any] | None:
        """Return the results about all rows together, or None where they are not known yet.

        Raises
        ------
        OutputError : the file is damaged
        """
        path = places.join(self.path, SUMMARY_NAME)
        if not places.exists(path):
            return None
        try:
            return json.loads(places.read_bytes(path))
        except ValueError as error:
            raise damaged(path, error) from None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the results about all rows together, which ends the job."""
        places.write_bytes(places.join(self.path, SUMMARY_NAME), json.dumps(summary, indent=2).encode())

    def remove_summary(self) -> None:
        """Remove the results about all rows together, before rows change."""
        places.remove(places.join(self.path, SUMMARY_NAME))

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield one column of the rows, part by part."""
        for _, table in read_parts(self.path, [name]):
            yield table[name]

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows, part by part, with all columns or those of ``columns`` that exist."""
        return (table for _, table in read_parts(self.path, columns))

    def columns(self, names: Iterable[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the number and some columns of each shard that is done, in the order of the shards."""
        names = list(names)
        parts = part_names(self.path)
        tables = map_ahead(lambda part: read_part(places.join(self.path, part), names), parts)
        for part, table in zip(parts, tables, strict=True):
            yield shard_number(part), table.select(names)

    def part(self, shard: int) -> pa.Table:
        """Return the rows of one shard."""
        return read_part(places.join(self.path, PART_NAME.format(shard)))

    def rejects(self) -> Iterator[pa.Table]:
        """Yield the rejects, part by part."""
        return (table for _, table in read_parts(places.join(self.path, REJECTS_DIR)))

    def account(self) -> Accounting:
        """Count the rows and rejects in the folder. Only the footers of the parts and the reasons are read.

        Raises
        ------
        OutputError : a part cannot be read
        """
        rows = self._rows_of_shards()
        accounting = Accounting(sum(rows), 0)
        present = places.names(self.path)
        rejects_folder = places.join(self.path, REJECTS_DIR)
        rejected = places.names(rejects_folder)
        for name in map(PART_NAME.format, range(len(rows))):
            if name not in present:
                continue
            accounting.rows_out += open_parquet(places.join(self.path, name)).metadata.num_rows
            if name in rejected:
                table = read_part(places.join(rejects_folder, name), ["stage", "reason"])
                accounting.rejected.update(f"{row['stage']}: {row['reason']}" for row in table.to_pylist())
        return accounting

    def _add_files(
        self, named: pa.Table, shards: Callable[[pa.Table], Iterator[pa.Table]], rejected: pa.Array
    ) -> tuple[pa.Table, int]:
        """Add the files of ``named`` that the folder does not hold.

        Parameters
        ----------
        named : files that the command names
        shards : divides files into shards
        rejected : paths of rejected files that may have changed

        Returns
        -------
        All files of the folder, and the number of those that are not in ``named``.
        """
        manifest = self._manifest()
        held = merge_slices(manifest.read())
        additions = find_additions(held, named, self.path, rejected)
        repaired = additions.repaired
        if len(repaired):  # before the manifest is written, so that its sizes are always those of the parts' files
            self._reopen("path", repaired["path"].combine_chunks())
        if len(additions.new) or len(repaired):
            groups = map(manifest.read_row_group, range(manifest.num_row_groups))
            existing = (with_new_sizes(group, repaired) for group in groups)
            self._write_manifest(itertools.chain(existing, shards(additions.new)))
        return pa.concat_tables([with_new_sizes(held, repaired), additions.new]).sort_by("path"), additions.unnamed

    def _rejected_paths(self) -> pa.Array:
        """Return the paths of all rejects."""
        rejects = read_parts(places.join(self.path, REJECTS_DIR), ["path"])
        return pa.concat_arrays([NO_PATHS, *(chunk for _, table in rejects for chunk in table["path"].chunks)])

    def _write_manifest(self, shards: Iterable[pa.Table]) -> None:
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SHARD_SCHEMA, compression="zstd", use_dictionary=False) as writer:
            for shard in shards:
                writer.write_table(shard)
        places.write_bytes(places.join(self.path, MANIFEST_NAME), memoryview(sink.getvalue()))

    def _rows_of_shards(self) -> list[int]:
        """Return the number of input rows of every shard."""
        manifest = self._manifest()
        sizes = [manifest.metadata.row_group(shard).num_rows for shard in range(manifest.num_row_groups)]
        spectra = expected_rows(manifest.read(columns=["spectra"]))
        return np.add.reduceat(spectra, np.cumsum([0, *sizes[:-1]])).tolist()

    def _manifest(self) -> pq.ParquetFile:
        return open_parquet(places.join(self.path, MANIFEST_NAME))
