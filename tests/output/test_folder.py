import json

import pyarrow.parquet as pq
import pytest
from outputs import SCHEMA, begin, do

from raystellar.errors import IncompleteError, OutputError
from raystellar.files.facts import read_run
from raystellar.output.folder import ShardedOutput
from raystellar.schema import SUMMARY_NAME
from raystellar.spectra.inputs import make_manifest


def test_rows_in_are_rows_out_and_rejects(tmp_path, spectra):
    manifest = make_manifest([spectra])
    output = begin(tmp_path / "out", manifest)
    assert output.pending() == {0: 4, 1: 4, 2: 2}
    bad = {f"{spectra}/spec-5.fits", f"{spectra}/spec-8.fits", f"{spectra}/spec-9.fits"}
    do(output, 1, bad)
    assert output.pending() == {0: 4, 2: 2}
    with pytest.raises(IncompleteError, match="accounts for 4 of 10"):
        output.account().check(output.path)
    do(output, 0)
    do(output, 2, bad)  # all files are rejected: an empty part marks the shard as done
    accounting = output.account()
    accounting.check(output.path)
    assert (accounting.rows_in, accounting.rows_out) == (10, 7)
    assert accounting.rejected == {"read: truncated": 3}
    assert output.pending() == {}
    rejects = pq.read_table(tmp_path / "out" / "_rejects").to_pylist()
    assert {row["path"] for row in rejects} == bad
    assert rejects[0]["detail"] == "9 bytes"


def test_rejects_of_a_run_that_was_killed_do_not_count(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]))
    do(output, 0, {f"{spectra}/spec-1.fits"})
    (tmp_path / "out" / "part-00000.parquet").unlink()  # killed between the two files
    for shard in output.pending():
        do(output, shard)
    output.account().check(output.path)
    assert output.account().rows_out == 10


def test_the_same_job_resumes_with_its_own_shards(tmp_path, spectra):
    manifest = make_manifest([spectra])
    do(begin(tmp_path / "out", manifest), 0)
    (tmp_path / "out" / ".tmp-part-00001.parquet-x").write_text("half")
    again = ShardedOutput(str(tmp_path / "out"), SCHEMA)
    again.begin("dataset", {"seed": 1}, manifest, 2)
    assert again.pending() == {1: 4, 2: 2}
    assert not list((tmp_path / "out").glob(".tmp*"))


def test_shards_with_rejects_of_a_stage_are_done_again(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]))
    for shard in output.pending():
        do(output, shard, {f"{spectra}/spec-5.fits"})
    output.write_summary({"rows": 9})
    assert (output.reopen("fetch"), output.pending(), output.summary()) == (0, {}, {"rows": 9})
    assert (output.reopen("read"), output.pending(), output.summary()) == (1, {1: 4}, None)
    assert output.reopen("read") == 1  # killed before it was done
    do(output, 1)
    output.account().check(output.path)
    assert output.account().rows_out == 10
    assert output.reopen("read") == 0


def test_a_damaged_summary_is_named(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]))
    (tmp_path / "out" / SUMMARY_NAME).write_text("{")
    with pytest.raises(OutputError, match=f"{SUMMARY_NAME} is damaged"):
        output.summary()


def test_parts_are_read_by_column_and_shard(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]))
    for shard in (2, 0):
        do(output, shard, {f"{spectra}/spec-1.fits"})
    assert [(shard, table.column_names, len(table)) for shard, table in output.columns(["value"])] == [
        (0, ["value"], 3),
        (2, ["value"], 2),
    ]
    assert sum(map(len, output.column("path"))) == 5
    assert output.part(2)["path"].to_pylist() == [f"{spectra}/spec-{n}.fits" for n in (8, 9)]
    assert [table.column_names for table in output.parts(["path"])] == [["path"], ["path"]]
    assert [table["path"].to_pylist() for table in output.rejects()] == [[f"{spectra}/spec-1.fits"]]


def test_the_folder_may_be_a_url(spectra):
    output = begin("memory://shards/out", make_manifest([spectra]))
    for shard in output.pending():
        do(output, shard)
    output.account().check(output.path)
    assert json.dumps(read_run("memory://shards/out"))
