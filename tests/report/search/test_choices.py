"""The importance of the parameters of a search."""

from dataclasses import replace

import pytest
from formulasearch import CONFIG, SPACE, search

from raystellar.report.search.choices import importances


def test_the_parameter_that_decides_the_loss_is_the_most_important():
    trials, _ = search(replace(CONFIG, trials=24))
    shares = importances(trials, SPACE, 1)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(trials, SPACE, 1) == shares
    assert importances(trials[:19], SPACE, 1) == {}
