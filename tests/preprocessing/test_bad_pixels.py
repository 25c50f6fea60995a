"""Good pixels, spikes and gaps, against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import booleans, floats, lists

from raystellar.preprocessing.bad_pixels import bridge, judge, mark_numbers, mark_spikes
from raystellar.spectra.record import good_pixels


def spikes_by_medians(flux, ivar, good):
    """Return which pixels are spikes, from the medians of their good neighbours."""
    found = np.zeros(flux.size, bool)
    for i in np.flatnonzero(good):
        near = slice(max(i - 5, 0), i + 6)
        near = np.sort(flux[near][good[near]])
        median = near[len(near) // 2]  # the upper one of two
        sigma = 1 / np.sqrt(ivar[i])
        above = flux[i] > 0 and flux[i] - 6 * sigma > median and flux[i] > 1.5 * median
        found[i] = above or flux[i] < -6 * sigma
    return found


@pytest.mark.parametrize("seed", range(4))
def test_spikes_are_those_of_running_medians(seed):
    rng = np.random.default_rng(seed)
    flux = (5 + 4 * np.sin(np.arange(3000) / 40) + rng.standard_normal(3000)).astype(np.float32)
    at = rng.choice(3000, 90, replace=False)
    flux[at] += rng.choice([-1, 1], 90) * 10 ** rng.uniform(0, 4, 90)
    flux[at[:20] - 1] += 30  # spikes of two pixels
    ivar, good, marked = np.ones(3000, np.float32), rng.random(3000) > 0.2, np.empty(3000, bool)
    wanted = spikes_by_medians(flux.astype(float), ivar, good)
    assert mark_spikes(flux, ivar, good, marked, np.empty(3010, np.float32)) == wanted.sum() > 40
    np.testing.assert_array_equal(good & ~marked, wanted)


@given(flux=floats(width=32), ivar=floats(width=32))
def test_the_compiled_rule_is_that_of_good_pixels(flux, ivar):
    flux, ivar, good = np.float32([flux, 0.0]), np.float32([ivar, 1.0]), np.empty(2, bool)
    bad = judge(flux, ivar, good)
    assert good.tolist() == good_pixels(flux, ivar).tolist() == [not bad, True]


def test_good_pixels_by_hand():
    flux = np.float32([1, -1, 0, np.nan, np.inf, 1e20, 1e-20, 1, 1, 1, 1, 1, 1])
    ivar = np.float32([1, 1, 1, 1, 1, 1, 1, 0, -1, np.nan, np.inf, 1e20, 1e-20])
    assert good_pixels(flux, ivar).tolist() == [True] * 3 + [False] * 10


@given(lists(booleans(), min_size=1, max_size=30).filter(any))
def test_gaps_are_bridged_as_numpy_interpolates(kept):
    kept, y = np.array(kept), np.random.default_rng(len(kept)).normal(size=len(kept))
    pixel = np.arange(len(kept))
    expected = np.interp(pixel, pixel[kept], y[kept])
    bridge(y, kept)
    np.testing.assert_allclose(y, expected, atol=1e-12)


def test_numbers_of_reasonable_size_are_kept_by_the_paper():
    flux, marked = np.float32([1.0, 0.0, -1e18, np.nan, np.inf, -np.inf, 1e20, 1e-40]), np.empty(8, bool)
    mark_numbers(flux, marked)
    assert marked.tolist() == [True, True, True, False, False, False, False, True]
