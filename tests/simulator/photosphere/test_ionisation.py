import math

import numpy as np
import pytest

from raystellar.simulator.photosphere.atoms import INDEX, IONISATION_EV, TERMS, abundances
from raystellar.simulator.photosphere.ionisation import gas_state, stage_fractions


def naive_fractions(symbol, temperature, ne):
    """Return the solution of Saha's equation in plain Python, with the constants spelled out."""
    kt_ev = 8.617333262e-5 * temperature
    u = [sum(g * math.exp(-e / kt_ev) for g, e in stage) for stage in TERMS[symbol]]
    front = 2.0 * (2 * math.pi * 9.1093837e-28 * 1.380649e-16 * temperature / 6.62607015e-27**2) ** 1.5
    ratios = [front * u[i + 1] / u[i] * math.exp(-IONISATION_EV[INDEX[symbol], i] / kt_ev) / ne for i in range(2)]
    stages = np.array([1.0, ratios[0], ratios[0] * ratios[1]])
    return stages / stages.sum()


@pytest.mark.parametrize(("temperature", "pressure"), [(3500.0, 1e3), (5777.0, 1e5), (9500.0, 1e3)])
def test_the_gas_obeys_saha_charge_conservation_and_the_ideal_gas_law(temperature, pressure):
    abundance = abundances(-0.5, 0.2)
    ne, nuclei, neutral, _, saha = gas_state(temperature, pressure, abundance)
    fractions = stage_fractions(saha, ne)
    for symbol in ("Na", "Ca", "Fe", "Mg"):
        np.testing.assert_allclose(fractions[INDEX[symbol]], naive_fractions(symbol, temperature, ne), rtol=1e-6)
    protons = neutral * saha[0, 0] / ne
    metals = nuclei * np.sum(abundance[1:] * (fractions[1:, 1] + 2.0 * fractions[1:, 2]))
    assert protons + metals == pytest.approx(ne, rel=1e-8)
    molecular = nuclei - neutral - protons
    particles = ne + neutral + protons + 0.5 * molecular + nuclei * abundance[1:].sum()
    assert particles * 1.380649e-16 * temperature == pytest.approx(pressure, rel=1e-6)


def test_metals_give_the_electrons_of_cool_stars():
    rich, poor = (gas_state(4500.0, 1e4, abundances(feh))[0] for feh in (0.0, -2.0))
    assert rich > 10 * poor
