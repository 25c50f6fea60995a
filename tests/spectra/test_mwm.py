"""mwmStar and mwmVisit files of SDSS-V: the spectra of BOSS, in the heliocentric frame again."""

from __future__ import annotations

import gzip
import io
import random

import numpy as np
import pytest
from astropy.io import fits
from source_files import (
    MWM,
    assert_sound,
    mwm_file,
    mwm_star_columns,
    mwm_star_file,
    mwm_table,
    mwm_visit_file,
    reasons,
)
from spec_files import damage

from raystellar.preprocessing.ingest import choose_rv
from raystellar.preprocessing.pixels import doppler_shift
from raystellar.spectra import Spectrum, count_spectra, mwm, read_spectra, read_spectrum
from raystellar.spectra.fits_bytes import NotStandard
from raystellar.spectra.foreign import APOGEE
from raystellar.spectra.record import median_sn

C = 299_792.458
VISITS, STAR = mwm_visit_file(), mwm_star_file()
NAME = "mwmVisit-0.6.0-54459273.fits"


@pytest.fixture(params=["direct", "astropy"])
def decoder(request, monkeypatch):
    """Read with one of the two decoders only."""

    def refuse(*_):
        raise NotStandard("as if") if request.param == "astropy" else AssertionError("left to astropy")

    monkeypatch.setattr(mwm, "_columns" if request.param == "astropy" else "_columns_with_astropy", refuse)


def rows_of(data, observatories=("APO", "LCO")):
    """Return the rows of BOSS as astropy reads them, with the wavelengths of the table in angstrom."""
    rows = []
    with fits.open(io.BytesIO(data)) as hdus:
        for name in observatories:
            header, table = hdus[f"BOSS/{name}"].header, hdus[f"BOSS/{name}"].data
            for values in table if len(table) else ():
                row = {key: values[key] for key in table.names}
                grid = 10 ** (header["CRVAL"] + header["CDELT"] * np.arange(header["NPIXELS"])) if len(table) else None
                rows.append({"wavelength": grid} | row)
    return rows


@pytest.mark.usefixtures("decoder")
def test_visits_are_as_astropy_reads_them():
    items, rows = list(read_spectra(NAME, VISITS)), rows_of(VISITS)
    assert len(items) == len(rows) == count_spectra(NAME, VISITS) == 4
    for item, row in zip(items, rows, strict=True):
        np.testing.assert_array_equal(item.flux, row["flux"])
        np.testing.assert_array_equal(item.ivar, row["ivar"])
        velocity = float(row["xcsao_v_rad"])
        observed = row["wavelength"] / (1 - velocity / C) if row["in_stack"] else row["wavelength"]
        np.testing.assert_allclose(10 ** item.loglam.astype(float), observed, rtol=6e-7)
        warnings = max(0, row["zwarning_flags"]) | (0 if row["in_stack"] else 4)
        expected = {
            "spec_id": f"{row['fieldid']}-{row['mjd']}-{row['catalogid']}", "plate": 0, "fiberid": 0, "mjd": row["mjd"],
            "fieldid": row["fieldid"], "catalogid": row["catalogid"], "obs_id": -1, "aliases": (), "run2d": "v6_1_3",
            "ra": MWM["RA"], "dec": MWM["DEC"], "object_class": "STAR", "is_sky": False, "zwarning": warnings,
            "z": pytest.approx(velocity / C), "z_err": pytest.approx(row["xcsao_e_v_rad"] / C),
            "sn": median_sn(item.loglam, item.flux, item.ivar), "note": "",
        }  # fmt: skip
        assert {name: getattr(item, name) for name in expected} == expected


