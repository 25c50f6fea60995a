"""The bytes of one input file: its head at once, the rest on demand.

Every source first inspects the head. The head of a plain SDSS spec file holds all that is needed, so that one system
call reads it. A plate of 100 MB is read in pieces; only a plate packed with gzip is held in memory as a whole.
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol, cast

from raystellar.errors import SpectrumError

HEAD_BYTES = 1 << 18
"""Size of the head [bytes]. A lite spec file (at most 222 kB) fits in it, and the needed part of a full one."""

MAX_SPECTRUM_BYTES = 1 << 25
"""Largest number of bytes read or unpacked of a file of one spectrum; full spec files have at most a few MB."""

MAX_PLATE_BYTES = 1 << 29
"""Largest number of bytes unpacked of a file of many spectra; a plate of 1000 fibres has about 130 MB."""

_GZIP = b"\x1f\x8b"
_REFUSALS = (
    (FileNotFoundError, "not found"),
    (NotADirectoryError, "not found"),
    (PermissionError, "no permission"),
    (IsADirectoryError, "is a directory"),
)


class PartialFile(Protocol):
    """A file on a server whose head is in memory, such as ``files.remote_file.RemoteFile``.

    A protocol is enough: importing ``RemoteFile`` takes 0.1 s, and most workers read local files.

    Attributes
    ----------
    path : URL of the file
    head : first bytes of the file
    complete : whether the head is the whole file
    """

    path: str
    head: bytes
    complete: bool

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``."""

    def open(self) -> Any:
        """Open the file for reading at any position."""

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], PartialFile | None]:
        """Request the head of the first of ``paths`` that exists; the returned function waits for it."""


FileData = bytes | PartialFile | None
"""Data of a file in memory: its contents, a file on a server with its head, or nothing yet."""


