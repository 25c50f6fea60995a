"""Line strengths of real stars and their twins, on a library of arrays."""

import numpy as np
import pytest

from raystellar.bench.sky import BANDS_AIR, COLOUR, air_to_vacuum, equivalent_width, measure, sky_table, twin


def test_the_width_of_a_box_is_its_depth_times_its_width():
    wavelength = np.arange(4700.0, 5000.0, 0.1)
    low, high = air_to_vacuum(np.array([4855.0, 4865.0]))
    flux = np.where((wavelength > low) & (wavelength < high), 0.5, 1.0)
    assert equivalent_width(wavelength, flux, BANDS_AIR["H-beta"]) == pytest.approx(5.0, abs=0.05)


def test_the_table_ranks_and_only_the_colour_has_no_limit():
    real = np.random.default_rng(0).normal(size=(40, 7))
    table = sky_table(real, 2.0 * real + 1.0)
    assert [row.name for row in table] == [*BANDS_AIR, COLOUR]
    for row, values in zip(table, real.T, strict=True):
        assert (row.correlation, row.slope) == pytest.approx((1.0, 2.0))
        assert (row.real, row.simulated) == pytest.approx((np.median(values), 2.0 * np.median(values) + 1.0))
    assert [row.as_wanted for row in table] == [True] * 7
    assert [row.as_wanted for row in sky_table(real, -real)] == [False] * 6 + [True]


def test_a_star_that_is_its_own_twin_has_the_same_lines_and_others_are_left_out(tmp_path):
    wave = np.arange(3890.0, 6700.0, 0.5)
    labels = np.array([[5000.0, 4.0, -0.5], [7000.0, 4.0, -0.5], [20000.0, 4.0, 0.0], [5000.0, np.nan, 0.0]])
    flux = np.array([np.interp(air_to_vacuum(wave), *twin(*star)) for star in labels[:2]])
    flux = np.vstack([flux, np.ones((2, len(wave)))])
    names = {name: labels[:, k] for k, name in enumerate(("teff", "logg", "feh"))}
    np.savez(tmp_path / "library.npz", wave_air=wave, flux=flux, miles_id=["a", "b", "c", "d"], **names)
    real, simulated, left_out = measure(str(tmp_path / "library.npz"))
    np.testing.assert_allclose(real, simulated, atol=0.1)  # the library has coarser steps
    assert left_out == {"a label missing": 1, "a label out of range": 1, "flux not positive": 0}
