"""Where inputs and outputs live: local paths and fsspec URLs (``s3://bucket/key``), one way to use both.

An output file never shows under its final name before it is whole: locally it is written beside it and renamed,
in an object store it appears when its upload is complete.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import get_protocol, glob_translate

from raystellar.errors import InputError, OutputError, RaystellarError, first_line
from raystellar.remote import WEB_PROTOCOLS
from raystellar.schema import REJECTS_DIR

SPECTRA_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".parquet")
"""What counts as spectra when a folder is named; a file that is named itself is always taken."""

COMPANIONS = ("spZbest-", "spZall-", "spZline-")
"""Files beside the spectra of a plate that hold none."""

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


def absolute(place: str) -> str:
    """Return ``place`` as other processes can use it, whatever their working directory."""
    return os.path.abspath(local_path(place)) if is_local(place) else place


def join(place: str, *parts: str) -> str:
    """Join path parts with slashes, for paths and URLs alike."""
    return "/".join([place.rstrip("/") or "/", *parts])


def filesystem(place: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of ``place`` and the path within it.

    Raises
    ------
    InputError : the protocol is not known, or its package is not installed
    """
    with _in_one_sentence(InputError, f"{place} cannot be used"):
        remote, path = fsspec.core.url_to_fs(place if not is_local(place) else local_path(place))
    remote.invalidate_cache()  # others write to the same folders, so no listing is to be believed twice
    return remote, path


@contextmanager
def _in_one_sentence(kind: type[RaystellarError], text: str) -> Iterator[None]:
    """Say what a file system refused; each has error classes of its own, and only programming errors pass."""
    try:
        yield
    except RaystellarError:
        raise
    except Exception as error:
        if type(error).__module__ == "builtins" and not isinstance(error, OSError | ValueError | ImportError):
            raise
        raise kind(f"{text}: {getattr(error, 'strerror', None) or first_line(error)}") from None


def exists(place: str) -> bool:
    """Return whether a file or folder is there."""
    if is_local(place):
        return os.path.exists(local_path(place))
    remote, path = filesystem(place)
    with _in_one_sentence(InputError, f"{place} cannot be looked up"):
        return bool(remote.exists(path))


def is_taken(place: str) -> bool:
    """Return whether there is anything at ``place`` but an empty folder."""
    if is_local(place):
        path = local_path(place)
        return os.path.exists(path) and not (os.path.isdir(path) and not os.listdir(path))
    return exists(place)


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
    with _in_one_sentence(InputError, f"{place} cannot be listed"):
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


def write_bytes(place: str, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Write a file whole or not at all; ``durable`` waits until a local disk has it.

    Raises
    ------
    OutputError : it cannot be written
    """
    with _in_one_sentence(OutputError, f"{place} cannot be written"):
        if not is_local(place):
            remote, path = filesystem(place)
            remote.pipe_file(path, bytes(content))
            return
        folder, name = os.path.split(local_path(place))
        temporary = os.path.join(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex}")
        try:
            with open(temporary, "wb") as stream:
                stream.write(content)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            os.replace(temporary, local_path(place))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def whole_file(place: str) -> Iterator[Path]:
    """Yield a path on this machine to write a large file to; it takes its place when the context ends without error.

    Raises
    ------
    OutputError : it cannot be written
    """
    folder, name = os.path.split(local_path(place)) if is_local(place) else (tempfile.gettempdir(), "file")
    temporary = Path(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex}")
    try:
        yield temporary
        with _in_one_sentence(OutputError, f"{place} cannot be written"):
            _take_place(temporary, place)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or first_line(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _take_place(temporary: Path, place: str) -> None:
    if not is_local(place):
        remote, path = filesystem(place)
        remote.put_file(str(temporary), path)
        return
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, local_path(place))


def remove(place: str) -> None:
    """Remove a file, if it is there."""
    if is_local(place):
        Path(local_path(place)).unlink(missing_ok=True)
    elif exists(place):
        remote, path = filesystem(place)
        remote.rm_file(path)


def remove_folder(place: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if is_local(place):
        shutil.rmtree(local_path(place), ignore_errors=True)
    elif exists(place):
        remote, path = filesystem(place)
        remote.rm(path, recursive=True)


def parquet_file(place: str) -> pq.ParquetFile:
    """Open a Parquet file; errors are those of Arrow and the file system."""
    if is_local(place):
        return pq.ParquetFile(local_path(place))
    remote, path = filesystem(place)
    return pq.ParquetFile(remote.open(path, "rb"), pre_buffer=True)


def write_table(place: str, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file whole or not at all; see ``pyarrow.parquet.write_table`` for ``options``."""
    write_bytes(place, parquet_bytes(table, **options))


def parquet_bytes(table: pa.Table, **options: Any) -> memoryview:
    """Return a table as the bytes of a Parquet file, compressed with zstd."""
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table.schema, **options) as writer:
        writer.write_table(table.replace_schema_metadata())
    return memoryview(sink.getvalue())


