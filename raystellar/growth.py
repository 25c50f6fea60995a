"""What a folder holds already, and what is new: files are compared, however their paths are spelled.

All of it in Arrow's columns: a survey has millions of paths.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import OutputError
from raystellar.places import is_local

FOLDER_AND_NAME = r"(?s)^(?P<folder>.*/)?(?P<name>[^/]*)$"


@dataclass(frozen=True)
class Growth:
    """The files that a command names, beside those of a folder."""

    new: pa.Table
    """Files that the folder does not hold yet, columns as given."""
    further: int
    """Files that the folder holds and the command does not name."""


def file_keys(paths: pa.ChunkedArray) -> pa.StringArray:
    """Return a short text for each path, the same for all paths of one file; other calls give other texts.

    Local folders are compared by their real paths: ``a``, ``./a/`` and a link to it are one. URLs are taken as they
    are. A link to a single file is a file of its own.
    """
    parts = pc.extract_regex(paths.combine_chunks(), FOLDER_AND_NAME)
    folders = parts.field("folder").dictionary_encode()
    numbers: dict[str, int] = {}
    real = [numbers.setdefault(_real(folder), len(numbers)) for folder in folders.dictionary.to_pylist()]
    number = pa.array(np.array(real, dtype=np.int64)[folders.indices.to_numpy()]).cast(pa.string())
    return pc.binary_join_element_wise(number, parts.field("name"), "/")


def _real(folder: str) -> str:
    return os.path.realpath(folder or ".") if is_local(folder) else folder


def distinct_files(files: pa.Table) -> pa.Table:
    """Return one row of each file of the column ``path``, that of the path that sorts first, in the order of paths."""
    files = files.sort_by("path").combine_chunks()
    keys = file_keys(files["path"])
    return files.filter(pa.array(_first_of_each(keys))) if len(keys) else files


def _first_of_each(keys: pa.StringArray) -> np.ndarray:
    """Return (n,) bool: where a key stands for the first time."""
    codes = keys.dictionary_encode().indices.to_numpy()  # numbered as they come
    return np.diff(np.maximum.accumulate(codes), prepend=-1) > 0


def whole_files(slices: pa.Table) -> pa.Table:
    """Return the files (path, bytes, spectra) of a manifest's slices, which are of one file where they follow."""
    start = np.flatnonzero(slices["first"].to_numpy() == 0)
    spectra = np.add.reduceat(slices["spectra"].fill_null(0).to_numpy(), start)
    files = slices.select(["path", "bytes", "spectra"]).take(pa.array(start))
    counted = files["spectra"].is_valid().to_numpy()
    return files.set_column(2, files.schema.field("spectra"), pa.array(spectra, pa.int32(), mask=~counted))


def compare(held: pa.Table, named: pa.Table, place: str) -> Growth:
    """Compare the files that the folder ``place`` holds with those that a command names.

    Parameters
    ----------
    held, named : files, columns ``path``, ``bytes``, ``spectra``; each file once

    Raises
    ------
    OutputError : a file has other bytes or spectra than when it came into the folder
    """
    keys = file_keys(pa.chunked_array([*held["path"].chunks, *named["path"].chunks], pa.string()))
    at = pc.index_in(keys[len(held) :], value_set=keys[: len(held)])
    known, before = named.filter(at.is_valid()), held.take(at.drop_null())
    _refuse_changed(known, before, place)
    return Growth(named.filter(at.is_null()), len(held) - len(known))


def _refuse_changed(known: pa.Table, before: pa.Table, place: str) -> None:
    """Raise OutputError where a file is not what it was; a size of 0 says nothing of a file on a server."""
    size, was = known["bytes"].to_numpy(), before["bytes"].to_numpy()
    here = pc.invert(pc.match_substring(known["path"], "://")).to_numpy()
    counts = pc.fill_null(pc.not_equal(known["spectra"], before["spectra"]), False).to_numpy()
    changed = np.flatnonzero(((size != was) & (here | ((size > 0) & (was > 0)))) | counts)
    if len(changed):
        row = int(changed[0])
        said = [f"{table['bytes'][row]} bytes" for table in (known, before)]
        if size[row] == was[row]:
            said = [f"{table['spectra'][row]} spectra" for table in (known, before)]
        raise OutputError(
            f"{known['path'][row]} has changed since {place} was begun with it ({said[0]}, before {said[1]}); "
            "put the file back, or name a new folder"
        )
