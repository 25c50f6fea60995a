"""Figures drawn for tests, and the labels of their axes."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw(function, size=(10.6, 3.6)):
    figure = Figure(figsize=size, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    function(figure)
    canvas.draw()
    return figure


def shown_labels(axis):
    """Yield the tick labels of the ordinate and the abscissa, where they have labels; a colour bar has an ordinate."""
    lines = [(axis.yaxis, "labelleft", axis.get_ylim())]
    if axis.get_label() != "<colorbar>":
        lines.append((axis.xaxis, "labelbottom", axis.get_xlim()))
    for line, key, ends in lines:
        low, high = sorted(ends)
        room = 1e-9 * (high - low)
        if line.get_tick_params().get(key, True) or axis.get_label() == "<colorbar>":
            inside = [tick for tick in line.get_major_ticks() if low - room <= tick.get_loc() <= high + room]
            yield [text for tick in inside if (text := tick.label1.get_text() or tick.label2.get_text())]
