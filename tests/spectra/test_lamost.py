"""The reader of LAMOST files of old and new releases."""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import warnings

import numpy as np
import pytest
from astropy.io import fits
from source_files import (
    N,
    assert_record,
    assert_sound,
    lamost_image,
    lamost_table,
    pixels,
    reasons,
    spspec_file,
    the_one,
)
from spec_files import damage, with_cards

from raystellar.spectra import count_spectra, read_spectra, read_spectrum


@pytest.mark.realdata
def test_real_files_as_astropy_reads_them(real_data):
    paths = sorted(real_data.glob("lamost/*.fits"))
    assert paths
    for path in paths:
        spectrum = read_spectrum(str(path))
        assert_record(spectrum, path.name)
        with fits.open(path, memmap=False) as hdus:
            header, rows = hdus[0].header, hdus[0].data
        loglam = (header["COEFF0"] + header["COEFF1"] * np.arange(rows.shape[1])).astype(np.float32)
        for array, expected in (
            (spectrum.loglam, loglam),
            (spectrum.flux, rows[0]),
            (spectrum.ivar, rows[1]),
        ):
            np.testing.assert_array_equal(array, expected, err_msg=path.name)
        assert (spectrum.object_class, spectrum.subclass) == (header["CLASS"], header["SUBCLASS"])
        assert (spectrum.z, spectrum.z_err, spectrum.ra, spectrum.dec) == tuple(
            header[k] for k in ("Z", "Z_ERR", "RA", "DEC")
        )
        assert (spectrum.plate, spectrum.mjd, spectrum.fiberid) == (0, header["MJD"], header["FIBERID"])
        assert spectrum.spec_id == f"lamost-55862-B6212-6-{header['FIBERID']}"
        assert spectrum.is_star
        assert min(header["SN_U"], header["SN_G"]) < spectrum.sn < max(header["SN_R"], header["SN_I"])


@pytest.mark.realdata
def test_real_labels_belong_to_the_files(real_data):
    with open(real_data / "lamost" / "labels.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            spectrum = read_spectrum(str(real_data / "lamost" / row["file"]))
            assert (spectrum.subclass, spectrum.z) == (row["subclass"], float(row["z"]))


def test_old_and_new_files_give_the_same():
    old, new = the_one(lamost_image()), the_one(gzip.compress(lamost_table()))
    assert_record(new)
    for name in ("loglam", "flux", "ivar", "sn", "z", "ra", "subclass"):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name), err_msg=name)
    assert new.spec_id == "lamost-101001"


def test_wavelengths_off_the_lattice_are_taken_as_they_are():
    wave = np.linspace(3700, 3900, N)
    np.testing.assert_array_equal(
        the_one(lamost_table(columns={"WAVELENGTH": wave})).loglam,
        np.log10(wave.astype(np.float32).astype(float)).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"CLASS": "Unknown", "Z": -9999.0, "Z_ERR": -9999.0}, ("", False, None)),
        ({"FIBERTYP": "Sky"}, ("STAR", True, -7.1e-5)),
        ({"CLASS": None, "Z": None}, ("", False, None)),
    ],
)
def test_unknown_classes_and_redshifts_are_empty(cards, expected):
    spectrum = the_one(lamost_image(cards))
    assert (spectrum.object_class, spectrum.is_sky, None if math.isnan(spectrum.z) else spectrum.z) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lamost_image()[:-3000], "truncated"),
        (lamost_image({"COEFF0": None}), "missing COEFF0 and COEFF1"),
        (lamost_image(rows=4), "not a LAMOST spectrum"),
        (lamost_image({"MJD": None}), "missing MJD"),
        (lamost_image({"FIBERTYP": "Unused"}), "fibre not plugged"),
        (
            lamost_image().replace(b"NAXIS1  =                  240", b"NAXIS1  =          99999999999"),
            "unreasonable size",
        ),
        (lamost_table()[:2880], "no spectrum table"),
        (lamost_table()[:-2880], "truncated"),
        (lamost_table(columns={"FLUX": None}), "missing column flux"),
        (lamost_table(columns={"FLUX": np.ones(N + 1)}), "columns of unequal length"),
        (lamost_table(columns={"WAVELENGTH": np.zeros(N)}), "non-finite wavelength"),
        (lamost_table(columns={"WAVELENGTH": np.ones(N)}), "loglam out of range"),
        (lamost_table(name="COADD_B"), "medium-resolution spectrum"),
        (lamost_table(form="{}M"), "missing column flux"),
    ],
)
def test_refusals(data, expected):
    assert reasons(data) == [expected]


