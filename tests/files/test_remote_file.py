import io
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from remotefiles import FULL, LITE, QUICK, fetch_one

from raystellar.errors import SpectrumError
from raystellar.files import remote_file


def test_of_a_full_file_only_the_head_moves(archive, address, fetcher):
    archive.add("/bucket/full", FULL)
    item = fetch_one(fetcher, address("/full"))
    assert item.head == FULL[: len(item.head)]
    assert not item.complete
    assert 211_000 < archive.sent["/bucket/full"] <= 260_000
    assert item.read(0, 1 << 30) == FULL
    assert archive.sent["/bucket/full"] == len(FULL)  # nothing twice


@pytest.mark.parametrize("size", [0, 1, QUICK.head_bytes - 1, QUICK.head_bytes, QUICK.head_bytes + 1])
def test_files_of_any_size_come_whole(archive, address, fetcher, size):
    archive.add("/bucket/file", FULL[:size])
    item = fetch_one(fetcher, address("/file"))
    assert item.complete or size >= QUICK.head_bytes
    assert item.read(0, 1 << 30) == FULL[:size]
    assert item.size() == size


def test_a_large_file_is_read_in_pieces_and_with_seeks(archive, address, fetcher, monkeypatch):
    monkeypatch.setattr("raystellar.files.fetcher.PIECE_BYTES", 300_000)
    archive.add("/bucket/full", FULL)
    item = fetch_one(fetcher, address("/full"))
    assert item.read(0, 1 << 30) == FULL
    assert archive.asked["/bucket/full"] >= 6
    stream = item.open()
    for at in (1_500_000, 0, 200_000, 1_699_990):
        assert stream.seek(at) == at
        assert stream.read(100_000) == FULL[at : at + 100_000]
    assert stream.seek(-5, io.SEEK_END) == len(FULL) - 5
    assert stream.read() == FULL[-5:]
    monkeypatch.setattr(remote_file, "MAX_REQUEST_BYTES", 1_000_000)
    with pytest.raises(SpectrumError, match="unreasonable size"):
        fetch_one(fetcher, address("/full")).read(0, len(FULL))


def test_parquet_is_read_without_its_other_columns(archive, fetcher):
    sink = io.BytesIO()
    rng = np.random.default_rng(2)
    table = pa.table({name: rng.random(50_000) for name in "abc"})
    pq.write_table(table, sink, row_group_size=5_000, use_dictionary=False)
    item = fetch_one(fetcher, archive.add("/t.parquet", sink.getvalue()))
    assert pq.ParquetFile(item.open()).read_row_group(7, columns=["b"])["b"].equals(table["b"][35_000:40_000])


def full_file(archive, fetcher, name="/full", **fault):
    """Return a file whose head was fetched, and a function that counts the requests from now on."""
    item = fetch_one(fetcher, archive.add(name, FULL, **fault))
    before = archive.asked[name]
    return item, lambda: archive.asked[name] - before


def test_parts_requested_ahead_are_not_requested_again(archive, fetcher):
    item, requests = full_file(archive, fetcher)
    start = time.monotonic()
    archive.delay_s = 1
    item.ahead(500_000, 900_000)
    item.ahead(600_000, 700_000)
    assert time.monotonic() - start < 1  # before the server answers
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
    for first in range(400_000, 400_000 + remote_file.MIN_REQUEST_BYTES - 1000, 10_000):
        assert item.read(first, first + 1000) == FULL[first : first + 1000]
    assert requests() == 1
    assert archive.sent["/full"] - sent == remote_file.MIN_REQUEST_BYTES
    assert item.read(len(FULL) - 10, 1 << 30) == FULL[-10:]
    assert archive.sent["/full"] - sent == remote_file.MIN_REQUEST_BYTES + 10


def test_the_parts_that_are_held_are_bounded(archive, fetcher, monkeypatch):
    monkeypatch.setattr(remote_file, "MIN_REQUEST_BYTES", 1)
    monkeypatch.setattr(remote_file, "PARTS_KEPT", 3)
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
    file = item.beside([absent, second, third], 1000)()
    assert (file.path, file.head, file.complete) == (second, LITE[:1000], False)
    assert archive.asked["/third"] == 0
    assert item.beside([absent, elsewhere], 1000)() is None
    broken = archive.add("/broken", LITE, status=503)
    ask = item.beside([broken, second], 1000)
    with pytest.raises(SpectrumError, match="server error"):
        ask()
    assert archive.asked["/second"] == 1
