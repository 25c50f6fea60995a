"""Single requests for parts of files on web servers, in object stores and in other fsspec file systems.

Every failure becomes ``Refused``, with a reason that can be counted. The code runs on the event loop of fsspec.
``fetcher.py`` decides which requests are made, and how often.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
from fsspec.asyn import get_loop, sync

from raystellar.errors import InputError, first_line

S3_PROTOCOLS = ("s3", "s3a")
WEB_PROTOCOLS = ("http", "https")

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>([^<]{0,200})", re.IGNORECASE)
_STATUS_REASONS = {401: "forbidden", 403: "forbidden", 404: "not found", 408: "timed out", 410: "not found",
                   429: "too many requests", 451: "forbidden"}  # fmt: skip
_AGAIN = (408, 425, 429)
"""HTTP status codes, besides 5xx, after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file."""

    data: bytes
    """Content of the part."""
    size: int | None = None
    """Size of the whole file [bytes]; None where the answer does not state it."""
    ranges: bool = True
    """The server sends parts of files. Otherwise each answer begins with the first byte."""


class Refused(Exception):
    """Raised when a request fails.

    Parameters
    ----------
    reason : short cause that can be counted
    detail : message of the server or library
    again : the same request may succeed later
    wait_s : pause before the next request, as asked for by the server [s]
    """

    def __init__(self, reason: str, detail: str, again: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.again, self.wait_s = reason, detail, again, wait_s


class Remote:
    """A file system of fsspec, with the settings of the environment and of the configuration files of fsspec.

    Each object has connections of its own, so that closing it disturbs no other. They are opened by the first request.

    Parameters
    ----------
    protocol : protocol of the URLs
    concurrency : largest number of requests at a time
    options : options of the file system

    Raises
    ------
    InputError : the protocol is not known, or its package is not installed
    """

    def __init__(self, protocol: str, concurrency: int, **options: Any) -> None:
        try:
            self._fs = fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            raise InputError(f"{protocol}:// cannot be read: {first_line(error)}") from None
        self._threads = None if self._fs.async_impl else ThreadPoolExecutor(concurrency, thread_name_prefix="fetch")

    async def get(self, path: str, start: int, end: int) -> Piece:
        """Return the bytes from ``start`` to before ``end`` of a file, or fewer where the file ends earlier.

        Raises
        ------
        Refused : the request fails
        """
        with _refusals():
            inner = self._fs._strip_protocol(path)
            if self._threads is None:
                return Piece(await self._fs._cat_file(inner, start=start, end=end))
            return Piece(await self._in_thread(self._fs.cat_file, inner, start, end))

    async def size(self, path: str) -> int:
        """Return the size of a file [bytes].

        Raises
        ------
        Refused : the request fails
        """
        with _refusals():
            inner = self._fs._strip_protocol(path)
            info = self._fs._info(inner) if self._threads is None else self._in_thread(self._fs.info, inner)
            return int((await info)["size"])

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))

    def close(self) -> None:
        """Close the connections."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


class ObjectStore(Remote):
    """An object store with the protocol S3; endpoint and credentials are those of ``s3fs``."""

    def __init__(self, protocol: str, concurrency: int) -> None:
        user_settings = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        # by default botocore keeps 10 connections and tries each request five times
        defaults = {"max_pool_connections": max(10, concurrency), "retries": {"total_max_attempts": 1}}
        super().__init__("s3", concurrency, config_kwargs={**defaults, **user_settings})
        self._fs.retries = 1  # by default s3fs tries five times, too

    async def get(self, path: str, start: int, end: int) -> Piece:
        """Return a part of an object, see ``Remote.get``."""
        try:
            return _no_page(await super().get(path, start, end), start)
        except Refused as error:
            if error.reason == "http 416":  # the range begins after the last byte
                return Piece(b"")
            raise

    def close(self) -> None:
        """Close the connections."""
        if self._fs._s3 is not None:
            self._fs.close_session(get_loop(), self._fs._s3)


class WebServer(Remote):
    """A web server. Partial answers, truncated answers and HTML pages are distinguished, which fsspec does not do."""

    def __init__(self, protocol: str, concurrency: int) -> None:
        user_settings = fsspec.config.conf.get(protocol, {}).get("client_kwargs", {})
        # ranges count the bytes on the server, so a gzip file must not be unpacked on the way
        defaults = {"trust_env": True, "auto_decompress": False, "read_bufsize": 1 << 18}
        super().__init__(protocol, concurrency, client_kwargs={**defaults, **user_settings})

    async def get(self, path: str, start: int, end: int) -> Piece:
        """Return a part of the file at an address, see ``Remote.get``."""
        import aiohttp

        options = {"timeout": aiohttp.ClientTimeout(total=None), **self._fs.kwargs}
        ranged = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **ranged}
        with _refusals():
            session = await self._fs.set_session()
            async with session.get(self._fs.encode_url(path), **options) as response:
                return await _piece(response, start, end)

    async def size(self, path: str) -> int:
        """Return the size of the file at an address [bytes], from the answer to a request for its first byte."""
        size = (await self.get(path, 0, 1)).size
        if size is None:
            raise Refused("unknown size", "the server does not tell the size")
        return size

    def close(self) -> None:
        """Close the connections."""
        if self._fs._session is not None:
            sync(get_loop(), self._fs._session.close)


