import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystellar.errors import InputError, OutputError
from raystellar.files import listing, places


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    place = str(tmp_path / "table.parquet")
    places.write_table(place, pa.table({"a": [1, 2]}))
    before = (tmp_path / "table.parquet").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="disk full"):
        places.write_table(place, pa.table({"a": [3]}))
    assert (tmp_path / "table.parquet").read_bytes() == before
    assert places.names(str(tmp_path)) == {"table.parquet"}
    (tmp_path / f"{places.TEMPORARY}half").write_text("of a job that was killed")
    assert pq.read_table(tmp_path).num_rows == 2  # a leftover is not taken for a part
    places.remove_temporaries(str(tmp_path))
    assert places.names(str(tmp_path)) == {"table.parquet"}


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        places.make_folder(str(tmp_path / "file" / "below"))


def test_urls_work_like_paths():
    place = "memory://bucket/folder"
    places.write_table(places.join(place, "part-00000.parquet"), pa.table({"a": [1]}))
    places.write_bytes(places.join(place, "spec-1.fits"), b"abc")
    assert places.names(place) == {"part-00000.parquet", "spec-1.fits"}
    assert places.exists(places.join(place, "spec-1.fits"))
    assert places.read_bytes(places.join(place, "spec-1.fits")) == b"abc"
    assert ("memory:///bucket/folder/spec-1.fits", 3) in listing.expand([place])
    with pytest.raises(InputError):
        places.read_bytes(places.join(place, "absent"))


@pytest.mark.parametrize("place", ["nope://bucket/a.fits"])
def test_a_protocol_that_cannot_be_used_is_refused(place):
    with pytest.raises(InputError, match="cannot be used"):
        list(listing.expand([place]))
    with pytest.raises(InputError, match="cannot be used"):
        places.write_bytes(place, b"")
