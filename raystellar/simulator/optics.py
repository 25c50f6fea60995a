"""The two inner loops of the spectrograph, compiled: blur of a spectrum, emission lines of the sky."""

from __future__ import annotations

import math

import numba
import numpy as np

REACH = 5.0
"""Half-width over which a line spread function is summed [sigma]."""


@numba.njit(cache=True, nogil=True)
def shift_and_blur(rest: np.ndarray, start: float, step: float, sigma: np.ndarray) -> np.ndarray:
    """Return ``rest`` at the positions of pixels, blurred by a Gaussian that changes from pixel to pixel.

    The Gaussian weights the fine samples themselves, so a shift by a fraction of a sample needs no interpolation. Its
    sigma describes the whole response, pixel included, as an arc line shows it. The flux of a pixel is the mean of the
    flux density under its response.

    Parameters
    ----------
    rest : fine samples (m,)
    start, step : position of the first pixel among the fine samples, and number of fine samples per pixel
    sigma : width of the Gaussian (n,) [pixels]

    Returns
    -------
    (n,) blurred flux; positions beyond the ends of ``rest`` have no weight
    """
    out = np.empty(sigma.size)
    for i in range(sigma.size):
        width, position = sigma[i] * step, start + i * step
        low = max(0, math.ceil(position - REACH * width))
        high = min(rest.size - 1, math.floor(position + REACH * width))
        # two products give exp(-(j + 1 - position)^2 / 2w^2) from the value at j, instead of an exponential
        inverse = 1.0 / (width * width)
        weight = math.exp(-0.5 * (low - position) ** 2 * inverse)
        ratio, change = math.exp(-(low - position + 0.5) * inverse), math.exp(-inverse)
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
    positions: np.ndarray,
    fluxes: np.ndarray,
    sigma: np.ndarray,
    errors: np.ndarray,
    amplitude: float,
    shift: float,
    sky: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Add emission lines to the sky, the errors of their subtraction to the residual, and the variance of these errors.

    Parameters
    ----------
    positions, fluxes : positions [pixels] of the lines and their fluxes, summed over pixels (n,)
    sigma : width of the line spread function (m,) [pixels]
    errors : error of the strength (fraction) and of the position [pixels] of each line (2, n)
    amplitude, shift : standard deviations of these errors
    sky, residual, variance : (m,), changed in place
    """
    for line in range(positions.size):
        position = positions[line]
        middle = min(max(round(position), 0), sigma.size - 1)
        width = sigma[middle]
        reach = int(REACH * width) + 1
        for i in range(max(0, middle - reach), min(sigma.size, middle + reach + 1)):
            x = (i - position) / width
            profile = fluxes[line] * math.exp(-0.5 * x * x) / (2.5066282746 * width)
            slope = profile * x / width
            sky[i] += profile
            residual[i] += profile * errors[0, line] + slope * errors[1, line]
            variance[i] += (profile * amplitude) ** 2 + (slope * shift) ** 2
