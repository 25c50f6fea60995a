"""Servers on the loopback interface that tests talk to: a web archive with planted faults, and a real S3."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

MOTO = "RAYSTELLAR_MOTO_SERVER"
"""Environment variable with the path of the program ``moto_server``; else that which ``make test`` installs."""


@dataclass
class Plant:
    """What is wrong with one file of an archive; by default nothing."""

    status: int = 0
    """Answered in place of the file."""
    times: int = 10**9
    """So often the fault shows, then the file is whole."""
    delay_s: float = 0.0
    """Before the answer."""
    cut: int = 0
    """Bytes of the body after which the connection ends."""
    length: int = 0
    """Added to the true Content-Length."""
    ranges: bool = True
    """Parts are given; else all of the file is, with 200."""
    body: bytes | None = None
    """In place of the file, with 200."""
    reset: bool = False
    """The connection is reset at once."""
    headers: dict = field(default_factory=dict)


class Archive:
    """A web server (and of S3 the plainest GET) of ``files``, path to bytes; it counts what is asked of it."""

    def __init__(self, files=(), delay_s=0.0):
        self.files, self.delay_s = dict(files), delay_s
        self.plants = {}
        self.asked = Counter()
        self.sent = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"archive": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def add(self, path, content, **fault):
        """Add a file, with a fault; return its address."""
        self.files[path] = content
        if fault:
            self.plants[path] = Plant(**fault)
        return f"{self.url}{path}"


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # of the 5 by default, a burst of connections has some wait for a second


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_): ...

    def handle(self):
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        archive, path = self.archive, self.path.split("?")[0]
        with archive.lock:
            archive.asked[path] += 1
            count = archive.asked[path]
            archive.in_flight += 1
            archive.most_in_flight = max(archive.most_in_flight, archive.in_flight)
        try:
            plant = archive.plants.get(path, Plant())
            self._answer(archive, path, plant if count <= plant.times else Plant())
        finally:
            with archive.lock:
                archive.in_flight -= 1

    def _answer(self, archive, path, plant):
        time.sleep(plant.delay_s or archive.delay_s)
        if plant.reset:  # no FIN but RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif plant.status or path not in archive.files:
            self._send(plant.status or 404, b"<html>error</html>", plant, {"Content-Type": "text/html"})
        elif plant.body is not None:
            self._send(200, plant.body, plant, {"Content-Type": "text/html"})
        else:
            self._send_file(archive.files[path], plant)

    def _send_file(self, content, plant):
        asked = self.headers.get("Range", "")
        if not (asked and plant.ranges):
            self._send(200, content, plant, {})
            return
        first, last = (int(part) if part else None for part in asked.removeprefix("bytes=").split("-"))
        if first >= len(content):
            self._send(416, b"", plant, {"Content-Range": f"bytes */{len(content)}"})
            return
        part = content[first : None if last is None else last + 1]
        around = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
        self._send(206, part, plant, {"Accept-Ranges": "bytes"} | around)

    def _send(self, status, body, plant, headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body) + plant.length, **headers, **plant.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        body = b"" if self.command == "HEAD" else body[: plant.cut or None]
        with self.archive.lock:  # before the client has it, and looks at the count
            self.archive.sent[self.path.split("?")[0]] += len(body)
        self.wfile.write(body)
        self.wfile.flush()
        if plant.cut:
            self.close_connection = True


def moto_program():
    """Return the program ``moto_server``; skip the test where there is none."""
    beside = Path(sys.prefix) / "s3" / "bin" / "moto_server"
    found = os.environ.get(MOTO) or (str(beside) if beside.exists() else None)
    if not found or not shutil.which(found):
        pytest.skip(f"no S3 server to test with: `make test` installs one in {beside.parent.parent}, or set {MOTO}")
    return found


@contextlib.contextmanager
def s3_server():
    """Run a real S3 server; yield its address."""
    program = moto_program()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{port}/", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def use_s3(monkeypatch, url):
    """Point s3:// to an endpoint, by the usual environment variables."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()


def _wait(process, url, log, limit_s=60.0):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            opener.open(url, timeout=5).close()
            return
        time.sleep(0.1)
    log.seek(0)
    pytest.fail(f"the S3 server did not start: {log.read().decode(errors='replace')[-2000:]}")
