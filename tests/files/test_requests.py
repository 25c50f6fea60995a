import pickle

import fsspec
import pytest
from remotefiles import FULL, LITE, QUICK, fetch_one
from servers import use_s3

from raystellar.errors import InputError, OutputError
from raystellar.files import places


def test_a_server_without_ranges_is_used_as_it_is(archive, fetcher):
    item = fetch_one(fetcher, archive.add("/full", FULL, ranges=False))
    assert item.head == FULL[: QUICK.head_bytes]
    assert not item.complete
    assert item.read(0, 1 << 30) == FULL
    assert archive.asked["/full"] == 2
    assert fetch_one(fetcher, archive.add("/lite", LITE, ranges=False)).complete


def test_a_packed_file_is_left_packed(archive, fetcher):
    url = archive.add("/a.fits.gz", LITE, headers={"Content-Encoding": "gzip", "Content-Type": "application/fits"})
    assert fetch_one(fetcher, url).head == LITE


def test_files_come_by_any_protocol_of_fsspec(fetcher):
    fsspec.filesystem("memory").pipe_file("/x/full", FULL)
    item = fetch_one(fetcher, "memory://x/full")
    assert (len(item.head), item.complete, item.read(0, 1 << 30) == FULL) == (QUICK.head_bytes, False, True)
    assert fetch_one(fetcher, "memory://x/absent").reason == "not found"
    with pytest.raises(InputError, match="nope"):
        fetch_one(fetcher, "nope://x/y")


FAULTS = {
    "not found": ({"status": 404}, 1),
    "forbidden": ({"status": 403}, 1),
    "server error": ({"status": 503}, 3),
    "too many requests": ({"status": 429}, 3),
    "cut off": ({"cut": 1000}, 3),
    "http 400": ({"status": 400}, 1),
    "web page in place of the file": ({"body": b"<!DOCTYPE html><html><title>Log in</title></html>"}, 1),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_failures_have_countable_reasons_and_so_many_tries(archive, address, fetcher, reason):
    fault, tries = FAULTS[reason]
    archive.add("/bucket/file", FULL, **fault)
    item = fetch_one(fetcher, address("/file"))
    assert (item.stage, item.reason) == ("fetch", reason)
    assert archive.asked["/bucket/file"] == tries
    assert "\n" not in str(item)
    assert pickle.loads(pickle.dumps(item)).reason == reason


def test_a_reset_connection_and_an_absent_server_have_no_connection(archive, address, fetcher):
    archive.add("/bucket/file", LITE, reset=True)
    assert fetch_one(fetcher, address("/file")).reason == "no connection"
    assert fetch_one(fetcher, "http://127.0.0.1:9/file").reason == "no connection"
    assert fetch_one(fetcher, "http://nowhere.invalid/file").reason == "no connection"


def test_missing_credentials_are_named(s3_url, monkeypatch, fetcher):
    use_s3(monkeypatch, s3_url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert fetch_one(fetcher, "s3://bucket/a.fits").reason == "no credentials"
    with pytest.raises(OutputError, match="credentials"):
        places.write_bytes("s3://bucket/out/a", b"x")
