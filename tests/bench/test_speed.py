"""The benchmarks of speed run on a small survey, and refuse programs that disagree. No time is checked."""

import numpy as np
import pytest

from raystellar.bench import kernels, label
from raystellar.bench.ingest import ingest_table, read_floor
from raystellar.bench.kernels import kernel_table, plain_read, plain_resample, usable
from raystellar.bench.label import label_table, predict_ratio
from raystellar.bench.plates import plates_table
from raystellar.errors import InputError
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.spectra.inputs import make_manifest


@pytest.fixture(scope="module")
def spectra(survey):
    return [f"{survey}/spectra"]


def test_files_that_only_one_program_could_use_are_left_out(spectra, tmp_path):
    paths = make_manifest(spectra)["path"].to_pylist()
    (tmp_path / "empty.fits").write_bytes(b"")
    broken = [str(tmp_path / "empty.fits")]
    preprocessor = Preprocessor(PreprocessConfig())
    kept = usable(broken + paths, preprocessor, 1000)
    assert 0 < len(kept) <= len(paths)
    assert not set(kept) & set(broken)
    assert len(usable(paths, preprocessor, 5)) <= 5
    with pytest.raises(InputError, match="none of 1 spectra can be used"):
        usable(broken, preprocessor, 1)


def test_kernels_are_timed_part_by_part_and_their_sum(spectra, model):
    table = kernel_table(spectra, str(model), count=8)
    assert [row[0] for row in table] == ["read", "resample", "predict", "sum"]
    for column in (1, 2):
        assert table[-1][column] == pytest.approx(sum(row[column] for row in table[:-1]))
        assert all(row[column] > 0 for row in table)
    assert [row[0] for row in kernel_table(spectra, None, count=8)] == ["read", "resample", "sum"]


def test_preprocessing_is_timed_as_a_loop_and_as_kernels(spectra):
    table = [row for row in ingest_table(spectra, cores=()) if row.name != "fitsio + SciPy"]
    assert [row.name for row in table] == ["astropy + SciPy", "raystellar, bare"]
    assert table[1].spectra == len(make_manifest(spectra)) >= table[0].spectra
    for row in table:
        assert row.whole == pytest.approx(sum(row.parts.values()))
    size, floor = read_floor(spectra)
    assert size > 10_000
    assert floor > 0


def test_labelling_is_timed_as_a_loop_and_as_kernels(spectra, model):
    table = list(label_table(spectra, str(model), cores=()))
    assert [row.name for row in table] == ["astropy, SciPy, torch", "raystellar, bare"]
    assert [set(row.parts) for row in table] == [{"read", "resample", "label", "write"}] * 2


def test_predicting_is_timed_beside_its_matrix_products(model, monkeypatch):
    monkeypatch.setattr(label, "PREDICTED", 512)
    assert all(0 < ms < 100 for ms in predict_ratio(str(model)))


@pytest.mark.parametrize("shift", [1e-4, 0.1])
def test_programs_that_disagree_are_refused(shift, spectra, model, monkeypatch):
    def other(*arguments):
        return plain_resample(*arguments) + shift

    for module in (kernels, label):  # the loop of all spectra is in kernels
        monkeypatch.setattr(module, "plain_resample", other)
    with pytest.raises(InputError, match="disagree"):
        kernel_table(spectra, str(model), count=4)
    with pytest.raises(InputError, match="disagree"):
        list(ingest_table(spectra, cores=()))
    if shift > 0.01:
        with pytest.raises(InputError, match="disagree"):
            list(label_table(spectra, str(model), cores=()))


def test_the_plain_loop_reads_what_is_in_the_file(survey):
    path = next(path for path in sorted((survey / "spectra").rglob("*.fits")))
    loglam, flux, ivar, rv = plain_read(str(path))
    assert loglam.shape == flux.shape == ivar.shape
    assert (np.diff(loglam) > 0).all()
    assert abs(rv) < 1500.0


def test_plates_are_compared_with_as_many_spec_files_only(spectra, survey):
    first, second = plates_table(spectra, spectra, passes=1)
    assert (first.name, second.name) == ("spec files", "spPlate files")
    assert first.spectra == second.spectra > 0
    few = [str(sorted((survey / "spectra").iterdir())[0])]
    with pytest.raises(InputError, match="give the same fibres"):
        list(plates_table(few, spectra, passes=1))