@pytest.mark.usefixtures("decoder")
def test_the_mean_is_as_astropy_reads_it():
    item, (row,) = read_spectrum("mwmStar-0.6.0-54459273.fits", STAR), rows_of(STAR)
    np.testing.assert_array_equal(item.flux, row["flux"])
    np.testing.assert_array_equal(item.ivar, row["ivar"])
    np.testing.assert_allclose(10 ** item.loglam.astype(float), row["wavelength"] / (1 + 30.25 / C), rtol=6e-7)
    assert (item.spec_id, item.aliases) == ("mwmStar-54459273-apo", ("mwmStar-54459273",))
    assert (item.mjd, item.fieldid, item.catalogid) == (59400, -1, MWM["CAT_ID"])
    assert (item.z, item.z_err) == (pytest.approx(-30.25 / C), pytest.approx(0.75 / C))
    assert (item.zwarning, item.object_class) == (0, "STAR")


@pytest.mark.parametrize("data", [VISITS, STAR], ids=["visits", "mean"])
def test_the_later_steps_return_to_the_rest_frame_of_the_file(data):
    """The velocity that is chosen without a label table undoes what the reader did, to a hundredth of a pixel."""
    for item, row in zip(read_spectra(NAME, data), rows_of(data), strict=True):
        if row.get("in_stack", True):
            rv = choose_rv(item, None, -1, 600.0).rv
            rest = item.loglam - doppler_shift(rv)
            assert np.abs(rest - np.log10(row["wavelength"])).max() < 1e-6


def test_two_observatories_give_two_means():
    columns = mwm_star_columns()
    data = mwm_file(mwm_table("BOSS/APO", columns, rows=1), mwm_table("BOSS/LCO", columns, rows=1))
    items = list(read_spectra("mwmStar.fits", data))
    assert [item.spec_id for item in items] == ["mwmStar-54459273-apo", "mwmStar-54459273-lco"]
    assert {item.aliases for item in items} == {("mwmStar-54459273",)}


@pytest.mark.parametrize("first", range(5))
def test_a_file_is_read_from_any_row(first):
    names = [item.spec_id for item in read_spectra(NAME, VISITS)]
    assert [item.spec_id for item in read_spectra(NAME, VISITS, first)] == names[first:]


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(VISITS),
        mwm_file(*(mwm_table(f"BOSS/{name}", {"snr": ("PE()", np.array([np.ones(2)] * rows, object))}, rows)
                   for name, rows in (("APO", 3), ("LCO", 1)))),
        mwm_file(mwm_table("BOSS/APO"), mwm_table("BOSS/LCO", rows=1), primary=MWM | {"RA": "NaN", "DEC": "NaN"}),
    ],
    ids=["gzip", "arrays of variable length", "no position"],
)  # fmt: skip
def test_other_forms_give_the_same_spectra(data):
    items, expected = list(read_spectra(NAME, data)), list(read_spectra(NAME, VISITS))
    assert [item.spec_id for item in items] == [item.spec_id for item in expected]
    np.testing.assert_array_equal(items[0].flux, expected[0].flux)


def test_a_file_is_known_by_its_tables_cards_or_name():
    for data, name in (
        (VISITS, "renamed.fits"),
        (mwm_file(mwm_table("BOSS/APO"), primary={"V_ASTRA": "0.6.0", "SDSS_ID": 1}), "x"),
        (mwm_file(mwm_table("BOSS/APO"), primary={}), NAME),
    ):
        assert len([item for item in read_spectra(name, data) if isinstance(item, Spectrum)]) >= 3


def visits(columns=None, rows=1, **more):
    return mwm_file(mwm_table("BOSS/APO", columns, rows, **more))


