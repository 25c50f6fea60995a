import numpy as np

from raystellar.simulator.photosphere.atmosphere import TAU_ROSS, structure
from raystellar.simulator.photosphere.atoms import abundances


def test_the_model_of_the_sun_has_the_temperature_and_pressure_of_standard_models():
    model = structure(5777.0, 4.44, 0.0, abundances(0.0))
    at_one = np.interp(0.0, np.log(TAU_ROSS), model[0])
    pressure = np.exp(np.interp(0.0, np.log(TAU_ROSS), np.log(model[1])))
    assert 6000 < at_one < 6700
    assert 0.8e5 < pressure < 2e5  # standard models: 1.2e5 dyn/cm2
    assert np.all(np.diff(model[:2], axis=1) > 0)
