"""The bytes of a file: its head, the rest, unpacking, and files that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import random
import tracemalloc

import pytest
from source_files import lamost_image

from raystellar.errors import SpectrumError
from raystellar.spectra import read_spectra
from raystellar.spectra.content import MAX_SPECTRUM_BYTES, Content, exists, fetch, unpack

DATA = bytes(range(256)) * 40
PACKINGS = pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gzip", "bzip2"])


@pytest.fixture
def path(tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    return str(tmp_path / "data")


def test_the_head_is_read_at_once_and_the_rest_on_demand(path):
    content = Content(path, head_bytes=100)
    assert (content.head, content.whole, content.packed) == (DATA[:100], False, False)
    assert content.first(10) == DATA[:10]
    assert content.raw() == content.unpacked() == DATA
    assert content.raw(most=500) == DATA[:500]
    with content.opened() as stream:
        stream.seek(300)
        assert stream.read(20) == DATA[300:320]


def test_a_file_shorter_than_the_head_is_whole(path):
    assert Content(path).whole
    assert Content("elsewhere", DATA).raw() == DATA


@PACKINGS
def test_a_packed_file_is_unpacked(pack):
    content = Content("elsewhere", pack(DATA))
    assert content.packed
    assert content.first(300) == DATA[:300]
    assert content.unpacked() == DATA
    with content.opened() as stream:
        assert stream.read() == DATA
    assert unpack(pack(DATA) + pack(DATA[:7])) == DATA + DATA[:7]  # parallel programs write several members


@PACKINGS
def test_the_head_of_a_long_packed_file_is_known(pack, tmp_path):
    noise = random.Random(1).randbytes(1 << 20)
    (tmp_path / "noise").write_bytes(pack(noise))
    content = Content(str(tmp_path / "noise"), head_bytes=1 << 14)
    assert not content.whole
    assert content.first(1 << 13) == noise[: 1 << 13]
    assert content.unpacked() == noise


@PACKINGS
def test_the_head_of_a_damaged_packed_file_is_empty(pack):
    assert Content("elsewhere", pack(DATA)[:4] + b"x" * 50).first(10) == b""


@PACKINGS
def test_a_packed_file_is_unpacked_up_to_a_limit(pack):
    assert unpack(pack(DATA), len(DATA)) == DATA
    with pytest.raises(SpectrumError, match="unreasonable size"):
        unpack(pack(DATA), len(DATA) - 1)
    with pytest.raises(SpectrumError, match="truncated"):
        unpack(pack(DATA)[:-1])
    with pytest.raises(SpectrumError, match="unreasonable size"):  # a part of a file that was read up to the limit
        unpack(pack(DATA)[:-1], len(pack(DATA)) - 1)
    with pytest.raises(SpectrumError, match="damaged"):
        unpack(pack(DATA)[:-8] + b"x" * 8)


def test_plain_bytes_are_not_unpacked():
    with pytest.raises(SpectrumError, match="not a packed file"):
        unpack(DATA)


@PACKINGS
def test_a_small_packed_file_of_huge_contents_takes_little_memory(pack):
    image = lamost_image()
    bomb = pack(image + bytes(-len(image) % 2880)) + pack(bytes(1 << 24)) * 32
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        (error,) = read_spectra("bomb.fits", bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.reason == "unreasonable size"
    assert peak < 1.5 * MAX_SPECTRUM_BYTES


def test_the_first_of_several_files_that_exists_is_opened(path, tmp_path):
    content = Content(path)
    beside = content.beside([str(tmp_path / "none"), str(tmp_path), path], 10)()
    assert (beside.path, beside.head) == (path, DATA)
    assert content.beside([str(tmp_path / "none")], 10)() is None


def test_a_file_exists_or_not(path, tmp_path):
    assert exists(path)
    assert not exists(str(tmp_path / "none"))
    assert not exists(str(tmp_path))
    assert not exists(f"{path}/below")
    assert not exists("memory://content/none")


def test_errors_of_other_kinds_pass_unchanged(path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("os.read", fail)
    with pytest.raises(ZeroDivisionError):
        fetch(path, 10)
