import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystellar.errors import IncompleteError, InputError, OutputError, SpectrumError
from raystellar.schema import RUN_NAME
from raystellar.shards import ShardedOutput, make_manifest, read_run

SCHEMA = pa.schema([("path", pa.string()), ("value", pa.int32())])


@pytest.fixture
def spectra(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(10):
        (folder / f"spec-{n}.fits").write_bytes(b"x" * n)
    return str(folder)


def begin(place, manifest, **identity):
    output = ShardedOutput(str(place), SCHEMA)
    output.begin("dataset", {"seed": 1} | identity, manifest, 4)
    return output


def do(output, shard, bad=()):
    paths = output.paths(shard)
    good = [path for path in paths if path not in bad]
    rejects = [(path, SpectrumError("read", "truncated", "9 bytes")) for path in paths if path in bad]
    output.commit(shard, pa.table({"path": good, "value": pa.array([1] * len(good), pa.int32())}), rejects)


def test_a_manifest_names_each_spectrum_once_in_order(spectra):
    manifest = make_manifest([f"{spectra}/spec-3.fits", spectra, f"{spectra}/*.fits"])
    assert manifest["path"].to_pylist() == [f"{spectra}/spec-{n}.fits" for n in range(10)]
    assert manifest["bytes"].to_pylist() == list(range(10))


def test_no_spectra_at_all_is_refused(tmp_path):
    with pytest.raises(InputError, match="no spectra"):
        make_manifest([str(tmp_path)])


def test_rows_in_are_rows_out_and_rejects(tmp_path, spectra):
    manifest = make_manifest([spectra])
    output = begin(tmp_path / "out", manifest)
    assert output.pending() == {0: 4, 1: 4, 2: 2}
    bad = {f"{spectra}/spec-5.fits", f"{spectra}/spec-8.fits", f"{spectra}/spec-9.fits"}
    do(output, 1, bad)
    assert output.pending() == {0: 4, 2: 2}
    with pytest.raises(IncompleteError, match="accounts for 4 of 10"):
        output.account().check(output.place)
    do(output, 0)
    do(output, 2, bad)  # nothing left of it: an empty part marks it done
    accounting = output.account()
    accounting.check(output.place)
    assert (accounting.rows_in, accounting.rows_out) == (10, 7)
    assert accounting.rejected == {"read: truncated": 3}
    assert output.pending() == {}
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert {row["path"] for row in rejects} == bad
    assert rejects[0]["detail"] == "9 bytes"


def test_the_same_job_resumes_with_its_own_shards(tmp_path, spectra):
    manifest = make_manifest([spectra])
    do(begin(tmp_path / "out", manifest), 0)
    (tmp_path / "out" / ".tmp-part-00001.parquet-x").write_text("half")
    again = ShardedOutput(str(tmp_path / "out"), SCHEMA)
    again.begin("dataset", {"seed": 1}, manifest, 2)
    assert again.pending() == {1: 4, 2: 2}
    assert not list((tmp_path / "out").glob(".tmp*"))


def test_another_job_is_refused_and_told_what_differs(tmp_path, spectra):
    manifest = make_manifest([spectra])
    begin(tmp_path / "out", manifest)
    with pytest.raises(OutputError, match=r"different: seed\)"):
        begin(tmp_path / "out", manifest, seed=2)
    with pytest.raises(OutputError, match="the list of input files"):
        begin(tmp_path / "out", manifest.slice(1))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine.parquet").write_text("")
    with pytest.raises(OutputError, match=r"mine\.parquet"):
        begin(tmp_path / "foreign", manifest)


def test_a_damaged_part_is_named(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]))
    (tmp_path / "out" / "part-00000.parquet").write_text("not parquet")
    with pytest.raises(OutputError, match=r"part-00000\.parquet is damaged"):
        output.account()


def test_the_folder_says_what_made_it(tmp_path, spectra):
    begin(tmp_path / "out", make_manifest([spectra]))
    run = read_run(str(tmp_path / "out"))
    assert run["kind"] == "dataset"
    assert run["rows"] == 10
    assert "raystellar" in run["versions"]
    assert read_run(str(tmp_path)) is None
    (tmp_path / "out" / RUN_NAME).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_run(str(tmp_path / "out"))


def test_works_on_urls(spectra):
    output = begin("memory://shards/out", make_manifest([spectra]))
    for shard in output.pending():
        do(output, shard)
    output.account().check(output.place)
    assert json.dumps(read_run("memory://shards/out"))
