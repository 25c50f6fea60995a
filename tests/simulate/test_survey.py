import dataclasses
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from raystellar.errors import IncompleteError, OutputError
from raystellar.simulate import survey
from raystellar.simulate.instrument import SDSS_LOGLAM
from raystellar.simulate.labels import SSPP_MISSING, label_row, label_sigma
from raystellar.simulate.population import Population, draw_star
from raystellar.simulate.spectro1d import Fibre
from raystellar.simulate.survey import SimulateConfig, finish, is_labelled, plate_number, plates, write_plate

LOGLAM = np.arange(142000, 159400) * 2.5e-5
REAL_PHYSICS = survey.rest_spectrum
SMALL = SimulateConfig(stars=26, stars_per_plate=10, sky_fibres=2, seed=4, labelled_fraction=0.5)


@pytest.fixture(autouse=True)
def cheap_stars(monkeypatch):
    monkeypatch.setattr(survey, "rest_spectrum", lambda star: (LOGLAM, 10.0 ** (-star.teff / 3000.0 * LOGLAM)))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_survey_is_whole_and_its_tables_agree(tmp_path):
    config = dataclasses.replace(SMALL, spplate=True)
    summaries = [write_plate(config, str(tmp_path), index) for index in plates(config)]
    result = finish(config, str(tmp_path))
    assert [summary.stars for summary in summaries] == [10, 10, 6]
    truth = pq.read_table(tmp_path / "truth.parquet").to_pylist()
    assert result.stars == len(truth) == 26
    spectra = list(tmp_path.glob("spectra/*/spec-*.fits"))
    assert sum(summary.files for summary in summaries) == len(spectra) + 6 == 26 + 6 + 6
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("spectra/*/*"))
    assert sum(summary.bytes for summary in summaries) == on_disk
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = fits.getdata(tmp_path / "ssppOut.fits")
    labels = {(row["PLATE"], row["MJD"], row["FIBER"]): row for row in table}
    for row in truth:
        with fits.open(tmp_path / row["path"]) as hdus:
            assert (row["plate"], row["mjd"], row["fiberid"]) == tuple(
                hdus[2].data[0][name] for name in ("PLATE", "MJD", "FIBERID")
            )
        assert ((row["plate"], row["mjd"], row["fiberid"]) in labels) == row["labelled"]
    sky = config.sky_fibres * sum(is_labelled(config, index) for index in plates(config))
    assert sum(row["FLAG"].startswith("S") for row in table) == sky
    assert result.labelled == len(labels) == sum(row["labelled"] for row in truth) + sky


