"""Figures of the choices of a search: all of them side by side, and the importance of each parameter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.search.figures import in_epochs, loss_axis
from raystellar.report.svg import COLOURS, TYPE_PT, ramp
from raystellar.search.config import TuneConfig
from raystellar.search.schedule import order
from raystellar.search.space import Space
from raystellar.search.trials import Trial, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST_SHOWN = 10
"""Number of the best trials that are drawn darker and above all others."""

LEAST_PARALLEL = 8
"""Number of trials with a loss below which the choices are not drawn side by side."""

LEAST_IMPORTANCE = 20
"""Number of comparable trials below which importances are noise and are not drawn."""

TREES = 64
"""Number of trees of the forest that importances are computed with."""


def ranked(trials: Sequence[Trial], config: TuneConfig) -> list[Trial]:
    """Return the trials that have a loss, from the best to the worst."""
    return [trial for trial in order(trials, config) if math.isfinite(trial.loss())]


def enough(trials: Sequence[Trial], at: int) -> bool:
    """Return whether ``LEAST_IMPORTANCE`` trials have a loss after ``at`` epochs, and whether the losses differ."""
    losses = [trial.loss(at) for trial in _known(trials, at)]
    return len(losses) >= LEAST_IMPORTANCE and len(set(losses)) > 1


def importances(trials: Sequence[Trial], space: Space, at: int) -> dict[str, float]:
    """Return the share of each parameter in the variance of the trials' ranks by loss, the greatest first.

    The method is functional analysis of variance of a random forest (Hutter et al. 2014), with a fixed seed. Ranks are
    used because a single huge loss would hide all other differences.

    Parameters
    ----------
    trials : trials of the search
    space : space of the choices
    at : epochs after which losses are compared

    Returns
    -------
    dict
        shares by name, which sum to 1; empty if the trials are not ``enough``
    """
    import optuna
    from scipy.stats import rankdata

    known = _known(trials, at)
    losses = [trial.loss(at) for trial in known]
    if not enough(trials, at):
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, distributions = optuna.create_study(), space.distributions()
    for trial, rank in zip(known, rankdata(losses), strict=True):
        drawn = space.drawn(trial.choice)
        study.add_trial(
            optuna.trial.create_trial(params=drawn, distributions=distributions, value=float(rank) / len(known))
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def draw_parallel(figure: Figure, trials: Sequence[Trial], config: TuneConfig, space: Space) -> None:
    """Draw each choice as a line across one axis for each parameter and one axis for the rank of the trial."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import PathPatch

    axis = figure.subplots()
    axis.set_axis_off()
    rows, winner = ranked(trials, config), best(trials)
    names = [*space.ranges, *space.ordered, *space.named]
    for rank in reversed(range(len(rows))):
        heights = [_height(space, name, rows[rank]) for name in names] + [_rank_height(rank, len(rows))]
        colour, width, depth = _rank_style(rank, len(rows))
        if rows[rank] is winner:
            colour, width, depth = COLOURS["accent"], 2.6, 5.0
        line = PathPatch(_flowing(heights), facecolor="none", edgecolor=colour, linewidth=width, zorder=depth)
        axis.add_patch(line)
    for x, name in enumerate(names):
        _upright(axis, x, name.replace("_", "\n"), _value_heights(space, name))
    ranks = sorted({1, min(BEST_SHOWN, len(rows)), len(rows)})
    _upright(axis, len(names), "rank", [(_rank_height(rank - 1, len(rows)), str(rank)) for rank in ranks])
    axis.set(xlim=(-0.25, len(names) + 0.45), ylim=(-0.05, 1.14))
    best_count = sum(_rank_style(rank, len(rows))[0] == COLOURS["ramp4"] for rank in range(len(rows)))
    named = [(COLOURS["accent"], 2.6, "winner")] if winner else []
    named += [(COLOURS["ramp4"], 1.3, f"best {best_count}"), (ramp(1, 6), 0.8, "other trials")]
    lines = [Line2D([], [], color=colour, linewidth=width, label=label) for colour, width, label in named]
    figure.legend(handles=lines, loc="outside lower center", ncols=3)


def _rank_style(rank: int, count: int) -> tuple[str, float, float]:
    """Return colour, width [pt] and drawing order of the line of a rank, counted from 0."""
    if rank < min(BEST_SHOWN, count / 2):
        return COLOURS["ramp4"], 1.3, 4 - 0.01 * rank
    return ramp(round(2 * (1 - rank / count)), 6), 0.6, 2 - rank / count


def _upright(axis: Axes, x: float, name: str, values: list[tuple[float, str]]) -> None:
    """Draw the axis of one parameter with its values, given as height [0 to 1] and text."""
    axis.plot([x, x], [0, 1], color=COLOURS["muted"], linewidth=0.8, zorder=6)
    axis.text(x, 1.07, name, ha="center", va="bottom", weight="bold", size=TYPE_PT - 0.5, linespacing=1.05)
    box = {"facecolor": COLOURS["panel"], "edgecolor": "none", "alpha": 0.82, "pad": 0.8}
    for height, text in values:
        axis.text(x + 0.06, height, text, ha="left", va="center", size=TYPE_PT - 1, bbox=box, zorder=7)
        axis.plot([x - 0.03, x + 0.03], [height, height], color=COLOURS["muted"], linewidth=0.8, zorder=6)


