"""Labels of real stars compared with the literature: the statistics, and the names that match spectra to a table."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

import raystellar
from raystellar.bench.stars import compare_stars, comparison, labels_of, read_elodie
from raystellar.cli import main
from raystellar.errors import InputError, LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.join import Join
from raystellar.labels.table import read_labels
from raystellar.schema import BUNDLE_NAME

RANGES = np.array([[4000.0, 9000.0], [-3.0, 0.5], [0.0, 5.0]])


def rows(ours, errors, bad):
    columns = {"flag_bad": bad}
    for t, name in enumerate(("teff", "feh", "logg")):
        columns |= {name: ours[:, t], f"e_{name}": errors[:, t]}
    return Table(columns)


@pytest.fixture(scope="module")
def catalogue(survey, model):
    return raystellar.load(model).label(f"{survey}/spectra")


@pytest.fixture(scope="module")
def truth(catalogue):
    """The labels of the model, lowered by 10 K, 0.1 dex and 0.2 dex."""
    return np.column_stack([catalogue["teff"] - 10.0, catalogue["feh"] - 0.1, catalogue["logg"] - 0.2]).astype(float)


def test_each_statistic_equals_its_definition():
    rng = np.random.default_rng(0)
    theirs = rng.uniform((4200, -2, 1), (8000, 0, 5), (200, 3))
    errors = rng.uniform(0.5, 2.0, (200, 3)) * (80, 0.1, 0.2)
    ours = theirs + errors * rng.normal(size=(200, 3)) + (50, 0.0, -0.1)
    lines = list(comparison(rows(ours, errors, np.zeros(200, bool)), theirs, RANGES))
    assert [(line.group, line.label, line.n) for line in lines] == [
        ("all", name, 200) for name in ("teff", "feh", "logg")
    ]
    assert lines[0].bias == pytest.approx(np.median(ours[:, 0] - theirs[:, 0]))
    assert lines[1].mae == pytest.approx(np.mean(np.abs(ours[:, 1] - theirs[:, 1])))
    for line, scale in zip(lines, (80, 0.1, 0.2), strict=True):
        assert line.z_std == pytest.approx(1.0, abs=0.2)
        assert line.scatter == pytest.approx(1.2 * scale, rel=0.3)
        assert line.rank > 0.95


def test_groups_hold_the_right_stars_and_skip_missing_labels():
    theirs = np.tile([5000.0, -1.0, 4.0], (6, 1))
    theirs[0] = (3600.0, -1.0, 4.0)  # no training star is so cool
    theirs[1, 1] = np.nan
    bad = np.arange(6) == 5
    ours = np.add(theirs, (100.0, 0.1, 0.1))
    ours[5] += 1000.0
    lines = {
        (line.group, line.label): line
        for line in comparison(rows(ours, np.ones((6, 3)), bad), np.array(theirs), RANGES)
    }
    counts = {group: lines[group, "teff"].n for group, _ in lines}
    assert counts == {"all": 6, "in range": 4, "flag_bad": 1, "usable": 5, "usable, in range": 3}
    assert lines["all", "feh"].n == 5
    assert lines["usable", "teff"].mae == pytest.approx(100.0)
    assert lines["flag_bad", "teff"].bias == pytest.approx(1100.0)
    assert np.isnan(lines["flag_bad", "teff"].rank)


@pytest.mark.parametrize("kind", ["spec_id.csv", "file.csv", "key.fits", "path.parquet"])
def test_spectra_are_matched_by_each_accepted_name(kind, catalogue, truth, survey, model, tmp_path):
    name, _ = kind.split(".")
    labels = dict(zip(("TEFF_ADOP", "feh", "logg"), truth.T.tolist(), strict=True))
    names = {
        "spec_id": {"spec_id": list(catalogue["spec_id"])},
        "file": {"FILE_NAME": [os.path.basename(path) for path in catalogue["path"]]},
        "key": {name: np.asarray(catalogue[name]) for name in ("plate", "mjd", "fiberid")},
        "path": {"path": list(catalogue["path"])},
    }[name]
    table = Table({**names, **labels})[:-2]
    path = str(tmp_path / kind)
    if kind.endswith(".parquet"):
        pq.write_table(pa.table({column: list(table[column]) for column in table.colnames}), path)
    else:
        table.write(path)
    result = compare_stars([f"{survey}/spectra"], path, str(model))
    assert (result.stars, result.unmatched, result.rejected) == (len(table), 2, 0)
    for line, shift in zip(result.lines[:3], (10.0, 0.1, 0.2), strict=True):
        assert line.bias == pytest.approx(shift, abs=1e-3)
        assert line.scatter < 1e-3
        assert line.rank == pytest.approx(1.0)


def test_a_missing_label_is_nan(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,teff,logg,feh\na.fits,5000,4.0,-0.5\nb.fits,,,\nc.fits,60000,nan,0.5\n")
    stars = Table({"path": ["x/c.fits", "x/none.fits", "b.fits.gz", "a.fits"]})
    labels = labels_of(stars, Join(read_labels(str(path), LabelsConfig())))
    np.testing.assert_array_equal(
        labels, [[60000.0, 0.5, np.nan], [np.nan] * 3, [np.nan] * 3, [5000.0, -0.5, 4.0]]
    )  # labels out of the range of training are compared, too


def spec_file(path, **columns):
    row = fits.BinTableHDU.from_columns(
        [fits.Column(name, "E" if name != "ELODIE_DOF" else "J", array=[value]) for name, value in columns.items()]
    )
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(), row]).writeto(path)


def test_elodie_labels_only_where_the_pipeline_made_them(tmp_path):
    labels = {"ELODIE_TEFF": 5820.0, "ELODIE_FEH": -0.25, "ELODIE_LOGG": 4.5}
    spec_file(tmp_path / "spec-1.fits", **labels, ELODIE_DOF=2000)
    spec_file(tmp_path / "spec-2.fits", **labels, ELODIE_DOF=0)
    spec_file(tmp_path / "spec-3.fits", Z=0.0)
    (tmp_path / "spec-4.fits").write_bytes(b"SIMPLE  =")
    labels = read_elodie([f"{tmp_path}/spec-{number}.fits" for number in (3, 1, 2, 4, 5)])
    np.testing.assert_array_equal(labels[1], [5820.0, -0.25, 4.5])
    assert np.isnan(np.delete(labels, 1, axis=0)).all()


def test_a_library_of_arrays_is_labelled(model, tmp_path):
    wave = np.arange(3550.0, 7400.0, 1.0)
    flux = 1.0 + np.random.default_rng(0).random((5, wave.size)).astype(np.float32)
    labels = {
        "teff": [5000.0, 5500.0, 6000.0, 6500.0, np.nan],
        "logg": [4.0] * 4 + [np.nan],
        "feh": [0.0] * 4 + [np.nan],
    }
    path = str(tmp_path / "library.npz")
    np.savez(path, wave_air=wave, flux=flux, miles_id=[f"{n:04d}" for n in range(5)], **labels)
    result = compare_stars([path], None, str(model))
    assert (result.stars, result.unmatched, result.rejected) == (4, 1, 0)
    assert result.lines[0].n == 4


@pytest.mark.realdata
def test_real_lamost_stars_are_compared_with_their_labels(real_data, model, capsys):
    folder = real_data / "lamost"
    code = main(["bench", "stars", str(folder), "--labels", str(folder / "labels.csv"), "--model", str(model)])
    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert said[0] == "22 stars with labels, 6 spectra without, 0 rejects"
    assert said[2].split()[:3] == ["all", "teff", "22"]
    paths = sorted(str(path) for path in (real_data / "sdss_stars").iterdir())
    assert np.isfinite(read_elodie(paths)).all(axis=1).sum() == 4


def test_a_comparison_without_labels_is_refused(survey, model, tmp_path):
    spectra, bundle = [f"{survey}/spectra"], str(model)
    (tmp_path / "other.csv").write_text("spec_id,teff,feh,logg\n1-2-3,5000,0,4\n")
    (tmp_path / "no.csv").write_text("star,teff,feh,logg\nsun,5777,0,4.44\n")
    (tmp_path / "short.csv").write_text("spec_id,teff\n1-2-3,5000\n")
    for table, kind, message in (
        (None, InputError, "no labels to compare"),
        (f"{tmp_path}/other.csv", InputError, "none of 44 spectra has labels in"),
        (f"{tmp_path}/no.csv", LabelTableError, "does not name its spectra"),
        (f"{tmp_path}/short.csv", LabelTableError, "no column for"),
        (f"{tmp_path}/absent.csv", LabelTableError, "does not exist"),
        (f"{model}/{BUNDLE_NAME}", LabelTableError, "is not a table of labels"),
    ):
        with pytest.raises(kind, match=message):
            compare_stars(spectra, table, bundle)
