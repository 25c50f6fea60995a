import asyncio
import contextlib
import errno
import io
import json
import pickle
import threading
import time

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import Archive, s3_server, use_s3

from raystellar.errors import InputError, OutputError, SpectrumError
from raystellar.files import fetcher as fetch
from raystellar.files import listing, places
from raystellar.files import remote_file as fetched
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.files.remote_file import RemoteFile
from raystellar.files.requests import Refused

QUICK = FetchConfig(concurrency=8, retries=2, backoff_s=0.01, timeout_s=2.0)
FULL = np.random.default_rng(1).bytes(1_700_000)
LITE = FULL[:172_800]


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


def one(fetcher, path):
    [(found, item)] = fetcher.stream([path])
    assert found == path
    return item


@pytest.fixture(params=["http", "s3"])
def address(request, archive, monkeypatch):
    """What turns a path in the archive into an address, by way of HTTP and of S3."""
    if request.param == "s3":
        use_s3(monkeypatch, archive.url)
    return (f"{archive.url}/bucket" if request.param == "http" else "s3://bucket").__add__


@pytest.fixture
def s3(s3_url, monkeypatch):
    use_s3(monkeypatch, s3_url)
    bucket = f"bucket-{time.monotonic_ns()}"
    places.filesystem(f"s3://{bucket}")[0].mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture(scope="module")
def s3_url():
    with s3_server() as url:
        yield url


# What comes, and how much of it -----------------------------------------------------------------------------------


def test_files_come_in_order_and_local_ones_are_left_to_their_reader(archive, fetcher, tmp_path):
    paths = []
    for n in range(40):
        late = {"delay_s": 0.1} if n % 7 == 0 else {}
        paths.append(archive.add(f"/{n}", LITE[n:], **late) if n % 5 else str(tmp_path / f"{n}"))
    items = list(fetcher.stream(iter(paths)))
    assert [path for path, _ in items] == paths
    for n, (_, item) in enumerate(items):
        assert item is None if n % 5 == 0 else (item.head == LITE[n:] and item.complete)


def test_of_a_full_file_only_the_head_moves(archive, address, fetcher):
    archive.add("/bucket/full", FULL)
    item = one(fetcher, address("/full"))
    assert item.head == FULL[: len(item.head)]
    assert not item.complete
    assert 211_000 < archive.sent["/bucket/full"] <= 260_000
    assert item.read(0, 1 << 30) == FULL
    assert archive.sent["/bucket/full"] == len(FULL)  # nothing twice


@pytest.mark.parametrize("size", [0, 1, QUICK.head_bytes - 1, QUICK.head_bytes, QUICK.head_bytes + 1])
def test_files_of_any_size_come_whole(archive, address, fetcher, size):
    archive.add("/bucket/file", FULL[:size])
    item = one(fetcher, address("/file"))
    assert item.complete or size >= QUICK.head_bytes
    assert item.read(0, 1 << 30) == FULL[:size]
    assert item.size() == size


def test_a_large_file_comes_in_pieces_or_here_and_there(archive, address, fetcher, monkeypatch):
    monkeypatch.setattr(fetch, "PIECE_BYTES", 300_000)
    archive.add("/bucket/full", FULL)
    item = one(fetcher, address("/full"))
    assert item.read(0, 1 << 30) == FULL
    assert archive.asked["/bucket/full"] >= 6
    stream = item.open()
    for at in (1_500_000, 0, 200_000, 1_699_990):
        assert stream.seek(at) == at
        assert stream.read(100_000) == FULL[at : at + 100_000]
    assert stream.seek(-5, io.SEEK_END) == len(FULL) - 5
    assert stream.read() == FULL[-5:]
    monkeypatch.setattr(fetched, "MAX_REQUEST_BYTES", 1_000_000)
    with pytest.raises(SpectrumError, match="unreasonable size"):
        one(fetcher, address("/full")).read(0, len(FULL))


def test_parquet_is_read_without_its_other_columns(archive, fetcher):
    sink = io.BytesIO()
    rng = np.random.default_rng(2)
    table = pa.table({name: rng.random(50_000) for name in "abc"})
    pq.write_table(table, sink, row_group_size=5_000, use_dictionary=False)
    item = one(fetcher, archive.add("/t.parquet", sink.getvalue()))
    assert pq.ParquetFile(item.open()).read_row_group(7, columns=["b"])["b"].equals(table["b"][35_000:40_000])


