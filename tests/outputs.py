"""Small output folders, and the steps of a job on them."""

from __future__ import annotations

import pyarrow as pa

from raystellar.errors import SpectrumError
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.spectra.inputs import MANIFEST_SCHEMA

SCHEMA = pa.schema([("path", pa.string()), ("value", pa.int32())])


def begin(folder, manifest, *, grows=False, **identity):
    """Return the output in ``folder``, begun for ``manifest`` with shards of 4 rows."""
    output = ShardedOutput(str(folder), SCHEMA)
    output.begin("dataset", {"seed": 1} | identity, manifest, 4, grows=grows)
    return output


def do(output, shard, bad=()):
    """Commit a shard in which each file gives a row, or a reject if it is in ``bad``."""
    paths = [file_slice.path for file_slice in output.slices(shard)]
    good = [path for path in paths if path not in bad]
    rejects = [(path, SpectrumError("read", "truncated", "9 bytes")) for path in paths if path in bad]
    output.commit(shard, ShardRows(pa.table({"path": good, "value": pa.array([1] * len(good), pa.int32())}), rejects))


def grow(folder, manifest, *, retry=False):
    """Return the output in ``folder``, to which ``manifest`` was added, and the number of files not named by it."""
    output = ShardedOutput(str(folder), SCHEMA)
    return output, output.begin("dataset", {"seed": 1}, manifest, 4, grows=True, retry=retry)


def files(*counts, size=100):
    """Return a manifest of files with so many spectra and so many bytes each."""
    columns = [[f"{n:03d}" for n in range(len(counts))], [size] * len(counts), pa.array(counts, pa.int32())]
    return pa.table(columns, schema=MANIFEST_SCHEMA)
