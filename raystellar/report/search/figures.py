"""Figures of the losses of a search: each function draws one into an empty figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raystellar.report.svg import COLOURS, TYPE_PT, ramp
from raystellar.search.config import TuneConfig
from raystellar.search.replay import best_so_far
from raystellar.search.schedule import milestones, pareto_fronts
from raystellar.search.trials import Trial, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COSTS = {"parameters": ("parameters", "number of parameters"), "time": ("predict_ms", "time for 256 spectra [ms]")}
"""What stands against the loss: the trial's attribute and the words for it."""


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


def draw_history(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw the loss of every trial by its number, and the least so far by the epochs that were spent."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    known = [trial for trial in trials if math.isfinite(trial.loss())]
    top = loss_axis(left, [trial.loss() for trial in known])
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
    loss_axis(left, [*finite, *_finite(winner.training if winner else [])])
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
    for rung in milestones(config, epochs)[:-1]:
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


def draw_fronts(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw loss against cost where all trials can be compared, and where they end; those that none beats marked."""
    kinds = ["parameters", "time"] if config.objective == "time" else ["parameters"]
    known = milestones(config, epochs)
    columns = [known[0], known[-1]] if len(known) > 1 else known
    axes = figure.subplots(len(kinds), len(columns), squeeze=False)
    for row, cost in zip(axes, kinds, strict=True):
        for axis, at in zip(row, columns, strict=True):
            _front(axis, trials, cost, at)
        row[0].set_ylabel("least validation loss")


def _front(axis: Axes, trials: Sequence[Trial], cost: str, at: int) -> None:
    able, chosen = compared(trials, cost, at), front(trials, cost, at)
    axis.set(title=f"After {in_epochs(at)}: {len(able)} trial{'s' * (len(able) != 1)}", xlabel=COSTS[cost][1])
    if not able:
        return
    top = loss_axis(axis, [trial.loss(at) for trial in able])
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


def _by_stage(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[tuple[str, str, list[Trial]]]:
    """Return colour, label and members of each group of trials that were trained as far, the shortest first."""
    steps, found = milestones(config, epochs), []
    for place, until in enumerate(steps):
        least = steps[place - 1] if place else 0
        members = [t for t in trials if least < t.epochs <= until and math.isfinite(t.loss())]
        if members:
            found.append((ramp(place + (len(steps) == 1), len(steps)), f"{in_epochs(until)} ({len(members)})", members))
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
    steps = milestones(config, epochs)
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


def loss_axis(axis: Axes, losses: Sequence[float]) -> float:
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


def in_epochs(count: int) -> str:
    """Return a number of epochs in words."""
    return f"{count} epoch{'s' * (count != 1)}"
