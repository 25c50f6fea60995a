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

from raystellar import fetch, places
from raystellar.errors import InputError, OutputError, SpectrumError
from raystellar.fetch import FetchConfig, Fetched, Fetcher

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
    monkeypatch.setattr(fetch, "MAX_BYTES", 1_000_000)
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


def test_a_wait_that_the_server_asks_for_is_kept(archive, fetcher):
    url = archive.add("/file", LITE, status=503, times=1, headers={"Retry-After": "1"})
    start = time.monotonic()
    assert one(fetcher, url).head == LITE
    assert time.monotonic() - start >= 1


def test_an_outage_ends_the_job_and_single_failures_do_not(archive):
    bad = [archive.add(f"/bad{n}", LITE, status=503) for n in range(20)]
    gone = [f"{archive.url}/gone{n}" for n in range(20)]
    good = archive.add("/good", LITE)
    with Fetcher(FetchConfig(retries=0, backoff_s=0, give_up_after=10)) as fetcher:
        assert all(isinstance(item, SpectrumError) for _, item in fetcher.stream(gone))
        assert len(list(fetcher.stream([*bad[:9], good, *bad[:9]]))) == 19
        fetcher.fetch(good)
        with pytest.raises(InputError, match=r"last 10 files .*run the same command again"):
            list(fetcher.stream(bad))


# How it runs ------------------------------------------------------------------------------------------------------


def test_latency_is_hidden(archive):
    archive.delay_s = 0.02
    urls = [archive.add(f"/{n}", LITE[:20_000]) for n in range(200)]  # small, so that little but latency is measured
    seconds = []
    with Fetcher() as fetcher:
        for _ in range(3):
            start = time.monotonic()
            assert all(isinstance(item, Fetched) for _, item in fetcher.stream(urls))
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
    paths = sorted(path for path, _ in places.expand([f"{s3}/26"]))
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
    listing = places.expand([f"{s3}/lite"])
    assert next(listing) == (f"{s3}/lite/0000/spec-00.fits", 0)
    assert pages == ["list_objects_v2"]  # the others are not asked for before they are needed
    assert len(list(listing)) == 24
    assert len(pages) == 3
    assert [size for _, size in places.expand([f"{s3}/lite/*/spec-*2.fits"])] == [2, 12, 22]
    assert next(places.expand([f"{s3}/lite/0000/spec-03.fits"])) == (f"{s3}/lite/0000/spec-03.fits", 3)
    with pytest.raises(InputError, match="no spectra at"):
        list(places.expand([f"{s3}/none"]))
    with pytest.raises(InputError, match="cannot be listed"):
        list(places.expand(["s3://no-such-bucket/lite"]))


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
