import numpy as np
import pytest
from scipy.special import expn

from raystellar.simulator.photosphere.radiation import e4, emergent_flux, planck, scattering_excess

LN_TAU = np.linspace(np.log(1e-5), np.log(60.0), 400)
TAU, HALF_STEP = np.exp(LN_TAU), 0.5 * (LN_TAU[1] - LN_TAU[0])


@pytest.mark.parametrize("tau", [0.0, 0.013, 0.7, 3.3, 12.0])
def test_the_exponential_integral_is_that_of_scipy(tau):
    assert e4(tau) == pytest.approx(expn(4, tau), rel=1e-3, abs=1e-9)


def test_the_planck_function_obeys_the_law_of_stefan_and_boltzmann():
    wave = np.geomspace(500.0, 1e6, 4000)
    flux = np.pi * np.trapezoid([planck(w, 5777.0) for w in wave], wave)
    assert flux == pytest.approx(5.670374e-5 * 5777.0**4, rel=1e-3)


def test_a_source_that_is_linear_in_depth_has_the_flux_of_eddington_and_barbier():
    flux = emergent_flux(np.ones(TAU.size), 2.0 + 3.0 * TAU, TAU, HALF_STEP)
    assert flux == pytest.approx(np.pi * (2.0 + 3.0 * 2.0 / 3.0), rel=1e-3)


@pytest.mark.parametrize("scattered", [0.0, 0.5, 0.9])
def test_scattering_in_an_isothermal_layer_has_the_solution_of_eddington(scattered):
    wave, temperature, ratio = np.array([5000.0]), np.full(TAU.size, 5000.0), np.ones((1, TAU.size))
    excess = scattering_excess(ratio, scattered * ratio, wave, temperature, TAU, HALF_STEP)[0]
    root = np.sqrt(1.0 - scattered)  # of the share of true absorption
    depth = -planck(5000.0, 5000.0) / (1.0 + root) * np.exp(-np.sqrt(3.0) * root * TAU)  # J - B
    assert excess == pytest.approx(scattered * depth, rel=0.01, abs=1e-3 * planck(5000.0, 5000.0))
