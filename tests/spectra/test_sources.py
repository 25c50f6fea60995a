"""Each file is recognised by its content, and one file may give many spectra and rejects."""

from __future__ import annotations

import bz2
import gzip
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import (
    FIBRES,
    TARGETS,
    assert_sound,
    desi_file,
    lamost_image,
    lamost_table,
    mwm_visit_file,
    plate_file,
    spspec_file,
    zbest_file,
)
from spec_files import spec_file
from test_table import ROWS, parquet

from raystellar import spectra
from raystellar.errors import SpectrumError
from raystellar.spectra import SOURCES, Slice, count_spectra, read_spectra, read_spectrum
from raystellar.spectra.content import Content

FILES = {
    "SDSS spec file": (spec_file(), 1),
    "SDSS spSpec file": (spspec_file(), 1),
    "SDSS spPlate file": (plate_file(), FIBRES),
    "Parquet table of spectra": (parquet(), ROWS),
    "LAMOST low-resolution spectrum": (lamost_table(), 1),
    "DESI coadd file": (desi_file(), TARGETS),
    "SDSS-V mwmStar or mwmVisit file": (mwm_visit_file(), 4),
}


def source_of(data, path="file"):
    return spectra._source(Content(path, data)).name


@pytest.mark.parametrize("name", FILES)
def test_files_are_known_by_content(name, tmp_path):
    data, count = FILES[name]
    assert source_of(data) == name
    for pack in (gzip.compress, bz2.compress):
        assert source_of(pack(data)) == name or name.startswith("Parquet")
    (tmp_path / "spec-0266-51602-0001.fits").write_bytes(data)  # the name does not matter
    path = str(tmp_path / "spec-0266-51602-0001.fits")
    assert count_spectra(path) == count_spectra("x", data) == count
    assert [type(item) for item in read_spectra(path)] == [type(item) for item in read_spectra("x", data)]


@pytest.mark.realdata
def test_real_files_find_their_source(real_data):
    expected = {"sdss_stars/*.fits": "SDSS spec file", "sdss_sky/*.fits": "SDSS spec file",
                "sdss_other/spec-*.fits": "SDSS spec file", "sdss_other/spSpec-*.fit": "SDSS spSpec file",
                "lamost/*.fits": "LAMOST low-resolution spectrum"}  # fmt: skip
    for pattern, name in expected.items():
        paths = list(real_data.glob(pattern))
        assert paths
        for path in paths:
            assert source_of(None, str(path)) == name, path.name
            assert count_spectra(str(path)) == 1
            assert read_spectrum(str(path)).path == str(path)


@pytest.mark.realdata
def test_other_real_files_are_refused(real_data):
    for path in [*real_data.glob("sspp/*"), *real_data.glob("libraries/*")]:
        (error,) = read_spectra(str(path))
        named = ("web page, not a spectrum", "template library", "table of stellar parameters")
        assert error.reason in ("not a FITS file", *named), path.name
        assert count_spectra(str(path)) == 1


def test_every_source_has_a_name_of_its_own():
    assert len({source.name for source in SOURCES}) == len(SOURCES) == len(FILES)


def test_an_error_crosses_processes_with_its_spectrum():
    said = ("read", "fibre not plugged", "why", "266-51602-3")
    error = pickle.loads(pickle.dumps(SpectrumError(*said)))
    assert (error.stage, error.reason, error.detail, error.spec_id) == said
    assert SpectrumError("read", "truncated").spec_id == ""


def test_one_spectrum_is_asked_for_where_there_are_many():
    with pytest.raises(SpectrumError, match="several spectra"):
        read_spectrum("x", plate_file())


def test_a_plain_spec_file_is_opened_and_read_once(tmp_path, monkeypatch):
    path = tmp_path / "spec.fits"
    path.write_bytes(spec_file())
    calls = []
    opened, read = os.open, os.read
    monkeypatch.setattr(os, "open", lambda *a, **k: calls.append("open") or opened(*a, **k))
    monkeypatch.setattr(os, "read", lambda *a: calls.append("read") or read(*a))
    assert len(list(read_spectra(str(path)))) == 1
    assert calls == ["open", "read", "read"]  # the second read finds the end


