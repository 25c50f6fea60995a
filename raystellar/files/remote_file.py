"""A file on a server, of which the head is here and the rest comes when it is asked for."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from raystellar.errors import SpectrumError
from raystellar.files.requests import Piece

if TYPE_CHECKING:
    from raystellar.files.fetcher import Fetcher

MAX_BYTES = 1 << 30
"""Most of one file that is held in memory [bytes]."""


LEAST_BYTES = 1 << 18
"""Asked for where a reader wants less [bytes]: what it wants next mostly follows."""


PIECES_KEPT = 24
"""Parts of one file that are held for its reader, the youngest ones."""


class RemoteFile:
    """A file on a server, of which the head is here. For one reader at a time.

    Attributes
    ----------
    path : its address
    head : its first bytes
    complete : the head is all there is
    """

    __slots__ = ("_fetcher", "_parts", "_ranges", "_size", "complete", "head", "path")

    def __init__(self, fetcher: Fetcher, path: str, piece: Piece, asked: int) -> None:
        self._fetcher, self.path, self.head = fetcher, path, piece.data
        self._size, self._ranges = piece.size, piece.ranges
        self.complete = len(self.head) == piece.size if piece.size is not None else len(self.head) < asked
        if self.complete:
            self._size = len(self.head)
        self._parts: deque[tuple[int, int, Future[bytes]]] = deque(maxlen=PIECES_KEPT)

    def size(self) -> int:
        """Return the bytes of the whole file.

        Raises
        ------
        SpectrumError : stage fetch, where they cannot be had; so in all methods here
        """
        if self._size is None:
            self._size = self._fetcher.size(self.path)
        return self._size

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``, or up to the end of the file."""
        head = self.head[start:end]
        if self.complete or end <= len(self.head):
            return head
        start, end = max(start, len(self.head)), min(end, self.size())
        if start >= end:
            return head
        first, part = self._part(start, end) or self._ask(start, max(end, start + LEAST_BYTES))
        return head + part.result()[start - first : end - first]

    def ahead(self, start: int, end: int) -> None:
        """Ask for the bytes from ``start`` up to ``end`` now, as they are read soon."""
        start, end = max(start, len(self.head)), min(end, self.size())
        if start < end and not self.complete and self._part(start, end) is None:
            self._ask(start, end)

    def _part(self, start: int, end: int) -> tuple[int, Future[bytes]] | None:
        """Return what was asked for already and holds these bytes, and where it begins."""
        return next(((first, part) for first, last, part in self._parts if first <= start and end <= last), None)

    def _ask(self, start: int, end: int) -> tuple[int, Future[bytes]]:
        """Ask for a part; for all of the file where the server gives no parts, as it would send it each time."""
        start, end = (start, min(end, self.size())) if self._ranges else (len(self.head), self.size())
        if end - start > MAX_BYTES:
            raise SpectrumError("fetch", "unreasonable size", f"{end - start} bytes are more than {MAX_BYTES}")
        part = self._fetcher.ask(self.path, start, end, self._ranges)
        self._parts.append((start, end, part))
        return start, part

    def beside(self, paths: Sequence[str], size: int) -> Callable[[], RemoteFile | None]:
        """Ask for the first ``size`` bytes of other files; what is returned gives the first that is there, or None.

        The first of them is asked for now, the others when it is not there.

        Raises
        ------
        SpectrumError : when that is called, where the server does not say whether a file is there
        """
        early = self._fetcher.ask_head(paths[0], size)

        def first() -> RemoteFile | None:
            for n, path in enumerate(paths):
                with _absent_is_none():
                    return (self._fetcher.ask_head(path, size) if n else early).result()
            return None

        return first

    def open(self) -> _Stream:
        """Return the file as a stream to read here and there, which fetches what is read."""
        return _Stream(self)


@contextlib.contextmanager
def _absent_is_none() -> Iterator[None]:
    """Pass over the SpectrumError of a file that is not there."""
    try:
        yield
    except SpectrumError as error:
        if error.reason != "not found":
            raise


class _Stream(io.RawIOBase):
    """A seekable stream over a file on a server."""

    def __init__(self, fetched: RemoteFile) -> None:
        self._fetched, self._at = fetched, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = self._fetched.size() if whence == io.SEEK_END else self._at if whence == io.SEEK_CUR else 0
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:  # without the copies of the one inherited
        end = self._fetched.size() if size is None or size < 0 else self._at + size
        data = self._fetched.read(self._at, end)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def ahead(self, at: int, size: int) -> None:
        """Ask for ``size`` bytes from byte ``at`` now, as they are read soon."""
        self._fetched.ahead(at, at + size)
