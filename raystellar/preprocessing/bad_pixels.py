"""Bad pixels and spikes of one spectrum, which straight lines replace before the interpolation, compiled.

``spectra.record.good_pixels`` defines which pixels are good. By default spikes count as bad pixels, and all bad pixels
are replaced. The paper leaves bad pixels as they are. With ``repair_bad_pixels = False`` only the pixels are replaced
whose flux is not a number of reasonable size.
"""

from __future__ import annotations

import numba
import numpy as np

from raystellar.spectra.record import LEAST_VALUE, MOST_VALUE

SPIKE_SIGMA, SPIKE_RATIO, SPIKE_REACH = 6.0, 1.5, 5
"""A spike is above the median of the good pixels up to ``SPIKE_REACH`` pixels away, by more than ``SPIKE_SIGMA``
standard errors, and above ``SPIKE_RATIO`` times this median. A pixel below zero by more than ``SPIKE_SIGMA`` standard
errors is a spike, too. With a ratio of 1, the rule would take pixels between the lines of bright stars."""


@numba.njit(cache=True, nogil=True)
def judge(flux: np.ndarray, ivar: np.ndarray, good: np.ndarray) -> int:
    """Write to ``good`` which pixels are good, by the rule of ``good_pixels``; return the number of bad pixels."""
    bad = 0
    for i in range(flux.size):
        size = abs(flux[i])
        known = LEAST_VALUE < ivar[i] < MOST_VALUE and size < MOST_VALUE
        good[i] = known and (size > LEAST_VALUE or size == 0.0)
        bad += not good[i]
    return bad


@numba.njit(cache=True, nogil=True)
def mark_spikes(flux: np.ndarray, ivar: np.ndarray, good: np.ndarray, marked: np.ndarray, known: np.ndarray) -> int:
    """Copy ``good`` to ``marked`` without the spikes; return the number of spikes.

    ``known`` (at least n + 10,) float32 is overwritten.
    """
    _find_peaks(flux, ivar, good, marked, known)
    spikes = 0
    for i in range(flux.size):
        if marked[i]:
            is_spike = _stands_out(flux, ivar[i], good, i)
            marked[i] = not is_spike
            spikes += is_spike
        else:
            marked[i] = good[i]
    return spikes


@numba.njit(cache=True, nogil=True)
def _find_peaks(flux: np.ndarray, ivar: np.ndarray, good: np.ndarray, peak: np.ndarray, known: np.ndarray) -> None:
    """Write to ``peak`` which good pixels need a closer look, in a loop without branches.

    A pixel that is above more than half of its neighbours is above both of two that are equally far away. Few pixels of
    a spectrum are above them by as much as a spike. A bad neighbour counts as minus infinity.
    """
    n = flux.size
    least = np.float32(-np.inf)
    threshold = np.float32(0.99 * SPIKE_SIGMA * SPIKE_SIGMA)  # with a margin, as the closer look rounds in another way
    known[:SPIKE_REACH] = known[n + SPIKE_REACH : n + 2 * SPIKE_REACH] = least
    for i in range(n):
        known[i + SPIKE_REACH] = flux[i] if good[i] else least
    for i in range(n):
        j = i + SPIKE_REACH
        low = _greater(known[j - 1], known[j + 1])
        for k in range(2, SPIKE_REACH + 1):
            pair = _greater(known[j - k], known[j + k])
            low = pair if pair < low else low
        base = low if flux[i] > 0.0 else np.float32(0.0)
        height = flux[i] - base
        up = (height > 0.0) == (flux[i] > 0.0)
        peak[i] = good[i] & up & (height * height * ivar[i] > threshold)


@numba.njit(inline="always")
def _greater(a: float, b: float) -> float:
    return a if a > b else b


@numba.njit(cache=True, nogil=True)
def _stands_out(flux: np.ndarray, ivar: float, good: np.ndarray, i: int) -> bool:
    """Return whether pixel ``i``, with the inverse variance ``ivar``, is a spike."""
    if flux[i] < 0.0:
        return flux[i] * flux[i] * ivar > SPIKE_SIGMA * SPIKE_SIGMA
    limit = min(flux[i] - SPIKE_SIGMA / np.sqrt(ivar), flux[i] / SPIKE_RATIO)
    known, below = 0, 0
    for j in range(max(i - SPIKE_REACH, 0), min(i + SPIKE_REACH + 1, flux.size)):
        if good[j]:
            known += 1
            below += flux[j] < limit
    return 2 * below > known


@numba.njit(cache=True, nogil=True)
def mark_numbers(flux: np.ndarray, marked: np.ndarray) -> None:
    """Write to ``marked`` which pixels have a flux that is finite and below ``MOST_VALUE``."""
    for i in range(flux.size):
        marked[i] = abs(flux[i]) < MOST_VALUE


@numba.njit(cache=True, nogil=True)
def bridge(y: np.ndarray, kept: np.ndarray) -> None:
    """Replace values of ``y`` that are not ``kept`` by the straight line between their neighbours, in place.

    At an end they become the nearest kept value.
    """
    n = kept.size
    first = 0
    while first < n:
        if kept[first]:
            first += 1
            continue
        end = first + 1
        while end < n and not kept[end]:
            end += 1
        left, right = y[max(first - 1, 0)], y[min(end, n - 1)]
        for j in range(first, end):
            if first == 0:
                y[j] = right
            elif end == n:
                y[j] = left
            else:
                y[j] = left + (right - left) * (j - first + 1) / (end - first + 1)
        first = end
