"""Files that a command adds to an output folder: files that the folder does not hold yet, and repaired files.

Two paths of one file count as one file, see ``files.identity``. All work is done on Arrow columns, because a survey has
millions of paths.
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
class Additions:
    """The files named by a command, compared with the files of a folder."""

    new: pa.Table
    """Files that the folder does not hold; the columns are those of the command's files."""
    unnamed: int
    """Number of files that the folder holds and the command does not name."""
    repaired: pa.Table
    """Files of one spectrum that were rejected and have changed: ``path`` as in the folder, and the new ``bytes``."""


def merge_slices(slices: pa.Table) -> pa.Table:
    """Return the files (path, bytes, spectra) of a manifest, in which the slices of a file follow each other."""
    start = np.flatnonzero(slices["first"].to_numpy() == 0)
    spectra = np.add.reduceat(slices["spectra"].fill_null(0).to_numpy(), start)
    files = slices.select(["path", "bytes", "spectra"]).take(pa.array(start))
    counted = files["spectra"].is_valid().to_numpy()
    return files.set_column(2, files.schema.field("spectra"), pa.array(spectra, pa.int32(), mask=~counted))


def find_additions(held: pa.Table, named: pa.Table, folder: str, rejected: pa.Array) -> Additions:
    """Compare the files in ``folder`` with the files that a command names.

    Parameters
    ----------
    held : files in the folder, each once; columns ``path``, ``bytes``, ``spectra``
    named : files named by the command, each once; the same columns
    folder : path of the folder, for the message
    rejected : paths in the folder of files that may have changed, provided that they hold one spectrum

    Raises
    ------
    OutputError : another file has changed its number of bytes or spectra since it was added to the folder
    """
    keys = file_keys(pa.chunked_array([*held["path"].chunks, *named["path"].chunks], pa.string()))
    at = pc.index_in(keys[len(held) :], value_set=keys[: len(held)])
    rows, held_rows = pa.array(np.flatnonzero(at.is_valid())), at.drop_null()
    changed = _changed(named, rows, held, held_rows)
    now, before = named.take(rows.take(changed)), held.take(held_rows.take(changed))
    single = pc.and_(pc.is_null(now["spectra"]), pc.is_null(before["spectra"]))
    allowed = pc.and_(single, pc.is_in(before["path"], value_set=rejected))
    if not pc.all(allowed, min_count=0).as_py():
        first = pc.index(allowed, False).as_py()
        _refuse(now.slice(first, 1).to_pylist()[0], before.slice(first, 1).to_pylist()[0], folder)
    repaired = pa.table({"path": before["path"], "bytes": now["bytes"]})
    return Additions(named.filter(at.is_null()), len(held) - len(rows), repaired)


def _changed(named: pa.Table, rows: pa.Array, held: pa.Table, held_rows: pa.Array) -> pa.Array:
    """Return the positions in ``rows`` of the files that changed since they were added to the folder.

    A size of 0 of a file on a server means that the size is not known.
    """
    now, before = named["bytes"].take(rows).to_numpy(), held["bytes"].take(held_rows).to_numpy()
    local = pc.invert(pc.match_substring(named["path"], "://")).take(rows).to_numpy()
    counts = pc.not_equal(named["spectra"].take(rows), held["spectra"].take(held_rows)).fill_null(False).to_numpy()
    return pa.array(np.flatnonzero(((now != before) & (local | ((now > 0) & (before > 0)))) | counts))


def _refuse(now: dict[str, Any], before: dict[str, Any], folder: str) -> None:
    quantity = "bytes" if now["bytes"] != before["bytes"] else "spectra"
    raise OutputError(
        f"{now['path']} has changed since it was added to {folder}: it has {now[quantity]} {quantity}, and had "
        f"{before[quantity]}; restore the file, name a new folder, or, if the file was rejected and is now repaired, "
        "add --retry-rejects"
    )


def with_new_sizes(files: pa.Table, repaired: pa.Table) -> pa.Table:
    """Return ``files``, or slices of files, with the new ``bytes`` of the files in ``repaired``."""
    if not len(repaired):
        return files
    at = pc.index_in(files["path"], value_set=repaired["path"].combine_chunks())
    size = pc.coalesce(repaired["bytes"].take(at), files["bytes"])
    return files.set_column(files.schema.get_field_index("bytes"), files.schema.field("bytes"), size)
