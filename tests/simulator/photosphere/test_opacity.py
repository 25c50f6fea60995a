import numpy as np
import pytest

from raystellar.simulator.photosphere.opacity import depth_factors, h_minus_table, occupation


def test_the_negative_ion_of_hydrogen_absorbs_most_at_8500_angstrom():
    wave = np.arange(3000.0, 16400.0, 10.0)
    bound_free = h_minus_table(wave)[:, 0]
    assert wave[np.argmax(bound_free)] == pytest.approx(8500.0, abs=100.0)
    assert bound_free.max() == pytest.approx(3.99e-17, rel=0.01)


@pytest.mark.parametrize(
    ("wave", "expected"),  # Bell & Berrington 1987: 1e-26 cm4/dyn at 5040 K
    [(5063.0, 0.195), (9113.0, 0.576), (15189.0, 1.49)],
)
def test_free_free_opacity_of_the_negative_ion_is_that_of_the_literature(wave, expected):
    row, factors = h_minus_table(np.array([wave]))[0], depth_factors(5040.0, 1.0)
    assert row[1:] @ factors[1:7] / (1.380649e-16 * 5040.0) == pytest.approx(1e-26 * expected, rel=0.03)


def test_high_levels_dissolve_with_density():
    assert occupation(5.0, 1e13, 1e16) > 0.95
    assert occupation(25.0, 1e15, 1e16) < 0.05
