"""Fixtures of the tests of the simulator."""

import numpy as np
import pytest

from raystellar.simulator.instrument import draw_conditions, observe
from raystellar.simulator.population import Star
from raystellar.simulator.spectro1d import Fibre, classify_sky, classify_star

LOGLAM = np.arange(142000, 159400) * 2.5e-5


@pytest.fixture(scope="session")
def sunlike():
    return Star(index=0, teff=5800.0, logg=4.4, feh=-0.5, alpha=0.1, vmicro=1.0, rv=120.0, ebv=0.05, g=17.0, sn=40.0)


@pytest.fixture(scope="session")
def exposed(sunlike):
    """Return a function that exposes a fibre to a star or to the sky, and returns the fibre and the spectrum."""

    def expose(fiberid=31, sky=False):
        star, rng = None if sky else sunlike, np.random.default_rng(fiberid)
        results = classify_sky(rng) if sky else classify_star(sunlike, rng)
        position = {"ra": 147.321071, "dec": -0.006576, "plate_ra": 145.89219, "plate_dec": 0.059372}
        fibre = Fibre(plate=266, mjd=51602, fiberid=fiberid, **position, **results)
        rest = None if sky else 10.0 ** (-2.0 * LOGLAM)
        return fibre, observe(LOGLAM, rest, star, draw_conditions(1, 0), fiberid, rng)

    return expose
