import os

import pytest

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.output.commit import commit_folder

FILES = {"weights": b"first", "bundle.json": b"last"}


def content(folder):
    return {name: places.read_bytes(places.join(folder, name)) for name in places.names(folder)}


@pytest.mark.parametrize("parent", ["disk", "memory://commit"])
def test_a_folder_is_written_with_all_of_its_files(parent, tmp_path):
    folder = f"{tmp_path if parent == 'disk' else parent}/model"
    commit_folder(folder, FILES)
    assert content(folder) == FILES


def test_a_local_folder_is_replaced_as_a_whole(tmp_path):
    commit_folder(str(tmp_path / "model"), {**FILES, "older": b""})
    commit_folder(str(tmp_path / "model"), FILES)
    assert content(str(tmp_path / "model")) == FILES
    assert places.names(str(tmp_path)) == {"model"}


@pytest.mark.parametrize("renames", [0, 1])
def test_the_older_folder_stays_where_a_rename_fails(renames, tmp_path, monkeypatch):
    folder = str(tmp_path / "model")
    commit_folder(folder, FILES)
    rename, calls = os.rename, []

    def fail(source, target):
        calls.append(target)
        if len(calls) == renames + 1:
            raise OSError("disk on fire")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OutputError, match="disk on fire"):
        commit_folder(folder, {"weights": b"new"})
    assert content(folder) == FILES
    assert places.names(str(tmp_path)) == {"model"}


def test_a_job_killed_between_the_renames_leaves_the_older_folder_complete(tmp_path, monkeypatch):
    folder = str(tmp_path / "model")
    commit_folder(folder, FILES)
    rename, calls = os.rename, []

    def killed(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        commit_folder(folder, {"weights": b"new"})
    places.remove_temporaries(str(tmp_path))
    [older] = places.names(str(tmp_path))
    assert older.endswith(".old")
    assert content(str(tmp_path / older)) == FILES


def test_an_object_store_has_no_last_file_while_the_folder_is_written(monkeypatch):
    folder = "memory://commit/interrupted"
    commit_folder(folder, FILES)
    write = places.write_bytes

    def killed(path, *arguments, **options):
        write(path, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(places, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        commit_folder(folder, FILES)
    assert places.names(folder) == {"weights"}
