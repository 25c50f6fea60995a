import pickle

import numpy as np
import pytest
from astropy.io import fits
from labeltables import one_row, rows, same, save

from raystellar.config import build, to_plain
from raystellar.errors import ConfigError, LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.keys import pack_key
from raystellar.labels.table import read_labels

CONFIG = LabelsConfig()


@pytest.mark.realdata
def test_real_sspp_rows_are_counted_by_reason(real_data):
    path = str(real_data / "sspp" / "small_ssppOut-dr9.fits")
    table = read_labels(path, CONFIG)
    assert table.summary() == {
        "rows": 100,
        "spectra": 100,
        "stars": 100,
        "duplicates": 0,
        "usable": 8,
        "by_reason": {"critical SSPP flag": 86, "missing teff": 6},
        "by_identity": {"plate-mjd-fiberid": 100},
        "notes": [],
    }
    (row,) = table.find(pack_key([266], [51602], [28]))
    assert table.teff[row] == np.float32(6080.9263)
    assert table.feh[row] == np.float32(0.02296021)
    assert table.rv[row] == np.float32(3.5520186)
    assert (table.ra[row], table.star_id[row]) == (pytest.approx(146.77, abs=0.7), 266516020028)
    assert np.isfinite(table.rv).sum() == 15  # three of the 18 velocities are beyond 1000 km/s
    assert table.digest() == "d75e3510db825a6a"  # datasets name the labels that they were made with by this digest
    raw = fits.getdata(path)
    assert (np.isfinite(table.teff) == (raw["TEFF_ADOP"] > 0)).all()


@pytest.mark.realdata
def test_real_sspp_agrees_with_astropy_in_every_row(real_data):
    path = real_data / "sspp" / "small_ssppOut-dr9.fits"
    table, raw = read_labels(str(path), CONFIG), fits.getdata(path)
    row = table.find(pack_key(raw["PLATE"], raw["MJD"], raw["FIBER"]))
    assert sorted(row) == list(range(100))
    for ours, theirs in (("sn", "SNR"), ("ra", "RA"), ("dec", "DEC")):
        np.testing.assert_array_equal(getattr(table, ours)[row], raw[theirs])
    for ours, theirs in (("teff", "TEFF_ADOP"), ("e_feh", "FEH_ADOP_UNC"), ("logg", "LOGG_ADOP")):
        values = raw[theirs].astype("f4")
        np.testing.assert_array_equal(getattr(table, ours)[row], np.where(values == -9999, np.nan, values))


@pytest.mark.realdata
def test_real_csv_may_lack_positions_flags_and_velocities(real_data):
    table = read_labels(str(real_data / "sspp" / "sphinx_unique_plate_mjd_fiber.csv"), CONFIG)
    assert len(table) == 10121
    assert table.usable.sum() == 7491
    assert (table.star_id == table.key).all()
    assert any("star of its own" in note for note in table.notes)


def test_sentinels_are_missing(tmp_path):
    names = ("e_teff", "e_rv", "sn")
    for value in (-9999.0, -9.999, np.nan):
        table = one_row(teff=value, logg=value, feh=value, rv=value, **dict.fromkeys(names, value))
        labels = read_labels(save(table, tmp_path / "t.fits"), CONFIG)
        for name in ("teff", "logg", "feh", "rv", *names):
            assert np.isnan(getattr(labels, name)[0]), (name, value)
    near = read_labels(save(one_row(rv=-9.999, e_rv=2.0), tmp_path / "t.fits"), CONFIG)
    assert near.rv[0] == np.float32(-9.999)  # with an error it is a velocity
    declination = read_labels(save(one_row(ra=3.0, dec=-9.999), tmp_path / "t.fits"), CONFIG)
    assert declination.dec[0] == -9.999
    lost = read_labels(save(one_row(ra=-9999.0, dec=10.0), tmp_path / "t.fits"), CONFIG)
    assert np.isnan(lost.ra[0])
    assert np.isnan(lost.dec[0])


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({}, {}, "usable"),
        ({"flag": "nnnnn"}, {"require_normal": True}, "usable"),
        ({"flag": "nCBgc"}, {}, "usable"),
        ({"flag": "nCBgc"}, {"require_normal": True}, "SSPP flag is not nnnnn"),
        ({"flag": "Snnnn"}, {}, "critical SSPP flag"),
        ({"flag": "Snnnn"}, {"critical_flags": ("V", "", "", "", "")}, "usable"),
        ({"feh": np.nan}, {}, "missing feh"),
        ({"teff": 10000.5}, {}, "teff out of range"),
        ({"logg": -0.1}, {}, "logg out of range"),
        ({"feh": 0.9}, {"feh_range": (-4.0, 0.5)}, "feh out of range"),
        ({"TEFF_ADOP_N": 0}, {}, "fewer than 1 estimates of teff"),
        ({"FEH_ADOP_N": 2}, {"min_estimates": 3}, "fewer than 3 estimates of feh"),
        ({"sn": 9.9}, {}, "S/N below 10"),
        ({"sn": np.nan}, {}, "missing S/N"),
        ({"sn": 9.9}, {"min_sn": 9.0}, "usable"),
        ({"rv": 1449.0}, {}, "no radial velocity"),
        ({"rv": 30.0, "e_rv": 101.0}, {}, "no radial velocity"),
        ({"rv": 30.0, "e_rv": -1.0}, {}, "no radial velocity"),
        ({"rv": 30.0, "e_rv": 101.0}, {"require_rv": False}, "usable"),
        ({"rv": 30.0, "e_rv": -9999.0}, {}, "usable"),
    ],
)
def test_a_row_is_unusable_for_the_right_reason(tmp_path, change, settings, reason):
    labels = read_labels(save(one_row(**change), tmp_path / "t.csv"), LabelsConfig(**settings))
    assert labels.reasons[labels.reason[0]] == reason
    assert labels.usable[0] == (reason == "usable")


