"""Files on servers, requested before their reader needs them.

Only the first 240 KiB of a spec file are read, while full files have up to 3.2 MB. Therefore the first request asks for
the head of a file, and further requests are made only for a reader that needs more. Requests run ahead of the reader,
several at a time.

A request that may succeed later (after 5xx, 429, silence, or a body that is cut off) is repeated, and the pause doubles
with every try. A request that cannot succeed (404, 403) is not repeated. A file that cannot be fetched is one reject
and does not end the job, except in an outage of the server or disk: rejects are final, and an outage must not turn a
survey into rejects.

An outage is assumed when ``give_up_after`` files in a row, or all files of a shard, failed for a cause that may pass.
This is a cause after which a request is repeated, or the failure of a disk: EIO, a stale handle, or the absence of a
file or folder that existed when it was listed. Then the job ends before the shard is written, and the same command
continues it.

========================================================  ================================================
reason of a SpectrumError of the stage ``fetch``          repeated
========================================================  ================================================
not found, forbidden, no credentials, bad address         no
web page in place of the file, wrong range, http STATUS   no
no secure connection, endless redirection, unknown size   no
is a directory, unreasonable size                         no
server error, too many requests, timed out                yes
cut off, no connection, read failed                       yes
========================================================  ================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from fsspec.asyn import get_loop
from fsspec.utils import get_protocol
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from raystellar.errors import InputError, SpectrumError
from raystellar.files import places
from raystellar.files.remote_file import RemoteFile
from raystellar.files.requests import Piece, Refused, Remote, remote

T = TypeVar("T")

PIECE_BYTES = 1 << 23
"""Size of one request for the rest of a large file [bytes]."""

PIECES_AT_ONCE = 4
"""Number of requests for one large file at a time."""

PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV, errno.EHOSTDOWN, errno.ENXIO}
)
"""System errors of a disk that may be absent for a time."""

GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""System errors that mean an absent disk if its files existed when they were listed."""

MAX_WAIT_S = 60.0
"""Longest pause before another try, even if the server asks for a longer one [s]."""


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """Settings of the requests to servers; they never change a result."""

    concurrency: int = 32
    """Number of requests at a time, and of heads of files in memory, for each actor."""

    retries: int = 4
    """Number of further tries of a request that may succeed later."""

    backoff_s: float = 1.0
    """Pause before the second try [s]. It doubles with every try, and is shortened at random by up to a half."""

    timeout_s: float = 60.0
    """Longest time of one request of at most 8 MiB, from the connection to the last byte [s]."""

    head_bytes: int = 240 << 10
    """Size of the first request for a file [bytes]: all of a lite file, and the 211 kB of a full file that are read."""

    give_up_after: int = 100
    """Number of failed files in a row that count as an outage of the server or disk, which ends the job. All files of a
    shard count as an outage, too. 0: failed files never end the job."""

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 100:
            raise ValueError(f"concurrency = {self.concurrency} must lie in 1 to 100")
        if not 0 <= self.retries <= 10:
            raise ValueError(f"retries = {self.retries} must lie in 0 to 10")
        if not 0 <= self.backoff_s <= MAX_WAIT_S:
            raise ValueError(f"backoff_s = {self.backoff_s:g} must lie in 0 to {MAX_WAIT_S:g}")
        if not 0 < self.timeout_s <= 3600:
            raise ValueError(f"timeout_s = {self.timeout_s:g} must lie in 0 to 3600")
        if not 1 << 12 <= self.head_bytes <= PIECE_BYTES:
            raise ValueError(f"head_bytes = {self.head_bytes} must lie in 4096 to {PIECE_BYTES}")
        if self.give_up_after < 0:
            raise ValueError(f"give_up_after = {self.give_up_after} must not be negative")


