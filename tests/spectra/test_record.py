"""The signal-to-noise ratio and the wavelengths of a spectrum."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raystellar.errors import SpectrumError
from raystellar.spectra.record import (
    MAX_LOGLAM,
    MIN_LOGLAM,
    MIN_PIXELS,
    check_loglam,
    good_pixels,
    lattice,
    median_sn,
    near_one,
)


def sn(wavelengths, flux, ivar=1.0):
    """Return the S/N of pixels at these wavelengths [angstrom]."""
    loglam = np.log10(wavelengths).astype(np.float32)
    return median_sn(loglam, np.full(len(loglam), flux, np.float32), np.full(len(loglam), ivar, np.float32))


@pytest.mark.parametrize(
    ("wavelength", "counts"), [(3279.0, False), (3281.0, True), (6000.0, True), (9859.0, True), (9861.0, False)]
)
def test_sn_is_that_of_the_pixels_from_3280_to_9860_angstrom(wavelength, counts):
    assert (sn([wavelength], 7.0) == 7.0) == counts
    assert math.isnan(sn([wavelength], 7.0)) == (not counts)


def test_sn_is_flux_times_the_root_of_ivar():
    assert sn([5000.0, 6000.0, 7000.0], 6.0, 0.25) == 3.0


def test_sn_of_an_even_number_of_pixels_is_the_upper_of_the_middle_two():
    assert sn([5000.0, 5001.0, 5002.0, 5003.0], [4.0, 1.0, 2.0, 3.0]) == 3.0


def test_sn_leaves_out_bad_pixels_and_keeps_the_sign():
    assert sn([5000.0, 5001.0, 5002.0], [-5.0, 100.0, 100.0], [1.0, 0.0, -1.0]) == -5.0
    assert math.isnan(sn([5000.0], 1.0, 0.0))


def test_the_lattice_has_the_wavelengths_of_spec_files():
    loglam = lattice(3.5785, 1e-4, 4000)
    assert loglam.dtype == np.float32
    np.testing.assert_array_equal(loglam, (np.arange(35785, 39785) * 1e-4).astype(np.float32))
    np.testing.assert_array_equal(lattice(3.5785004, 1e-4, 4000), loglam)  # rounded in the header


@pytest.mark.parametrize(
    ("coeff0", "coeff1", "reason"),
    [
        (None, 1e-4, "missing COEFF0 and COEFF1"),
        (3.58, "0.0001", "missing COEFF0 and COEFF1"),
        (math.nan, 1e-4, "loglam out of range"),
        (MIN_LOGLAM - 1e-3, 1e-4, "loglam out of range"),
        (3.57852, 1e-4, "wavelengths off the lattice"),
        (3.5785, 1.001e-4, "wavelengths off the lattice"),
    ],
)
def test_coefficients_off_the_lattice_are_refused(coeff0, coeff1, reason):
    with pytest.raises(SpectrumError) as caught:
        lattice(coeff0, coeff1, 100)
    assert caught.value.reason == reason


def test_increasing_wavelengths_within_the_bounds_are_accepted():
    check_loglam(np.linspace(MIN_LOGLAM, MAX_LOGLAM, MIN_PIXELS))


@pytest.mark.parametrize(
    ("loglam", "reason"),
    [
        (np.linspace(3.5, 3.6, MIN_PIXELS - 1), "too few pixels"),
        (np.linspace(2.999, 3.6, MIN_PIXELS), "loglam out of range"),
        (np.linspace(3.6, 4.701, MIN_PIXELS), "loglam out of range"),
        (np.where(np.arange(MIN_PIXELS) == 9, np.nan, 3.5), "non-finite wavelength"),
        (np.append(np.linspace(3.5, 3.6, MIN_PIXELS), 3.6), "loglam not increasing"),
    ],
)
def test_wavelengths_that_are_no_grid_are_refused(loglam, reason):
    with pytest.raises(SpectrumError) as caught:
        check_loglam(loglam)
    assert caught.value.reason == reason


@pytest.mark.parametrize("unit", [1e-30, 1e-17, 1e-7, 1.0, 1e5, 1e12])
def test_a_flux_in_any_unit_comes_near_one_without_rounding(unit):
    rng = np.random.default_rng(0)
    flux, ivar = unit * rng.normal(3.0, 1.0, 500), rng.uniform(50.0, 200.0, 500) / unit**2
    near, noise = near_one(flux, ivar)
    assert 2.0**-21 < np.median(np.abs(near)) < 2.0**21
    scale = near[0] / flux[0]
    assert np.frexp(scale)[0] == 0.5  # a power of 2
    np.testing.assert_array_equal(near, flux * scale)
    np.testing.assert_allclose(noise, ivar / scale**2, rtol=1e-15)
    assert good_pixels(*near_one(flux.astype(np.float32), ivar)).all()


def test_ordinary_units_stay_as_they_are():
    flux, ivar = np.float32([1, 2, np.nan]), np.float32([1, 0, 3e38])
    for noise in (ivar, np.float32([1, 0, np.nan]), np.zeros(3, np.float32), np.ones(3, np.float32)):
        assert near_one(flux, noise) == (flux, noise)
