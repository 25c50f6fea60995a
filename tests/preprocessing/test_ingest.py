"""The choice of a velocity, the columns of a batch, and the failures that mean an outage."""

import dataclasses
import errno
import math
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import Archive
from source_files import the_one
from spec_files import coadd, spec_file

from raystellar.engine.session import Resources
from raystellar.errors import InputError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.preprocessing.ingest import MIN_OUTAGE_SPECTRA, Admitted, choose_rv, gather, ingest
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import IDENTITY, OPTIONAL_IDS, arrow_schema
from raystellar.spectra import Slice
from raystellar.stages.label import label

SPECTRUM = the_one(spec_file(coadd(3000)))
LABELS = SimpleNamespace(rv=np.array([12.5, np.nan]), e_rv=np.array([2.5, np.nan]))
PREPROCESSOR = Preprocessor(PreprocessConfig())


def observed(**fields):
    """Return a spectrum with other values in some fields."""
    return dataclasses.replace(SPECTRUM, **fields)


def test_the_velocity_of_the_pipeline_and_its_error_are_c_times_the_redshift():
    admitted = choose_rv(observed(z=1e-3, z_err=2e-5), None, -1, 1500.0)
    assert admitted.rv_source == "pipeline"
    assert admitted.rv == pytest.approx(299.792458)
    assert admitted.e_rv == pytest.approx(5.99584916)


def test_the_negative_error_of_a_failed_fit_is_unknown():
    assert math.isnan(choose_rv(observed(z_err=-1.0), None, -1, 1500.0).e_rv)


def test_the_velocity_of_the_label_table_comes_first():
    admitted = choose_rv(observed(z=1e-3), LABELS, 0, 1500.0)
    assert (admitted.rv, admitted.rv_source, admitted.row) == (12.5, "table", 0)
    assert admitted.e_rv == 2.5


def test_the_pipeline_stands_in_where_the_label_table_has_no_velocity():
    admitted = choose_rv(observed(z=1e-4), LABELS, 1, 1500.0)
    assert (admitted.rv_source, admitted.row) == ("pipeline", 1)


@pytest.mark.parametrize(
    ("rv", "source"), [(-1499.9, "pipeline"), (1499.9, "pipeline"), (-1500.1, "none"), (1500.1, "none")]
)
def test_a_velocity_that_is_not_a_stars_is_not_used(rv, source):
    admitted = choose_rv(observed(z=rv / 299_792.458), None, -1, max_abs_rv=1500.0)
    assert admitted.rv_source == source
    assert math.isnan(admitted.rv) == math.isnan(admitted.e_rv) == (source == "none")


def test_without_any_velocity_a_spectrum_is_rejected():
    with pytest.raises(SpectrumError, match="no radial velocity"):
        choose_rv(observed(z=math.nan), LABELS, 1, 1500.0)


def test_a_batch_has_the_fields_of_its_spectra_in_their_order():
    def admit(spectrum):
        if spectrum.object_class == "QSO":
            raise SpectrumError("class", "not a star", spectrum.object_class)
        return Admitted(spectrum.z * 1e6, "given", e_rv=spectrum.z_err, row=spectrum.fiberid + 100)

    spectra = [
        observed(
            fiberid=1, path="a", z=1e-6, z_err=0.5, ra=math.nan, is_sky=True, fieldid=101, catalogid=1 << 60, obs_id=7
        ),
        observed(fiberid=2, path="a", object_class="QSO", spec_id="quasar", note="no spZbest file"),
        observed(fiberid=3, path="b", z=3e-6, z_err=1.5, zwarning=16, fieldid=102, catalogid=0, obs_id=0),
    ]
    truncated = SpectrumError("read", "truncated")
    batch = gather([("a", spectra[:2]), ("c", [truncated]), ("b", spectra[2:])], 4, PREPROCESSOR, admit)
    taken = [spectra[0], spectra[2]]
    assert batch.identity.schema.equals(arrow_schema(IDENTITY))
    of_spectra = [
        column.name for column in IDENTITY if column.name not in ("rv", "e_rv", "rv_source", "good_fraction", "ra")
    ]
    for name in of_spectra:
        assert batch.identity[name].to_pylist() == [getattr(spectrum, name) for spectrum in taken], name
    assert batch.identity["ra"].to_pylist() == [None, spectra[2].ra]  # an unknown number is null
    assert batch.identity["rv"].to_pylist() == [1.0, 3.0]
    assert batch.identity["rv_source"].to_pylist() == ["given", "given"]
    assert batch.identity["good_fraction"].to_pylist() == [pytest.approx(0.76, abs=0.01)] * 2
    assert batch.is_sky.tolist() == [True, False]
    assert batch.identity["e_rv"].to_pylist() == [0.5, 1.5]
    assert batch.rows.tolist() == [101, 103]
    assert batch.flux.shape == (2, 4000)
    assert batch.ivar.shape == (2, 500)
    (_, quasar), (path, error) = batch.rejects
    assert (quasar.reason, quasar.detail, quasar.spec_id) == ("not a star", "QSO; no spZbest file", "quasar")
    assert (path, error) == ("c", truncated)


def test_a_number_that_the_survey_does_not_give_is_null():
    batch = gather([("a", [observed()])], 1, PREPROCESSOR, lambda _: Admitted(0.0, "given"))
    assert [batch.identity[name].to_pylist() for name in OPTIONAL_IDS] == [[None]] * 3


