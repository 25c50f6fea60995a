"""Scaler, metrics, schedule and settings of a fit, against their formulae."""

import math

import numpy as np
import pytest
from sklearn import preprocessing

from raystellar.config import build
from raystellar.errors import ConfigError
from raystellar.fit.config import FitConfig
from raystellar.fit.metrics import errors
from raystellar.fit.scaler import RobustScaler
from raystellar.fit.schedule import learning_rate, memory


def test_scaler_is_scikit_learns():
    targets = np.random.default_rng(0).lognormal(size=(1001, 3)).astype(np.float32) * (5000, 1, 4)
    targets[:, 2] = 4.0  # a target that does not vary
    ours, theirs = RobustScaler.fit(targets), preprocessing.RobustScaler().fit(targets)
    np.testing.assert_allclose(ours.centre, theirs.center_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(ours.transform(targets), theirs.transform(targets), atol=1e-12)
    np.testing.assert_allclose(ours.inverse(ours.transform(targets)), targets, rtol=1e-12)


def test_memory():
    assert memory(1, 0.0) == 0.0  # no average
    kept = [memory(step, 50.0) for step in range(1, 2000)]
    assert kept == sorted(kept)
    assert kept[0] == 2 / 11
    assert math.prod(kept[1000:1050]) == pytest.approx(1 / math.e)


def test_errors():
    true = np.zeros((4, 3))
    predicted = np.array([[1.0, 0, 0], [2, 0, 0], [3, 0, 0], [-2, 4, 0]])
    found = errors(predicted, true)
    expected = {"mae": 2.0, "rmse": math.sqrt(4.5), "bias": 1.0, "scatter": 1.4826}
    assert found["teff"] == pytest.approx(expected, rel=1e-5)
    assert found["feh"] == pytest.approx({"mae": 1.0, "rmse": 2.0, "bias": 1.0, "scatter": 0.0})
    assert found["logg"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0, "scatter": 0.0}


def test_scatter_of_normal_errors_is_their_deviation():
    d = np.random.default_rng(0).normal(0.3, 2.0, (100_000, 3))
    assert errors(d, np.zeros_like(d))["logg"]["scatter"] == pytest.approx(2.0, rel=0.02)


def test_schedule_warms_up_then_falls_to_its_share():
    config = FitConfig(learning_rate=2e-3, warmup_fraction=0.05, final_fraction=0.05)
    rates = [learning_rate(step, 1000, config) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-3 / 50)
    assert rates[49] == rates[50] == max(rates) == pytest.approx(2e-3)
    assert rates[24] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    assert (np.diff(rates[:50]) > 0).all()
    assert (np.diff(rates[50:]) < 0).all()
    assert rates[50 + 475] == pytest.approx((2e-3 + 1e-4) / 2, rel=0.01)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedule_of_few_steps(steps):
    for fraction in (0.0, 0.05, 1.0):
        config = FitConfig(warmup_fraction=fraction)
        assert all(0 < learning_rate(step, steps, config) <= 1e-3 for step in range(steps))


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"copies": -1},
        {"seed": -1},
        {"seed": 2**63},
        {"learning_rate": 0.0},
        {"huber_delta": float("nan")},
        {"warmup_fraction": 1.5},
        {"noise_min": 0.1},
    ],
)
def test_settings_out_of_bounds(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        build(FitConfig, values, "fit")
