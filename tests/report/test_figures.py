import numpy as np
import pytest
from matplotlib.figure import Figure

from raystellar.files import places
from raystellar.report import figures


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws the picture and returns its figure."""
    made = []

    class Kept(Figure):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr("matplotlib.figure.Figure", Kept)

    def draw(truth, predictions):
        figures.predicted_against_true(str(tmp_path / "picture.png"), truth, predictions)
        assert places.read_bytes(str(tmp_path / "picture.png")).startswith(b"\x89PNG")
        return made[-1]

    return draw


def test_network_and_ridge_have_the_same_axes_which_hold_every_star(drawn):
    rng = np.random.default_rng(0)
    truth = rng.uniform((4000, -2, 1), (8000, 0.5, 5), (300, 3))
    network, ridge = truth + rng.normal(0, (50, 0.1, 0.1), (300, 3)), truth + rng.normal(0, (300, 0.4, 0.5), (300, 3))
    ridge[0] = (20000, 3, 9)
    figure = drawn(truth, {"network": network, "Ridge": ridge})
    panels = np.array(figure.axes[:6]).reshape(2, 3)
    for column in range(3):
        upper, lower = panels[:, column]
        assert upper.get_xlim() == upper.get_ylim() == lower.get_xlim() == lower.get_ylim()
        values = np.concatenate([truth[:, column], network[:, column], ridge[:, column]])
        assert upper.get_xlim()[0] < values.min() < values.max() < upper.get_xlim()[1]
        assert sum(lower.collections[0].get_array()) == 300


def test_each_panel_states_bias_and_scatter_and_colours_have_a_bar(drawn):
    truth = np.tile([5000.0, -1.0, 4.0], (50, 1)) + np.linspace(0, 1, 50)[:, None]
    figure = drawn(truth, {"network": truth + np.array([-12.0, 0.25, 0.0]), "Ridge": truth})
    texts = [axis.texts[0].get_text() for axis in figure.axes[:6]]
    assert texts[0] == "bias -12 K\nscatter 0 K"
    assert texts[1].startswith("bias 0.250 dex\nscatter ")
    assert len(figure.axes) == 7
    assert figure.axes[6].get_ylabel() == "stars per hexagon"