def with_card(data, key, *cards):
    """Replace the first card of a key by cards."""
    at = next(at for at in range(0, len(data), 80) if data[at : at + 8].rstrip() == key)
    end = data.index(b"END".ljust(80), at)
    header = data[:at] + b"".join(card.ljust(80) for card in cards) + data[at + 80 : end + 80]
    size = (end // 2880 + 1) * 2880
    assert len(header) <= size
    return header.ljust(size) + data[size:]


def header_by_astropy(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bytes that are not ASCII
        return fits.getheader(file)


@pytest.mark.parametrize(
    "card",
    [b"BZERO   = 1.0e3", b"BZERO   =               1000.0 / \xe9", b"BSCALE  = 2.D0", b"bzero   = 1.0",
     b" BZERO  = 1.0", b"HIERARCH BZERO = 1.0", b"BZERO   = '1.0'", b"BZERO   =1.0", b"BZERO   1.0", b"BSCALE  =",
     b"BSCALE  = 1,5"],
)  # fmt: skip
def test_an_image_is_never_read_without_its_scale(card):
    for data in (lamost_image(), spspec_file()):
        (reason,) = reasons(with_card(data, b"EXTEND", card))
        assert reason in ("scaled pixels", "damaged header")


@pytest.mark.parametrize("card", [b"BZERO   = 0.0e0", b"BSCALE  = 1.0d0 / \xe9", b"BLANK   = -32768", b"BZERO   = 0.0"])
def test_a_scale_that_changes_nothing_is_taken(card):
    np.testing.assert_array_equal(the_one(with_card(lamost_image(), b"EXTEND", card)).flux, pixels(1)[0][0])


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ([b"RA      = 9.93e1"], 99.3),
        ([b"RA      = 99.3 / \xe9"], 99.3),
        ([b"ra      = 99.3"], 99.3),
        ([b" RA     = 99.3"], 99.3),
        ([b"RA= 99.3"], 99.3),
        ([b"HIERARCH RA = 99.3"], 99.3),
        ([b"RA      = + 99.3"], 99.3),
        ([b"RA      = 99.3", b"RA      = 1.0"], 99.3),
        ([b"Ra      = 99.3", b"RA      = 1.0"], 99.3),
        ([b"RA      ="], math.nan),
        ([b"HIERARCH THE RA = 1.0"], math.nan),
        ([], math.nan),
    ],
)
def test_a_value_written_in_an_odd_way_is_that_of_astropy(cards, expected):
    data = with_card(lamost_image(), b"RA", *cards)
    np.testing.assert_equal(the_one(data).ra, expected)
    np.testing.assert_equal(np.float64(header_by_astropy(io.BytesIO(data)).get("RA")), expected)


@pytest.mark.parametrize(
    ("key", "cards", "reason"),
    [
        (b"RA", [b"RA      = 99,3"], "damaged header"),
        (b"RA", [b"RA      99.3"], "bad value RA"),
        (b"RA", [b"RA      = 99.3", b"CONTINUE  'x'"], "damaged header"),
        (b"CLASS", [b"CLASS   = 'STA\xd2'"], "damaged header"),
        (b"MJD", [b"MJD     = 55863.5"], "bad value MJD"),
        (b"PLANID", [b"PLANID  ="], "missing PLANID"),
        (b"SPID", [b"SPID    = T"], "bad value SPID"),
        (b"NAXIS1", [b"NAXIS1  = 240", b"NAXIS1  = 120"], "damaged header"),
        (b"NAXIS1", [b"naxis1  = 240"], "damaged header"),
        (b"NAXIS1", [b"NAXIS1  = 240.0"], "damaged header"),
        (b"SIMPLE", [b"SIMPLE  = F"], "damaged header"),
        (b"EXTEND", [b"GROUPS  = T"], "not a LAMOST spectrum"),
    ],
)
def test_values_that_cannot_be_read_are_not_missing(key, cards, reason):
    assert reasons(with_card(lamost_image(), key, *cards)) == [reason]


def test_bytes_that_are_not_ascii_do_no_harm_in_comments():
    data = with_card(lamost_image(), b"NAXIS1", b"NAXIS1  =                  240 / \xe9\xff")
    np.testing.assert_array_equal(the_one(data).flux, pixels(1)[0][0])


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("TSCAL1  = 2", 2.0 * pixels(1)[0][0]),
        ("TZERO1  = 1.0e3", 1e3 + pixels(1)[0][0]),
        ("TDIM1   = '(240,1)'", pixels(1)[0][0]),
    ],
)
def test_scaled_and_shaped_columns_are_those_of_astropy(card, expected):
    flux = the_one(with_cards(lamost_table(), 1, card)).flux
    np.testing.assert_allclose(flux, expected, rtol=1e-6)


def test_null_values_are_no_flux():
    data = lamost_table(columns={"FLUX": np.arange(N), "WAVELENGTH": 3700 + np.arange(N)}, form="{}J")
    assert reasons(with_cards(data, 1, "TNULL1  = 3")) == ["bad column flux"]
    np.testing.assert_array_equal(the_one(with_cards(data, 1, "TNULL1  = -32768")).flux, np.arange(N))


@pytest.mark.realdata
def test_cards_of_damaged_files(cases):
    for path in sorted(cases.glob("cards/lamost-BZERO-*.fits")):
        assert [item.reason for item in read_spectra(str(path))] == ["scaled pixels"]
    path = cases / "cards" / "ra_dec_bit.fits"
    spectrum, header = read_spectrum(str(path)), header_by_astropy(path)
    assert (spectrum.ra, spectrum.dec) == (header["RA"], header["DEC"])


def test_damaged_files_give_spectra_or_reasons():
    rng = random.Random(12)
    for i in range(80):
        kind, data = damage(rng.choice([lamost_image(), lamost_table()]), rng)
        assert_sound(data, label=f"{i}: {kind}")


def test_a_rejected_fibre_is_named():
    (error,) = read_spectra("x", lamost_image({"FIBERTYP": "Dead", "OBSID": 7}))
    assert error.spec_id == "lamost-7"
    assert count_spectra("x", lamost_image()) == 1
