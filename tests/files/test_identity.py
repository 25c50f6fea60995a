import pyarrow as pa
import pytest

from raystellar.files import identity
from raystellar.files.identity import distinct_files, file_keys


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.fits").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b.fits").symlink_to(tmp_path / "in" / "a.fits")
    return tmp_path


def keys(*paths):
    return file_keys(pa.chunked_array([list(paths)])).to_pylist()


def test_all_paths_of_a_file_have_one_key(folder):
    spellings = ["in/a.fits", "./in//a.fits", "in/../in/a.fits", f"{folder}/in/a.fits", "link/a.fits"]
    assert len(set(keys(*spellings))) == 1


def test_other_files_and_links_to_files_have_other_keys(folder):
    assert len(set(keys("in/a.fits", "in/b.fits", "a.fits", "in/A.fits"))) == 4


def test_urls_are_compared_as_they_are_written():
    assert len(set(keys("s3://b//a/x", "s3://b/a/x", "https://h/x?f=a/b", "https://h/x?f=b", "s3://b/a/x"))) == 4


def test_keys_do_not_depend_on_how_paths_are_divided(folder, monkeypatch):
    paths = ["in/a.fits", "link/a.fits", "b/c", "in/a.fits", "/d/e"]
    together = keys(*paths)
    monkeypatch.setattr(identity, "PATHS_PER_CHUNK", 2)
    assert keys(*paths) == together
    assert file_keys(pa.chunked_array([paths[:1], paths[1:]])).to_pylist() == together


def test_of_several_paths_of_a_file_the_first_one_stays(folder):
    files = pa.table({"path": ["link/a.fits", "in/b.fits", "in/a.fits"], "bytes": [1, 2, 3]})
    assert distinct_files(files).to_pylist() == [{"path": "in/a.fits", "bytes": 3}, {"path": "in/b.fits", "bytes": 2}]
