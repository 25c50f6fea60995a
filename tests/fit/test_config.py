"""The section ``fit`` of the configuration."""

import pytest

from raystellar.config import build
from raystellar.errors import ConfigError
from raystellar.fit.config import FitConfig


def test_few_spectra_are_learnt_in_more_epochs():
    config = FitConfig(epochs=3, least_steps=100, batch_size=10, copies=1)
    assert [config.for_spectra(count).epochs for count in (0, 5, 25, 26, 165, 1000)] == [100, 100, 20, 17, 4, 3]
    assert FitConfig(epochs=3, least_steps=0).for_spectra(1).epochs == 3


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"copies": -1},
        {"members": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"learning_rate": 0.0},
        {"huber_delta": float("nan")},
        {"warmup_fraction": 1.5},
        {"averaging": -0.1},
        {"noise_min": 1.6},
        {"ripples": -0.1},
        {"folds": 1},
        {"noise_unit": "electrons"},
    ],
)
def test_values_out_of_bounds_are_refused_by_name(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        build(FitConfig, values, "fit")
