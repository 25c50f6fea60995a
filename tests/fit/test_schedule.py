"""Learning rate and memory of the averaged weights, against their formulae."""

import math

import numpy as np
import pytest

from raystellar.fit.config import FitConfig
from raystellar.fit.schedule import learning_rate, memory


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_final_share():
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
def test_the_learning_rate_of_a_few_steps_is_positive(steps):
    for fraction in (0.0, 0.05, 1.0):
        config = FitConfig(warmup_fraction=fraction)
        assert all(0 < learning_rate(step, steps, config) <= 1.000001 * config.learning_rate for step in range(steps))


def test_the_memory_grows_to_one_over_e_per_horizon():
    assert memory(1, 0.0) == 0.0  # no average
    kept = [memory(step, 50.0) for step in range(1, 2000)]
    assert kept == sorted(kept)
    assert kept[0] == 2 / 11
    assert math.prod(kept[1000:1050]) == pytest.approx(1 / math.e)