def test_a_server_without_ranges_is_used_as_it_is(archive, fetcher):
    item = one(fetcher, archive.add("/full", FULL, ranges=False))
    assert item.head == FULL[: QUICK.head_bytes]
    assert not item.complete
    assert item.read(0, 1 << 30) == FULL
    assert archive.asked["/full"] == 2
    assert one(fetcher, archive.add("/lite", LITE, ranges=False)).complete


def test_a_packed_file_is_left_packed(archive, fetcher):
    url = archive.add("/a.fits.gz", LITE, headers={"Content-Encoding": "gzip", "Content-Type": "application/fits"})
    assert one(fetcher, url).head == LITE


def test_any_protocol_will_do(fetcher):
    fsspec.filesystem("memory").pipe_file("/x/full", FULL)
    item = one(fetcher, "memory://x/full")
    assert (len(item.head), item.complete, item.read(0, 1 << 30) == FULL) == (QUICK.head_bytes, False, True)
    assert one(fetcher, "memory://x/absent").reason == "not found"
    with pytest.raises(InputError, match="nope"):
        one(fetcher, "nope://x/y")


# Ahead of the reader ----------------------------------------------------------------------------------------------


def full_file(archive, fetcher, name="/full", **fault):
    """A file of which the head is here, and what counts the requests from now on."""
    item = one(fetcher, archive.add(name, FULL, **fault))
    before = archive.asked[name]
    return item, lambda: archive.asked[name] - before


def test_what_is_asked_for_ahead_is_not_asked_for_again(archive, fetcher):
    item, requests = full_file(archive, fetcher)
    start = time.monotonic()
    archive.delay_s = 0.3
    item.ahead(500_000, 900_000)
    item.ahead(600_000, 700_000)
    assert time.monotonic() - start < 0.2  # in the background
    for first, last in ((500_000, 900_000), (500_000, 500_100), (899_999, 900_000)):
        assert item.read(first, last) == FULL[first:last]
    assert requests() == 1
    item.ahead(0, len(item.head))
    item.ahead(len(FULL), len(FULL) + 10)
    stream = item.open()
    stream.ahead(1_000_000, 300_000)
    stream.seek(1_100_000)
    assert stream.read(200_000) == FULL[1_100_000:1_300_000]
    assert requests() == 2


def test_parts_ahead_are_on_their_way_together(archive, fetcher):
    item, requests = full_file(archive, fetcher)
    archive.delay_s = 0.2
    archive.most_in_flight = 0
    for first in range(300_000, 1_500_000, 300_000):
        item.ahead(first, first + 300_000)
    assert item.read(1_200_000, 1_500_000) == FULL[1_200_000:1_500_000]
    assert (requests(), archive.most_in_flight) == (4, 4)


def test_small_reads_are_rounded_up(archive, fetcher):
    item, requests = full_file(archive, fetcher)
    sent = archive.sent["/full"]
    for first in range(400_000, 400_000 + fetched.MIN_REQUEST_BYTES - 1000, 10_000):
        assert item.read(first, first + 1000) == FULL[first : first + 1000]
    assert requests() == 1
    assert archive.sent["/full"] - sent == fetched.MIN_REQUEST_BYTES
    assert item.read(len(FULL) - 10, 1 << 30) == FULL[-10:]
    assert archive.sent["/full"] - sent == fetched.MIN_REQUEST_BYTES + 10


def test_the_parts_that_are_held_are_bounded(archive, fetcher, monkeypatch):
    monkeypatch.setattr(fetched, "MIN_REQUEST_BYTES", 1)
    monkeypatch.setattr(fetched, "PARTS_KEPT", 3)
    item, requests = full_file(archive, fetcher)
    starts = range(300_000, 800_000, 100_000)
    for first in starts:
        item.ahead(first, first + 1000)
    assert len(item._parts) == 3
    for first in reversed(starts):
        assert item.read(first, first + 1000) == FULL[first : first + 1000]
    assert requests() == len(starts) + 2  # two were no longer there


def test_a_server_without_ranges_sends_a_file_once_more_only(archive, fetcher):
    item, requests = full_file(archive, fetcher, ranges=False)
    item.ahead(900_000, 1_000_000)
    item.ahead(300_000, 400_000)
    for first in (1_500_000, 250_000, 700_000):
        assert item.read(first, first + 1000) == FULL[first : first + 1000]
    assert requests() == 1


