"""Errors of predictions, against their formulae."""

import math

import numpy as np
import pytest

from raystellar.fit.metrics import errors


def test_errors_of_four_stars_are_those_by_hand():
    true = np.zeros((4, 3))
    predicted = np.array([[1.0, 0, 0], [2, 0, 0], [3, 0, 0], [-2, 4, 0]])
    values = errors(predicted, true)
    expected = {"mae": 2.0, "rmse": math.sqrt(4.5), "bias": 1.0, "scatter": 1.4826}
    assert values["teff"] == pytest.approx(expected, rel=1e-5)
    assert values["feh"] == pytest.approx({"mae": 1.0, "rmse": 2.0, "bias": 1.0, "scatter": 0.0})
    assert values["logg"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0, "scatter": 0.0}


def test_the_scatter_of_normal_errors_is_their_standard_deviation():
    d = np.random.default_rng(0).normal(0.3, 2.0, (100_000, 3))
    assert errors(d, np.zeros_like(d))["logg"]["scatter"] == pytest.approx(2.0, rel=0.02)
