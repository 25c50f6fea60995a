import dataclasses
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from raystellar.errors import IncompleteError, OutputError
from raystellar.simulator import plates as module
from raystellar.simulator import survey
from raystellar.simulator.config import N_PLATES, SimulateConfig
from raystellar.simulator.plates import is_labelled, plate_number, plates
from raystellar.simulator.population import Population, draw_star
from raystellar.simulator.starlight import SDSS_LOGLAM, rest_spectrum
from raystellar.simulator.survey import finish, write_plate

LOGLAM = np.arange(142000, 159400) * 2.5e-5
SMALL = SimulateConfig(stars=26, stars_per_plate=10, sky_fibres=2, seed=4, labelled_fraction=0.5)


@pytest.fixture(autouse=True)
def cheap_stars(monkeypatch):
    monkeypatch.setattr(module, "rest_spectrum", lambda star: (LOGLAM, 10.0 ** (-star.teff / 3000.0 * LOGLAM)))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_survey_is_complete_and_its_tables_agree(tmp_path):
    config = dataclasses.replace(SMALL, stars=16, spplate=True)
    summaries = [write_plate(config, str(tmp_path), index) for index in plates(config)]
    result = finish(config, str(tmp_path))
    assert [summary.stars for summary in summaries] == [10, 6]
    truth = pq.read_table(tmp_path / "truth.parquet").to_pylist()
    assert result.stars == len(truth) == 16
    spectra = list(tmp_path.glob("spectra/*/spec-*.fits"))
    assert sum(summary.files for summary in summaries) == len(spectra) + 4 == 16 + 4 + 4
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


def test_a_plate_that_is_killed_and_restarted_has_the_same_bytes(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    write_plate(SMALL, str(whole), 1)
    write_spec, calls = survey.write_spec, []

    def stop_at_the_fifth(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return write_spec(*arguments)

    monkeypatch.setattr(survey, "write_spec", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        write_plate(SMALL, str(broken), 1)
    assert len(contents(broken)) == 4
    monkeypatch.setattr(survey, "write_spec", write_spec)
    write_plate(SMALL, str(broken), 1)
    assert contents(whole) == contents(broken)


def test_a_complete_plate_is_not_written_again(tmp_path, monkeypatch):
    first = write_plate(SMALL, str(tmp_path), 0)
    monkeypatch.setattr(survey, "write_spec", lambda *_: pytest.fail("wrote again"))
    assert write_plate(SMALL, str(tmp_path), 0) == first


def test_stars_do_not_depend_on_the_plates_they_are_on(tmp_path):
    other = dataclasses.replace(SMALL, stars_per_plate=13, repeat_fraction=0.0)
    config = dataclasses.replace(SMALL, repeat_fraction=0.0)
    for name, settings in (("a", config), ("b", other)):
        for index in reversed(plates(settings)):
            write_plate(settings, str(tmp_path / name), index)
        finish(settings, str(tmp_path / name))
    a, b = (pq.read_table(tmp_path / name / "truth.parquet").to_pydict() for name in "ab")
    for name in ("star", "teff", "logg", "feh", "rv", "ebv", "g"):
        assert a[name] == b[name]


def test_some_stars_are_observed_twice(tmp_path):
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


def test_plate_numbers_are_those_of_sspp_and_never_repeat():
    numbers = [plate_number(index) for index in range(N_PLATES)]
    assert (min(numbers), max(numbers), len(set(numbers))) == (266, 3480, 3215)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
def test_the_labelled_share_is_kept(share):
    config = SimulateConfig(labelled_fraction=share)
    labelled = [is_labelled(config, index) for index in range(100)]
    assert abs(sum(labelled) - 100 * share) <= 1
    assert labelled[0] == (share > 0)


def test_missing_plates_and_plates_of_another_survey_are_refused(tmp_path):
    write_plate(SMALL, str(tmp_path), 0)
    with pytest.raises(IncompleteError, match="2 of 3 plates are missing"):
        finish(SMALL, str(tmp_path))
    with pytest.raises(OutputError, match="a survey with other settings"):
        write_plate(dataclasses.replace(SMALL, seed=5), str(tmp_path), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
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


def test_the_physics_covers_the_lattice_at_any_velocity():
    loglam, flux = rest_spectrum(draw_star(Population(), 1, 0))
    assert loglam.shape == flux.shape
    assert np.isfinite(flux).all()
    assert flux.min() > 0
    margin = 700.0 / 299792.458 / np.log(10.0)
    assert loglam[0] < SDSS_LOGLAM[0] - margin
    assert loglam[-1] > SDSS_LOGLAM[-1] + margin