def test_a_part_ahead_that_fails_is_an_error_of_its_reader(archive, fetcher):
    item, _ = full_file(archive, fetcher)
    archive.add("/full", FULL, status=503)
    item.ahead(500_000, 600_000)
    assert item.read(0, 1000) == FULL[:1000]
    with pytest.raises(SpectrumError, match="server error"):
        item.read(500_000, 600_000)


def test_beside_gives_the_first_file_that_is_there(archive, fetcher):
    item, _ = full_file(archive, fetcher)
    second, third = (archive.add(name, LITE[n:]) for n, name in enumerate(("/second", "/third")))
    absent, elsewhere = f"{archive.url}/absent", f"{archive.url}/elsewhere"
    found = item.beside([absent, second, third], 1000)()
    assert (found.path, found.head, found.complete) == (second, LITE[:1000], False)
    assert archive.asked["/third"] == 0
    assert item.beside([absent, elsewhere], 1000)() is None
    broken = archive.add("/broken", LITE, status=503)
    ask = item.beside([broken, second], 1000)
    with pytest.raises(SpectrumError, match="server error"):
        ask()
    assert archive.asked["/second"] == 1


# What fails -------------------------------------------------------------------------------------------------------

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
    item = one(fetcher, address("/file"))
    assert (item.stage, item.reason) == ("fetch", reason)
    assert archive.asked["/bucket/file"] == tries
    assert "\n" not in str(item)
    assert pickle.loads(pickle.dumps(item)).reason == reason


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429}, {"cut": 1000}, {"reset": True}, {"delay_s": 3}],
)
def test_what_passes_is_tried_again(archive, address, fetcher, fault):
    archive.add("/bucket/file", LITE, **fault, times=1)
    assert one(fetcher, address("/file")).head == LITE


def test_a_reset_connection_and_an_absent_server_have_no_connection(archive, address, fetcher):
    archive.add("/bucket/file", LITE, reset=True)
    assert one(fetcher, address("/file")).reason == "no connection"
    assert one(fetcher, "http://127.0.0.1:9/file").reason == "no connection"
    assert one(fetcher, "http://nowhere.invalid/file").reason == "no connection"


@pytest.mark.parametrize("fault", [{"delay_s": 20}, {"ranges": False, "length": 100}])
def test_a_server_that_hangs_is_left(archive, fault):
    url = archive.add("/file", LITE, **fault)
    start = time.monotonic()
    with Fetcher(FetchConfig(retries=1, backoff_s=0.01, timeout_s=0.3)) as fetcher:
        assert one(fetcher, url).reason == "timed out"
    assert time.monotonic() - start < 3


