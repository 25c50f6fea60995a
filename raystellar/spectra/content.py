"""The bytes of one input file: its head at once, the rest on demand.

Every source first looks at the head. Of a plain SDSS spec file that is all there is to read, by one call of the
system; a plate of 100 MB is then read in pieces, and only a packed one is kept in memory as a whole.
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
"""Read at first [bytes]: a whole lite file (at most 222 kB), and the part of a full one that is needed."""

MAX_BYTES = 1 << 25
"""Most of a file of one spectrum that is ever read or decompressed [bytes]; full files have at most a few MB."""

MAX_PLATE_BYTES = 1 << 29
"""Most that is ever decompressed of a file of many spectra [bytes]; a plate of 1000 fibres has about 130 MB."""

_GZIP = b"\x1f\x8b"
_REFUSALS = (
    (FileNotFoundError, "not found"),
    (NotADirectoryError, "not found"),
    (PermissionError, "no permission"),
    (IsADirectoryError, "is a directory"),
)


class Partial(Protocol):
    """A file on a server of which the head is here, such as ``fetched.RemoteFile``."""

    path: str
    head: bytes
    complete: bool

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``."""

    def open(self) -> Any:
        """Open it to read here and there."""

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], Partial | None]:
        """Ask for the first of some other files that is there, and so many bytes of it."""


Given = bytes | Partial | None
"""What is at hand of a file: all of it, its head, or nothing yet."""


class Content:
    """A file as it was named, or bytes that were fetched from elsewhere.

    Parameters
    ----------
    path : name of the file, or a URL that fsspec knows
    data : its contents, plain or gzip, where they are at hand
    head_bytes : how much to read at once

    Attributes
    ----------
    head : the first bytes, packed where the file is
    whole : the head is all there is
    packed : the file is gzip

    Raises
    ------
    SpectrumError : stage fetch, where the file cannot be read
    """

    __slots__ = ("_rest", "head", "packed", "path", "whole")

    def __init__(self, path: str, data: Given = None, head_bytes: int = HEAD_BYTES) -> None:
        self.path = path
        self._rest: Partial | None = None
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

    def raw(self, most: int = MAX_BYTES) -> bytes:
        """Return the file as it is, up to ``most`` bytes.

        Raises
        ------
        SpectrumError : stage fetch, where it cannot be read
        """
        if self.whole:
            return self.head
        return self._rest.read(0, most) if self._rest is not None else fetch(self.path, most)

    def unpacked(self, most: int = MAX_BYTES) -> bytes:
        """Return the file, unpacked where it is gzip, up to ``most`` bytes.

        Raises
        ------
        SpectrumError : it cannot be read or unpacked
        """
        data = self.raw(most)
        return gunzip(data, most) if self.packed else data

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], Content | None]:
        """Ask for the first of ``paths`` that is there; call what is returned to have it, or None.

        ``size`` is about what is read of it [bytes].

        Raises
        ------
        SpectrumError : when that is called, where the disk or server does not say whether a file is there
        """
        if self._rest is None:
            return lambda: next((Content(path) for path in paths if exists(path)), None)
        ask = self._rest.beside(paths, size)

        def found() -> Content | None:
            given = ask()
            return None if given is None else Content(given.path, given)

        return found

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the file to read here and there; within the context what the system refuses is a SpectrumError."""
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
    """Return the first ``size`` bytes of a file, or all of it where it is shorter.

    Raises
    ------
    SpectrumError : stage fetch, where it cannot be read
    """
    try:
        if "://" not in path:
            return _read(path, size)
        with _open(path) as stream:
            return stream.read(size)
    except Exception as error:
        raise _refusal(path, error) from error


def _read(path: str, size: int) -> bytes:
    # O_NONBLOCK: a named pipe among the files must not stop the job
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        data = os.read(descriptor, size)
        while 0 < len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more  # some network file systems return less than asked for
    finally:
        os.close(descriptor)
    return data


def gunzip(data: bytes, most: int = MAX_BYTES) -> bytes:
    """Return the contents of a gzip file of one member; its checksum is verified.

    Raises
    ------
    SpectrumError : it is damaged, cut off, or holds more than ``most`` bytes
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, most)
    except zlib.error as error:
        raise SpectrumError("read", "damaged gzip", str(error)) from error
    if not stream.eof:
        reason = "unreasonable size" if len(plain) >= most else "truncated"
        raise SpectrumError("read", reason, f"gzip ends or is cut off after {len(plain)} bytes")
    return plain


def exists(path: str) -> bool:
    """Return whether a file is there.

    Raises
    ------
    SpectrumError : stage fetch, where the disk or server does not say
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
    """Say that ``size`` bytes from byte ``at`` are read soon; a stream from a server asks for them now."""
    ahead = getattr(stream, "ahead", None)
    if ahead is not None:
        ahead(at, size)


def _open(path: str) -> IO[bytes]:
    if "://" not in path:
        return open(path, "rb", buffering=1 << 16)
    import fsspec  # a third of a second to import, and most workers read local files

    return cast(IO[bytes], fsspec.open(path, "rb").open())


def _refusal(path: str, error: Exception) -> Exception:
    """Return the SpectrumError that says what the system said; what is no refusal is returned as it is."""
    for kind, reason in _REFUSALS:
        if isinstance(error, kind):
            return SpectrumError("fetch", reason, str(error))
    if isinstance(error, OSError) or "://" in path:  # each protocol has error classes of its own
        return SpectrumError("fetch", "read failed", f"{type(error).__name__}: {error}")
    if isinstance(error, (ValueError, TypeError)):  # a zero byte or half a character in the name; no name at all
        return SpectrumError("fetch", "bad path", f"{path!r}: {error}")
    return error
