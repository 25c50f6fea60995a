"""Spec files of SDSS-V: each release has its own columns and cards for the identity of a spectrum."""

from __future__ import annotations

import bz2
import gzip
import io
import random
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from source_files import assert_sound
from spec_files import CATALOGID, DR18, DR19, damage, sdss_v, spec_file

from raystellar.errors import SpectrumError
from raystellar.spectra import read_spectrum, spec
from raystellar.spectra.fits_bytes import NotStandard


def assert_as_astropy(data, field, fiberid=0):
    """Check each value of a file against astropy's."""
    spectrum = read_spectrum("spec.fits", data)
    with fits.open(io.BytesIO(data)) as hdus:
        pixels, row = hdus[1].data, {name.upper(): hdus[2].data[name][0] for name in hdus[2].columns.names}
        for name in ("flux", "loglam", "ivar"):
            np.testing.assert_array_equal(getattr(spectrum, name), pixels[name], name)
        expected = {
            "spec_id": f"{field}-{row['MJD']}-{row['CATALOGID']}", "plate": 0, "fieldid": field, "fiberid": fiberid,
            "mjd": row["MJD"], "catalogid": row["CATALOGID"], "obs_id": -1, "run2d": row["RUN2D"], "ra": row["PLUG_RA"],
            "dec": row["PLUG_DEC"], "object_class": row["CLASS"], "subclass": row["SUBCLASS"], "z": row["Z"],
            "z_err": row["Z_ERR"], "zwarning": row["ZWARNING"], "sn": row["SN_MEDIAN_ALL"],
        }  # fmt: skip
    assert {name: getattr(spectrum, name) for name in expected} == expected
    assert {type(value) for value in (spectrum.fieldid, spectrum.catalogid, spectrum.mjd)} == {int}
    return spectrum


@pytest.fixture(params=["direct", "astropy"])
def decoder(request, monkeypatch):
    """Read with one of the two decoders only."""

    def refuse(data):
        raise NotStandard("as if") if request.param == "astropy" else AssertionError("left to astropy")

    monkeypatch.setattr(spec, "_decode" if request.param == "astropy" else "_decode_with_astropy", refuse)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("full", [0, 3], ids=["lite", "full"])
def test_the_identity_of_each_release(full):
    assert_as_astropy(sdss_v(DR18, exposures=full), 15170, fiberid=271)  # and not field 206 of the imaging survey
    assert_as_astropy(sdss_v(DR19, exposures=full), 112360)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    "empty",
    [
        {"PLATE": ("J", 0), "FIBERID": ("J", 0)},
        {"PLATE": ("4A", ""), "FIBERID": ("4A", "")},
        {"PLATE": ("J", -1), "FIBERID": ("J", -1)},
        {"PLATE": ("J", 15170), "FIBERID": ("J", 0)},
    ],
)
def test_a_plate_is_not_needed(empty):
    assert_as_astropy(sdss_v(DR19, row=empty), 112360)
    assert_as_astropy(sdss_v(DR19, row=empty, primary={"PLATEID": 0, "FIELDID": None}), 112360)


@pytest.mark.filterwarnings("ignore:Keyword name")  # CATALOGID has nine letters
@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("keyword", ["FIELDID", "FIELD"])
def test_the_primary_header_stands_in_for_missing_columns(keyword):
    missing = dict.fromkeys(("FIELD", "CATALOGID", "MJD", "RUN2D", "PLUG_RA", "PLUG_DEC"))
    cards = {"FIELDID": None, keyword: 23077, "CATALOGID": CATALOGID, "RUN2D": "v6_2_0", "MJD": 60555}
    spectrum = read_spectrum("spec.fits", sdss_v(DR19, row=missing, primary=cards))
    assert (spectrum.spec_id, spectrum.fieldid) == (f"23077-60555-{CATALOGID}", 23077)
    assert (spectrum.catalogid, spectrum.mjd, spectrum.run2d) == (CATALOGID, 60555, "v6_2_0")
    assert (spectrum.ra, spectrum.dec) == (1.0, 2.0)