def _value_heights(space: Space, name: str) -> list[tuple[float, str]]:
    """Return the height [0 to 1] and the text of each value of a parameter."""
    if name in space.ranges:
        low, high = space.ranges[name]
        decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        inner = [value for value in decades if low * 1.2 < value < high / 1.2]
        return [(_log_height(value, low, high), spoken(value)) for value in (low, *inner, high)]
    values = (space.ordered | space.named)[name]
    return [(_step_height(index, len(values)), spoken(value)) for index, value in enumerate(values)]


def spoken(value: Any) -> str:
    """Return a value as short text; the hidden units of a head as 48-32."""
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _height(space: Space, name: str, trial: Trial) -> float:
    """Return the height [0 to 1] of a trial's value on the axis of a parameter, spread a little if values are few."""
    value = trial.choice[name]
    if name in space.ranges:
        return _log_height(value, *space.ranges[name])
    values = (space.ordered | space.named)[name]
    spread = 0.25 * ((trial.number * 0.6180339887) % 1 - 0.5) / max(4, len(values) - 1)
    return _step_height(values.index(value), len(values)) + spread


def _step_height(index: int, count: int) -> float:
    return index / (count - 1) if count > 1 else 0.5


def _log_height(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _rank_height(rank: int, count: int) -> float:
    return 1 - rank / max(1, count - 1)


def _flowing(heights: Sequence[float]) -> Any:
    """Return a smooth path through the heights at x = 0, 1, 2, ..., level at each of them."""
    from matplotlib.path import Path

    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for x, (before, after) in enumerate(itertools.pairwise(heights)):
        points += [(x + 0.45, before), (x + 0.55, after), (x + 1.0, after)]
        codes += [Path.CURVE4] * 3
    return Path(points, codes)


def draw_importances(figure: Figure, shares: dict[str, float], trials: Sequence[Trial], space: Space, at: int) -> None:
    """Draw the importances, and the losses by the value of each of the three most important parameters."""
    bars, *slices = figure.subplots(1, 4, width_ratios=(1.7, 1, 1, 1))
    for axis in slices[1:]:
        axis.sharey(slices[0])
        axis.tick_params(labelleft=False)
    names = list(reversed(shares))
    top = len(names) - 1
    colours = [COLOURS["ramp4"] if row > top - 3 else COLOURS["ramp1"] for row in range(len(names))]
    bars.barh(names, [shares[name] for name in names], color=colours, height=0.68)
    for row, name in enumerate(names):
        bars.text(shares[name] + 0.006, row, f"{100 * shares[name]:.0f} %", va="center", size=TYPE_PT - 1)
    bars.set(title="Share of the variance of ranks", xlim=(0, 1.15 * max(shares.values())), xticks=[])
    bars.grid(visible=False)
    bars.spines["bottom"].set_visible(False)
    bars.tick_params(length=0)
    for axis, name in zip(slices, shares, strict=False):
        _slice(axis, name, _known(trials, at), space, at)
    slices[0].set_ylabel(f"validation loss after {in_epochs(at)}")
    for axis in slices[len(shares) :]:
        axis.set_visible(False)


def _slice(axis: Axes, name: str, known: Sequence[Trial], space: Space, at: int) -> None:
    """Draw the losses by the value of one parameter, with the median of each value."""
    heights = [_height(space, name, trial) for trial in known]
    losses = [trial.loss(at) for trial in known]
    top = loss_axis(axis, losses)
    axis.scatter(heights, np.minimum(losses, top), s=12, color=COLOURS["ramp2"], linewidths=0, alpha=0.7)
    for centre, width, members in _bins(space, name, heights, losses):
        if members:
            ends = [centre - width, centre + width]
            axis.plot(ends, [np.median(members)] * 2, color=COLOURS["accent"], linewidth=2)
    winner = best(known)
    if winner:
        at_point = (_height(space, name, winner), min(top, winner.loss(at)))
        axis.plot(*at_point, "o", markersize=7, markerfacecolor="none", markeredgecolor=COLOURS["ink"])
    values = _value_heights(space, name)
    axis.set_xticks([height for height, _ in values], [text for _, text in values])
    axis.tick_params(axis="x", rotation=60 if name in space.named else 0)
    axis.set(title=name, xlim=(-0.12, 1.12))
    axis.grid(visible=False, axis="x")


def _bins(
    space: Space, name: str, heights: Sequence[float], losses: Sequence[float]
) -> list[tuple[float, float, list[float]]]:
    """Return centre, half width and losses of each value of a parameter, or of each fifth of a range."""
    if name in space.ranges:
        centres, width = np.arange(5) / 5 + 0.1, 0.1
    else:
        count = len((space.ordered | space.named)[name])
        centres, width = np.array([_step_height(index, count) for index in range(count)]), 0.5 / max(1, count - 1)
    nearest = np.abs(np.subtract.outer(np.array(heights), centres)).argmin(1)
    members = [[loss for loss, bin_ in zip(losses, nearest, strict=True) if bin_ == k] for k in range(len(centres))]
    return [(float(centre), 0.8 * width, inside) for centre, inside in zip(centres, members, strict=True)]


def _known(trials: Iterable[Trial], at: int) -> list[Trial]:
    """Return the trials that have a loss after ``at`` epochs."""
    return [trial for trial in trials if trial.epochs >= at and math.isfinite(trial.loss(at))]