def remote(protocol: str, concurrency: int) -> Remote:
    """Return the file system of a protocol.

    Parameters
    ----------
    protocol : protocol of the URLs
    concurrency : largest number of requests at a time

    Raises
    ------
    InputError : the protocol is not known, or its package is not installed
    """
    if protocol in WEB_PROTOCOLS:
        return WebServer(protocol, concurrency)
    if protocol in S3_PROTOCOLS:
        return ObjectStore(protocol, concurrency)
    return Remote(protocol, concurrency)


async def _piece(response: Any, start: int, end: int) -> Piece:
    """Return the part of the bytes from ``start`` to before ``end`` that an answer contains.

    Raises
    ------
    Refused : the answer has no data, or other data than requested
    """
    sent = _RANGE.match(response.headers.get("Content-Range", ""))
    size = int(sent[3]) if sent and sent[3] != "*" else None
    if response.status == 416:
        return Piece(b"", size)
    if response.status == 206:
        if sent and sent[1] and int(sent[1]) != start:
            raise Refused("wrong range", f"asked for byte {start}, got {sent[0]}")
        data = await _read(response.content, end - start)
        if sent and sent[1] and len(data) < min(int(sent[2]) + 1, end) - start:
            raise Refused("cut off", f"{len(data)} bytes of {sent[0]}", again=True)
    elif response.status == 200:  # the whole file: the server does not support ranges
        size = response.content_length
        data = (await _read(response.content, end))[start:]
        if size is not None and len(data) < min(size, end) - start:
            raise Refused("cut off", f"{len(data) + start} bytes of {size}", again=True)
    else:
        raise _status_refusal(response.status, str(response.reason), response.headers.get("Retry-After", ""))
    return _no_page(Piece(data, size, response.status == 206), start)


def _no_page(piece: Piece, start: int) -> Piece:
    """Return ``piece``, or raise Refused if it is an HTML page, such as a login page that is sent with status 200."""
    if start == 0 and _PAGE.match(piece.data):
        title = _TITLE.search(piece.data)
        raise Refused("web page in place of the file", title[1].decode(errors="replace").strip() if title else "")
    return piece


async def _read(content: Any, most: int) -> bytes:
    """Read to the end, or ``most`` bytes. If bytes are left over, the connection is not used again."""
    parts, left = [], most
    async for part in content.iter_any():
        parts.append(part[:left])
        left -= len(parts[-1])
        if left == 0 and not content.at_eof():
            break
    return b"".join(parts)


def _status_refusal(status: int, text: str, retry_after: str = "") -> Refused:
    """Return the Refused for an HTTP status."""
    server = status >= 500
    reason = _STATUS_REASONS.get(status, "server error" if server else f"http {status}")
    wait_s = float(retry_after) if retry_after.isdigit() else 0.0
    return Refused(reason, f"status {status} {text}".strip(), server or status in _AGAIN, wait_s)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise the errors of file systems as Refused; programming errors pass unchanged."""
    try:
        yield
    except Exception as error:
        refusal = _refusal(error)
        if refusal is error:
            raise
        raise refusal from error


def _refusal(error: Exception) -> Exception:
    """Return the Refused for an error of a file system; any other error is returned unchanged."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = f"{type(error).__name__}: {first_line(error)}"
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    if isinstance(response, dict):  # the error of botocore, which s3fs keeps as the cause
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 400:
            return _status_refusal(status, first_line(error))
    if isinstance(error, Refused):
        return error
    if isinstance(error, FileNotFoundError):
        return Refused("not found", text)
    if isinstance(error, PermissionError):
        return Refused("forbidden", text)
    if isinstance(error, IsADirectoryError):
        return Refused("is a directory", text)
    if kinds & {"ClientSSLError", "ClientConnectorCertificateError", "SSLError", "TooManyRedirects"}:
        return Refused("no secure connection" if "TooManyRedirects" not in kinds else "endless redirection", text)
    if kinds & {"InvalidURL", "ParamValidationError"}:
        return Refused("bad address", text)
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}:
        return Refused("no credentials", text)
    if isinstance(error, asyncio.TimeoutError | TimeoutError) or kinds & {"ReadTimeoutError", "ConnectTimeoutError"}:
        return Refused("timed out", text, again=True)
    if kinds & {"ClientPayloadError", "IncompleteReadError", "ResponseStreamingError", "IncompleteRead"}:
        return Refused("cut off", text, again=True)
    if isinstance(error, ConnectionError) or kinds & {"ClientConnectionError", "ConnectionError", "HTTPClientError"}:
        return Refused("no connection", text, again=True)
    if isinstance(error, OSError) or type(error).__module__ != "builtins":  # each protocol has error classes of its own
        return Refused("read failed", text, again=True)
    return error