class Fetcher:
    """A fetcher of files, one for each actor. It costs nothing before its first use, and cannot be pickled after it."""

    def __init__(self, config: FetchConfig | None = None) -> None:
        self.config = config or FetchConfig()
        self._remotes: dict[str, Remote] = {}
        self._failed = 0
        self._last_failure = ""

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. The fetcher can be used again."""
        while self._remotes:
            self._remotes.popitem()[1].close()

    def stream(self, paths: Iterable[str]) -> Iterator[tuple[str, RemoteFile | SpectrumError | None]]:
        """Yield each path with its file, in the order of the paths, while the next files are on their way.

        A path on a mounted disk comes with None, as its reader opens the file. A path whose file cannot be fetched
        comes with the SpectrumError. At most ``concurrency`` heads are in memory, including the one in use.

        Raises
        ------
        InputError : the protocol of a path is not known
        """
        ahead: deque[tuple[str, Future[RemoteFile] | None]] = deque()
        coming = iter(paths)
        try:
            while True:
                while len(ahead) < self.config.concurrency and (path := next(coming, None)) is not None:
                    ahead.append((path, self._request_head(path)))
                if not ahead:
                    return
                path, future = ahead.popleft()
                yield path, None if future is None else _result(future)
        finally:
            for _, future in ahead:
                if future is not None:
                    future.cancel()

    def _request_head(self, path: str) -> Future[RemoteFile] | None:
        """Ask a server for the head of a file, or the operating system to load it from the disk in the meantime."""
        if not places.is_local(path):
            return self.ask_head(path)
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # the reader of the file reports the error
                handle = os.open(places.local_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.posix_fadvise(handle, 0, self.config.head_bytes, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(handle)
        return None

    def seen(self, path: str, error: SpectrumError | None) -> None:
        """Record the outcome of reading a file on a disk or a server: an error, or None for success.

        Raises
        ------
        InputError : ``give_up_after`` files in a row failed for a cause that may pass
        """
        if error is None or not _may_pass(error, places.is_local(path)):
            self._failed = 0
            return
        self._failed += 1
        self._last_failure = f"{path} ({error.reason}: {error.detail})"
        self.check(self.config.give_up_after)

    def check(self, files: int) -> None:
        """Raise InputError where the last ``files`` files all failed for a cause that may pass."""
        if self.config.give_up_after and self._failed >= files:
            raise InputError(
                f"files can no longer be read ({self._failed} in a row), the last of them {self._last_failure}; run "
                "the same command again when the server or disk answers, or with --set fetch.give_up_after=0 to reject "
                "the files"
            )

    def fetch(self, path: str) -> RemoteFile:
        """Return one file, with its head.

        Raises
        ------
        SpectrumError : stage fetch; the file cannot be fetched
        """
        return self.ask_head(path).result()

    def ask_head(self, path: str, size: int = 0) -> Future[RemoteFile]:
        """Ask for the first ``size`` bytes of a file, or ``head_bytes`` if 0.

        The result comes later: the file, or a SpectrumError as in ``fetch``.
        """
        return self._start(self._head(path, size or self.config.head_bytes))

    def size(self, path: str) -> int:
        """Return the size of a file [bytes].

        Raises
        ------
        SpectrumError : stage fetch; the size is not known
        """
        source = self._remote(path)
        return self._start(self._again(lambda: source.size(path), 1)).result()

    def ask(self, path: str, start: int, end: int, ranges: bool = True) -> Future[bytes]:
        """Ask for the bytes from ``start`` to before ``end`` of a file that has at least ``end`` bytes.

        The result comes later: the bytes, or a SpectrumError of the stage fetch.

        Parameters
        ----------
        ranges : the server sends parts of files, so that a long range is requested in pieces, several at a time
        """
        return self._start(self._pieces(path, start, end, PIECE_BYTES if ranges else end - start))

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, get_loop())

    def _remote(self, path: str) -> Remote:
        protocol = get_protocol(path)
        if protocol not in self._remotes:
            self._remotes[protocol] = remote(protocol, self.config.concurrency)
        return self._remotes[protocol]

    async def _head(self, path: str, asked: int) -> RemoteFile:
        source = self._remote(path)
        return RemoteFile(self, path, await self._again(lambda: source.get(path, 0, asked), 1), asked)

    async def _pieces(self, path: str, start: int, end: int, step: int) -> bytes:
        source, slots = self._remote(path), asyncio.Semaphore(PIECES_AT_ONCE)

        async def complete_piece(first: int, last: int) -> Piece:
            piece = await source.get(path, first, last)
            if len(piece.data) < last - first:
                raise Refused("cut off", f"{len(piece.data)} of the {last - first} bytes from {first}", again=True)
            return piece

        async def data_from(first: int) -> bytes:
            last = min(first + step, end)
            async with slots:
                return (await self._again(lambda: complete_piece(first, last), -(-step // PIECE_BYTES))).data

        return b"".join(await asyncio.gather(*map(data_from, range(start, end, step))))

    async def _again(self, request: Callable[[], Coroutine[Any, Any, T]], pieces: int) -> T:
        """Return the result of ``request()``, which is repeated while it fails for a cause that may pass.

        Parameters
        ----------
        request : starts a request
        pieces : factor by which the time limit of one request is multiplied

        Raises
        ------
        SpectrumError : the last try failed, or another try cannot succeed
        """

        async def attempt() -> T:
            return await _within(request(), self.config.timeout_s * pieces)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.config.retries + 1),
            wait=self._pause_s,
            retry=retry_if_exception(lambda error: isinstance(error, Refused) and error.again),
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except Refused as error:
            tries = retrying.statistics["attempt_number"]
            detail = error.detail + (f"; tried {tries} times" if tries > 1 else "")
            raise SpectrumError("fetch", error.reason, detail) from error

    def _pause_s(self, state: RetryCallState) -> float:
        """Return the pause before the next try [s]: the back-off or the server's Retry-After, whichever is longer.

        The back-off is shortened at random by up to a half, so that a thousand actors do not try again at one moment.
        """
        backoff_s = wait_exponential(multiplier=self.config.backoff_s)(state) * random.uniform(0.5, 1.0)
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.wait_s if isinstance(error, Refused) else 0.0
        return min(max(backoff_s, asked_s), MAX_WAIT_S)


def _result(future: Future[RemoteFile]) -> RemoteFile | SpectrumError:
    try:
        return future.result()
    except SpectrumError as error:
        return error


def _may_pass(error: SpectrumError, local: bool) -> bool:
    """Return whether the cause of an error may pass: a server that does not answer, or a disk that is absent."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, Refused):
            return cause.again
        if isinstance(cause, OSError):
            return cause.errno in PASSING or (local and cause.errno in GONE)
        cause = cause.__cause__
    return False


async def _within(request: Coroutine[Any, Any, T], limit_s: float) -> T:
    try:
        return await asyncio.wait_for(request, limit_s)
    except asyncio.TimeoutError:
        raise Refused("timed out", f"no whole answer in {limit_s:g} s", again=True) from None