class Content:
    """The bytes of a file, which is opened here or was fetched before.

    Parameters
    ----------
    path : path of the file, or a URL that fsspec knows
    data : contents of the file, plain or gzip, or the file on a server; None to open ``path``
    head_bytes : number of bytes to read at once

    Attributes
    ----------
    head : first bytes of the file, packed where the file is packed
    whole : whether the head is the whole file
    packed : whether the file is packed with gzip

    Raises
    ------
    SpectrumError : stage fetch, where the file cannot be read
    """

    __slots__ = ("_rest", "head", "packed", "path", "whole")

    def __init__(self, path: str, data: FileData = None, head_bytes: int = HEAD_BYTES) -> None:
        self.path = path
        self._rest: PartialFile | None = None
        if data is None:
            self.head = fetch(path, head_bytes)
            self.whole = len(self.head) < head_bytes
        elif isinstance(data, bytes | bytearray | memoryview):
            self.head, self.whole = bytes(data), True
        else:
            self._rest, self.head, self.whole = data, data.head, data.complete
        self.packed = self.head.startswith(_GZIP)

    def first(self, size: int) -> bytes:
        """Return the first ``size`` bytes, unpacked; fewer where the file is short or damaged."""
        if not self.packed:
            return self.head[:size]
        try:
            return zlib.decompressobj(wbits=31).decompress(self.head, size)
        except zlib.error:
            return b""

    def raw(self, most: int = MAX_SPECTRUM_BYTES) -> bytes:
        """Return the file as it is stored, up to ``most`` bytes.

        Raises
        ------
        SpectrumError : stage fetch, where the file cannot be read
        """
        if self.whole:
            return self.head
        return self._rest.read(0, most) if self._rest is not None else fetch(self.path, most)

    def unpacked(self, most: int = MAX_SPECTRUM_BYTES) -> bytes:
        """Return the file, unpacked where it is packed, up to ``most`` bytes.

        Raises
        ------
        SpectrumError : the file cannot be read or unpacked
        """
        data = self.raw(most)
        return gunzip(data, most) if self.packed else data

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], Content | None]:
        """Request the first of ``paths`` that exists, and return a function that waits for it.

        The function returns the file, or None where no file exists. It raises SpectrumError where the disk or server
        does not tell whether a file exists.

        Parameters
        ----------
        paths : paths or URLs of other files
        size : number of bytes to request at once from a server
        """
        if self._rest is None:
            return lambda: next((Content(path) for path in paths if exists(path)), None)
        ask = self._rest.beside(paths, size)

        def wait() -> Content | None:
            file = ask()
            return None if file is None else Content(file.path, file)

        return wait

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the file for reading at any position; within the context a system error becomes a SpectrumError."""
        try:
            if self.whole or self.packed:
                yield io.BytesIO(self.unpacked(MAX_PLATE_BYTES))
                return
            with self._rest.open() if self._rest is not None else _open(self.path) as stream:
                yield stream
        except SpectrumError:
            raise
        except Exception as error:
            if isinstance(error, OSError) or "://" in self.path:
                raise _refusal(self.path, error) from error
            raise


def fetch(path: str, size: int) -> bytes:
    """Return the first ``size`` bytes of a file, or the whole file where it is shorter.

    Raises
    ------
    SpectrumError : stage fetch, where the file cannot be read
    """
    try:
        if "://" not in path:
            return _read(path, size)
        with _open(path) as stream:
            return stream.read(size)
    except Exception as error:
        raise _refusal(path, error) from error


def _read(path: str, size: int) -> bytes:
    """Return the first ``size`` bytes of a local file."""
    # O_NONBLOCK, so that a named pipe among the files does not block the job
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        data = os.read(descriptor, size)
        while 0 < len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more  # some network file systems return fewer bytes than requested
    finally:
        os.close(descriptor)
    return data


def gunzip(data: bytes, most: int = MAX_SPECTRUM_BYTES) -> bytes:
    """Return the contents of a gzip file of one member, after verifying its checksum.

    Raises
    ------
    SpectrumError : the file is damaged or cut off, or holds more than ``most`` bytes
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, most)
    except zlib.error as error:
        raise SpectrumError("read", "damaged gzip", str(error)) from error
    if not stream.eof:
        reason = "unreasonable size" if len(plain) >= most else "truncated"
        raise SpectrumError("read", reason, f"the gzip file ends or is cut off after {len(plain)} bytes")
    return plain


def exists(path: str) -> bool:
    """Return whether a file exists.

    Raises
    ------
    SpectrumError : stage fetch, where the disk or server does not tell
    """
    if "://" not in path:
        try:
            return stat.S_ISREG(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        except OSError as error:
            raise _refusal(path, error) from error
    try:
        return bool(fetch(path, 1))
    except SpectrumError as error:
        if error.reason == "not found":
            return False
        raise


def expect(stream: IO[bytes], at: int, size: int) -> None:
    """Announce that ``size`` bytes from byte ``at`` on will be read; a stream from a server requests them now."""
    ahead = getattr(stream, "ahead", None)
    if ahead is not None:
        ahead(at, size)


def _open(path: str) -> IO[bytes]:
    """Open a file on a disk, or on a server that fsspec knows, for reading."""
    if "://" not in path:
        return open(path, "rb", buffering=1 << 16)
    import fsspec  # takes 0.3 s to import, and most workers read local files

    return cast(IO[bytes], fsspec.open(path, "rb").open())


def _refusal(path: str, error: Exception) -> Exception:
    """Map an OS or protocol error to a SpectrumError; return any other exception unchanged."""
    for kind, reason in _REFUSALS:
        if isinstance(error, kind):
            return SpectrumError("fetch", reason, str(error))
    if isinstance(error, OSError) or "://" in path:  # each protocol has its own classes of errors
        return SpectrumError("fetch", "read failed", f"{type(error).__name__}: {error}")
    if isinstance(error, (ValueError, TypeError)):  # the path has a zero byte or half a character, or is not a path
        return SpectrumError("fetch", "bad path", f"{path!r}: {error}")
    return error
