from functools import partial

import numpy as np
import pytest
from drawing import draw, shown_labels

from raystellar.report.model import draw_training


def history(epochs, scale=1.0):
    return [
        {
            "epoch": epoch,
            "train_loss": scale * (0.4 + 0.6 / epoch),
            "validation_loss": scale * (0.45 + 0.2 / epoch),
            "mae": [100 + 40 / epoch, 0.2 + 0.01 / epoch, None],
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 8, 60])
def test_the_figure_of_training_has_three_tick_labels_an_axis_or_more(epochs):
    histories = [history(epochs), history(epochs, 1.1)]
    figure = draw(partial(draw_training, histories=histories, best=(epochs, epochs)))
    for axis in figure.axes:
        for labels in shown_labels(axis):
            assert len(labels) >= 3, (axis.get_ylabel(), labels)


def test_errors_are_drawn_relative_to_their_minimum():
    figure = draw(partial(draw_training, histories=[history(5)], best=(5,)))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(lines["Teff"], np.array([140, 120, 113.333333, 110, 108]) / 108)
    assert np.isnan(lines["log g"]).all()