def test_urls_are_read_as_files_are():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(
        {
            "/sources/spPlate-0266-51602.fits": plate_file(),
            "/sources/spZbest-0266-51602.fits": zbest_file(),
            "/sources/spec.fits": spec_file(),
            "/sources/table.parquet": parquet(),
        }
    )
    assert read_spectrum("memory://sources/spec.fits").plate == 266
    assert count_spectra("memory://sources/table.parquet") == ROWS
    plate = list(read_spectra("memory://sources/spPlate-0266-51602.fits"))
    assert (len(plate), plate[0].object_class) == (FIBRES, "STAR")
    assert [item.reason for item in read_spectra("memory://sources/none.fits")] == ["not found"]
    assert [item.reason for item in read_spectra("nonsense://survey/none.fits")] == ["read failed"]


def test_ingest_takes_files_of_one_and_of_many(tmp_path):
    from raystellar.preprocessing.ingest import Admitted, ingest
    from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor

    def admit(spectrum):
        if spectrum.object_class != "STAR":
            raise SpectrumError("class", "not a star", spectrum.object_class)
        return Admitted(0.0, "pipeline")

    tables = {"a.parquet": parquet(), "b.fits": lamost_image(), "plate.fits": plate_file(), "c.fits": b"<html>"}
    for name, data in tables.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in tables]
    config = PreprocessConfig(min_coverage=0.01)
    batch = ingest([Slice(path, 0, count_spectra(path)) for path in paths], Preprocessor(config), admit)
    assert batch.identity.num_rows == len(batch.flux) == len(batch.ivar) == len(batch.rows) == ROWS + 1
    assert batch.identity["spec_id"].to_pylist()[-2:] == ["2316-53757-585", "lamost-55862-B6212-6-3"]
    alone = ingest([Slice(paths[1])], Preprocessor(config), admit)
    np.testing.assert_array_equal(batch.flux[-1], alone.flux[0])
    assert len(batch.rejects) == FIBRES + 1
    named = {error.spec_id: error for _, error in batch.rejects}
    assert named["266-51602-3"].reason == "fibre not plugged"
    assert named["266-51602-4"].reason == "not a star"
    assert named["266-51602-4"].detail.startswith("no spZbest file")
    assert named[""].reason == "web page, not a spectrum"
    some = ingest([Slice(paths[0], 2, 3)], Preprocessor(config), admit)
    assert some.identity["fiberid"].to_pylist() == [582, 583, 584]
    assert sum(count_spectra(path) for path in paths) == batch.identity.num_rows + len(batch.rejects)


@pytest.mark.parametrize(
    "data",
    [plate_file(), parquet(row_group_size=2), parquet(), desi_file(), mwm_visit_file()],
    ids=["plate", "groups", "table", "desi", "mwm"],
)
def test_a_file_is_read_in_slices(data, monkeypatch):
    monkeypatch.setattr(spectra.table, "DECODED_ROWS", 3)
    whole = list(read_spectra("x", data))
    for first in range(len(whole) + 1):
        some = list(read_spectra("x", data, first, min(2, len(whole) - first)))
        assert [item.spec_id for item in some] == [item.spec_id for item in whole[first : first + 2]]
        assert [item.spec_id for item in read_spectra("x", data, first)] == [item.spec_id for item in whole[first:]]


def test_a_slice_keeps_its_length_whatever_happened_to_the_file():
    for data in (parquet()[:-9], spec_file(), plate_file()[:9000], desi_file()[:30000], mwm_visit_file(), b""):
        assert len(list(read_spectra("x", data, 0, 5))) == 5
    assert [item.reason for item in list(read_spectra("x", parquet(), ROWS - 1, 3))[1:]] == ["file changed"] * 2


@given(st.sampled_from([b"", b"SIMPLE  =                    T", b"PAR1", b"\x1f\x8b"]), st.binary(max_size=300))
def test_any_bytes_give_one_reason(head, tail):
    (item,) = assert_sound(head + tail)
    assert isinstance(item, SpectrumError)


def test_a_file_of_many_spectra_that_was_not_counted_is_refused_and_not_cut_short(tmp_path):
    from raystellar.preprocessing.ingest import Admitted, ingest
    from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor

    (tmp_path / "renamed.fits").write_bytes(plate_file())
    slices = [Slice(str(tmp_path / "renamed.fits"))]
    batch = ingest(slices, Preprocessor(PreprocessConfig()), lambda _: Admitted(0.0, "pipeline"))
    assert not len(batch.flux)
    assert [error.reason for _, error in batch.rejects] == ["several spectra in the file"]
