"""The bytes of a file: its head, the rest, unpacking, and files that cannot be read."""

from __future__ import annotations

import gzip

import pytest

from raystellar.errors import SpectrumError
from raystellar.spectra.content import Content, exists, fetch, gunzip

DATA = bytes(range(256)) * 40


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


def test_a_packed_file_is_unpacked():
    content = Content("elsewhere", gzip.compress(DATA))
    assert content.packed
    assert content.first(300) == DATA[:300]
    assert content.unpacked() == DATA
    with content.opened() as stream:
        assert stream.read() == DATA


def test_the_head_of_a_damaged_packed_file_is_empty():
    assert Content("elsewhere", b"\x1f\x8b" + b"x" * 50).first(10) == b""


def test_a_packed_file_is_unpacked_up_to_a_limit():
    with pytest.raises(SpectrumError, match="unreasonable size"):
        gunzip(gzip.compress(DATA), len(DATA) - 1)
    with pytest.raises(SpectrumError, match="truncated"):
        gunzip(gzip.compress(DATA)[:-1])


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