def test_the_rest_of_a_file_is_tried_again_too(archive, fetcher):
    url = archive.add("/full", FULL)
    item = one(fetcher, url)
    archive.add("/full", FULL, status=503, times=2)  # the head was the first request
    assert item.read(0, 1 << 30) == FULL
    archive.add("/full", FULL[:1_000_000])
    with pytest.raises(SpectrumError, match="cut off"):
        one(fetcher, url)._fetcher.ask(url, 0, len(FULL)).result()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries [s], which are noted in place of being waited for."""
    pauses = []

    async def note(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    return pauses


def refused(monkeypatch, config, wait_s=0.0):
    """Return the error of a file on a server that refuses every request and asks for a pause of ``wait_s``."""

    class Refusing:
        async def get(self, path, start, end):
            raise Refused("too many requests", "status 429", again=True, wait_s=wait_s)

    monkeypatch.setattr(fetch, "remote", lambda *_: Refusing())
    return one(Fetcher(config), "https://data.org/spec.fits")


def test_the_pause_doubles_with_every_try(monkeypatch, pauses):
    error = refused(monkeypatch, FetchConfig(retries=6, backoff_s=0.5))
    assert len(pauses) == 6
    for n, pause in enumerate(pauses):
        assert 0.25 * 2**n <= pause <= 0.5 * 2**n
    assert error.detail == "status 429; tried 7 times"


def test_pauses_differ_between_actors_and_are_bounded(monkeypatch, pauses):
    for _ in range(2):
        refused(monkeypatch, FetchConfig(retries=10, backoff_s=1.0))
    assert pauses[0] != pauses[10]
    assert max(pauses) == pauses[9] == fetch.MAX_WAIT_S
    pauses.clear()
    refused(monkeypatch, FetchConfig(retries=2, backoff_s=0.0))
    assert pauses == [0, 0]


def test_the_longer_of_the_servers_pause_and_the_back_off_is_kept(monkeypatch, pauses):
    refused(monkeypatch, FetchConfig(retries=5, backoff_s=1.0), wait_s=5.0)
    assert pauses[:3] == [5.0, 5.0, 5.0]
    assert 8 <= pauses[4] <= 16
    pauses.clear()
    refused(monkeypatch, FetchConfig(retries=1), wait_s=3600.0)
    assert pauses == [fetch.MAX_WAIT_S]


def test_the_pause_that_a_server_asks_for_is_read_from_its_answer(archive, fetcher, pauses):
    url = archive.add("/file", LITE, status=503, times=1, headers={"Retry-After": "7"})
    assert one(fetcher, url).head == LITE
    assert 7.0 in pauses


def test_files_that_fail_in_a_row_are_an_outage_and_single_failures_are_not(archive):
    bad = [archive.add(f"/bad{n}", LITE, status=503) for n in range(20)]
    gone = [f"{archive.url}/gone{n}" for n in range(20)]
    good = archive.add("/good", LITE)
    with Fetcher(FetchConfig(retries=0, backoff_s=0, give_up_after=10)) as fetcher:

        def see(paths):
            for path, item in fetcher.stream(paths):
                fetcher.seen(path, item if isinstance(item, SpectrumError) else None)

        see([*gone, *bad[:9], good, *bad[:9], gone[0]])
        see(bad[:5])
        fetcher.check(6)
        with pytest.raises(InputError, match="5 in a row"):
            fetcher.check(5)
        with pytest.raises(InputError, match=r"10 in a row.*bad4 \(server error.*run the same command again"):
            see(bad[:5])


@pytest.mark.parametrize(
    ("cause", "local", "remote"),
    [
        (OSError(errno.EIO, "Input/output error"), True, True),
        (OSError(errno.ESTALE, "Stale file handle"), True, True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), True, False),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), True, False),
        (PermissionError(errno.EACCES, "Permission denied"), False, False),
        (OSError("of a library"), False, False),
        (Refused("server error", "", again=True), True, True),
        (Refused("not found", ""), False, False),
        (None, False, False),
    ],
)
def test_the_cause_decides_what_may_pass(cause, local, remote):
    for place, expected in (("/data/spec.fits", local), ("https://data.org/spec.fits", remote)):
        error, outer = SpectrumError("fetch", "read failed"), SpectrumError("fetch", "read failed")
        error.__cause__, outer.__cause__ = cause, error
        for found in (error, outer):
            fetcher = Fetcher(FetchConfig(give_up_after=1))
            with pytest.raises(InputError) if expected else contextlib.nullcontext():
                fetcher.seen(place, found)
            Fetcher(FetchConfig(give_up_after=0)).seen(place, found)


# How it runs ------------------------------------------------------------------------------------------------------


def test_latency_is_hidden(archive):
    archive.delay_s = 0.02
    urls = [archive.add(f"/{n}", LITE[:20_000]) for n in range(200)]  # small, so that little but latency is measured
    seconds = []
    with Fetcher() as fetcher:
        for _ in range(3):
            start = time.monotonic()
            assert all(isinstance(item, RemoteFile) for _, item in fetcher.stream(urls))
            seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.4 * 200 * 0.02
    assert archive.most_in_flight <= FetchConfig().concurrency


def test_no_more_is_fetched_ahead_than_was_asked_for(archive, fetcher):
    urls = iter([archive.add(f"/{n}", LITE) for n in range(100)])
    stream = fetcher.stream(urls)
    next(stream)
    end = time.monotonic() + 10
    while sum(archive.asked.values()) < QUICK.concurrency and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    assert sum(archive.asked.values()) == QUICK.concurrency
    assert archive.most_in_flight <= QUICK.concurrency
    stream.close()
    assert len(list(urls)) == 100 - QUICK.concurrency


def test_a_stream_that_is_left_stops_asking(archive, fetcher):
    archive.delay_s = 0.3
    stream = fetcher.stream([archive.add(f"/{n}", LITE, status=503) for n in range(8)])
    next(stream)
    stream.close()
    asked = sum(archive.asked.values())
    time.sleep(1)
    assert sum(archive.asked.values()) <= asked + 8  # tries that had begun


def test_a_fetcher_can_be_sent_closed_and_used_again(archive):
    url = archive.add("/a", LITE)
    fetcher = pickle.loads(pickle.dumps(Fetcher(QUICK)))
    for _ in range(2):
        assert one(fetcher, url).head == LITE
        fetcher.close()
    before = threading.active_count()
    for _ in range(5):
        with Fetcher(QUICK) as some:
            assert one(some, url).head == LITE
    assert threading.active_count() <= before + 5


@pytest.mark.parametrize(
    "value", [{"concurrency": 0}, {"concurrency": 101}, {"retries": -1}, {"timeout_s": 0.0}, {"head_bytes": 0},
              {"backoff_s": -1.0}, {"give_up_after": -1}]
)  # fmt: skip
def test_limits_are_checked(value):
    with pytest.raises(ValueError, match=next(iter(value))):
        FetchConfig(**value)


# A real object store ----------------------------------------------------------------------------------------------


def test_objects_come_from_s3(s3, fetcher):
    for n in range(30):
        places.write_bytes(f"{s3}/26/spec-{n:02d}.fits", FULL[n:])
    paths = sorted(path for path, _ in listing.expand([f"{s3}/26"]))
    assert len(paths) == 30
    for n, (_, item) in enumerate(fetcher.stream(paths)):
        assert item.head == FULL[n : n + QUICK.head_bytes]
    assert item.read(0, 1 << 30) == FULL[29:]
    assert one(fetcher, f"{s3}/absent.fits").reason == "not found"
    assert one(fetcher, "s3://no-such-bucket/a.fits").reason == "not found"


def test_a_long_listing_of_s3_comes_page_by_page(s3, monkeypatch):
    remote, bucket = places.filesystem(s3)
    for n in range(25):
        remote.pipe_file(f"{bucket}/lite/{n // 10:04d}/spec-{n:02d}.fits", b"x" * n)
    pages, call = [], type(remote).call_s3

    def small_pages(self, method, **wanted):
        pages.append(method)
        return call(self, method, MaxKeys=10, **wanted)

    monkeypatch.setattr(type(remote), "call_s3", small_pages)
    found = listing.expand([f"{s3}/lite"])
    assert next(found) == (f"{s3}/lite/0000/spec-00.fits", 0)
    assert pages == ["list_objects_v2"]  # the others are not asked for before they are needed
    assert len(list(found)) == 24
    assert len(pages) == 3
    assert [size for _, size in listing.expand([f"{s3}/lite/*/spec-*2.fits"])] == [2, 12, 22]
    assert next(listing.expand([f"{s3}/lite/0000/spec-03.fits"])) == (f"{s3}/lite/0000/spec-03.fits", 3)
    with pytest.raises(InputError, match="no spectra at"):
        list(listing.expand([f"{s3}/none"]))
    with pytest.raises(InputError, match="cannot be listed"):
        list(listing.expand(["s3://no-such-bucket/lite"]))


def test_what_others_write_to_s3_is_seen_at_once(s3):
    """The listing by which a job resumes, while other processes write to the same folder."""
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    out = f"{s3}/out"
    assert places.names(out) == set()
    places.write_bytes(f"{out}/_run.json", json.dumps({"a": 1}).encode())
    assert places.names(out) == {"_run.json"}
    other.pipe_file(f"{out}/part-00000.parquet", b"x")
    assert places.exists(f"{out}/part-00000.parquet")
    assert places.names(out) == {"_run.json", "part-00000.parquet"}
    other.pipe_file(f"{out}/_run.json", b"longer than it was")
    assert places.read_bytes(f"{out}/_run.json") == b"longer than it was"
    other.rm(f"{out}/part-00000.parquet")
    assert not places.exists(f"{out}/part-00000.parquet")


def test_outputs_in_s3_are_whole_or_absent(s3, monkeypatch):
    table = pa.table({"a": np.arange(1000)})
    places.write_table(f"{s3}/out/part-00000.parquet", table)
    remote, path = places.filesystem(f"{s3}/out/part-00000.parquet")
    assert pq.read_table(remote.open(path)).equals(table)

    async def fail(*_, **__):
        raise ConnectionResetError("gone")

    monkeypatch.setattr(type(remote), "_call_s3", fail)
    with pytest.raises(OutputError, match="gone"):
        places.write_table(f"{s3}/out/part-00000.parquet", table.slice(1))
    monkeypatch.undo()
    assert pq.read_table(remote.open(path)).equals(table)


def test_without_credentials_it_is_said(s3_url, monkeypatch, fetcher):
    use_s3(monkeypatch, s3_url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert one(fetcher, "s3://bucket/a.fits").reason == "no credentials"
    with pytest.raises(OutputError, match="credentials"):
        places.write_bytes("s3://bucket/out/a", b"x")
