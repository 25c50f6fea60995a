"""Where inputs and outputs live: local paths and fsspec URLs (``s3://bucket/key``), one way to use both.

An output file never shows under its final name before it is whole: locally it is written beside it and renamed,
in an object store it appears when its upload is complete.
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
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import get_protocol

from raystellar.errors import InputError, OutputError, RaystellarError, first_line

TEMPORARY = ".tmp-"
"""Prefix of what is not whole yet; Parquet readers pass over names that begin with a dot."""

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""


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
    with in_one_sentence(InputError, f"{place} cannot be used"):
        remote, path = fsspec.core.url_to_fs(place if not is_local(place) else local_path(place))
    remote.invalidate_cache()  # others write to the same folders, so no listing is to be believed twice
    return remote, path


@contextmanager
def in_one_sentence(kind: type[RaystellarError], text: str) -> Iterator[None]:
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
    with in_one_sentence(InputError, f"{place} cannot be looked up"):
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
    with in_one_sentence(InputError, f"{place} cannot be listed"):
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
    with in_one_sentence(OutputError, f"{place} cannot be written"):
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
        with in_one_sentence(OutputError, f"{place} cannot be written"):
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
    """The unpacked content of a gzip file, which closes the file with itself."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        """Close the stream and the file."""
        super().close()
        self._raw.close()


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
    with in_one_sentence(InputError, f"{place} cannot be read"):
        if is_local(place):
            return Path(local_path(place)).read_bytes()
        remote, path = filesystem(place)
        return remote.cat_file(path)
