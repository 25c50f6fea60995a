import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystellar.errors import IncompleteError, InputError, OutputError, SpectrumError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.files.identity import file_keys
from raystellar.output.folder import ShardedOutput, ShardRows
from raystellar.output.manifest import cut, slices_of
from raystellar.schema import RUN_NAME
from raystellar.spectra.inputs import MANIFEST_SCHEMA, make_manifest

SCHEMA = pa.schema([("path", pa.string()), ("value", pa.int32())])


@pytest.fixture
def spectra(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(10):
        (folder / f"spec-{n}.fits").write_bytes(b"x" * n)
    return str(folder)


def begin(place, manifest, *, grows=False, **identity):
    output = ShardedOutput(str(place), SCHEMA)
    output.begin("dataset", {"seed": 1} | identity, manifest, 4, grows=grows)
    return output


def do(output, shard, bad=()):
    paths = [part.path for part in output.slices(shard)]
    good = [path for path in paths if path not in bad]
    rejects = [(path, SpectrumError("read", "truncated", "9 bytes")) for path in paths if path in bad]
    output.commit(shard, ShardRows(pa.table({"path": good, "value": pa.array([1] * len(good), pa.int32())}), rejects))


def test_a_manifest_names_each_spectrum_once_in_order(spectra):
    manifest = make_manifest([f"{spectra}/spec-3.fits", spectra, f"{spectra}/*.fits"])
    assert manifest["path"].to_pylist() == [f"{spectra}/spec-{n}.fits" for n in range(10)]
    assert manifest["bytes"].to_pylist() == list(range(10))
    assert manifest["spectra"].to_pylist() == [None] * 10


def files(*counts, size=100):
    columns = [[f"{n:03d}" for n in range(len(counts))], [size] * len(counts), pa.array(counts, pa.int32())]
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def shards_of(manifest, rows, size=1 << 40):
    return [slices_of(shard) for shard in cut(manifest, rows, size)]


def test_shards_are_full_but_not_too_full():
    assert [len(shard) for shard in shards_of(files(*[1] * 10), 4)] == [4, 4, 2]
    assert [len(shard) for shard in shards_of(files(*[1] * 10), 4, 250)] == [2] * 5
    assert [len(shard) for shard in shards_of(files(*[1] * 3), 4, 1)] == [1] * 3
    assert {count: len(shards_of(files(*[1] * count), 0)[0]) for count in (100, 300, 40_000, 300_000)} == {
        100: 100,
        300: 256,
        40_000: 625,
        300_000: 2048,
    }


def test_a_file_of_many_spectra_is_sliced():
    assert shards_of(files(1, 10, 1), 4) == [
        [("000", 0, 1)],
        [("001", 0, 5)],
        [("001", 5, 5)],
        [("002", 0, 1)],
    ]
    assert shards_of(files(640, 1000), 512) == [[("000", 0, 640)], [("001", 0, 500)], [("001", 500, 500)]]


def test_what_was_not_counted_counts_as_one():
    assert shards_of(files(None, 3, None, None), 3) == [
        [("000", 0, None)],
        [("001", 0, 3)],
        [("002", 0, None), ("003", 0, None)],
    ]


@pytest.mark.parametrize("rows", [1, 3, 7, 640, 5000])
def test_every_spectrum_is_in_one_shard(rows):
    counts = [1, 1, 640, 3, 1000, 1, 2, 7]
    found = [part for shard in shards_of(files(*counts), rows, 777) for part in shard]
    spectra = [(path, first + k) for path, first, count in found for k in range(count)]
    assert spectra == [(f"{n:03d}", k) for n, count in enumerate(counts) for k in range(count)]


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
        output.account().check(output.path)
    do(output, 0)
    do(output, 2, bad)  # nothing left of it: an empty part marks it done
    accounting = output.account()
    accounting.check(output.path)
    assert (accounting.rows_in, accounting.rows_out) == (10, 7)
    assert accounting.rejected == {"read: truncated": 3}
    assert output.pending() == {}
    rejects = pq.read_table(tmp_path / "out" / "_rejects").to_pylist()
    assert {row["path"] for row in rejects} == bad
    assert rejects[0]["detail"] == "9 bytes"


def test_rejects_of_a_try_that_was_killed_do_not_count(tmp_path, spectra):
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


def held(output):
    """Return the parts of a folder."""
    return {path.name: path.read_bytes() for path in Path(output.path).glob("part-*")}


def grow(place, manifest):
    output = ShardedOutput(str(place), SCHEMA)
    return output, output.begin("dataset", {"seed": 1}, manifest, 4, grows=True)


def test_further_files_become_further_shards(tmp_path, spectra):
    manifest = make_manifest([spectra])
    some, rest = manifest.take([1, 3, 5, 6, 7, 8]), manifest.take([0, 2, 3, 4, 9])
    output = begin(tmp_path / "out", some, grows=True)
    for shard in output.pending():
        do(output, shard, {f"{spectra}/spec-5.fits"})
    before = held(output)
    again, further = grow(tmp_path / "out", rest)
    assert further == 5
    assert again.pending() == {2: 4}
    assert [Path(part.path).name for part in again.slices(2)] == [f"spec-{n}.fits" for n in (0, 2, 4, 9)]
    do(again, 2)
    again.account().check(again.path)
    assert (again.account().rows_out, again.account().rejected.total()) == (9, 1)
    assert before.items() <= held(again).items()
    whole = begin(tmp_path / "whole", manifest)
    runs = [read_run(output.path) for output in (again, whole)]
    for name in ("digest", "inputs", "rows"):
        assert runs[0][name] == runs[1][name]
    assert grow(tmp_path / "out", manifest)[1] == 0
    assert again.pending() == {}


@pytest.mark.parametrize("moment", ["before the manifest", "before the run", "at the end"])
def test_growth_may_be_killed_at_any_time(moment, tmp_path, spectra, monkeypatch):
    manifest = make_manifest([spectra])
    output = begin(tmp_path / "out", manifest.slice(0, 6), grows=True)
    write = places.write_bytes

    def killed(place, *arguments, **options):
        if moment == "before the manifest" or (moment == "before the run" and place.endswith(RUN_NAME)):
            raise KeyboardInterrupt
        write(place, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(places, "write_bytes", killed)
        if moment == "at the end":
            grow(tmp_path / "out", manifest)
        else:
            with pytest.raises(KeyboardInterrupt):
                grow(tmp_path / "out", manifest)
    again, further = grow(tmp_path / "out", manifest.slice(2, 8))
    assert further == 2
    assert again.pending() == {0: 4, 1: 2, 2: 4}
    paths = [part.path for shard in again.pending() for part in again.slices(shard)]
    assert sorted(paths) == manifest["path"].to_pylist()
    assert read_run(output.path)["digest"] == read_run(begin(tmp_path / "whole", manifest).path)["digest"]


def test_a_plate_grows_by_files_not_by_slices(tmp_path):
    output = begin(tmp_path / "out", files(1, 10, None), grows=True)
    assert output.pending() == {0: 1, 1: 5, 2: 5, 3: 1}
    assert grow(tmp_path / "out", files(1, 10, None, 2))[0].pending() == {0: 1, 1: 5, 2: 5, 3: 1, 4: 2}
    with pytest.raises(OutputError, match=r"001 has changed since .* it has 11 spectra, and had 10; "):
        grow(tmp_path / "out", files(1, 11, None))


def test_a_file_that_changed_is_named(tmp_path, spectra):
    begin(tmp_path / "out", make_manifest([spectra]), grows=True)
    Path(spectra, "spec-0.fits").write_bytes(b"more")
    with pytest.raises(OutputError, match=r"spec-0\.fits has changed since .* it has 4 bytes, and had 0; "):
        grow(tmp_path / "out", make_manifest([spectra]))
    urls = [files(1, size=size).set_column(0, "path", [["s3://b/a.fits"]]) for size in (0, 7, 0, 8)]
    begin(tmp_path / "urls", urls[1], grows=True)
    for unknown in (urls[0], urls[1]):
        grow(tmp_path / "urls", unknown)
    with pytest.raises(OutputError, match="has changed"):
        grow(tmp_path / "urls", urls[3])


def test_a_file_is_one_however_its_path_is_spelled(tmp_path, spectra, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(spectra)
    spellings = ["in", "./in/", "in/../in", str(tmp_path / "in"), "in/*.fits", "link", f"file://{spectra}"]
    assert len(make_manifest(spellings)) == 10
    begin(tmp_path / "out", make_manifest(["in"]), grows=True)
    for spelling in spellings:
        output, further = grow(tmp_path / "out", make_manifest([spelling]))
        assert (sum(output.pending().values()), further) == (10, 0)
    (tmp_path / "one.fits").write_bytes(b"")
    assert len(make_manifest(["one.fits", "./one.fits", str(tmp_path / "one.fits")])) == 1
    urls = pa.chunked_array([["s3://b//a/x", "s3://b/a/x", "https://h/x?f=a/b", "https://h/x?f=b"]])
    assert len(file_keys(urls).unique()) == 4


def test_another_job_is_refused_where_it_may_grow(tmp_path, spectra):
    manifest = make_manifest([spectra])
    begin(tmp_path / "out", manifest.slice(1), grows=True)
    with pytest.raises(OutputError, match=r"different: seed\)"):
        begin(tmp_path / "out", manifest, grows=True, seed=2)
    assert len(begin(tmp_path / "out", manifest.slice(1)).pending()) == 3


def test_what_was_rejected_at_a_stage_is_done_again(tmp_path, spectra):
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
    output.account().check(output.path)
    assert json.dumps(read_run("memory://shards/out"))
