"""Formats that are not read are refused by name, by their content or else by the name of the file."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from source_files import rendered, with_header, zbest_file
from spec_files import coadd, spec_file, table

from raystellar.errors import SpectrumError
from raystellar.spectra import read_spectra, read_spectrum
from raystellar.spectra.foreign import APOGEE, WEB_PAGE, refusal
from raystellar.spectra.spec import read_spec

IMAGE = np.ones((3, 50), np.float32)
APSTAR = rendered(
    with_header(fits.PrimaryHDU(), {"OBJID": "2M00104221+5744297", "V_APRED": "1.2", "NVISITS": 3}),
    *(fits.ImageHDU(IMAGE) for _ in range(9)),
)
APVISIT = rendered(with_header(fits.PrimaryHDU(), {"APRED": "dr17", "PLATE": 5583}), *(fits.ImageHDU(IMAGE),) * 5)
CUBE = rendered(
    with_header(fits.PrimaryHDU(), {"MANGAID": "1-113379", "PLATEIFU": "7443-12703"}),
    fits.ImageHDU(np.ones((4, 5, 5), np.float32), name="FLUX"),
)
TEMPLATES = rendered(
    with_header(fits.PrimaryHDU(np.ones((12, 500), np.float32)), {"COEFF0": 3.4, "NAME0": "A0 (19510)"})
)
NUMBERS = ("E", np.ones(9))


def catalogue(*names):
    return rendered(fits.PrimaryHDU(), table(dict.fromkeys(names, NUMBERS), case=str.upper))


SPALL = catalogue("plate", "mjd", "fiberid", "class", "z", "z_err", "zwarning")
PLATES = catalogue("plate", "mjd", "platequality", "run2d")
REDSHIFTS, LIST = "redshift table (spZbest, spAll)", "list of plates (platelist)"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (APSTAR, APOGEE),
        (APVISIT, APOGEE),
        (CUBE, "MaNGA spectra"),
        (TEMPLATES, "template library"),
        (zbest_file(), REDSHIFTS),
        (SPALL, REDSHIFTS),
        (catalogue("targetid", "z", "zerr", "zwarn", "spectype"), "redshift table (redrock)"),
        (catalogue("targetid", "expid", "night", "fiber"), "single exposures of DESI (spectra)"),
        (catalogue("plate", "linename", "linewave", "linez"), "line table (spZline)"),
        (PLATES, LIST),
        (catalogue("field", "mjd", "fieldquality", "nexp"), LIST),
        (catalogue("plate", "mjd", "fiber", "teff_adop", "logg_adop", "feh_adop"), "table of stellar parameters"),
        (catalogue("sdss_id", "teff", "logg", "fe_h"), "table of stellar parameters"),
        (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", WEB_PAGE),
        (b"\n  <html>", WEB_PAGE),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", WEB_PAGE),
        (b'{"error": "not found"}', WEB_PAGE),
        (b'[{"error": 404}]', WEB_PAGE),
        (b"\xef\xbb\xbf<html>", WEB_PAGE),
        (b"", "empty file"),
        (gzip.compress(b"", mtime=0), "empty file"),
        (b"404 Not Found", "not a FITS file"),
        (rendered(fits.PrimaryHDU(IMAGE)), "not a spec file"),
        (rendered(fits.PrimaryHDU()), "no coadd table"),
        (rendered(fits.PrimaryHDU(), fits.ImageHDU(IMAGE)), "no coadd table"),
    ],
)
def test_the_content_names_a_format(data, expected):
    for path in ("x.fits", "spec-0266-51602-0031.fits"):
        (error,) = read_spectra(path, data)
        assert (error.stage, error.reason) == ("read", expected)
        with pytest.raises(SpectrumError, match=r".") as caught:
            read_spec(path, data)
        assert caught.value.reason == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apStar-1.2-apo25m-2M00104221+5744297.fits", APOGEE),
        ("asVisit-1.2-5583-59000-001.fits", APOGEE),
        ("aspcapStar-dr17-2M00104221+5744297.fits", APOGEE),
        ("manga-7443-12703-LOGRSS.fits.gz", "MaNGA spectra"),
        ("spEigenGal-56436.fits", "template library"),
        ("spZbest-0266-51602.fits", REDSHIFTS),
        ("spAll-v5_13_2.fits", REDSHIFTS),
        ("spAllLine-v6_1_3.fits", "line table (spZline)"),
        ("platelist.fits", LIST),
        ("ssppOut-dr12.fits", "table of stellar parameters"),
        ("spectra-main-dark-10016.fits", "single exposures of DESI (spectra)"),
        ("spec-0266-51602-0031.fits", "no coadd table"),
        ("spectra-1.fits", "no coadd table"),
    ],
)
def test_the_name_names_a_format_where_the_content_does_not(name, expected):
    (error,) = read_spectra(f"folder/{name}", rendered(fits.PrimaryHDU(), fits.ImageHDU(IMAGE)))
    assert error.reason == expected
    assert "no coadd table" in str(error)


def test_spectra_are_never_refused_by_name():
    for name in ("apStar-1.fits", "spZbest-0266-51602.fits", "manga-1.fits"):
        assert read_spectrum(name, spec_file()).plate == 266


def test_damaged_spectra_keep_their_reasons():
    assert [item.reason for item in read_spectra("spec.fits", spec_file()[:9000])] == ["truncated"]
    late = spec_file(row={"FEH_ADOP": ("E", 1.0), "TEFF_ADOP": ("E", 1.0), "PLATE": ("4A", "x")})
    assert [item.reason for item in read_spectra("spec.fits", late)] == ["bad value plate"]
    no_ivar = spec_file(coadd(formats={"ivar": None, "class": ("E", np.ones(200))}))
    assert [item.reason for item in read_spectra("spec.fits", no_ivar)] == ["missing column ivar"]


def test_errors_of_the_disk_keep_their_reasons():
    error = SpectrumError("fetch", "read failed", "why")
    assert refusal(b"<html>", "apStar-1.fits", error) is error