def test_killed_and_restarted_gives_the_same_bytes(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    write_plate(SMALL, str(whole), 1)
    real, calls = survey.write_spec, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(survey, "write_spec", dies)
    with pytest.raises(KeyboardInterrupt):
        write_plate(SMALL, str(broken), 1)
    assert len(contents(broken)) == 4
    monkeypatch.setattr(survey, "write_spec", real)
    write_plate(SMALL, str(broken), 1)
    assert contents(whole) == contents(broken)


def test_a_complete_plate_is_not_written_again(tmp_path, monkeypatch):
    first = write_plate(SMALL, str(tmp_path), 0)
    monkeypatch.setattr(survey, "write_spec", lambda *_: pytest.fail("wrote again"))
    assert write_plate(SMALL, str(tmp_path), 0) == first


def test_stars_do_not_depend_on_the_plates_they_are_on(tmp_path):
    other = dataclasses.replace(SMALL, stars_per_plate=13, repeat_fraction=0.0)
    config = dataclasses.replace(SMALL, repeat_fraction=0.0)
    for name, one in (("a", config), ("b", other)):
        for index in reversed(plates(one)):
            write_plate(one, str(tmp_path / name), index)
        finish(one, str(tmp_path / name))
    a, b = (pq.read_table(tmp_path / name / "truth.parquet").to_pydict() for name in "ab")
    for name in ("star", "teff", "logg", "feh", "rv", "ebv", "g"):
        assert a[name] == b[name]


def test_some_stars_are_seen_twice(tmp_path):
    config = SimulateConfig(stars=20, stars_per_plate=10, repeat_fraction=0.5)
    for index in plates(config):
        write_plate(config, str(tmp_path), index)
    finish(config, str(tmp_path))
    truth = pq.read_table(tmp_path / "truth.parquet").to_pylist()
    assert sorted(row["star"] for row in truth) == sorted([*range(10)] * 2)
    for star in range(10):
        first, second = (row for row in truth if row["star"] == star)
        assert all(first[name] == second[name] for name in ("ra", "dec", "teff", "g"))
        assert first["plate"] != second["plate"]
        assert first["sn"] != second["sn"]


def test_numbers_of_plates_are_those_of_sspp_and_never_repeat():
    numbers = [plate_number(index) for index in range(survey.N_PLATES)]
    assert (min(numbers), max(numbers), len(set(numbers))) == (266, 3480, 3215)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
def test_the_labelled_share_is_kept(share):
    config = SimulateConfig(labelled_fraction=share)
    labelled = [is_labelled(config, index) for index in range(100)]
    assert abs(sum(labelled) - 100 * share) <= 1
    assert labelled[0] == (share > 0)


def test_missing_plates_and_foreign_parts_are_refused(tmp_path):
    write_plate(SMALL, str(tmp_path), 0)
    with pytest.raises(IncompleteError, match="2 of 3 plates are missing"):
        finish(SMALL, str(tmp_path))
    with pytest.raises(OutputError, match="another configuration"):
        write_plate(dataclasses.replace(SMALL, seed=5), str(tmp_path), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make folder"):
        write_plate(SMALL, str(tmp_path / "file"), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stars": 0}, "stars = 0"),
        ({"stars": 10**7}, "stars_per_plate"),
        ({"stars_per_plate": 641}, "641"),
        ({"stars_per_plate": 630, "sky_fibres": 11}, "sky_fibres = 11"),
        ({"labelled_fraction": 1.1}, "1.1"),
        ({"seed": -1}, "seed"),
        ({"repeat_fraction": 0.6}, "0.6"),
    ],
)
def test_limits_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        SimulateConfig(**values)


def label_errors(sn, count=3000):
    target = Fibre(plate=266, mjd=51602, fiberid=1, ra=1.0, dec=2.0, plate_ra=0.0, plate_dec=0.0)
    rng = np.random.default_rng(int(sn))
    stars = [dataclasses.replace(draw_star(Population(), 1, index), sn=sn) for index in range(count)]
    rows = [label_row(target, star, sn, rng) for star in stars]
    return stars, rows


@pytest.mark.parametrize(
    ("sn", "bounds"),
    [
        (60.0, {"teff": (40, 75), "logg": (0.09, 0.17), "feh": (0.05, 0.11)}),
        (10.0, {"teff": (100, 170), "logg": (0.25, 0.4), "feh": (0.14, 0.24)}),
    ],
)
def test_label_errors_grow_at_low_sn(sn, bounds):
    stars, rows = label_errors(sn)
    good = [(star, row) for star, row in zip(stars, rows, strict=True) if row["TEFF_ADOP"] != SSPP_MISSING]
    for name, (low, high) in bounds.items():
        errors = np.array([row[f"{name.upper()}_ADOP"] - getattr(star, name) for star, row in good])
        stated = np.array([row[f"{name.upper()}_ADOP_UNC"] for _, row in good])
        robust = 1.4826 * np.median(np.abs(errors))
        assert low < robust < high, (name, robust)
        assert np.median(stated) == pytest.approx(robust, rel=0.35)
    velocity = np.array([row["RV_ADOP"] - star.rv for star, row in good])
    assert 1.5 < np.std(velocity) < 13.0


def test_flags_say_which_rows_have_no_labels():
    _, rows = label_errors(30.0)
    critical = [row for row in rows if row["FLAG"][0] in "DdHhESV" or row["FLAG"][4] in "BRX"]
    assert 0.01 < len(critical) / len(rows) < 0.05
    assert all(row["TEFF_ADOP"] == row["FEH_ADOP"] == SSPP_MISSING for row in critical)
    normal = sum(row["FLAG"] == "nnnnn" for row in rows) / len(rows)
    assert 0.8 < normal < 0.96
    assert all(row["TEFF_ADOP"] > 0 for row in rows if row["FLAG"] == "nnnnn")


def test_hot_and_poor_stars_have_larger_errors():
    star = draw_star(Population(), 1, 3)
    cool = dataclasses.replace(star, teff=5500.0, feh=-0.5)
    hot = dataclasses.replace(star, teff=8500.0, feh=-0.5)
    assert all(a < b for a, b in zip(label_sigma(cool, 40.0), label_sigma(hot, 40.0), strict=True))


def test_the_physics_covers_the_lattice_at_any_velocity():
    loglam, flux = REAL_PHYSICS(draw_star(Population(), 1, 0))
    assert loglam.shape == flux.shape
    assert np.isfinite(flux).all()
    assert flux.min() > 0
    margin = 700.0 / 299792.458 / np.log(10.0)
    assert loglam[0] < SDSS_LOGLAM[0] - margin
    assert loglam[-1] > SDSS_LOGLAM[-1] + margin
