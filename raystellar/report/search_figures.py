"""Figures of a search for hyperparameters: each function draws one into an empty figure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.replay import best_so_far, stages
from raystellar.report.svg import COLOURS, TYPE_PT, ramp
from raystellar.search.config import TuneConfig
from raystellar.search.schedule import order, pareto_fronts
from raystellar.search.space import Space
from raystellar.search.trials import Trial, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = 10
"""Trials that are shown above all others."""

LEAST_TRIALS = 20
"""Below so many, importances are noise."""

TREES = 64
"""Of the forest that importances are read from."""

COSTS = {"parameters": ("parameters", "number of parameters"), "time": ("predict_ms", "time for 256 spectra [ms]")}
"""What stands against the loss: the trial's attribute and the words for it."""


def ranked(trials: Sequence[Trial], config: TuneConfig) -> list[Trial]:
    """Return the trials that have a loss, from the best to the worst."""
    return [trial for trial in order(trials, config) if math.isfinite(trial.loss())]


def front(trials: Iterable[Trial], cost: str, at: int) -> list[Trial]:
    """Return those of the trials trained that far which no other beats in loss and cost, the cheapest first.

    Parameters
    ----------
    trials : any
    cost : name in ``COSTS``
    at : epochs after which losses are compared
    """
    able = compared(trials, cost, at)
    fronts = pareto_fronts([(trial.loss(at), _cost(trial, cost)) for trial in able])
    chosen = [trial for trial, place in zip(able, fronts, strict=True) if place == 0]
    return sorted(chosen, key=lambda trial: (_cost(trial, cost), trial.loss(at)))


def compared(trials: Iterable[Trial], cost: str, at: int) -> list[Trial]:
    """Return the trials that have both a loss after so many epochs and a cost."""
    return [
        trial for trial in trials if trial.epochs >= at and math.isfinite(trial.loss(at)) and _cost(trial, cost) > 0
    ]