def parquet_writer(sink: Any, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Return a writer of Parquet, compressed with zstd, that takes tables of ``schema`` without its metadata.

    These stand in the footer as they are, and not once more within Arrow's own description of the schema.
    """
    writer = pq.ParquetWriter(sink, schema.remove_metadata(), compression="zstd", **options)
    writer.add_key_value_metadata({key.decode(): value.decode() for key, value in (schema.metadata or {}).items()})
    return writer


def read_bytes(place: str) -> bytes:
    """Return the content of a file.

    Raises
    ------
    InputError : it is not there or cannot be read
    """
    with _in_one_sentence(InputError, f"{place} cannot be read"):
        if is_local(place):
            return Path(local_path(place)).read_bytes()
        remote, path = filesystem(place)
        return remote.cat_file(path)


def expand(places: Iterable[str], *, listed: bool = False) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of every spectrum file that the user named.

    A file on a web server, or one on any server that stands in a list, is taken at its word, with 0 bytes: to ask
    for each of a million files would take hours. What is not there is found out when it is fetched.

    Parameters
    ----------
    places : files, folders (searched to the bottom for FITS files), globs, and lists (``@FILE``, or a file whose
        name ends in .txt, .lst or .list) with one such place a line; relative lines start at the list's folder
    listed : the places stand in a list

    Raises
    ------
    InputError : a file or folder does not exist or cannot be listed, a glob matches nothing
    """
    for place in places:
        if place.startswith("@") or place.endswith(LIST_SUFFIXES):
            yield from expand(_read_list(place.removeprefix("@")), listed=True)
        elif is_local(place):
            yield from _expand_local(local_path(place))
        elif get_protocol(place) in WEB_PROTOCOLS:
            yield _expand_web(place), 0
        elif listed and _is_spectra(place):
            yield place, 0
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
        yield path, _size(path)
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
        elif _is_spectra(entry.path):
            yield entry.path, _size(entry.path)


def _size(path: str) -> int:
    """Return the bytes of a file; 0 where it is gone, or is none, as its reader will say."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {path!r} is not UTF-8; rename the file") from None
    try:
        return os.path.getsize(path) if os.path.isfile(path) else 0
    except OSError:
        return 0


def _is_spectra(path: str) -> bool:
    """Return whether the name is that of a file of spectra, as found in a folder."""
    folder, _, name = path.rpartition("/")
    if name.startswith("part-") and folder.rpartition("/")[2] == REJECTS_DIR:
        return False
    return name.lower().endswith(SPECTRA_SUFFIXES) and not name.startswith((*COMPANIONS, "_"))


def _expand_web(place: str) -> str:
    """Return the address of a file; a folder is refused, for what a web server shows of one is for humans."""
    path = place.partition("?")[0]
    if "." in path.split("://", 1)[1].partition("/")[2].rpartition("/")[2] and "*" not in path:
        return place
    raise InputError(
        f"{place} is no file, and a web server cannot be asked for a list of its files; "
        "give their addresses, one a line, in a text file (@paths.txt)"
    )


def _expand_remote(place: str) -> Iterator[tuple[str, int]]:
    remote, path = filesystem(place)
    protocol = place.split("://", 1)[0]
    pattern = any(sign in path for sign in "*?[")
    none = True
    with _in_one_sentence(InputError, f"{place} cannot be listed"):
        if _is_spectra(path) and not pattern:
            found = iter([(path, int(remote.info(path).get("size") or 0))])
        else:
            found = _matching(remote, path) if pattern else _below(remote, path)
        for name, size in found:
            none = False
            yield name if "://" in name else f"{protocol}://{name}", size
    if none:
        raise InputError(f"no spectra at {place}")


def _matching(remote: Any, pattern: str) -> Iterator[tuple[str, int]]:
    """Yield the files that match a glob, and those below the folders that do."""
    fixed = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    matches = re.compile(glob_translate(pattern)).match
    for name, size in _files(remote, fixed):
        parts = name.split("/")
        folders = ("/".join(parts[:end]) for end in range(fixed.count("/") + 1, len(parts)))
        if matches(name) or (_is_spectra(name) and any(map(matches, folders))):
            yield name, size


def _below(remote: Any, folder: str) -> Iterator[tuple[str, int]]:
    """Yield the files of spectra below a folder."""
    start = folder.rstrip("/") + "/"
    for name, size in _files(remote, start):
        if _is_spectra(name) and "/." not in name[len(start) - 1 :]:
            yield name, size


def _files(remote: Any, start: str) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of all files whose names begin with ``start``, page by page: there may be millions."""
    if hasattr(remote, "call_s3"):  # its own walk holds a whole folder at once, and some have no other
        bucket, key, _ = remote.split_path(start)
        wanted = {"Bucket": bucket, "Prefix": key, **remote.req_kw}
        while True:
            page = remote.call_s3("list_objects_v2", **wanted)
            yield from ((f"{bucket}/{entry['Key']}", entry["Size"]) for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]
    for _, _, files in remote.walk(start.rpartition("/")[0] or "/", detail=True, on_error="raise"):
        for info in sorted(files.values(), key=lambda info: info["name"]):
            if info["name"].startswith(start):
                yield info["name"], int(info.get("size") or 0)