def test_a_batch_of_no_spectra_has_all_columns():
    batch = ingest([], PREPROCESSOR, lambda _: Admitted(0.0, "given"))
    assert batch.identity.equals(arrow_schema(IDENTITY).empty_table())
    assert [batch.flux.shape, batch.ivar.shape] == [(0, 4000), (0, 500)]
    assert [array.dtype for array in (batch.is_sky, batch.rows)] == [bool, np.int64]
    assert batch.rejects == []


FETCH = FetchConfig(retries=0, backoff_s=0.0, give_up_after=15)


def do(paths, fetch=FETCH, spectra=None):
    """Return the batch of one shard whose spectra are all rejected."""

    def admit(_):
        raise SpectrumError("labels", "not in the label table")

    with Fetcher(fetch) as fetcher:
        return ingest(
            [Slice(str(path), 0, spectra) for path in paths], Preprocessor(PreprocessConfig()), admit, fetcher
        )


def reasons(batch):
    return [error.reason for _, error in batch.rejects]


@pytest.fixture
def files(survey, tmp_path):
    """40 spec files in a folder of their own."""
    (tmp_path / "in").mkdir()
    for path in sorted(survey.glob("spectra/*/spec-*.fits"))[:40]:
        shutil.copy(path, tmp_path / "in")
    return sorted((tmp_path / "in").iterdir())


@pytest.fixture
def broken(monkeypatch):
    """A function that makes the system refuse files."""
    names, real = set(), os.open

    def refuse(path, *arguments, **named):
        if str(path) in names:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    return lambda paths: names.update(map(str, paths))


def test_a_disk_that_fails_ends_the_shard(files, broken):
    broken(files[10:])
    with pytest.raises(InputError, match=r"15 in a row.*Input/output error.* again when the server or disk answers"):
        do(files)
    assert reasons(do(files, FetchConfig(give_up_after=0))).count("read failed") == 30


def test_files_that_fail_among_others_are_rejects(files, broken):
    broken(files[::2])
    assert reasons(do(files)) == ["read failed", "not in the label table"] * 20


def test_reading_that_fails_is_known_too(files, monkeypatch):
    def fail(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(InputError, match="Stale file handle"):
        do(files)


def test_a_folder_that_is_gone_ends_the_shard(files, tmp_path):
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"15 in a row.*not found"):
        do(files)
    with pytest.raises(InputError, match=rf"{MIN_OUTAGE_SPECTRA} in a row"):  # all of a small shard
        do(files[:MIN_OUTAGE_SPECTRA])
    assert reasons(do(files[: MIN_OUTAGE_SPECTRA - 1])) == ["not found"] * (MIN_OUTAGE_SPECTRA - 1)


def test_a_few_files_that_are_gone_are_rejects(files):
    for path in files[3:15]:
        path.unlink()
    assert reasons(do(files)).count("not found") == 12


def test_damaged_files_are_no_outage(files):
    for path in files:
        path.write_bytes(b"")
    assert reasons(do(files)) == ["empty file"] * 40


def test_a_file_of_many_spectra_that_is_gone_ends_the_shard(tmp_path):
    with pytest.raises(InputError, match=r"1 in a row"):
        do([tmp_path / "spPlate-0266-51602.fits"], spectra=640)
    assert reasons(do([tmp_path / "spPlate-0266-51602.fits"], spectra=3)) == ["not found"] * 3


def test_a_table_on_a_disk_that_fails_is_not_called_damaged(tmp_path, monkeypatch):
    path, rows = tmp_path / "spectra.parquet", 50_000
    lists = pa.array(np.random.default_rng(1).random((rows, 10)).tolist())
    whole = {name: np.arange(rows) for name in ("plate", "mjd", "fiberid")}
    pq.write_table(pa.table({**whole, "flux": lists, "loglam": lists, "ivar": lists}), path)

    class Failing:
        """The batches of a table on a disk that is gone."""

        def __init__(self, *_, **__):
            pass

        def __next__(self):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", Failing)
    with pytest.raises(InputError, match=r"1 in a row.*read failed"):
        do([path], spectra=rows)
    assert reasons(do([path], FetchConfig(give_up_after=0), spectra=5)) == ["read failed"] * 5


def test_one_counter_for_disks_and_servers(files, broken, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    broken(files[:8])
    with Archive() as archive:
        bad = [archive.add(f"/spec-{n}.fits", b"", status=503) for n in range(20)]
        mixed = [path for pair in zip(files[:8], bad, strict=False) for path in pair]
        with pytest.raises(InputError, match=r"15 in a row"):
            do([*mixed, *files])
        with pytest.raises(InputError, match=r"12 in a row.*server error"):
            do(bad[:12])
        assert reasons(do([*bad[:12], f"{archive.url}/spec-absent.fits"]))[-1] == "not found"


def test_a_job_goes_on_when_the_disk_is_back(files, model, tmp_path, monkeypatch):
    folder, out, real = tmp_path / "in", tmp_path / "out", os.open

    def unmounted(path, *arguments, **named):
        if str(path).startswith(str(folder)) and (out / "part-00000.parquet").exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return real(path, *arguments, **named)

    def job():
        label([str(folder)], str(model), str(out), fetch=FETCH, resources=Resources(local=True, rows_per_shard=12))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", unmounted)
        with pytest.raises(InputError, match="again when the server or disk answers"):
            job()
    assert len(list(out.glob("part-*.parquet"))) == 1
    job()
    assert len(list(out.glob("part-*.parquet"))) == 4
    assert not list(out.glob("rejects/*"))
