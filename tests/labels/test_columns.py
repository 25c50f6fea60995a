"""Names and units of columns: every usual spelling is taken, and what is not taken is named."""

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from labeltables import CAS, OWN, SSPP, one_row, save

from raystellar.errors import LabelTableError
from raystellar.labels.columns import SPELLINGS, choose, fold, unused
from raystellar.labels.config import LabelsConfig
from raystellar.labels.table import read_labels
from raystellar.labels.units import converter

CONFIG = LabelsConfig(require_rv=False)


def test_no_two_quantities_share_a_name():
    owners = {}
    for quantity, spellings in SPELLINGS.items():
        for spelling in spellings:
            assert owners.setdefault(fold(spelling), quantity) == quantity, spelling


@pytest.mark.parametrize(
    "form",
    [
        "e_{}",
        "{}_err",
        "{}_error",
        "{}_unc",
        "{}_uncertainty",
        "{}_std",
        "sigma_{}",
        "err_{}",
        "E_{}",
        "{}Err",
        "{}_ERR",
    ],
)
def test_errors_are_taken_under_all_usual_names(form, tmp_path):
    for name, spelling in (
        ("teff", "teff"),
        ("feh", "FE_H"),
        ("logg", "logg"),
        ("rv", "v_rad"),
        ("rv", "radial_velocity"),
    ):
        row = {key: value for key, value in one_row().items() if key != name} | {spelling: np.array([4.5])}
        table = read_labels(save(row | {form.format(spelling): np.array([0.25])}, tmp_path / "t.csv", {}), CONFIG)
        assert getattr(table, name)[0] == 4.5
        assert getattr(table, f"e_{name}")[0] == 0.25
        assert not any("look like" in note for note in table.notes)


def test_a_table_of_lamost_is_read(tmp_path):
    row = {
        "obsid": 101001, "lmjd": 55862, "planid": "B6212", "spid": 6, "fiberid": 3, "objra": 99.3, "objdec": 27.2,
        "snru": 9.0, "snrg": 30.0, "snrr": 50.0, "teff": 5000.0, "teff_err": 80.0, "logg": 4.0, "logg_err": 0.2,
        "feh": -0.5, "feh_err": 0.1, "rv": 12.0, "rv_err": 5.0,
    }  # fmt: skip
    table = read_labels(save({k: np.array([v]) for k, v in row.items()}, tmp_path / "t.fits", {}), LabelsConfig())
    names = ("teff", "e_teff", "e_logg", "e_feh", "rv", "e_rv", "sn", "ra", "dec")
    wanted = [5000.0, 80.0, 0.2, 0.1, 12.0, 5.0, 30.0, 99.3, 27.2]
    np.testing.assert_allclose([getattr(table, name)[0] for name in names], wanted, rtol=1e-6)
    assert table.usable.all()
    assert table.identities == {"obsid": 1}


def test_a_velocity_with_too_large_an_error_is_missing(tmp_path):
    row = one_row(teff_err=80.0, rv=12.0, rv_err=999.0)
    table = read_labels(save(row, tmp_path / "t.csv", {}), LabelsConfig())
    assert table.e_teff[0] == 80.0
    assert np.isnan(table.rv[0])
    assert table.summary()["by_reason"] == {"no radial velocity": 1}


def test_columns_that_look_like_labels_and_are_not_used_are_named(tmp_path):
    more = {"teff_low": 1.0, "logg_2": 1.0, "[Fe/H]_apogee": 1.0, "RV_ELODIE": 1.0, "vradius": 1.0, "z": 0.0}
    path = save(one_row(**more), tmp_path / "t.csv", {})
    (note,) = [note for note in read_labels(path, CONFIG).notes if "look like" in note]
    assert note.endswith("were not used: teff_low, logg_2, [Fe/H]_apogee, RV_ELODIE, vradius")
    others = ["survey", "observed", "offering", "log_gf", "temperature_effect", "life_hours", "curve", "snr"]
    assert unused(others, {}) == []


@pytest.mark.parametrize("names", [SSPP, CAS])
def test_the_methods_of_the_sspp_beside_its_adopted_values_are_not_named(names):
    columns = [*names.values(), "TEFF_HA24", "TEFFWBG", "LOGG_K24_UNC", "RV_ELODIE", "FEH_CAIIK1_IND"]
    assert unused(columns, choose(columns, "t", ())) == []
    own = [*OWN.values(), "TEFF_HA24"]
    assert unused(own, choose(own, "t", ())) == ["TEFF_HA24"]


# Units -----------------------------------------------------------------------------------------------------

GIVEN = {
    "teff": (units.kK, 5.0), "teff_err": (units.kK, 0.08), "rv": (units.m / units.s, -12_500.0),
    "rv_err": (units.cm / units.s, 150_000.0), "ra": (units.rad, np.radians(150.0)), "dec": (units.rad, 0.1),
    "logg": (units.dex(units.m / units.s**2), 2.0), "feh": (units.dex, -0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", ["t.fits", "t.ecsv", "t.vot"])
def test_units_are_converted_as_astropy_converts_them(name, tmp_path):
    table = Table(one_row(**{column: value for column, (_, value) in GIVEN.items()}))
    formats = {"t.fits": "fits", "t.ecsv": "ascii.ecsv", "t.vot": "votable"}
    for column, (unit, _) in GIVEN.items():
        if name == "t.ecsv" or column not in ("logg", "feh"):  # FITS and VOTable have no logarithmic units
            table[column].unit = unit
    table.write(tmp_path / name, format=formats[name])
    labels = read_labels(str(tmp_path / name), CONFIG)
    logg = 4.0 if name == "t.ecsv" else 2.0
    wanted = {"teff": 5000, "e_teff": 80, "rv": -12.5, "e_rv": 1.5, "ra": 150, "dec": np.degrees(0.1), "logg": logg}
    for column, value in (wanted | {"feh": -0.5}).items():
        np.testing.assert_allclose(getattr(labels, column)[0], value, rtol=1e-6, err_msg=column)


def test_right_ascensions_may_be_hours():
    np.testing.assert_allclose(converter("ra", "hourangle", "ra", "t")(np.array([10.0])), [150.0])


def test_missing_values_are_missing_in_every_unit():
    convert = converter("rv", "m/s", "rv", "t.fits")
    np.testing.assert_array_equal(convert(np.array([-9999.0, -20_000.0, np.nan])), [np.nan, -20.0, np.nan])


@pytest.mark.parametrize("unit", ["K", "Kelvin", " kelvin ", "", "  "])
def test_temperatures_in_kelvin_are_taken_as_they_are(unit):
    assert converter("teff", unit, "teff", "t") is None


@pytest.mark.parametrize("unit", ["dex", "", "cm/s2", "log(cm.s**-2)", "[cm/s2]", "dex(cm/s2)"])
def test_logarithms_are_taken_under_every_name_of_their_unit(unit):
    assert converter("logg", unit, "logg", "t") is None
    assert converter("feh", "[-]", "feh", "t") is None


@pytest.mark.parametrize(
    ("quantity", "unit"), [("teff", "km/s"), ("teff", "deg_C or so"), ("rv", "Angstrom"), ("ra", "m"), ("logg", "K")]
)
def test_a_unit_that_cannot_be_converted_is_refused(quantity, unit):
    with pytest.raises(
        LabelTableError, match=rf"t\.fits has the unit {unit} in column x, which cannot be converted to"
    ):
        converter(quantity, unit, "x", "t.fits")
