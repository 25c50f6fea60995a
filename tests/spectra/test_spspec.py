"""The reader of spSpec files: it returns what astropy reads, or refuses the file with a reason."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest
from astropy.io import fits
from source_files import N, assert_record, assert_sound, reasons, spspec_file, the_one
from spec_files import damage

from raystellar.errors import SpectrumError
from raystellar.spectra import count_spectra, read_spectra, read_spectrum
from raystellar.spectra.spspec import NO_DATA


def read_plainly(path):
    with fits.open(path, memmap=False) as hdus:
        header, rows = hdus[0].header, hdus[0].data.astype(np.float32)
    loglam = (header["COEFF0"] + header["COEFF1"] * np.arange(rows.shape[1])).astype(np.float32)
    bad = (rows[2] <= 0) | (rows[3].astype(np.int64) & NO_DATA != 0)
    with np.errstate(all="ignore"):
        ivar = np.where(bad, 0, 1 / rows[2].astype(np.float64) ** 2)
    return header, loglam, rows[0], ivar, rows[3]


@pytest.mark.realdata
def test_a_real_file_as_astropy_reads_it(real_data):
    (path,) = real_data.glob("sdss_other/spSpec-*.fit")
    spectrum = read_spectrum(str(path))
    header, loglam, flux, ivar, _ = read_plainly(path)
    assert_record(spectrum)
    np.testing.assert_array_equal(spectrum.loglam, loglam)
    np.testing.assert_array_equal(spectrum.flux, flux)
    np.testing.assert_allclose(spectrum.ivar, ivar, rtol=1e-6)
    assert (spectrum.spec_id, spectrum.plate, spectrum.mjd, spectrum.fiberid) == ("1307-52999-323", 1307, 52999, 323)
    assert (spectrum.object_class, spectrum.is_sky, spectrum.zwarning) == ("GALAXY", False, 0)
    assert (spectrum.z, spectrum.z_err) == (header["Z"], header["Z_ERR"])
    assert (spectrum.ra, spectrum.dec) == (header["RAOBJ"], header["DECOBJ"])
    assert header["SN_G"] < spectrum.sn < header["SN_R"]  # medians in bands on both sides of the median over all
    assert count_spectra(str(path)) == 1


def test_bad_pixels_have_no_weight():
    sigma, mask = np.full(N, 0.5), np.zeros(N)
    sigma[[1, 2, 3]], mask[[5, 6, 7]] = (0, -1, np.nan), (1 << 18, 1 << 24, 1 << 23)
    spectrum = the_one(spspec_file(sigma=sigma, mask=mask))
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == [1, 2, 3, 5, 6]
    assert (spectrum.ivar[[0, 4, 7]] == 4).all()


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"SPEC_CLN": 1}, ("STAR", "", False, 0)),
        ({"SPEC_CLN": 6}, ("STAR", "late", False, 0)),
        ({"SPEC_CLN": 4}, ("QSO", "", False, 0)),
        ({"SPEC_CLN": 5}, ("", "", True, 1)),
        ({"SPEC_CLN": 0, "Z_STATUS": 1}, ("", "", False, 4)),
        ({"SPEC_CLN": 1, "OBJTYPE": "SKY"}, ("STAR", "", True, 1)),
        ({"SPEC_CLN": 2, "Z_WARNIN": 16}, ("GALAXY", "", False, 4)),
    ],
)
def test_classes_and_warnings_in_the_words_of_later_files(cards, expected):
    spectrum = the_one(spspec_file(cards))
    assert (spectrum.object_class, spectrum.subclass, spectrum.is_sky, spectrum.zwarning) == expected


def test_four_rows_and_gzip():
    assert the_one(spspec_file(rows=4)).spec_id == the_one(gzip.compress(spspec_file())).spec_id == "1307-52999-323"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (spspec_file()[:-2880], "truncated"),
        (spspec_file({"COEFF0": None}), "missing COEFF0 and COEFF1"),
        (spspec_file({"COEFF0": "x"}), "missing COEFF0 and COEFF1"),
        (spspec_file({"COEFF0": 3800.0}), "loglam out of range"),
        (spspec_file({"COEFF1": 2e-4}), "wavelengths off the lattice"),
        (spspec_file({"COEFF0": 3.57965}), "wavelengths off the lattice"),
        (spspec_file({"PLATEID": None}), "missing PLATEID"),
        (spspec_file({"Z": "none"}), "bad value Z"),
        (spspec_file({"BSCALE": 2.0}), "scaled pixels"),
        (spspec_file().replace(b"NAXIS1  =                  240", b"NAXIS1  =              2400000"), "truncated"),
        (spspec_file().replace(b"NAXIS1  =                  240", b"NAXIS1  =                   24"), "too few pixels"),
    ],
)
def test_refusals(data, expected):
    assert reasons(data) == [expected]


def test_damaged_files_give_spectra_or_reasons():
    rng = random.Random(11)
    for i in range(60):
        kind, data = damage(spspec_file(), rng)
        assert_sound(data, label=f"{i}: {kind}")


def test_a_file_that_is_not_there(tmp_path):
    assert [item.reason for item in read_spectra(str(tmp_path / "spSpec.fit"))] == ["not found"]
    with pytest.raises(SpectrumError, match="not found"):
        count_spectra(str(tmp_path / "spSpec.fit"))
