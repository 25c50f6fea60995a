"""The two inner loops of the spectrograph, compiled."""

from __future__ import annotations

import math

import numba
import numpy as np

REACH = 5.0
"""Half-width of the line spread function that is summed [sigma]."""


@numba.njit(cache=True, nogil=True)
def shift_and_blur(rest: np.ndarray, start: float, step: float, sigma: np.ndarray) -> np.ndarray:
    """Sample ``rest``, blurred by a Gaussian that changes from pixel to pixel, at any (also fractional) place.

    The Gaussian is laid on the fine samples themselves, so that a velocity needs no interpolation. Its sigma is
    that of the whole response, pixel included, as an arc line shows it. Each pixel keeps the mean of the flux
    density under its response.

    Parameters
    ----------
    rest : fine samples (m,)
    start, step : place of the first pixel among the fine samples, and their number per pixel
    sigma : width (n,) in pixels

    Returns
    -------
    (n,) the blurred flux; samples beyond the ends of ``rest`` do not count
    """
    out = np.empty(sigma.size)
    for i in range(sigma.size):
        width, place = sigma[i] * step, start + i * step
        low = max(0, math.ceil(place - REACH * width))
        high = min(rest.size - 1, math.floor(place + REACH * width))
        # exp(-(j + 1 - place)^2 / 2w^2) from the one at j by two products instead of an exponential
        inverse = 1.0 / (width * width)
        weight = math.exp(-0.5 * (low - place) ** 2 * inverse)
        ratio, change = math.exp(-(low - place + 0.5) * inverse), math.exp(-inverse)
        total = norm = 0.0
        for j in range(low, high + 1):
            total += weight * rest[j]
            norm += weight
            weight *= ratio
            ratio *= change
        out[i] = total / norm if norm > 0.0 else 0.0
    return out


@numba.njit(cache=True, nogil=True)
def add_sky_lines(
    places: np.ndarray,
    fluxes: np.ndarray,
    sigma: np.ndarray,
    errors: np.ndarray,
    amplitude: float,
    shift: float,
    sky: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Add emission lines to ``sky``, what their subtraction leaves to ``residual``, and its variance.

    Parameters
    ----------
    places, fluxes : place [pixels] and flux, summed over pixels, of the lines (n,)
    sigma : width (m,) of the line spread function [pixels]
    errors : (2, n) relative error of the strength and error of the place [pixels] of each line
    amplitude, shift : standard deviations of these errors
    sky, residual, variance : (m,), changed in place
    """
    for line in range(places.size):
        place = places[line]
        middle = min(max(round(place), 0), sigma.size - 1)
        width = sigma[middle]
        reach = int(REACH * width) + 1
        for i in range(max(0, middle - reach), min(sigma.size, middle + reach + 1)):
            x = (i - place) / width
            profile = fluxes[line] * math.exp(-0.5 * x * x) / (2.5066282746 * width)
            slope = profile * x / width
            sky[i] += profile
            residual[i] += profile * errors[0, line] + slope * errors[1, line]
            variance[i] += (profile * amplitude) ** 2 + (slope * shift) ** 2
