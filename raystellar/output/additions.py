"""What a folder holds already, and what is new: files are compared, however their paths are spelled.

All of it in Arrow's columns: a survey has millions of paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import OutputError
from raystellar.files.identity import file_keys


@dataclass(frozen=True)
class Growth:
    """The files that a command names, beside those of a folder."""

    new: pa.Table
    """Files that the folder does not hold yet, columns as given."""
    further: int
    """Files that the folder holds and the command does not name."""
    mended: pa.Table
    """Files of one spectrum that were rejected and have other bytes now: ``path`` as held, and ``bytes``."""


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