def test_odd_cards_of_the_weather_do_not_matter(monkeypatch):
    monkeypatch.setattr(spec, "_decode_with_astropy", None)
    data = sdss_v(DR18, primary={"HUMIDITY": 1}).replace(
        b"HUMIDITY=                    1", b"HUMIDITY=                  NaN"
    )
    assert b"  NaN" in data[:2880]
    assert_as_astropy(data, 15170, fiberid=271)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"row": {"CATALOGID": ("K", 0)}}, "missing catalogid"),
        ({"row": {"CATALOGID": ("K", -999)}}, "missing catalogid"),
        ({"row": {"CATALOGID": ("D", 2.5)}}, "bad value catalogid"),
        ({"row": {"CATALOGID": ("D", float(CATALOGID))}}, "bad value catalogid"),
        ({"row": {"CATALOGID": ("D", np.nan)}}, "bad value catalogid"),
        ({"row": {"CATALOGID": None}}, "missing plate"),
        ({"row": {"FIELD": None}, "primary": {"FIELDID": None}}, "missing field"),
        ({"row": {"FIELD": None}, "primary": {"FIELDID": "allepoch"}}, "missing field"),
        ({"row": {"CAMCOL": ("K", 1)}, "primary": {"FIELDID": None}}, "missing field"),
        ({"row": {"MJD": None}, "primary": {"MJD": None}}, "missing mjd"),
    ],
)
def test_a_spectrum_without_identity_is_refused(changes, expected):
    with pytest.raises(SpectrumError) as caught:
        read_spectrum("spec.fits", sdss_v(DR19, **changes))
    assert caught.value.reason == expected


def test_a_plate_survives_an_empty_catalogid():
    spectrum = read_spectrum("spec.fits", spec_file(row={"CATALOGID": ("K", 0)}))
    assert (spectrum.spec_id, spectrum.fieldid, spectrum.catalogid) == ("266-51602-31", -1, -1)


def test_files_of_both_telescopes_are_spec_files():
    for telescope in ("SDSS 2.5-M", "LCO Du Pont", "another"):
        cards = {"TELESCOP": telescope, "PLATETYP": "BOSS/APOGEE", "OBSMODE": "'LAMOST'"}
        assert_as_astropy(sdss_v(DR19, primary=cards), 112360)


def test_sky_fibres_are_known():
    for row in ({"OBJTYPE": ("16A", "SKY")}, {"ZWARNING": ("K", 1)}):
        assert read_spectrum("spec.fits", sdss_v(DR19, row=row)).is_sky


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_and_long_files_are_read(pack, tmp_path):
    for name, data in (("plain", sdss_v(DR19, exposures=40)), ("packed", pack(sdss_v(DR19)))):
        path = tmp_path / f"spec-112360-60000-{CATALOGID}.fits.{name}"
        path.write_bytes(data)
        assert read_spectrum(str(path)).catalogid == CATALOGID


def test_damaged_files_give_a_record_or_a_reason():
    rng = random.Random(5)
    files = [sdss_v(DR18), sdss_v(DR19)]
    for i in range(60):
        kind, data = damage(rng.choice(files), rng)
        assert_sound(data, label=f"{i}: {kind}")


@pytest.mark.realdata
def test_a_file_built_column_by_column_after_the_data_model(real_data):
    name = "spec-112360-60000-27021598150202075.fits"
    path = real_data.parent / "cases" / "surveys" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    spectrum = read_spectrum(str(path))
    identity = (spectrum.object_class, spectrum.fieldid, spectrum.mjd, spectrum.catalogid)
    assert identity == ("STAR", 112360, 60000, CATALOGID)
    assert (spectrum.spec_id, len(spectrum.loglam)) == (Path(name).stem.removeprefix("spec-"), 3843)
    assert (spectrum.ra, spectrum.dec) == pytest.approx((148.96581, 1.51884))
