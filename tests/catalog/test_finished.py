"""Only a finished catalogue is opened, and only the selected rows are read."""

import json
import shutil

import pyarrow as pa
import pytest

from raystellar.catalog.finished import open_catalog
from raystellar.errors import IncompleteError, InputError
from raystellar.schema import RUN_NAME, SUMMARY_NAME


@pytest.fixture
def copy(labelled, tmp_path):
    shutil.copytree(labelled, tmp_path / "catalog")
    return tmp_path / "catalog"


def test_all_rows_or_the_selected_rows_are_read(labelled):
    everything = pa.concat_tables(open_catalog(str(labelled)).rows()).to_pylist()
    for good in (False, True):
        for primary in (False, True):
            selected = pa.concat_tables(open_catalog(str(labelled), good, primary).rows()).to_pylist()
            wanted = [
                row for row in everything if (not good or not row["flags"]) and (not primary or row["is_primary"])
            ]
            assert selected == wanted
    assert 0 < sum(row["flags"] == 0 for row in everything) < len(everything)
    assert 0 < sum(row["is_primary"] for row in everything) < len(everything)


def test_a_folder_that_is_not_a_catalogue_is_refused(labelled, model, tmp_path):
    for path, message in (
        (tmp_path / "absent", "is not a catalogue"),
        (model.parent / "dataset", "is a dataset, not a catalogue"),
    ):
        with pytest.raises(InputError, match=message):
            open_catalog(str(path))


def test_a_catalogue_that_lacks_a_part_or_its_primary_rows_is_not_finished(copy):
    (copy / SUMMARY_NAME).unlink()
    with pytest.raises(IncompleteError, match="the primary row of each star is not chosen"):
        open_catalog(str(copy))
    (copy / "part-00001.parquet").unlink()
    with pytest.raises(IncompleteError, match=r"39 of 46 input rows are done"):
        open_catalog(str(copy))


def test_primary_rows_of_a_catalogue_without_them_cannot_be_selected(copy):
    run = json.loads((copy / RUN_NAME).read_text())
    run["columns"] = [name for name in run["columns"] if name != "is_primary"]
    (copy / RUN_NAME).write_text(json.dumps(run))
    (copy / SUMMARY_NAME).unlink()
    open_catalog(str(copy))
    with pytest.raises(InputError, match="has no column is_primary"):
        open_catalog(str(copy), primary=True)