def test_a_column_of_other_flags_is_ignored_with_a_note(tmp_path):
    labels = read_labels(save(one_row(flag=0), tmp_path / "t.csv"), CONFIG)
    assert labels.usable.all()
    assert any("FLAG" in note for note in labels.notes)


def test_velocity_is_kept_without_labels_unless_flagged(tmp_path):
    bad = one_row(teff=np.nan, sn=2.0, rv=50.0, flag="EnnnX")
    labels = read_labels(save(bad, tmp_path / "t.csv"), CONFIG)
    assert (labels.rv[0], labels.usable[0]) == (50.0, False)
    assert np.isnan(read_labels(save(one_row(rv=50.0, flag="VnnnX"), tmp_path / "t.csv"), CONFIG).rv[0])


def test_velocities_alone_are_enough_where_asked_for(tmp_path):
    table = one_row(rv=50.0)
    for name in ("teff", "logg", "feh"):
        del table[name]
    path = save(table, tmp_path / "t.csv")
    assert read_labels(path, CONFIG, required=("rv",)).rv[0] == 50.0
    with pytest.raises(LabelTableError, match=r"no column for teff .*TEFF_ADOP"):
        read_labels(path, CONFIG)


def test_of_duplicate_rows_the_usable_one_with_highest_sn_stays(tmp_path):
    table = {name: np.repeat(values, 4) for name, values in one_row().items()}
    table["sn"] = np.array([20.0, 90.0, 40.0, 30.0])
    table["teff"] = np.array([5000.0, np.nan, 6000.0, 7000.0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        path = save({name: values[order] for name, values in table.items()}, tmp_path / "t.csv")
        labels = read_labels(path, CONFIG)
        assert labels.teff.tolist() == [6000.0]
        assert (labels.rows, labels.duplicates) == (4, 3)


def test_repeats_best_keeps_only_the_best_spectrum_of_a_star(tmp_path):
    table = {name: np.repeat(values, 5) for name, values in one_row(ra=10.0, dec=0.0).items()}
    table["mjd"] = np.array([51605, 51602, 51603, 51604, 51601])
    table["sn"] = np.array([60.0, 50.0, 50.0, 5.0, 40.0])
    table["ra"] = np.array([10.0, 10.0003, 10.0006, 10.0009, 11.0])  # a chain 1.1 arcsec apart, one alone
    path = save(table, tmp_path / "t.csv")
    labels = read_labels(path, LabelsConfig(repeats="best"))
    assert (labels.star_id % 10**9 // 10**4).tolist() == [51601, 51602, 51602, 51602, 51602]
    assert labels.usable.tolist() == [True, False, False, False, True]
    assert labels.summary()["by_reason"] == {"S/N below 10": 1, "repeat of a better spectrum": 2}
    assert read_labels(path, CONFIG).usable.sum() == 4


def test_rows_are_found_by_plate_mjd_and_fibre(tmp_path):
    table = rows()
    labels = read_labels(save(table, tmp_path / "t.parquet"), CONFIG)
    row = labels.find(pack_key(table["plate"], table["mjd"], table["fiberid"]))
    np.testing.assert_array_equal(labels.key[row] // 10**9, table["plate"])
    assert labels.find(pack_key([1, 99999, 266], [51602, 51602, 51602], [1, 1, 20000])).tolist() == [-1, -1, -1]
    assert labels.find(np.array([-1, 0, 2**63 - 1])).tolist() == [-1, -1, -1]


def test_rows_that_name_no_spectrum_are_counted(tmp_path):
    table = {name: np.repeat(values, 2) for name, values in one_row().items()}
    table["plate"] = np.array([266, -9999])
    labels = read_labels(save(table, tmp_path / "t.csv"), CONFIG)
    assert (labels.rows, len(labels), labels.duplicates) == (2, 1, 0)
    assert any(note.startswith("1 rows name no spectrum") for note in labels.notes)


def test_table_travels_and_its_digest_tells_changes(tmp_path):
    first = read_labels(save(rows(), tmp_path / "t.fits"), CONFIG)
    assert same(first, pickle.loads(pickle.dumps(first)))
    changed = rows()
    changed["e_feh"][0] += 0.01
    assert read_labels(save(changed, tmp_path / "t.fits"), CONFIG).digest() != first.digest()
    assert all(values.dtype.isnative for values in vars(first).values() if isinstance(values, np.ndarray))


@pytest.mark.parametrize(
    "settings",
    [
        {"teff_range": [6000, 5000]},
        {"min_sn": -1.0},
        {"critical_flags": ["V"]},
        {"critical_flags": ["1"] * 5},
        {"max_abs_rv": 0.0},
        {"max_rv_error": float("nan")},
        {"star_radius_arcsec": 100.0},
        {"repeats": "first"},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        build(LabelsConfig, settings, "labels")


def test_settings_survive_plain_values():
    config = LabelsConfig(critical_flags=("V", "", "", "", ""), repeats="best")
    assert build(LabelsConfig, to_plain(config), "labels") == config
