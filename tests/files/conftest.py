import time

import pytest
from remotefiles import QUICK
from servers import Archive, s3_server, use_s3

from raystellar.files import places
from raystellar.files.fetcher import Fetcher


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def archive():
    with Archive() as server:
        yield server


@pytest.fixture
def fetcher():
    with Fetcher(QUICK) as fetcher:
        yield fetcher


@pytest.fixture(params=["http", "s3"])
def address(request, archive, monkeypatch):
    """A function that returns the address of a path in the archive, for HTTP and for S3."""
    if request.param == "s3":
        use_s3(monkeypatch, archive.url)
    return (f"{archive.url}/bucket" if request.param == "http" else "s3://bucket").__add__


@pytest.fixture
def s3(s3_url, monkeypatch):
    use_s3(monkeypatch, s3_url)
    bucket = f"bucket-{time.monotonic_ns()}"
    places.filesystem(f"s3://{bucket}")[0].mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture(scope="session")
def s3_url():
    with s3_server() as url:
        yield url
