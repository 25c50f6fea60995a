"""The compiled spline, against SciPy and against exact cubics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from raystellar.preprocessing.spline import interpolate


@settings(max_examples=50, deadline=None)
@given(n=st.integers(4, 300), seed=st.integers(0, 2**32 - 1), irregular=st.floats(0, 0.49))
def test_agrees_with_scipy(n, seed, irregular):
    random = np.random.default_rng(seed)
    x = 3.5 + 1e-4 * (np.arange(n) + irregular * random.uniform(-1, 1, n))
    y = random.normal(size=n)
    at = np.sort(random.uniform(x[0], x[-1], 500))
    expected = CubicSpline(x, y)(at)
    np.testing.assert_allclose(interpolate(x, y, at), expected, atol=1e-9 * max(1, np.abs(expected).max()))


def test_is_exact_for_cubic_polynomials():
    x = np.linspace(-1, 1, 50)
    at = np.linspace(-1, 1, 777)
    polynomial = np.polynomial.Polynomial([1, -2, 3, 4])
    np.testing.assert_allclose(interpolate(x, polynomial(x), at), polynomial(at), atol=1e-12)


def test_clamps_to_the_nearest_value_outside():
    x = np.linspace(0, 1, 20)
    y = np.sin(x) + 2
    np.testing.assert_array_equal(interpolate(x, y, np.array([-5.0, 0.0, 1.0, 9.0])), [y[0], y[0], y[-1], y[-1]])


@pytest.mark.parametrize("x", [[0, 1, 2], [0, 1, 1, 2, 3], [3, 2, 1, 0]])
def test_refuses_too_few_or_unordered_knots(x):
    with pytest.raises(ValueError, match="at least 4 increasing knots"):
        interpolate(np.array(x, float), np.ones(len(x)), np.zeros(3))
