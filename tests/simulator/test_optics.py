import numpy as np
import pytest

from raystellar.simulator.optics import add_sky_lines, shift_and_blur


def test_a_blurred_line_moves_by_a_fraction_of_a_sample_and_keeps_its_flux():
    x = np.arange(400.0)
    sigma = np.full(90, 1.0)
    line = np.exp(-0.5 * ((x - 200.0) / 6.0) ** 2)
    blurred = shift_and_blur(line, 0.3, 4.0, sigma)
    position = 0.3 + 4.0 * np.arange(90)
    assert np.average(position, weights=blurred) == pytest.approx(200.0, abs=1e-3)
    assert 4.0 * blurred.sum() == pytest.approx(line.sum(), rel=1e-5)
    assert np.average((position - 200.0) ** 2, weights=blurred) == pytest.approx(6.0**2 + 4.0**2, rel=1e-3)


def test_positions_beyond_the_ends_have_no_weight():
    blurred = shift_and_blur(np.ones(100), -40.0, 4.0, np.full(40, 1.0))
    assert blurred[0] == 0.0
    assert blurred[12:30] == pytest.approx(1.0)


def test_errors_of_a_sky_line_are_those_of_its_strength_and_position():
    sky, residual, variance = np.zeros((3, 100))
    errors = np.array([[0.01], [0.02]])
    add_sky_lines(np.array([50.2]), np.array([300.0]), np.full(100, 1.2), errors, 0.008, 0.015, sky, residual, variance)
    pixel = np.arange(100)

    def line(flux, position):
        return flux * np.exp(-0.5 * ((pixel - position) / 1.2) ** 2) / (np.sqrt(2.0 * np.pi) * 1.2)

    assert sky == pytest.approx(line(300.0, 50.2), abs=1e-3)
    assert sky + residual == pytest.approx(line(303.0, 50.22), abs=0.02)
    moved = line(300.0, 50.2 + 0.0075) - line(300.0, 50.2 - 0.0075)
    assert variance == pytest.approx((0.008 * sky) ** 2 + moved**2, abs=1e-3)
