"""A file on a server, of which the first bytes are in memory and the others are requested when they are read."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from raystellar.errors import SpectrumError
from raystellar.files.requests import Piece

MAX_REQUEST_BYTES = 1 << 30
"""Largest number of bytes of one file that are requested at a time [bytes]."""

MIN_REQUEST_BYTES = 1 << 18
"""Smallest number of bytes of one file that are requested at a time; the reader mostly needs the next bytes soon."""

PARTS_KEPT = 24
"""Number of the latest parts of one file that stay in memory for its reader."""


class Requester(Protocol):
    """The requests that a file on a server makes of its fetcher, see ``fetcher.Fetcher``."""

    def size(self, path: str) -> int:
        """Return the size of a file [bytes]."""

    def ask(self, path: str, start: int, end: int, ranges: bool = True) -> Future[bytes]:
        """Ask for the bytes from ``start`` to before ``end`` of a file."""

    def ask_head(self, path: str, size: int = 0) -> Future[RemoteFile]:
        """Ask for the first ``size`` bytes of a file."""


class RemoteFile:
    """A file on a server, of which the head is in memory; for one reader at a time.

    Attributes
    ----------
    path : address of the file
    head : first bytes of the file
    complete : the head is the whole file
    """

    __slots__ = ("_fetcher", "_parts", "_ranges", "_size", "complete", "head", "path")

    def __init__(self, fetcher: Requester, path: str, piece: Piece, asked: int) -> None:
        self._fetcher, self.path, self.head = fetcher, path, piece.data
        self._size, self._ranges = piece.size, piece.ranges
        self.complete = len(self.head) == piece.size if piece.size is not None else len(self.head) < asked
        if self.complete:
            self._size = len(self.head)
        self._parts: deque[tuple[int, int, Future[bytes]]] = deque(maxlen=PARTS_KEPT)

    def size(self) -> int:
        """Return the size of the whole file [bytes].

        Raises
        ------
        SpectrumError : stage fetch; the request failed. The other methods raise it, too
        """
        if self._size is None:
            self._size = self._fetcher.size(self.path)
        return self._size

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``, or to the end of the file."""
        head = self.head[start:end]
        if self.complete or end <= len(self.head):
            return head
        start, end = max(start, len(self.head)), min(end, self.size())
        if start >= end:
            return head
        first, part = self._part(start, end) or self._ask(start, max(end, start + MIN_REQUEST_BYTES))
        return head + part.result()[start - first : end - first]

    def ahead(self, start: int, end: int) -> None:
        """Ask for the bytes from ``start`` to before ``end`` now, because they are read soon."""
        start, end = max(start, len(self.head)), min(end, self.size())
        if start < end and not self.complete and self._part(start, end) is None:
            self._ask(start, end)

    def _part(self, start: int, end: int) -> tuple[int, Future[bytes]] | None:
        """Return start and content of a requested part that holds these bytes, or None where there is none."""
        return next(((first, part) for first, last, part in self._parts if first <= start and end <= last), None)

    def _ask(self, start: int, end: int) -> tuple[int, Future[bytes]]:
        """Ask for a part, or for the whole file where the server sends no parts; return its start and content."""
        start, end = (start, min(end, self.size())) if self._ranges else (len(self.head), self.size())
        if end - start > MAX_REQUEST_BYTES:
            raise SpectrumError("fetch", "unreasonable size", f"{end - start} bytes are more than {MAX_REQUEST_BYTES}")
        part = self._fetcher.ask(self.path, start, end, self._ranges)
        self._parts.append((start, end, part))
        return start, part

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], RemoteFile | None]:
        """Ask for the first of some other files that exists, and return a function that waits for it.

        The first file is requested now, and each other file if the one before does not exist.

        Parameters
        ----------
        paths : addresses of the files
        size : number of first bytes to request of each file [bytes]

        Returns
        -------
        A function that returns the file, or None if no file exists. The function raises SpectrumError where the server
        does not tell whether a file exists.
        """
        early = self._fetcher.ask_head(paths[0], size)

        def first() -> RemoteFile | None:
            for n, path in enumerate(paths):
                with _absent_files_skipped():
                    return (self._fetcher.ask_head(path, size) if n else early).result()
            return None

        return first

    def open(self) -> _Stream:
        """Return the file as a stream that can seek, and that requests the bytes that are read."""
        return _Stream(self)


@contextlib.contextmanager
def _absent_files_skipped() -> Iterator[None]:
    """Suppress the SpectrumError of a file that does not exist."""
    try:
        yield
    except SpectrumError as error:
        if error.reason != "not found":
            raise


class _Stream(io.RawIOBase):
    """A stream over a file on a server, which can seek."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = self._file.size() if whence == io.SEEK_END else self._at if whence == io.SEEK_CUR else 0
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:  # the inherited method would copy the data
        end = self._file.size() if size is None or size < 0 else self._at + size
        data = self._file.read(self._at, end)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def ahead(self, at: int, size: int) -> None:
        """Ask for ``size`` bytes from byte ``at`` now, because they are read soon."""
        self._file.ahead(at, at + size)
