"""Spectra and labels of other surveys than SDSS go all the way: preprocess, train, label."""

import csv
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from raystellar.cli import main
from raystellar.engine.session import Resources
from raystellar.errors import LabelTableError
from raystellar.fit.config import FitConfig
from raystellar.labels.config import LabelsConfig
from raystellar.labels.splits import SplitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.stages.label import label
from raystellar.stages.preprocess import preprocess
from raystellar.stages.train import train

LOCAL = Resources(local=True)
SPLITS = SplitConfig(train=0.7, validation=0.3, test=0.0)
TINY = NetworkConfig(stem=16, blocks=(16,), head_teff=(8,), head_feh=(8,), head_logg=(8,))
LABELS = ("teff", "feh", "logg")


def rows(folder):
    return pq.read_table([str(part) for part in sorted(folder.glob("part-*.parquet"))])


def fit_to(folder, spectra, labels, **options):
    """Preprocess spectra with a label table, and fit a tiny network; return the summary of the dataset."""
    summary = preprocess(spectra, labels, folder / "dataset", splits=SPLITS, resources=LOCAL, **options)
    fit = FitConfig(epochs=5, least_steps=0, folds=0)
    train(folder / "dataset", folder / "model", network=TINY, fit=fit, report=lambda *_: None)
    return summary


@pytest.fixture(scope="module")
def lamost(real_data):
    return real_data / "lamost"


@pytest.mark.realdata
def test_labels_of_lamost_join_by_file_name(lamost, tmp_path):
    with open(lamost / "labels.csv", newline="") as stream:
        known = {row["file"]: row for row in csv.DictReader(stream) if row["teff"]}
    summary = preprocess([str(lamost)], lamost / "labels.csv", tmp_path / "d", splits=SPLITS, resources=LOCAL)
    assert summary.labels["by_identity"] == {"file name": 28}
    assert (summary.job.accounting.rows_in, summary.joined, *summary.stars) == (28, 28, 22, 22)
    assert dict(summary.job.accounting.rejected) == {"labels: missing teff": 6}
    dataset = rows(tmp_path / "d").drop_columns(["flux", "ivar"]).to_pylist()
    assert len(dataset) == len(known) == 22
    for row in dataset:
        wanted = known[row["path"].rpartition("/")[2]]
        for name in (*LABELS, "rv"):
            assert row[name] == pytest.approx(float(wanted[name]), rel=1e-6)
            assert name == "rv" or row[f"e_{name}"] == pytest.approx(float(wanted[f"{name}_err"]), rel=1e-6)
        assert row["rv_source"] == "table"