def star(columns=None, primary=None):
    return mwm_file(mwm_table("BOSS/APO", mwm_star_columns() | (columns or {}), rows=1), primary=primary)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (mwm_file(mwm_table("APOGEE/APO")), APOGEE),
        (mwm_file(mwm_table("APOGEE/LCO", mwm_star_columns(), rows=1)), APOGEE),
        (mwm_file(), "no spectra"),
        (visits({"flux": None}), "missing column flux"),
        (visits({"ivar": None}), "missing column ivar"),
        (visits({"in_stack": None}), "missing column in_stack"),
        (visits({"ivar": ("299E", np.ones((1, 299)))}), "columns of unequal length"),
        (visits({"flux": ("300J", np.ones((1, 300)))}), "missing column flux"),
        (visits({"catalogid": ("K", [-1])}), "missing catalogid"),
        (visits({"xcsao_v_rad": ("E", [np.nan])}), "missing xcsao_v_rad"),
        (visits({"xcsao_v_rad": ("E", [4e5])}), "missing xcsao_v_rad"),
        (visits(cards={"CRVAL": "x"}), "missing CRVAL and CDELT"),
        (visits(cards={"NPIXELS": 299}), "missing CRVAL and CDELT"),
        (visits(cards={"CDELT": -1e-4}), "loglam not increasing"),
        (visits(cards={"CRVAL": 4.9}), "loglam out of range"),
        (star({"v_rad": ("E", [np.nan])}), "missing v_rad"),
        (star({"wavelength": ("300E", np.full((1, 300), np.nan))}), "non-finite wavelength"),
        (star({"wavelength": ("300E", np.full((1, 300), -1.0))}), "non-finite wavelength"),
        (star({"wavelength": ("299E", np.ones((1, 299)))}), "columns of unequal length"),
        (star(primary={"V_ASTRA": "0.6.0"}), "missing SDSS_ID"),
        (VISITS[:30000], "truncated"),
    ],
)
def test_refusals(data, expected):
    assert reasons(data, NAME) == [expected]
    assert count_spectra(NAME, data) == 1


def test_a_bad_visit_does_not_spoil_the_others():
    items = list(read_spectra(NAME, visits({"xcsao_v_rad": ("E", [10.0, 20.0, np.nan])}, rows=3)))
    assert [getattr(item, "reason", "") for item in items] == ["", "", "missing xcsao_v_rad"]
    assert items[2].spec_id == "101234-59002-27021597906174631"
    assert np.isfinite(items[1].z)


def test_a_visit_that_is_not_in_the_stack_needs_no_velocity():
    item = read_spectrum(NAME, visits({"xcsao_v_rad": ("E", [np.nan]), "in_stack": ("L", [False])}))
    assert np.isnan(item.z)
    assert item.loglam[0] == np.float32(3.5523)


@pytest.mark.parametrize("bits", [0x7FA00000, 0x7F800000, 0xFF7FFFFF, 0x00000001])
def test_pixels_of_any_bits_stay_as_they_are(bits):
    strange = np.full((1, 300), bits, np.uint32).view(np.float32)
    for name in ("flux", "ivar"):
        (item,) = assert_sound(visits({name: ("300E", strange)}), NAME)
        np.testing.assert_array_equal(getattr(item, name).view(np.uint32), bits)


def test_scaled_columns_are_read_by_astropy():
    data = VISITS.replace(b"TDIM13  = '(300)   '", b"TSCAL13 =        2.0")
    assert data != VISITS
    items, expected = list(read_spectra(NAME, data)), list(read_spectra(NAME, VISITS))
    np.testing.assert_array_equal(items[0].flux, 2 * expected[0].flux)


def test_damaged_files_give_records_or_reasons():
    rng = random.Random(3)
    for i in range(60):
        kind, data = damage(rng.choice([VISITS, STAR]), rng)
        assert_sound(data, NAME, label=f"{i}: {kind}")


@pytest.mark.realdata
def test_a_file_built_after_the_data_model(real_data):
    path = real_data.parent / "cases" / "surveys" / "mwmStar-0.6.0-54459273.fits"
    if not path.exists():
        pytest.skip(f"no {path}")
    item = read_spectrum(str(path))
    with fits.open(path) as hdus:
        row = hdus["BOSS/APO"].data[0]
        velocity = float(row["xcsao_v_rad"])
        np.testing.assert_array_equal(item.flux, row["flux"])
        observed = row["wavelength"].astype(float) / (1 - velocity / C)
        np.testing.assert_allclose(10 ** item.loglam.astype(float), observed, rtol=6e-7)
    assert (item.spec_id, item.z) == ("mwmStar-54459273-apo", pytest.approx(velocity / C))
