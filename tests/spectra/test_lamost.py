"""The reader of LAMOST files of old and new releases."""

from __future__ import annotations

import csv
import gzip
import math
import random

import numpy as np
import pytest
from astropy.io import fits
from source_files import N, assert_record, assert_sound, lamost_image, lamost_table, reasons, the_one
from spec_files import damage

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


def test_damaged_files_give_spectra_or_reasons():
    rng = random.Random(12)
    for i in range(80):
        kind, data = damage(rng.choice([lamost_image(), lamost_table()]), rng)
        assert_sound(data, label=f"{i}: {kind}")


def test_a_rejected_fibre_is_named():
    (error,) = read_spectra("x", lamost_image({"FIBERTYP": "Dead", "OBSID": 7}))
    assert error.spec_id == "lamost-7"
    assert count_spectra("x", lamost_image()) == 1
