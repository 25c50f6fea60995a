"""Derivatives of the spectrum of a star: step sizes, limits of the parameters, and a derivative that is known."""

import dataclasses

import numpy as np
import pytest

from raystellar.simulator.derivatives import PARAMETERS, STEPS, derivatives
from raystellar.simulator.instrument import draw_conditions, line_spread
from raystellar.simulator.starlight import rest_spectrum, star_light

SIGMA = line_spread(31, draw_conditions(1, 0))


@pytest.fixture(scope="module")
def of_the_sun(sunlike):
    return derivatives(sunlike, SIGMA)


def test_half_the_step_gives_the_same_derivatives(sunlike, of_the_sun):
    flux, slopes = of_the_sun
    _, fine = derivatives(sunlike, SIGMA, factor=0.5)
    relative, change = slopes / flux[:, None], (fine - slopes) / flux[:, None]
    assert (np.linalg.norm(change, axis=0) < 0.01 * np.linalg.norm(relative, axis=0)).all()


def test_the_derivatives_predict_the_flux_of_a_neighbour(sunlike, of_the_sun):
    flux, slopes = of_the_sun
    moves = {"teff": 30.0, "feh": -0.03, "logg": 0.04, "alpha": 0.02, "vmicro": -0.1, "ebv": 0.01, "rv": 5.0}
    near = dataclasses.replace(sunlike, **{name: getattr(sunlike, name) + move for name, move in moves.items()})
    change = star_light(*rest_spectrum(near), near, SIGMA) - flux
    predicted = slopes @ [moves[name] for name in PARAMETERS]
    assert np.linalg.norm(predicted - change) < 0.05 * np.linalg.norm(change)


def test_reddening_dims_blue_pixels_more_at_a_fixed_magnitude(of_the_sun):
    flux, slopes = of_the_sun
    relative = slopes[:, PARAMETERS.index("ebv")] / flux
    assert (np.diff(relative) > 0.0).all()
    assert relative[0] < 0.0 < relative[-1]


def test_a_star_at_the_limits_of_the_simulator_has_derivatives(sunlike):
    edge = dataclasses.replace(sunlike, logg=0.0, alpha=0.6, feh=-4.5)
    inside = dataclasses.replace(edge, logg=STEPS["logg"], alpha=0.6 - STEPS["alpha"], feh=-4.5 + STEPS["feh"])
    (flux, slopes), (_, near) = derivatives(edge, SIGMA), derivatives(inside, SIGMA)
    column = PARAMETERS.index("logg")
    assert np.isfinite(slopes).all()
    assert np.linalg.norm(slopes[:, column] - near[:, column]) < 0.05 * np.linalg.norm(near[:, column])
    assert (flux > 0.0).all()
