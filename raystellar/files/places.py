"""Paths and URLs: one set of functions for files on mounted disks and for files that fsspec reaches (``s3://...``).

A reader never sees half a file under its final name. A local file is written under a temporary name in the same folder
and then renamed. A file in an object store appears when its upload is complete. Every other module writes its files by
``write_bytes`` and ``whole_file``, and a folder that counts only as a whole by ``whole_folder``.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Union, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import get_protocol

from raystellar.errors import InputError, OutputError, RaystellarError, first_line

PathOrUrl = Union[str, "os.PathLike[str]"]
"""Path or URL, as users of the Python functions give it."""

TEMPORARY = ".tmp-"
"""Prefix of the names of unfinished files and folders; readers of Parquet skip names that begin with a dot."""

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""


def as_path(path: PathOrUrl) -> str:
    """Return a path or URL, which users may give as text or as ``pathlib.Path``, as text.

    Raises
    ------
    InputError : ``path`` is neither
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise InputError(f"a path or URL is needed, as text or pathlib.Path, but this is of type {type(path).__name__}")
    return text


def is_local(path: str) -> bool:
    """Return whether ``path`` is on a mounted disk; False for a URL of any other protocol than ``file``."""
    return get_protocol(path) in ("file", "local")


def local_path(path: str) -> str:
    """Return a local path without ``file://``, and with the home folder in place of ``~``."""
    return path.split("://", 1)[1] if "://" in path else os.path.expanduser(path)


def absolute(path: str) -> str:
    """Return a path that other processes can use, whatever their working directory; URLs are returned unchanged."""
    return os.path.abspath(local_path(path)) if is_local(path) else path


def join(path: str, *parts: str) -> str:
    """Join the parts of a path or URL with slashes."""
    return "/".join([path.rstrip("/") or "/", *parts])


def filesystem(path: str) -> tuple[Any, str]:
    """Return the fsspec file system of ``path``, and the path within that file system.

    Raises
    ------
    InputError : the protocol is not known, or its package is not installed
    """
    with in_one_sentence(InputError, f"{path} cannot be used"):
        remote, inner = fsspec.core.url_to_fs(path if not is_local(path) else local_path(path))
    remote.invalidate_cache()  # other processes write to the same folders, so a listing is used only once
    return remote, inner


@contextmanager
def in_one_sentence(kind: type[RaystellarError], text: str) -> Iterator[None]:
    """Raise the errors of a file system as ``kind``, with the message "TEXT: CAUSE" on one line.

    Each file system has error classes of its own, so every exception is caught. Errors of raystellar pass unchanged. So
    do programming errors, which are the builtin classes other than OSError, ValueError and ImportError.
    """
    try:
        yield
    except RaystellarError:
        raise
    except Exception as error:
        if type(error).__module__ == "builtins" and not isinstance(error, OSError | ValueError | ImportError):
            raise
        raise kind(f"{text}: {getattr(error, 'strerror', None) or first_line(error)}") from None


def exists(path: str) -> bool:
    """Return whether a file or folder exists.

    Raises
    ------
    InputError : the server does not tell whether the file exists
    """
    if is_local(path):
        return os.path.exists(local_path(path))
    remote, inner = filesystem(path)
    with in_one_sentence(InputError, f"{path} cannot be looked up"):
        return bool(remote.exists(inner))


def is_taken(path: str) -> bool:
    """Return whether ``path`` is a file or a folder with content."""
    if is_local(path):
        local = local_path(path)
        return os.path.exists(local) and not (os.path.isdir(local) and not os.listdir(local))
    return exists(path)


def make_folder(folder: str) -> None:
    """Make a folder and its parent folders. Object stores have no folders, so nothing is done there.

    Raises
    ------
    OutputError : the folder cannot be made or written to
    """
    if not is_local(folder):
        return
    local = local_path(folder)
    try:
        os.makedirs(local, exist_ok=True)
        probe = os.path.join(local, f"{TEMPORARY}{uuid.uuid4().hex}")
        with open(probe, "w"):
            pass
        os.unlink(probe)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be written to: {error.strerror}") from None


def names(folder: str) -> set[str]:
    """Return the names of the files and folders directly in a folder; the empty set where the folder does not exist.

    Raises
    ------
    InputError : a folder on a server cannot be listed
    """
    if is_local(folder):
        try:
            return set(os.listdir(local_path(folder)))
        except FileNotFoundError:
            return set()
    remote, inner = filesystem(folder)
    with in_one_sentence(InputError, f"{folder} cannot be listed"):
        try:
            return {name.rsplit("/", 1)[-1] for name in remote.ls(inner, detail=False)}
        except FileNotFoundError:
            return set()


def remove_temporaries(folder: str) -> None:
    """Remove the unfinished files that a killed job left in a local folder."""
    if is_local(folder):
        for path in Path(local_path(folder)).glob(f"{TEMPORARY}*"):
            if path.is_file():
                path.unlink(missing_ok=True)


def remove(path: str) -> None:
    """Remove a file if it exists."""
    if is_local(path):
        Path(local_path(path)).unlink(missing_ok=True)
    elif exists(path):
        remote, inner = filesystem(path)
        remote.rm_file(inner)


def remove_folder(folder: str) -> None:
    """Remove a folder with its content if it exists."""
    if is_local(folder):
        shutil.rmtree(local_path(folder), ignore_errors=True)
    elif exists(folder):
        remote, inner = filesystem(folder)
        remote.rm(inner, recursive=True)


