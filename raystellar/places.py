"""Where inputs and outputs live: local paths and fsspec URLs (``s3://bucket/key``), one way to use both.

An output file never shows under its final name before it is whole: locally it is written beside it and renamed,
in an object store it appears when its upload is complete.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import get_protocol

from raystellar.errors import InputError, OutputError

FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz")
"""What counts as a spectrum when a folder is named; a file that is named itself is always taken."""

LIST_SUFFIXES = (".txt", ".lst", ".list")
"""Files that hold one path a line."""

TEMPORARY = ".tmp-"
"""Prefix of what is not whole yet; Parquet readers pass over names that begin with a dot."""


def is_local(place: str) -> bool:
    """Return whether ``place`` is a path on a mounted disk rather than a URL."""
    return get_protocol(place) in ("file", "local")


def local_path(place: str) -> str:
    """Strip ``file://`` from a local place."""
    return place.split("://", 1)[1] if "://" in place else os.path.expanduser(place)


def join(place: str, *parts: str) -> str:
    """Join path parts with slashes, for paths and URLs alike."""
    return "/".join([place.rstrip("/") or "/", *parts])


def filesystem(place: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of ``place`` and the path within it."""
    return fsspec.core.url_to_fs(place if not is_local(place) else local_path(place))


def exists(place: str) -> bool:
    """Return whether a file or folder is there."""
    if is_local(place):
        return os.path.exists(local_path(place))
    remote, path = filesystem(place)
    return bool(remote.exists(path))


def make_folder(place: str) -> None:
    """Make the folder ``place``.

    Raises
    ------
    OutputError : it cannot be made or written to
    """
    if not is_local(place):
        return  # an object store has no folders
    path = local_path(place)
    try:
        os.makedirs(path, exist_ok=True)
        probe = os.path.join(path, f"{TEMPORARY}{uuid.uuid4().hex}")
        with open(probe, "w"):
            pass
        os.unlink(probe)
    except OSError as error:
        raise OutputError(f"folder {place} cannot be written to: {error.strerror}") from None


def names(place: str) -> set[str]:
    """Return the names of what is directly in the folder ``place``; none where there is no folder."""
    if is_local(place):
        try:
            return set(os.listdir(local_path(place)))
        except FileNotFoundError:
            return set()
    remote, path = filesystem(place)
    remote.invalidate_cache(path)
    try:
        return {name.rsplit("/", 1)[-1] for name in remote.ls(path, detail=False)}
    except FileNotFoundError:
        return set()


def remove_temporaries(place: str) -> None:
    """Remove what an interrupted job left half-written in the folder ``place``."""
    if is_local(place):
        for name in names(place):
            if name.startswith(TEMPORARY):
                Path(local_path(place), name).unlink(missing_ok=True)


def write_bytes(place: str, content: bytes | memoryview) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OutputError : it cannot be written
    """
    try:
        if not is_local(place):
            remote, path = filesystem(place)
            remote.pipe_file(path, bytes(content))
            return
        folder, name = os.path.split(local_path(place))
        temporary = os.path.join(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex}")
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, local_path(place))
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error}") from None


def write_table(place: str, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file (zstd) whole or not at all; see ``pyarrow.parquet.write_table`` for ``options``."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    write_bytes(place, memoryview(sink.getvalue()))


def read_bytes(place: str) -> bytes:
    """Return the content of a file.

    Raises
    ------
    InputError : it is not there or cannot be read
    """
    try:
        if is_local(place):
            return Path(local_path(place)).read_bytes()
        remote, path = filesystem(place)
        return remote.cat_file(path)
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror or error}") from None


def expand(places: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of every spectrum file that the user named.

    Parameters
    ----------
    places : files, folders (searched to the bottom for FITS files), globs, and lists (``@FILE``, or a file whose
        name ends in .txt, .lst or .list) with one such place a line; relative lines start at the list's folder

    Raises
    ------
    InputError : a file or folder does not exist, a glob matches nothing
    """
    for place in places:
        if place.startswith("@") or place.endswith(LIST_SUFFIXES):
            yield from expand(_read_list(place.removeprefix("@")))
        elif is_local(place):
            yield from _expand_local(local_path(place))
        else:
            yield from _expand_remote(place)


def _read_list(place: str) -> Iterator[str]:
    folder = place.rpartition("/")[0] or "."
    for line in read_bytes(place).decode(errors="replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            absolute = "://" in line or line.startswith(("/", "~"))
            yield line if absolute else join(folder, line)


def _expand_local(path: str) -> Iterator[tuple[str, int]]:
    if os.path.isdir(path):
        yield from _walk(path, set())
    elif os.path.exists(path):
        yield path, os.path.getsize(path)
    elif any(sign in path for sign in "*?["):
        yield from _expand_glob(path)
    else:
        raise InputError(f"no such file or folder: {path}")


def _expand_glob(pattern: str) -> Iterator[tuple[str, int]]:
    import glob

    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise InputError(f"nothing matches {pattern}")
    for match in matches:
        yield from _expand_local(match)


def _walk(folder: str, seen: set[str]) -> Iterator[tuple[str, int]]:
    """Yield the FITS files below ``folder`` in order of their names; each real folder once, links or not."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, seen)
        elif entry.name.lower().endswith(FITS_SUFFIXES):
            yield entry.path, entry.stat().st_size if entry.is_file() else 0


def _expand_remote(place: str) -> Iterator[tuple[str, int]]:
    remote, path = filesystem(place)
    protocol = place.split("://", 1)[0]
    try:
        if any(sign in path for sign in "*?["):
            found = remote.glob(path, detail=True)
        elif place.lower().endswith(FITS_SUFFIXES):
            found = {path: remote.info(path)}
        else:
            found = remote.find(path, detail=True)
            found = {name: info for name, info in found.items() if name.lower().endswith(FITS_SUFFIXES)}
    except (OSError, ValueError) as error:
        raise InputError(f"{place} cannot be listed: {error}") from None
    if not found:
        raise InputError(f"no spectra at {place}")
    for name in sorted(found):
        yield name if "://" in name else f"{protocol}://{name}", int(found[name].get("size") or 0)
