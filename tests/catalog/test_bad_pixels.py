"""Bad pixels decide nothing: whatever one pixel holds, labels stay within their errors, or the row is flagged."""

import numpy as np
import pytest

import raystellar
from raystellar.errors import SpectrumError
from raystellar.preprocessing.ingest import Admitted, gather
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.spectra import read_spectrum
from raystellar.targets import TARGET_NAMES

DECADES = np.arange(-45.0, 39.0, 1.0)
"""Powers of ten that a number of 32 bits can hold."""


@pytest.fixture(scope="module")
def loaded(model):
    return raystellar.load(model)


@pytest.fixture(scope="module")
def star(survey):
    """A star as arrays."""
    spectrum = read_spectrum(str(sorted((survey / "spectra").rglob("spec-*.fits"))[1]))
    return {"loglam": spectrum.loglam, "flux": spectrum.flux, "ivar": spectrum.ivar, "rv": 0.0}


def with_pixel(star, name, value, pixel=2000):
    values = star[name].copy()
    values[pixel] = value
    return star | {name: values, "spec_id": f"{name} {value:g}"}


def unmoved(row, reference):
    """Return whether the labels of a row lie within their errors of the labels of the spectrum as it is."""
    return all(abs(row[name] - reference[name]) <= reference[f"e_{name}"] for name in TARGET_NAMES)


@pytest.mark.parametrize("name", ["flux", "ivar"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_over_all_decades_of_one_pixel_labels_stay_or_the_row_is_flagged(loaded, star, name, sign):
    reference = loaded.label(star)[0]
    with np.errstate(over="ignore", under="ignore"):
        values = [*np.float32(sign * 10.0**DECADES), sign * np.inf, np.nan, 0.0]
    table = loaded.label([with_pixel(star, name, value) for value in values])
    assert len(table) + len(table.rejects) == len(values)
    for row in table:
        assert all(np.isfinite(row[column]) for name in TARGET_NAMES for column in (name, f"e_{name}"))
        assert unmoved(row, reference) or row["flag_bad"], (row["spec_id"], row["flags"])


def test_zeros_and_nan_in_bad_pixels_change_no_label_beyond_its_error(loaded, star):
    bad = np.random.default_rng(0).choice(star["flux"].size, 93, replace=False)
    rows = []
    for value in (star["flux"][bad], 0.0, np.nan, 1e30):
        flux, ivar = star["flux"].copy(), star["ivar"].copy()
        flux[bad], ivar[bad] = value, 0.0
        rows.append(star | {"flux": flux, "ivar": ivar})
    table = loaded.label(rows)
    reference = loaded.label(star)[0]
    for name in TARGET_NAMES:
        assert np.ptp(table[name]) == 0.0  # what stands in a bad pixel does not matter at all
    assert unmoved(table[0], reference)


def test_a_dataset_holds_finite_numbers_whatever_the_pixels_are(survey):
    """Rows of random spectra with wild pixels are finite, or rejected."""
    spectrum = read_spectrum(str(sorted((survey / "spectra").rglob("spec-*.fits"))[1]))
    rng = np.random.default_rng(1)
    wild = []
    for _ in range(200):
        flux, ivar = spectrum.flux.copy(), spectrum.ivar.copy()
        for values in (flux, ivar):
            at = rng.choice(values.size, rng.integers(1, values.size), replace=False)
            values[at] = rng.choice([1.0, -1.0], at.size) * 10.0 ** rng.uniform(-44, 38.5, at.size)
            values[rng.choice(values.size, 5)] = rng.choice([np.nan, np.inf, -np.inf, 0.0], 5)
        fields = {name: getattr(spectrum, name) for name in spectrum.__dataclass_fields__}
        wild.append(type(spectrum)(**fields | {"flux": flux, "ivar": ivar}))
    batch = gather([("wild", wild)], len(wild), Preprocessor(PreprocessConfig()), at_rest)
    assert len(batch.flux) + len(batch.rejects) == len(wild)
    assert np.isfinite(batch.flux).all()
    assert np.isfinite(batch.ivar).all()
    assert all(isinstance(error, SpectrumError) for _, error in batch.rejects)


def at_rest(spectrum):
    return Admitted(0.0, "given")


@pytest.fixture(scope="module")
def real(loaded, cases):
    """Catalogue rows and rejects of real spectra whose pixels were changed, by file name."""
    table = loaded.label(cases / "pixels")
    return {row["path"].split("/")[-1]: row for row in [*table, *table.rejects]}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["flux_1e6.fits", "flux_1e30.fits", "nan_where_ivar_0.fits"])
def test_a_real_spectrum_with_a_bad_pixel_keeps_its_labels(real, name):
    whole = real["spec-4961-55719-0378.fits"]
    assert unmoved(real[name], whole)
    assert real[name]["flags"] == whole["flags"]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["ivar_3e38.fits", "training_star_ivar_3e38.fits"])
def test_a_pixel_of_too_large_an_ivar_is_as_good_as_masked(loaded, real, cases, name):
    spectrum = read_spectrum(str(cases / "pixels" / name))
    assert (spectrum.ivar > 1e38).sum() == 1
    spectrum.ivar[spectrum.ivar > 1e38] = 0.0
    masked = loaded.label(spectrum)[0]
    for column in (*TARGET_NAMES, "e_teff", "ood_score", "flags", "good_fraction"):
        assert real[name][column] == masked[column]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["flux_1e-40.fits", "ivar_all_0.fits"])
def test_a_real_spectrum_without_good_pixels_is_rejected(real, name):
    assert (real[name]["reason"], real[name]["detail"]) == ("no good pixels", "4619 of 4619 pixels are bad")
