"""Fronts and axes of the figures of a search."""

import numpy as np
import pytest
from formulasearch import CONFIG, search

from raystellar.report.search.figures import front, loss_ticks


@pytest.mark.parametrize("ratio", [1.6, 2.0, 3.0, 7.0, 50.0, 1e4])
def test_a_logarithmic_axis_has_three_labels_at_least_wherever_it_begins(ratio):
    for low in np.geomspace(0.01, 0.1, 50):
        ticks = loss_ticks(low, ratio * low)
        assert 3 <= len(ticks) <= 16
        assert ticks == sorted(ticks)
        assert low <= ticks[0] < ticks[-1] <= ratio * low


def test_no_trial_beats_a_trial_of_the_front():
    trials, _ = search(CONFIG, failing=(4,))
    chosen = front(trials, "parameters", 1)
    for trial in chosen:
        assert not any(t.loss(1) < trial.loss(1) and 0 < t.parameters <= trial.parameters for t in trials)
    assert [t.parameters for t in chosen] == sorted(t.parameters for t in chosen)
