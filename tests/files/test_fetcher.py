import asyncio
import contextlib
import errno
import pickle
import threading
import time

import pytest
from remotefiles import FULL, LITE, QUICK, fetch_one

from raystellar.errors import InputError, SpectrumError
from raystellar.files import listing, places
from raystellar.files.fetcher import MAX_WAIT_S, FetchConfig, Fetcher
from raystellar.files.remote_file import RemoteFile
from raystellar.files.requests import Refused


def test_files_come_in_order_and_local_ones_are_left_to_their_reader(archive, fetcher, tmp_path):
    paths = []
    for n in range(40):
        late = {"delay_s": 0.1} if n % 7 == 0 else {}
        paths.append(archive.add(f"/{n}", LITE[n:], **late) if n % 5 else str(tmp_path / f"{n}"))
    items = list(fetcher.stream(iter(paths)))
    assert [path for path, _ in items] == paths
    for n, (_, item) in enumerate(items):
        assert item is None if n % 5 == 0 else (item.head == LITE[n:] and item.complete)


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429}, {"cut": 1000}, {"reset": True}, {"delay_s": 3}],
)
def test_failures_that_pass_are_tried_again(archive, address, fetcher, fault):
    archive.add("/bucket/file", LITE, **fault, times=1)
    assert fetch_one(fetcher, address("/file")).head == LITE


@pytest.mark.parametrize("fault", [{"delay_s": 20}, {"ranges": False, "length": 100}])
def test_a_server_that_hangs_is_left(archive, fault):
    url = archive.add("/file", LITE, **fault)
    start = time.monotonic()
    with Fetcher(FetchConfig(retries=1, backoff_s=0.01, timeout_s=0.3)) as fetcher:
        assert fetch_one(fetcher, url).reason == "timed out"
    assert time.monotonic() - start < 15  # before the server answers


def test_the_rest_of_a_file_is_tried_again_too(archive, fetcher):
    url = archive.add("/full", FULL)
    item = fetch_one(fetcher, url)
    archive.add("/full", FULL, status=503, times=2)  # the head was the first request
    assert item.read(0, 1 << 30) == FULL
    archive.add("/full", FULL[:1_000_000])
    with pytest.raises(SpectrumError, match="cut off"):
        fetch_one(fetcher, url)._fetcher.ask(url, 0, len(FULL)).result()


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

    monkeypatch.setattr("raystellar.files.fetcher.remote", lambda *_: Refusing())
    return fetch_one(Fetcher(config), "https://data.org/spec.fits")


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
    assert max(pauses) == pauses[9] == MAX_WAIT_S
    pauses.clear()
    refused(monkeypatch, FetchConfig(retries=2, backoff_s=0.0))
    assert pauses == [0, 0]


def test_the_longer_of_the_servers_pause_and_the_back_off_is_kept(monkeypatch, pauses):
    refused(monkeypatch, FetchConfig(retries=5, backoff_s=1.0), wait_s=5.0)
    assert pauses[:3] == [5.0, 5.0, 5.0]
    assert 8 <= pauses[4] <= 16
    pauses.clear()
    refused(monkeypatch, FetchConfig(retries=1), wait_s=3600.0)
    assert pauses == [MAX_WAIT_S]


def test_the_pause_that_a_server_asks_for_is_read_from_its_answer(archive, fetcher, pauses):
    url = archive.add("/file", LITE, status=503, times=1, headers={"Retry-After": "7"})
    assert fetch_one(fetcher, url).head == LITE
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
def test_the_cause_decides_whether_a_failure_may_pass(cause, local, remote):
    for path, expected in (("/data/spec.fits", local), ("https://data.org/spec.fits", remote)):
        error, outer = SpectrumError("fetch", "read failed"), SpectrumError("fetch", "read failed")
        error.__cause__, outer.__cause__ = cause, error
        for seen in (error, outer):
            fetcher = Fetcher(FetchConfig(give_up_after=1))
            with pytest.raises(InputError) if expected else contextlib.nullcontext():
                fetcher.seen(path, seen)
            Fetcher(FetchConfig(give_up_after=0)).seen(path, seen)


def test_many_requests_wait_at_a_time(archive):
    """So that the latency of a server does not add up."""
    archive.delay_s = 0.1
    urls = [archive.add(f"/{n}", LITE[:20_000]) for n in range(200)]
    with Fetcher() as fetcher:
        assert all(isinstance(item, RemoteFile) for _, item in fetcher.stream(urls))
    assert FetchConfig().concurrency / 2 <= archive.most_in_flight <= FetchConfig().concurrency


def test_no_more_is_fetched_ahead_than_was_asked_for(archive, fetcher):
    urls = iter([archive.add(f"/{n}", LITE) for n in range(100)])
    stream = fetcher.stream(urls)
    next(stream)
    end = time.monotonic() + 60
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
        assert fetch_one(fetcher, url).head == LITE
        fetcher.close()
    before = threading.active_count()
    for _ in range(5):
        with Fetcher(QUICK) as some:
            assert fetch_one(some, url).head == LITE
    assert threading.active_count() <= before + 5


@pytest.mark.parametrize(
    "value", [{"concurrency": 0}, {"concurrency": 101}, {"retries": -1}, {"timeout_s": 0.0}, {"head_bytes": 0},
              {"backoff_s": -1.0}, {"give_up_after": -1}]
)  # fmt: skip
def test_limits_are_checked(value):
    with pytest.raises(ValueError, match=next(iter(value))):
        FetchConfig(**value)


def test_objects_come_from_s3(s3, fetcher):
    for n in range(30):
        places.write_bytes(f"{s3}/26/spec-{n:02d}.fits", FULL[n:])
    paths = sorted(path for path, _ in listing.expand([f"{s3}/26"]))
    assert len(paths) == 30
    for n, (_, item) in enumerate(fetcher.stream(paths)):
        assert item.head == FULL[n : n + QUICK.head_bytes]
    assert item.read(0, 1 << 30) == FULL[29:]
    assert fetch_one(fetcher, f"{s3}/absent.fits").reason == "not found"
    assert fetch_one(fetcher, "s3://no-such-bucket/a.fits").reason == "not found"
