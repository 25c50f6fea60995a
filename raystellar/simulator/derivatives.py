"""Derivatives of the spectrum of a star, without noise, with respect to the parameters of the star.

They are central differences of the simulator itself, ``[f(p + h) - f(p - h)] / 2h`` with the steps h of ``STEPS``. They
contain all effects of a parameter on the observed flux that the simulator has: lines, molecular bands and continuum,
the blur of the fibre, and the scale that the g magnitude sets.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from raystellar.simulator.photosphere.synthesis import LIMITS
from raystellar.simulator.population import Star
from raystellar.simulator.starlight import rest_spectrum, star_light

STEPS = {"teff": 20.0, "feh": 0.04, "logg": 0.04, "alpha": 0.04, "vmicro": 0.1, "ebv": 0.01, "rv": 10.0}
"""Steps h [K, dex, dex, dex, km/s, mag, km/s] by the name of the parameter, a field of ``Star``.

The derivatives change by less than 1 % with half of these steps.
"""

PARAMETERS = tuple(STEPS)
"""Parameters in the order of the columns of the derivatives."""


def derivatives(star: Star, sigma: np.ndarray, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the flux of a star without noise, and its derivatives with respect to the parameters of the star.

    Where a parameter is closer to a limit of the simulator than a step, the central difference is taken around the
    nearest value that is a step away from the limit.

    Parameters
    ----------
    star : star with its true parameters
    sigma : sigma of the line spread function (N_LATTICE,) [pixels], greater than 0
    factor : factor of all steps

    Returns
    -------
    flux : (N_LATTICE,) [1e-17 erg/s/cm2/A]
    slopes : (N_LATTICE, parameters) derivatives of the flux, in the order of ``PARAMETERS``, per unit of each parameter
    """
    rest = rest_spectrum(star)
    slopes = [_slope(star, rest, sigma, name, factor * step) for name, step in STEPS.items()]
    return star_light(*rest, star, sigma), np.stack(slopes, axis=1)


def _slope(star: Star, rest: tuple[np.ndarray, np.ndarray], sigma: np.ndarray, name: str, step: float) -> np.ndarray:
    """Return the derivative (N_LATTICE,) of the flux with respect to one parameter.

    ``rest`` holds log10 of the wavelengths and the flux at rest. It is used for parameters that do not change it.
    """
    middle = getattr(star, name)
    if name in LIMITS:
        low, high, _ = LIMITS[name]
        middle = min(max(middle, low + step), high - step)
    stars = [dataclasses.replace(star, **{name: middle + sign * step}) for sign in (-1.0, 1.0)]
    below, above = (star_light(*(rest_spectrum(one) if name in LIMITS else rest), one, sigma) for one in stars)
    return np.asarray((above - below) / (2.0 * step))