def importances(trials: Sequence[Trial], space: Space, at: int) -> dict[str, float]:
    """Return the share of each parameter in the spread of the trials' ranks by loss, the greatest first.

    Functional analysis of variance of a random forest (Hutter et al. 2014); ranks, for one loss that exploded would
    hide all others. The seed is fixed.

    Parameters
    ----------
    trials : of the search
    space : they were chosen from
    at : epochs after which losses are compared

    Returns
    -------
    dict
        sums to 1; empty where trials are fewer than ``LEAST_TRIALS`` or do not differ
    """
    import optuna
    from scipy.stats import rankdata

    known = _known(trials, at)
    losses = [trial.loss(at) for trial in known]
    if len(known) < LEAST_TRIALS or len(set(losses)) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, distributions = optuna.create_study(), space.distributions()
    for trial, place in zip(known, rankdata(losses), strict=True):
        drawn = space.drawn(trial.choice)
        study.add_trial(
            optuna.trial.create_trial(params=drawn, distributions=distributions, value=float(place) / len(known))
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def draw_history(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw the loss of every trial by its number, and the least so far by the epochs that were spent."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    known = [trial for trial in trials if math.isfinite(trial.loss())]
    top = _loss_axis(left, [trial.loss() for trial in known])
    _history_by_number(left, trials, config, epochs, top)
    steps = best_so_far(trials, config, epochs)
    spent = sum(trial.cost(epochs) for trial in trials)
    x, y = [step[0] for step in steps] + [spent], [step[1] for step in steps] + [steps[-1][1]]
    right.step(x, y, where="post", color=COLOURS["accent"], linewidth=1.6)
    right.plot(x[-2], y[-2], "o", color=COLOURS["accent"], markersize=5)
    right.annotate(f"trial {steps[-1][2]}", (x[-2], y[-2]), (2, 7), textcoords="offset points")
    right.set(title="Best so far, by the epochs spent on all trials", xlabel="epochs spent", xlim=(0, 1.03 * spent))


def _history_by_number(axis: Axes, trials: Sequence[Trial], config: TuneConfig, epochs: int, top: float) -> None:
    for colour, label, members in _by_stage(trials, config, epochs):
        inside = [trial for trial in members if trial.loss() <= top]
        axis.scatter(_numbers(inside), [t.loss() for t in inside], s=20, color=colour, label=label, linewidths=0)
    above = [trial for trial in trials if top < trial.loss() < math.inf]
    if above:
        style: dict[str, Any] = {"s": 24, "color": COLOURS["muted"], "marker": "^", "linewidths": 0, "clip_on": False}
        axis.scatter(_numbers(above), [top] * len(above), label=f"above the axis ({len(above)})", **style)
    failed = [trial for trial in trials if not math.isfinite(trial.loss())]
    if failed:
        label = f"no loss ({len(failed)})"
        axis.scatter(
            _numbers(failed), [top] * len(failed), s=24, color=COLOURS["bad"], marker="x", clip_on=False, label=label
        )
    least = np.minimum.accumulate([trial.loss() for trial in trials])
    shown = np.isfinite(least)
    axis.step(
        np.arange(len(trials))[shown],
        least[shown],
        where="post",
        color=COLOURS["accent"],
        linewidth=1.4,
        label="best so far",
    )
    for begin in _generations(trials)[1:]:
        axis.axvline(begin - 0.5, color=COLOURS["line"], linewidth=0.8, linestyle=(0, (2, 2)))
    axis.grid(visible=False, axis="x")
    axis.margins(x=0.03)
    axis.set(title="Every trial", xlabel="trial, in the order of proposal", ylabel="least validation loss")
    _whole_numbers(axis)
    axis.figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=7)


def draw_curves(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw the validation loss of all trials by epoch, and both losses of the winner."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    winner = best(trials)
    groups = _by_stage([trial for trial in trials if trial.epochs], config, epochs)
    finite = [loss for trial in trials for loss in trial.validation if math.isfinite(loss)]
    _loss_axis(left, [*finite, *_finite(winner.training if winner else [])])
    for place, (colour, label, members) in enumerate(groups):
        for trial in members:
            _curve(left, trial.validation, color=colour, linewidth=0.8, zorder=2 + place)
        left.plot([], [], color=colour, label=label)
    if winner:
        name = f"trial {winner.number}"
        for axis in (left, right):
            _curve(axis, winner.validation, color=COLOURS["accent"], linewidth=2.2, label=name, zorder=9)
        _curve(right, winner.training, color=COLOURS["muted"], linewidth=1.4, linestyle=(0, (4, 2)))
        _name_ends(right, winner)
    for rung in stages(config, epochs)[:-1]:
        left.axvline(rung, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
    for axis in (left, right):
        _epoch_axis(axis, config, epochs)
    left.set(title="Validation loss of all trials", ylabel="loss")
    right.set(title="The winner")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=7)


def _name_ends(axis: Axes, winner: Trial) -> None:
    for values, word, up in ((winner.validation, "validation", -1), (winner.training, "training", 1)):
        known = _finite(values)
        if known:
            axis.annotate(
                word, (0.97, 0.97 - 0.07 * (up < 0)), xycoords="axes fraction", ha="right", va="top",
                color=COLOURS["accent" if up < 0 else "muted"], weight="bold",
            )  # fmt: skip


def draw_parallel(figure: Figure, trials: Sequence[Trial], config: TuneConfig, space: Space) -> None:
    """Draw every choice as a line across an axis for each parameter, and one for its rank."""
    from matplotlib.patches import PathPatch

    axis = figure.subplots()
    axis.set_axis_off()
    rows, winner = ranked(trials, config), best(trials)
    names = [*space.ranges, *space.ordered, *space.named]
    for place in reversed(range(len(rows))):
        heights = [_height(space, name, rows[place]) for name in names] + [_rank_height(place, len(rows))]
        colour, width, depth = _rank_style(place, len(rows))
        if rows[place] is winner:
            colour, width, depth = COLOURS["accent"], 2.6, 5.0
        line = PathPatch(_flowing(heights), facecolor="none", edgecolor=colour, linewidth=width, zorder=depth)
        axis.add_patch(line)
    for x, name in enumerate(names):
        _upright(axis, x, name.replace("_", "\n"), _value_places(space, name))
    ranks = sorted({1, min(BEST, len(rows)), len(rows)})
    _upright(axis, len(names), "rank", [(_rank_height(rank - 1, len(rows)), str(rank)) for rank in ranks])
    axis.set(xlim=(-0.25, len(names) + 0.45), ylim=(-0.05, 1.14))


def _rank_style(place: int, count: int) -> tuple[str, float, float]:
    """Return colour, width [pt] and depth of the line of a rank, counted from 0."""
    if place < min(BEST, count / 2):
        return COLOURS["ramp4"], 1.3, 4 - 0.01 * place
    return ramp(round(2 * (1 - place / count)), 6), 0.6, 2 - place / count


def _upright(axis: Axes, x: float, name: str, values: list[tuple[float, str]]) -> None:
    """Draw the axis of one parameter with its values [0 to 1, and what to call them]."""
    axis.plot([x, x], [0, 1], color=COLOURS["muted"], linewidth=0.8, zorder=6)
    axis.text(x, 1.07, name, ha="center", va="bottom", weight="bold", size=TYPE_PT - 0.5, linespacing=1.05)
    box = {"facecolor": COLOURS["panel"], "edgecolor": "none", "alpha": 0.82, "pad": 0.8}
    for height, text in values:
        axis.text(x + 0.06, height, text, ha="left", va="center", size=TYPE_PT - 1, bbox=box, zorder=7)
        axis.plot([x - 0.03, x + 0.03], [height, height], color=COLOURS["muted"], linewidth=0.8, zorder=6)


def _value_places(space: Space, name: str) -> list[tuple[float, str]]:
    """Return where the values of a parameter stand on its axis, and what they are called."""
    if name in space.ranges:
        low, high = space.ranges[name]
        decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        inner = [value for value in decades if low * 1.2 < value < high / 1.2]
        return [(_log_height(value, low, high), spoken(value)) for value in (low, *inner, high)]
    values = (space.ordered | space.named)[name]
    return [(_step_height(place, len(values)), spoken(value)) for place, value in enumerate(values)]


def spoken(value: Any) -> str:
    """Return a value as a person writes it: units of a head as 48-32."""
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _height(space: Space, name: str, trial: Trial) -> float:
    """Return where a trial's value stands on the axis of a parameter; spread a little where values are few."""
    value = trial.choice[name]
    if name in space.ranges:
        return _log_height(value, *space.ranges[name])
    values = (space.ordered | space.named)[name]
    spread = 0.25 * ((trial.number * 0.6180339887) % 1 - 0.5) / max(4, len(values) - 1)
    return _step_height(values.index(value), len(values)) + spread


def _step_height(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _log_height(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _rank_height(place: int, count: int) -> float:
    return 1 - place / max(1, count - 1)


def _flowing(heights: Sequence[float]) -> Any:
    """Return a path through one point an axis that crosses each level."""
    from matplotlib.path import Path

    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for x, (here, there) in enumerate(itertools.pairwise(heights)):
        points += [(x + 0.45, here), (x + 0.55, there), (x + 1.0, there)]
        codes += [Path.CURVE4] * 3
    return Path(points, codes)


def draw_importances(figure: Figure, shares: dict[str, float], trials: Sequence[Trial], space: Space, at: int) -> None:
    """Draw the importances, and the losses by the values of the three parameters that matter most."""
    bars, *slices = figure.subplots(1, 4, width_ratios=(1.7, 1, 1, 1))
    for axis in slices[1:]:
        axis.sharey(slices[0])
        axis.tick_params(labelleft=False)
    names = list(reversed(shares))
    top = len(names) - 1
    colours = [COLOURS["ramp4"] if place > top - 3 else COLOURS["ramp1"] for place in range(len(names))]
    bars.barh(names, [shares[name] for name in names], color=colours, height=0.68)
    for place, name in enumerate(names):
        bars.text(shares[name] + 0.006, place, f"{100 * shares[name]:.0f} %", va="center", size=TYPE_PT - 1)
    bars.set(title="Share of the spread in rank", xlim=(0, 1.15 * max(shares.values())), xticks=[])
    bars.grid(visible=False)
    bars.spines["bottom"].set_visible(False)
    bars.tick_params(length=0)
    for axis, name in zip(slices, shares, strict=False):
        _slice(axis, name, _known(trials, at), space, at)
    slices[0].set_ylabel(f"validation loss after {_epochs(at)}")
    for axis in slices[len(shares) :]:
        axis.set_visible(False)


def _slice(axis: Axes, name: str, known: Sequence[Trial], space: Space, at: int) -> None:
    """Draw the losses by the value of one parameter, with the median of each value."""
    heights = [_height(space, name, trial) for trial in known]
    losses = [trial.loss(at) for trial in known]
    top = _loss_axis(axis, losses)
    axis.scatter(heights, np.minimum(losses, top), s=12, color=COLOURS["ramp2"], linewidths=0, alpha=0.7)
    for centre, width, members in _bins(space, name, heights, losses):
        if members:
            ends = [centre - width, centre + width]
            axis.plot(ends, [np.median(members)] * 2, color=COLOURS["accent"], linewidth=2)
    winner = best(known)
    if winner:
        at_point = (_height(space, name, winner), min(top, winner.loss(at)))
        axis.plot(*at_point, "o", markersize=7, markerfacecolor="none", markeredgecolor=COLOURS["ink"])
    places = _value_places(space, name)
    axis.set_xticks([place for place, _ in places], [text for _, text in places])
    axis.tick_params(axis="x", rotation=60 if name in space.named else 0)
    axis.set(title=name, xlim=(-0.12, 1.12))
    axis.grid(visible=False, axis="x")


def _bins(
    space: Space, name: str, heights: Sequence[float], losses: Sequence[float]
) -> list[tuple[float, float, list[float]]]:
    """Return centre, half width and losses of each value of a parameter; of fifths of a range."""
    if name in space.ranges:
        centres, width = np.arange(5) / 5 + 0.1, 0.1
    else:
        count = len((space.ordered | space.named)[name])
        centres, width = np.array([_step_height(place, count) for place in range(count)]), 0.5 / max(1, count - 1)
    nearest = np.abs(np.subtract.outer(np.array(heights), centres)).argmin(1)
    members = [[loss for loss, bin_ in zip(losses, nearest, strict=True) if bin_ == k] for k in range(len(centres))]
    return [(float(centre), 0.8 * width, found) for centre, found in zip(centres, members, strict=True)]


def draw_fronts(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw loss against cost where all trials can be compared, and where they end; those that none beats marked."""
    kinds = ["parameters", "time"] if config.objective == "time" else ["parameters"]
    known = stages(config, epochs)
    columns = [known[0], known[-1]] if len(known) > 1 else known
    axes = figure.subplots(len(kinds), len(columns), squeeze=False)
    for row, cost in zip(axes, kinds, strict=True):
        for axis, at in zip(row, columns, strict=True):
            _front(axis, trials, cost, at)
        row[0].set_ylabel("least validation loss")


def _front(axis: Axes, trials: Sequence[Trial], cost: str, at: int) -> None:
    able, chosen = compared(trials, cost, at), front(trials, cost, at)
    axis.set(title=f"After {_epochs(at)}: {len(able)} trial{'s' * (len(able) != 1)}", xlabel=COSTS[cost][1])
    if not able:
        return
    top = _loss_axis(axis, [trial.loss(at) for trial in able])
    x, y = [_cost(trial, cost) for trial in able], [min(top, trial.loss(at)) for trial in able]
    axis.scatter(x, y, s=18, color=COLOURS["ramp2"], linewidths=0)
    x, y = [_cost(trial, cost) for trial in chosen], [trial.loss(at) for trial in chosen]
    axis.step(x, y, where="post", color=COLOURS["accent"], linewidth=1.4, marker="o", markersize=5)
    for trial, point in zip(chosen, zip(x, y, strict=True), strict=True):
        axis.annotate(
            str(trial.number), point, (-4, -3), textcoords="offset points", size=TYPE_PT - 1, ha="right", va="top"
        )
    axis.margins(x=0.08)
    if cost == "parameters":
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f} k".replace(",", " "))


def _cost(trial: Trial, cost: str) -> float:
    return float(getattr(trial, COSTS[cost][0]))


def _known(trials: Iterable[Trial], at: int) -> list[Trial]:
    """Return the trials that have a loss after so many epochs."""
    return [trial for trial in trials if trial.epochs >= at and math.isfinite(trial.loss(at))]


def _by_stage(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[tuple[str, str, list[Trial]]]:
    """Return colour, label and members of each group of trials that were trained as far, the shortest first."""
    steps, found = stages(config, epochs), []
    for place, until in enumerate(steps):
        least = steps[place - 1] if place else 0
        members = [t for t in trials if least < t.epochs <= until and math.isfinite(t.loss())]
        if members:
            found.append((ramp(place + (len(steps) == 1), len(steps)), f"{_epochs(until)} ({len(members)})", members))
    return found


def _generations(trials: Sequence[Trial]) -> list[int]:
    """Return the number of the first trial of each generation."""
    return [min(_numbers(t for t in trials if t.generation == g)) for g in sorted({t.generation for t in trials})]


def _numbers(trials: Iterable[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _curve(axis: Axes, losses: Sequence[float], **style: Any) -> None:
    """Draw losses by epoch; a single one as a dot."""
    marker = {"marker": "o", "markersize": 2.5} if len(losses) == 1 else {}
    axis.plot(range(1, len(losses) + 1), losses, **(style | marker))


def _epoch_axis(axis: Axes, config: TuneConfig, epochs: int) -> None:
    """Make epochs logarithmic where there are rungs, which are so in most searches."""
    axis.set_xlabel("epoch")
    steps = stages(config, epochs)
    if len(steps) > 1:
        axis.set_xscale("log")
        ticks = sorted({1, *steps})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xticks([], minor=True)
    else:
        _whole_numbers(axis)


def _whole_numbers(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _loss_axis(axis: Axes, losses: Sequence[float]) -> float:
    """Scale an axis to the losses but for a few that exploded; return its upper end."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    values = np.array(_finite(losses))
    low, middle, most, high = (float(value) for value in np.quantile(values, (0, 0.5, 0.95, 1)))
    high = min(high, max(1.5 * most if len(values) >= 20 else high, 2 * middle), 20 * middle)
    if low <= 0 or high < 1.6 * low:
        room = 0.08 * (high - low) or 0.05 * abs(low) or 1.0
        axis.set_ylim(low - room, high + room)
        return high + room
    room = (high / low) ** 0.07
    axis.set_yscale("log")
    steps = (1, 1.5, 2, 3, 5, 7) if high > 3 * low else (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
    axis.yaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(low / room, high * room)
    return high * room


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"
