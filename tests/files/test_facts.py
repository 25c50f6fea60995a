import json

import pytest

from raystellar.errors import InputError
from raystellar.files.facts import read_facts, read_run, write_facts
from raystellar.schema import FORMAT_VERSION, RUN_NAME


def test_facts_are_read_as_they_were_written(tmp_path):
    write_facts(str(tmp_path), "_job.json", {"spectra": 3})
    assert read_facts(str(tmp_path), "_job.json") == {"spectra": 3}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_facts_that_cannot_be_read_are_empty(content, tmp_path):
    if content is not None:
        (tmp_path / "_job.json").write_bytes(content)
    assert read_facts(str(tmp_path), "_job.json") == {}


def test_the_run_of_a_folder_is_read_or_refused(tmp_path):
    assert read_run(str(tmp_path)) is None
    write_facts(str(tmp_path), RUN_NAME, {"format": FORMAT_VERSION, "kind": "dataset"})
    assert read_run(str(tmp_path))["kind"] == "dataset"
    write_facts(str(tmp_path), RUN_NAME, {"format": FORMAT_VERSION - 1, "raystellar": "0.0.1"})
    with pytest.raises(InputError, match=r"has the format of raystellar 0\.0\.1"):
        read_run(str(tmp_path))


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_damaged_run_is_refused(content, tmp_path):
    (tmp_path / RUN_NAME).write_bytes(content)
    with pytest.raises(InputError, match=f"{RUN_NAME} is damaged"):
        read_run(str(tmp_path))


def test_facts_are_plain_json(tmp_path):
    write_facts(str(tmp_path), "_job.json", {"model": "/data/model"})
    assert json.loads((tmp_path / "_job.json").read_text()) == {"model": "/data/model"}
