"""The model in a notebook gives the rows of the job."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units

import raystellar
from raystellar.errors import BundleError, InputError
from raystellar.schema import OPTIONAL_IDS
from raystellar.spectra import read_spectra

LABELS = ("teff", "feh", "logg")


@pytest.fixture(scope="module")
def loaded(model):
    return raystellar.load(model)


@pytest.fixture(scope="module")
def paths(survey):
    return sorted(str(path) for path in (survey / "spectra").rglob("spec-*.fits"))


@pytest.fixture(scope="module")
def records(paths):
    return [next(read_spectra(path)) for path in paths[:5]]


@pytest.fixture(scope="module")
def arrays(records):
    return [
        {"loglam": one.loglam, "flux": one.flux, "ivar": one.ivar, "rv": 299792.458 * one.z, "spec_id": one.spec_id}
        for one in records
    ]


def test_it_gives_the_rows_of_the_job(loaded, survey, labelled):
    table = loaded.label([f"{survey}/spectra", labelled.parent / "bad"])
    parts = sorted(labelled.glob("part-*.parquet"))
    job = pa.concat_tables(pq.read_table(part) for part in parts)
    assert table.colnames == job.column_names
    for name in job.column_names:
        if name in OPTIONAL_IDS:
            assert table[name].tolist() == job[name].to_pylist()  # masked where the job has null
            continue
        values = job[name].to_numpy()
        exact = values.astype(str) if values.dtype == object else values
        assert table[name].dtype.kind == exact.dtype.kind
        np.testing.assert_array_equal(np.asarray(table[name]), exact, name)
    rejected = pa.concat_tables(pq.read_table(part) for part in sorted((labelled / "_rejects").iterdir()))
    assert {name: list(table.rejects[name]) for name in table.rejects.colnames} == rejected.to_pydict()


def test_the_table_has_units_and_can_be_written(loaded, paths, tmp_path):
    table = loaded.label(paths[0])
    assert len(table) == 1
    assert len(table.rejects) == 0
    assert [str(table[name].unit) for name in ("ra", "rv", *LABELS)] == ["deg", "km / s", "K", "dex", "dex"]
    assert table["teff"].description == "effective temperature"
    with pytest.warns(match="dex"):  # which FITS does not know
        table.write(tmp_path / "stars.fits")
    table[table["teff"] > 0]["spec_id", "teff"].write(tmp_path / "stars.ecsv")


def test_arrays_give_the_labels_of_their_files(loaded, paths, records, arrays):
    files, found = loaded.label(paths[:5]), loaded.label(arrays)
    for name in ("spec_id", "rv", *LABELS, "good_fraction"):
        np.testing.assert_array_equal(found[name], files[name], name)
    np.testing.assert_allclose(found["sn"], files["sn"], rtol=1e-3)
    assert set(found["rv_source"]) == {"given"}
    assert list(loaded.label(records)["teff"]) == list(files["teff"])
    assert loaded.label(arrays[0])["teff"][0] == files["teff"][0]


def test_wavelengths_with_units(loaded, arrays):
    one = dict(arrays[0])
    expected = loaded.label(one)["teff"][0]
    loglam = one.pop("loglam").astype(float)
    for wavelength in (10**loglam, 10 ** (loglam - 4) * units.micron):
        table = loaded.label({**one, "wavelength": wavelength, "rv": one["rv"] * 1000 * units.m / units.s})
        assert table["teff"][0] == pytest.approx(expected, rel=1e-3)


def test_a_matrix_of_flux(loaded, arrays):
    one = arrays[0]
    flux, ivar = np.stack([one["flux"]] * 3), one["ivar"]
    table = loaded.label({"loglam": one["loglam"], "flux": flux, "ivar": ivar, "rv": one["rv"]})
    assert list(table["teff"]) == [loaded.label(one)["teff"][0]] * 3
    assert list(table["spec_id"]) == ["0", "1", "2"]
    with pytest.raises(InputError, match="numbers of spectra differ"):
        loaded.label({"loglam": one["loglam"], "flux": flux, "ivar": ivar, "rv": [0.0, 1.0]})


def test_a_spectrum_without_velocity_is_flagged_and_a_bad_one_rejected(loaded, arrays):
    one = arrays[0]
    table = loaded.label([
        {**one, "rv": np.nan},
        {**one, "ivar": one["ivar"][1:]},
        {**one, "loglam": one["loglam"][::-1]},
        {**one, "flux": one["flux"] * np.nan},
    ])  # fmt: skip
    assert list(table["rv_source"]) == ["none"]
    assert table["flag_bad"][0]
    reasons = ["arrays do not have one length", "loglam not increasing", "non-finite flux"]
    assert list(table.rejects["reason"]) == reasons
    assert set(table.rejects["spec_id"]) == {one["spec_id"]}


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        ([], "no spectra"),
        ("absent", "no such file or folder: absent"),
        ({"flux": [1.0], "ivar": [1.0]}, "lacks loglam or wavelength, rv"),
        ({"loglam": [3.6], "flux": [1.0], "ivar": [1.0], "rv": 0.0, "spec": "a"}, "has spec, which is not known"),
        (["absent.fits", {"flux": [1.0]}], "in one call"),
        ([3], "a int is no spectrum"),
    ],
)
def test_what_is_no_spectrum_is_said(spectra, message, loaded):
    with pytest.raises(InputError, match=message):
        loaded.label(spectra)


def test_a_missing_bundle_is_said(tmp_path):
    with pytest.raises(BundleError, match="is missing"):
        raystellar.load(tmp_path / "absent")


def test_the_package_is_light():
    code = "import sys, raystellar; print({'torch', 'astropy', 'ray', 'pyarrow', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