# Reading


def read_bytes(path: str) -> bytes:
    """Return the content of a file.

    Raises
    ------
    InputError : the file does not exist or cannot be read
    """
    with in_one_sentence(InputError, f"{path} cannot be read"):
        if is_local(path):
            return Path(local_path(path)).read_bytes()
        remote, inner = filesystem(path)
        return remote.cat_file(inner)


def open_file(path: str) -> IO[bytes]:
    """Open a file or URL for reading from its first byte; a gzip file, known by its content, is unpacked.

    Returns
    -------
    A stream that can seek. Later reads raise the errors of the file system, or of ``gzip`` where the file is damaged.

    Raises
    ------
    InputError : the file does not exist, is a folder, or cannot be opened
    """
    with in_one_sentence(InputError, f"{path} cannot be opened"):
        try:
            raw = _open(path)
            try:
                packed = raw.read(2) == GZIP
                raw.seek(0)
            except BaseException:
                raw.close()
                raise
        except FileNotFoundError as error:
            cause = error.__cause__
            if cause is not None and path.startswith("http") and getattr(cause, "status", 0) not in (404, 410):
                # fsspec raises FileNotFoundError for every failure of a web server
                raise InputError(f"{path} cannot be opened: {first_line(cause)}") from None
            raise InputError(f"{path} does not exist") from None
        except IsADirectoryError:
            raise InputError(f"{path} is a folder; name a file in it") from None
        return cast(IO[bytes], _Unpacked(raw)) if packed else raw


def _open(path: str) -> IO[bytes]:
    if is_local(path):
        return open(local_path(path), "rb")
    remote, inner = filesystem(path)
    return cast(IO[bytes], remote.open(inner, "rb"))


class _Unpacked(gzip.GzipFile):
    """The unpacked content of a gzip file. Closing it closes the file, too."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        """Close the stream and the file."""
        super().close()
        self._raw.close()


# Writing


def write_bytes(path: str, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Write a file as a whole or not at all.

    Parameters
    ----------
    durable : wait until a local disk has stored the content, so that it survives a loss of power

    Raises
    ------
    OutputError : the file cannot be written
    """
    with in_one_sentence(OutputError, f"{path} cannot be written"):
        if is_local(path):
            with whole_file(path, durable=durable) as temporary:
                temporary.write_bytes(content)
        else:
            remote, inner = filesystem(path)
            remote.pipe_file(inner, bytes(content))


@contextmanager
def whole_file(path: str, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary local path to write a file to; the file moves to ``path`` if the context ends without an error.

    Parameters
    ----------
    durable : wait until a local disk has stored the content, so that it survives a loss of power

    Raises
    ------
    OutputError : the file cannot be written
    """
    folder, name = os.path.split(local_path(path)) if is_local(path) else (tempfile.gettempdir(), "file")
    temporary = Path(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex}")
    try:
        yield temporary
        with in_one_sentence(OutputError, f"{path} cannot be written"):
            _move_file(temporary, path, durable)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or first_line(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _move_file(temporary: Path, path: str, durable: bool) -> None:
    if not is_local(path):
        remote, inner = filesystem(path)
        remote.put_file(str(temporary), inner)
        return
    if durable:
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
    os.replace(temporary, local_path(path))


@contextmanager
def whole_folder(folder: str) -> Iterator[Path]:
    """Yield a new local folder to write files to; it is renamed to ``folder`` if the context ends without an error.

    An older folder of that name is renamed first, removed at the end, and put back if the second rename fails. A
    process that is killed between the two renames leaves the older folder complete, in the same parent folder, under a
    hidden name that ends in ``.old``.

    Parameters
    ----------
    folder : path on a mounted disk

    Raises
    ------
    OutputError : the folder cannot be written
    """
    path = Path(local_path(folder))
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _move_folder(temporary, path)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be written ({error}); check its path, space and rights") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_folder(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    older = path.with_name(f".{path.name}-{uuid.uuid4().hex}.old")
    os.rename(path, older)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(older, path)
        raise
    shutil.rmtree(older, ignore_errors=True)


# Parquet


def parquet_file(path: str) -> pq.ParquetFile:
    """Open a Parquet file; raises the errors of Arrow and of the file system."""
    if is_local(path):
        return pq.ParquetFile(local_path(path))
    remote, inner = filesystem(path)
    return pq.ParquetFile(remote.open(inner, "rb"), pre_buffer=True)


def write_table(path: str, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file as a whole or not at all.

    Parameters
    ----------
    options : options of ``pyarrow.parquet.ParquetWriter``

    Raises
    ------
    OutputError : the file cannot be written
    """
    write_bytes(path, parquet_bytes(table, **options))


def parquet_bytes(table: pa.Table, **options: Any) -> memoryview:
    """Return a table as the bytes of a Parquet file, compressed with zstd."""
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table.schema, **options) as writer:
        writer.write_table(table.replace_schema_metadata())
    return memoryview(sink.getvalue())


def parquet_writer(sink: Any, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Return a writer of Parquet, compressed with zstd, for tables of ``schema`` without its metadata.

    The metadata go into the footer once, as plain entries. Arrow would store them a second time in its own description
    of the schema.
    """
    writer = pq.ParquetWriter(sink, schema.remove_metadata(), compression="zstd", **options)
    writer.add_key_value_metadata({key.decode(): value.decode() for key, value in (schema.metadata or {}).items()})
    return writer
