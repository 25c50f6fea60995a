"""The bytes of one input file: its head at once, the rest on demand.

Every source first inspects the head. The head of a plain SDSS spec file holds all that is needed, so that one system
call reads it. A plate of 100 MB is read in pieces; only a packed plate is held in memory as a whole.

Files may be packed with gzip or bzip2, which the first bytes tell. A small packed file may unpack to any size. A packed
file is therefore unpacked piece by piece, and refused as soon as it is larger than files of its format.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, Protocol, cast

from raystellar.errors import SpectrumError

HEAD_BYTES = 1 << 18
"""Size of the head [bytes]. A lite spec file (at most 222 kB) fits in it, and the needed part of a full one."""

MAX_SPECTRUM_BYTES = 1 << 25
"""Largest number of bytes read or unpacked of a file of one spectrum; full spec files have at most a few MB."""

MAX_PLATE_BYTES = 1 << 29
"""Largest number of bytes unpacked of a file of many spectra; a plate of 1000 fibres has about 130 MB."""

UNPACKED_PIECE_BYTES = 1 << 20
"""Number of bytes unpacked at a time, after which the limit is checked."""

BLOCK_BYTES = 1 << 20
"""Number of bytes of a packed file that hold its first block. A block of bzip2 has up to 900 kB and is unpacked as a
whole."""


class _Packing(NamedTuple):
    """A way to pack files."""

    name: str
    magic: bytes
    """First bytes of every file that is packed in this way."""
    open: Callable[[IO[bytes]], IO[bytes]]
    """Function that opens a packed file for reading, and verifies its checksums at the ends of its members."""


_PACKINGS = (
    _Packing("gzip", b"\x1f\x8b", lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream))),
    _Packing("bzip2", b"BZh", lambda stream: cast(IO[bytes], bz2.BZ2File(stream))),
)
_MAGIC = tuple(packing.magic for packing in _PACKINGS)
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
    data : contents of the file, plain or packed, or the file on a server; None to open ``path``
    head_bytes : number of bytes to read at once

    Attributes
    ----------
    head : first bytes of the file, packed where the file is packed
    whole : whether the head is the whole file
    packed : whether the file is packed

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
        self.packed = self.head.startswith(_MAGIC)

    def first(self, size: int) -> bytes:
        """Return the first ``size`` bytes, unpacked; fewer where the file is short or damaged."""
        if not self.packed:
            return self.head[:size]
        first = _unpack_first(self.head, size)
        return first if first or self.whole else _unpack_first(self.raw(BLOCK_BYTES), size)

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
        return unpack(data, most) if self.packed else data

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
    def opened(self, most: int = MAX_SPECTRUM_BYTES) -> Iterator[IO[bytes]]:
        """Open the file for reading at any position; within the context a system error becomes a SpectrumError.

        Parameters
        ----------
        most : largest number of bytes to unpack of a packed file, which is held in memory
        """
        try:
            if self.whole or self.packed:
                yield io.BytesIO(self.unpacked(most))
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


def unpack(data: bytes, most: int = MAX_SPECTRUM_BYTES) -> bytes:
    """Return the contents of a packed file, after verifying its checksums.

    Raises
    ------
    SpectrumError : the file is damaged or cut off, or holds more than ``most`` bytes
    """
    packing = _packing(data)
    if packing is None:
        raise SpectrumError("read", "not a packed file", f"it begins with {data[:10]!r}")
    plain = io.BytesIO()
    try:
        with packing.open(io.BytesIO(data)) as stream:
            while piece := stream.read(UNPACKED_PIECE_BYTES):
                plain.write(piece)
                if plain.tell() > most:
                    raise SpectrumError("read", "unreasonable size", f"the file unpacks to more than {most} bytes")
    except EOFError:
        reason = "truncated" if len(data) < most else "unreasonable size"
        raise SpectrumError("read", reason, f"{len(data)} bytes of {packing.name} end before its end mark") from None
    except (OSError, ValueError, zlib.error) as error:
        raise SpectrumError("read", f"damaged {packing.name}", str(error)) from error
    return plain.getvalue()


def _packing(data: bytes) -> _Packing | None:
    """Return the way in which a file that begins with ``data`` is packed; None where it is plain."""
    return next((packing for packing in _PACKINGS if data.startswith(packing.magic)), None)


def _unpack_first(data: bytes, size: int) -> bytes:
    """Return the first ``size`` unpacked bytes; none where ``data`` is damaged or does not hold so many."""
    packing = _packing(data)
    try:
        return packing.open(io.BytesIO(data)).read(size) if packing else b""
    except (EOFError, OSError, ValueError, zlib.error):
        return b""


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
