import contextlib
import gzip
import json
import os

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import Archive

from raystellar.errors import InputError, OutputError
from raystellar.files import listing, places


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = str(tmp_path / "table.parquet")
    places.write_table(path, pa.table({"a": [1, 2]}))
    before = (tmp_path / "table.parquet").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="disk full"):
        places.write_table(path, pa.table({"a": [3]}))
    assert (tmp_path / "table.parquet").read_bytes() == before
    assert places.names(str(tmp_path)) == {"table.parquet"}
    (tmp_path / f"{places.TEMPORARY}half").write_text("of a job that was killed")
    assert pq.read_table(tmp_path).num_rows == 2  # a leftover is not taken for a part
    places.remove_temporaries(str(tmp_path))
    assert places.names(str(tmp_path)) == {"table.parquet"}


def test_a_large_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "catalog.fits"
    with places.whole_file(str(path)) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    with contextlib.suppress(KeyboardInterrupt), places.whole_file(str(path)) as temporary:
        temporary.write_bytes(b"other")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"half"
    assert places.names(str(tmp_path)) == {"catalog.fits"}


def test_a_large_file_is_uploaded_when_it_is_complete():
    with places.whole_file("memory://whole/catalog.fits") as temporary:
        temporary.write_bytes(b"rows")
        assert not places.exists("memory://whole/catalog.fits")
    assert places.read_bytes("memory://whole/catalog.fits") == b"rows"
    assert not temporary.exists()


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_file_is_waited_for(durable, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    places.write_bytes(str(tmp_path / "file"), b"x", durable=durable)
    assert len(synced) == durable


def test_unfinished_folders_stay_when_temporary_files_are_removed(tmp_path):
    (tmp_path / f"{places.TEMPORARY}model").mkdir()
    (tmp_path / f"{places.TEMPORARY}part").write_bytes(b"")
    places.remove_temporaries(str(tmp_path))
    assert places.names(str(tmp_path)) == {f"{places.TEMPORARY}model"}


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        places.make_folder(str(tmp_path / "file" / "below"))


def test_urls_work_like_paths():
    folder = "memory://bucket/folder"
    places.write_table(places.join(folder, "part-00000.parquet"), pa.table({"a": [1]}))
    places.write_bytes(places.join(folder, "spec-1.fits"), b"abc")
    assert places.names(folder) == {"part-00000.parquet", "spec-1.fits"}
    assert places.exists(places.join(folder, "spec-1.fits"))
    assert places.read_bytes(places.join(folder, "spec-1.fits")) == b"abc"
    assert ("memory:///bucket/folder/spec-1.fits", 3) in listing.expand([folder])
    with pytest.raises(InputError):
        places.read_bytes(places.join(folder, "absent"))


@pytest.mark.parametrize("folder", ["disk", "memory://opened"])
@pytest.mark.parametrize("content", [b"", b"x", b"SIMPLE  = spectrum", gzip.compress(b"SIMPLE  = spectrum", mtime=0)])
def test_a_file_is_opened_from_disk_and_server_and_unpacked(folder, content, tmp_path):
    path = f"{tmp_path if folder == 'disk' else folder}/file"
    places.write_bytes(path, content)
    expected = gzip.decompress(content) if content.startswith(places.GZIP) else content
    with places.open_file(path) as stream:
        assert stream.read() == expected
        stream.seek(0)
        assert stream.read(3) == expected[:3]


def test_closing_an_unpacked_file_closes_the_file_on_disk(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(b"spectrum"))
    stream = places.open_file(f"file://{tmp_path}/file")
    stream.close()
    assert stream.closed
    assert stream._raw.closed


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{folder}/absent", "absent does not exist"),
        ("memory://absent", "absent does not exist"),
        ("{folder}", "is a folder; name a file in it"),
        ("{folder}/file/below", "cannot be opened: Not a directory"),
        ("nope://bucket/file", "cannot be used: Protocol not known: nope"),
        ("http://127.0.0.1:9/file", "cannot be opened: Cannot connect"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_in_one_sentence(path, message, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=message) as error:
        places.open_file(path.format(folder=tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("status", "message"), [(404, "does not exist"), (503, "cannot be opened: 503")])
def test_the_answer_of_a_web_server_says_whether_a_file_exists(status, message, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Archive() as server:
        path = server.add("/labels.csv", b"plate,mjd", status=status)
        with pytest.raises(InputError, match=message):
            places.open_file(path)


def test_a_protocol_that_cannot_be_used_is_refused():
    with pytest.raises(InputError, match="cannot be used"):
        list(listing.expand(["nope://bucket/a.fits"]))
    with pytest.raises(InputError, match="cannot be used"):
        places.write_bytes("nope://bucket/a.fits", b"")


def test_files_that_other_processes_write_to_s3_are_seen_at_once(s3):
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
