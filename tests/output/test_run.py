import pytest
from outputs import begin

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.schema import MANIFEST_NAME, RUN_NAME
from raystellar.spectra.inputs import make_manifest


def test_another_job_is_refused_and_told_what_differs(tmp_path, spectra):
    manifest = make_manifest([spectra])
    begin(tmp_path / "out", manifest)
    with pytest.raises(OutputError, match=r"different: seed\)"):
        begin(tmp_path / "out", manifest, seed=2)
    with pytest.raises(OutputError, match="the list of input files"):
        begin(tmp_path / "out", manifest.slice(1))


def test_a_folder_with_other_files_is_refused_and_one_of_a_killed_job_is_not(tmp_path, spectra):
    manifest, folder = make_manifest([spectra]), tmp_path / "out"
    folder.mkdir()
    (folder / MANIFEST_NAME).write_text("half")
    (folder / f"{places.TEMPORARY}run").write_text("half")
    begin(folder, manifest)
    (folder / RUN_NAME).unlink()
    (folder / "mine.parquet").write_text("")
    with pytest.raises(OutputError, match=r"already holds something else, such as mine\.parquet"):
        begin(folder, manifest)


def test_another_job_is_refused_where_it_may_grow(tmp_path, spectra):
    manifest = make_manifest([spectra])
    begin(tmp_path / "out", manifest.slice(1), grows=True)
    with pytest.raises(OutputError, match=r"different: seed\)"):
        begin(tmp_path / "out", manifest, grows=True, seed=2)
    assert len(begin(tmp_path / "out", manifest.slice(1)).pending()) == 3


def test_the_folder_records_the_job_that_made_it(tmp_path, spectra):
    begin(tmp_path / "out", make_manifest([spectra]))
    run = read_run(str(tmp_path / "out"))
    assert run["kind"] == "dataset"
    assert run["rows"] == 10
    assert "raystellar" in run["versions"]