@pytest.mark.realdata
def test_stars_of_lamost_are_labelled_by_a_model_of_the_other_stars_of_lamost(lamost, tmp_path):
    """Each half of the stars trains a tiny network that labels the other half: every star gets labels of a network
    that has not seen it, with the velocities of the label table or, without any there, of the pipeline."""
    table = Table.read(lamost / "labels.csv")
    table = table[~np.ma.getmaskarray(table["teff"])]
    halves = [table[0::2], table[1::2]]
    for number, (seen, unseen) in enumerate(zip(halves, halves[::-1], strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen.write(folder / "seen.csv")
        if number:
            unseen.remove_columns(["rv", "rv_err"])
        unseen.write(folder / "unseen.ecsv")
        assert fit_to(folder, [lamost], folder / "seen.csv").stars == (len(seen), len(seen))
        files = [str(lamost / name) for name in unseen["file"]]
        summary = label(files, folder / "model", folder / "c", labels=folder / "unseen.ecsv", resources=LOCAL)
        catalog = rows(folder / "c")
        assert catalog.num_rows == len(unseen)
        assert set(catalog["rv_source"].to_pylist()) == {"pipeline" if number else "table"}
        assert any("joined by file name" in note for note in summary.notes)
        of_file = {row["path"].rpartition("/")[2]: row for row in catalog.to_pylist()}
        velocities = [of_file[name]["rv"] for name in unseen["file"]]
        wanted = 299_792.458 * unseen["z"] if number else unseen["rv"]
        np.testing.assert_allclose(velocities, wanted, atol=0.01)
        difference = [of_file[name]["teff"] - teff for name, teff in zip(unseen["file"], unseen["teff"], strict=True)]
        assert np.median(np.abs(difference)) < 3000  # a few epochs of 11 stars teach little


@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_a_survey_is_joined_by_position_as_by_names(radius, survey, tmp_path):
    labels = Table.read(survey / "ssppOut.fits")
    _, first = np.unique(np.round(labels["RA"], 4), return_index=True)  # one row of each star
    labels = labels[np.sort(first)]
    if radius:
        labels.remove_columns(["PLATE", "MJD", "FIBER"])
        labels["RA"] += 0.3 / 3600
    labels.write(tmp_path / "labels.fits")
    config = LabelsConfig(match_radius_arcsec=radius)
    preprocess([f"{survey}/spectra"], tmp_path / "labels.fits", tmp_path / "d", labels_config=config, resources=LOCAL)
    truth = {
        (row["plate"], row["mjd"], row["fiberid"]): row for row in pq.read_table(survey / "truth.parquet").to_pylist()
    }
    labelled = {
        (row["PLATE"], row["MJD"], row["FIBER"]): row["TEFF_ADOP"] for row in Table.read(survey / "ssppOut.fits")
    }
    dataset = rows(tmp_path / "d").drop_columns(["flux", "ivar"]).to_pylist()
    assert len(dataset) > 10
    for row in dataset:
        key = row["plate"], row["mjd"], row["fiberid"]
        assert abs(row["teff"] - truth[key]["teff"]) < 600  # a repeat of a star has the label of the other spectrum
        assert radius or row["teff"] == pytest.approx(labelled[key])


def test_a_match_radius_is_an_option_of_the_program(survey, tmp_path, capsys):
    words = [f"{survey}/spectra", "--labels", f"{survey}/ssppOut.fits", "--out", f"{tmp_path}/d", "--local"]
    assert main(["preprocess", *words, "--show-settings", "--match-radius", "1.5"]) == 0
    assert '"match_radius_arcsec": 1.5' in capsys.readouterr().out
    assert main(["preprocess", *words, "--match-radius", "-1"]) == 1
    assert "match_radius_arcsec = -1 must not be negative" in capsys.readouterr().err
    assert main(["preprocess", *words, "--match-radius", "2", "--set", "labels.require_rv=false"]) == 1
    assert "different labels at one position" in capsys.readouterr().err  # the repeats of the survey


def test_files_of_one_name_are_refused_before_any_is_read(survey, model, tmp_path):
    source = next((survey / "spectra").rglob("spec-*.fits"))
    for folder in "ab":
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / "star.fits")
    (tmp_path / "labels.csv").write_text("file,teff,logg,feh,rv\nstar.fits,5000,4,-1,10\n")
    spectra = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(LabelTableError, match="several files have that name"):
        preprocess(spectra, tmp_path / "labels.csv", tmp_path / "d", resources=LOCAL)
    with pytest.raises(LabelTableError, match="several files have that name"):
        label(spectra, model, tmp_path / "c", labels=tmp_path / "labels.csv", resources=LOCAL)
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "is not a table of labels: it has a, b"),
        ("star,teff,logg,feh\nsun,5777,4.4,0\n", "does not name its spectra"),
        ("file,teff,logg\na.fits,5777,4.4\n", "has no column for feh"),
        ("specobjid,teff,logg,feh\n2.99e17,5777,4.4,0\n", "has lost digits"),
    ],
)
def test_a_wrong_table_ends_in_one_sentence(text, message, survey, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text(text)
    words = ["--labels", f"{tmp_path}/labels.csv", "--out", f"{tmp_path}/d", "--local"]
    assert main(["preprocess", f"{survey}/spectra", *words]) == 1
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


def test_spectra_that_the_table_does_not_have_say_by_what_they_were_looked_for(survey, tmp_path):
    (tmp_path / "labels.csv").write_text("obsid,teff,logg,feh\n101001,5000,4,-1\n")
    summary = preprocess([f"{survey}/spectra"], tmp_path / "labels.csv", tmp_path / "d", resources=LOCAL)
    assert (summary.joined, *summary.stars) == (0, 0, 1)
    rejects = pq.read_table(tmp_path / "d" / "_rejects").to_pylist()
    details = {row["detail"] for row in rejects if row["reason"] == "not in the label table"}
    assert details == {"its rows are named by obsid"}
