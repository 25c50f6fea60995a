from pathlib import Path

import pytest
from outputs import begin, do, files, grow

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.schema import RUN_NAME
from raystellar.spectra.inputs import make_manifest


def parts(output):
    """Return the contents of the parts of a folder by name."""
    return {path.name: path.read_bytes() for path in Path(output.path).glob("part-*")}


def test_further_files_become_further_shards(tmp_path, spectra):
    manifest = make_manifest([spectra])
    some, rest = manifest.take([1, 3, 5, 6, 7, 8]), manifest.take([0, 2, 3, 4, 9])
    output = begin(tmp_path / "out", some, grows=True)
    for shard in output.pending():
        do(output, shard, {f"{spectra}/spec-5.fits"})
    before = parts(output)
    again, unnamed = grow(tmp_path / "out", rest)
    assert unnamed == 5
    assert again.pending() == {2: 4}
    assert [Path(file_slice.path).name for file_slice in again.slices(2)] == [f"spec-{n}.fits" for n in (0, 2, 4, 9)]
    do(again, 2)
    again.account().check(again.path)
    assert (again.account().rows_out, again.account().rejected.total()) == (9, 1)
    assert before.items() <= parts(again).items()
    whole = begin(tmp_path / "whole", manifest)
    runs = [read_run(output.path) for output in (again, whole)]
    for name in ("digest", "inputs", "rows"):
        assert runs[0][name] == runs[1][name]
    assert grow(tmp_path / "out", manifest)[1] == 0
    assert again.pending() == {}


@pytest.mark.parametrize("moment", ["before the manifest", "before the run", "at the end"])
def test_the_addition_of_files_may_be_killed_at_any_time(moment, tmp_path, spectra, monkeypatch):
    manifest = make_manifest([spectra])
    output = begin(tmp_path / "out", manifest.slice(0, 6), grows=True)
    write = places.write_bytes

    def killed(path, *arguments, **options):
        if moment == "before the manifest" or (moment == "before the run" and path.endswith(RUN_NAME)):
            raise KeyboardInterrupt
        write(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(places, "write_bytes", killed)
        if moment == "at the end":
            grow(tmp_path / "out", manifest)
        else:
            with pytest.raises(KeyboardInterrupt):
                grow(tmp_path / "out", manifest)
    again, unnamed = grow(tmp_path / "out", manifest.slice(2, 8))
    assert unnamed == 2
    assert again.pending() == {0: 4, 1: 2, 2: 4}
    paths = [file_slice.path for shard in again.pending() for file_slice in again.slices(shard)]
    assert sorted(paths) == manifest["path"].to_pylist()
    assert read_run(output.path)["digest"] == read_run(begin(tmp_path / "whole", manifest).path)["digest"]


def test_files_are_added_whatever_the_slices_of_a_plate(tmp_path):
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


def test_a_file_is_added_once_however_its_path_is_spelled(tmp_path, spectra, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(spectra)
    spellings = ["in", "./in/", "in/../in", str(tmp_path / "in"), "in/*.fits", "link", f"file://{spectra}"]
    assert len(make_manifest(spellings)) == 10
    begin(tmp_path / "out", make_manifest(["in"]), grows=True)
    for spelling in spellings:
        output, unnamed = grow(tmp_path / "out", make_manifest([spelling]))
        assert (sum(output.pending().values()), unnamed) == (10, 0)


def test_a_rejected_file_that_was_repaired_is_done_again_where_that_is_asked_for(tmp_path, spectra):
    output = begin(tmp_path / "out", make_manifest([spectra]), grows=True)
    for shard in output.pending():
        do(output, shard, {f"{spectra}/spec-5.fits"})
    Path(spectra, "spec-5.fits").write_bytes(b"repaired")
    with pytest.raises(OutputError, match=r"has changed since .* add --retry-rejects"):
        grow(tmp_path / "out", make_manifest([spectra]))
    again, _ = grow(tmp_path / "out", make_manifest([spectra]), retry=True)
    assert again.pending() == {1: 4}
    do(again, 1)
    again.account().check(again.path)
    assert again.account().rows_out == 10
    assert grow(tmp_path / "out", make_manifest([spectra]))[0].pending() == {}
    Path(spectra, "spec-4.fits").write_bytes(b"a file that was not rejected")
    with pytest.raises(OutputError, match=r"spec-4\.fits has changed since"):
        grow(tmp_path / "out", make_manifest([spectra]), retry=True)
