"""A server or disk that is gone ends a shard before it is written; a file that cannot be had is one reject."""

import errno
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import Archive

from raystellar.engine.session import Resources
from raystellar.errors import InputError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.preprocess.ingest import MIN_OUTAGE_SPECTRA, ingest
from raystellar.preprocess.pixels import PreprocessConfig, Preprocessor
from raystellar.spectra import Slice
from raystellar.stages.label import label

FETCH = FetchConfig(retries=0, backoff_s=0.0, give_up_after=15)


def do(paths, fetch=FETCH, spectra=None):
    """Return the rejects of one shard of which nothing is admitted."""

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
    """What makes the system refuse some files."""
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
