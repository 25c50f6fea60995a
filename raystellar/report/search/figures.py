"""Figures of the losses of a search. Each ``draw`` function draws into an empty figure."""

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
"""Attribute of a trial, and label of the axis, for each cost that is drawn against the loss."""

LEAST_HISTORY = 3
"""Number of trials with a loss below which the losses by trial are not drawn."""

LEAST_FRONT = 3
"""Number of comparable trials below which loss is not drawn against cost."""

FEW_TRIALS = 20
"""Number of trials below which points are drawn larger."""

TICKS: tuple[tuple[float, ...], ...] = (
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8),
    (*(n / 10 for n in range(10, 20)), *(n / 5 for n in range(10, 25)), *(n / 2 for n in range(10, 20))),
)
"""Ticks within a decade of a logarithmic axis, from coarse to fine."""

LEAST_TICKS = 4
"""Number of ticks with which a logarithmic axis is fine enough."""

DASHED = (0, (3, 2))
"""Line style of rungs: offset, then lengths of dash and gap [pt]."""


def front(trials: Iterable[Trial], cost: str, at: int) -> list[Trial]:
    """Return the trials that no other trial beats in both loss and cost, the cheapest first.

    Parameters
    ----------
    trials : trials to compare; those that were not trained for ``at`` epochs are left out
    cost : name in ``COSTS``
    at : epochs after which losses are compared
    """
    candidates = compared(trials, cost, at)
    fronts = pareto_fronts([(trial.loss(at), _cost(trial, cost)) for trial in candidates])
    unbeaten = [trial for trial, number in zip(candidates, fronts, strict=True) if number == 0]
    return sorted(unbeaten, key=lambda trial: (_cost(trial, cost), trial.loss(at)))


def compared(trials: Iterable[Trial], cost: str, at: int) -> list[Trial]:
    """Return the trials that have a loss after ``at`` epochs and a cost."""
    return [
        trial for trial in trials if trial.epochs >= at and math.isfinite(trial.loss(at)) and _cost(trial, cost) > 0
    ]


def front_panels(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[int]:
    """Return the epochs after which loss is drawn against cost: the first and last milestone with enough trials."""
    ends = milestones(config, epochs)
    return [at for at in sorted({ends[0], ends[-1]}) if len(compared(trials, "parameters", at)) >= LEAST_FRONT]


def draw_history(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw the loss of every trial by its number, and the least loss so far by the epochs spent."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    known = [trial for trial in trials if math.isfinite(trial.loss())]
    top = loss_axis(left, [trial.loss() for trial in known])
    _losses_by_number(left, trials, config, epochs, top)
    steps = best_so_far(trials, config, epochs)
    spent = sum(trial.cost(epochs) for trial in trials)
    x, y = [step[0] for step in steps] + [spent], [step[1] for step in steps] + [steps[-1][1]]
    right.step(x, y, where="post", color=COLOURS["accent"], linewidth=1.6)
    right.plot(x[-2], y[-2], "o", color=COLOURS["accent"], markersize=5)
    right.annotate(f"trial {steps[-1][2]}", (x[-2], y[-2]), (4, 7), textcoords="offset points")
    right.set(title="Best so far", xlabel="epochs spent on all trials", xlim=(0, 1.03 * spent))
    _whole_numbers(right)


def _losses_by_number(axis: Axes, trials: Sequence[Trial], config: TuneConfig, epochs: int, top: float) -> None:
    """Draw the loss of every trial; a triangle marks a loss above ``top``, a cross a trial without a loss."""
    area = 44 if len(trials) < FEW_TRIALS else 20
    for colour, label, members in _by_milestone(trials, config, epochs):
        inside = [trial for trial in members if trial.loss() <= top]
        losses = [trial.loss() for trial in inside]
        axis.scatter(_numbers(inside), losses, s=area, color=colour, label=label, linewidths=0, zorder=4)
    above = [trial for trial in trials if top < trial.loss() < math.inf]
    if above:
        style: dict[str, Any] = {"s": 24, "color": COLOURS["muted"], "marker": "^", "linewidths": 0, "clip_on": False}
        axis.scatter(_numbers(above), [top] * len(above), label=f"above the axis: {in_trials(len(above))}", **style)
    failed = [trial for trial in trials if not math.isfinite(trial.loss())]
    if failed:
        style = {"s": 24, "color": COLOURS["bad"], "marker": "x", "clip_on": False}
        axis.scatter(_numbers(failed), [top] * len(failed), label=f"no loss: {in_trials(len(failed))}", **style)
    least = np.minimum.accumulate([trial.loss() for trial in trials])
    shown, style = np.isfinite(least), {"color": COLOURS["accent"], "linewidth": 1.4, "label": "best so far"}
    axis.step(np.arange(len(trials))[shown], least[shown], where="post", **style)
    for begin in _generations(trials)[1:]:
        axis.axvline(begin - 0.5, color=COLOURS["line"], linewidth=0.8, linestyle=(0, (2, 2)))
    axis.grid(visible=False, axis="x")
    axis.margins(x=0.03)
    axis.set(title="All trials", xlabel="number of the trial", ylabel="least validation loss")
    _whole_numbers(axis)
    axis.figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def draw_curves(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw the validation loss of all trials by epoch, and both losses of the winner."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    winner = best(trials)
    groups = _by_milestone([trial for trial in trials if trial.epochs], config, epochs)
    finite = [loss for trial in trials for loss in trial.validation if math.isfinite(loss)]
    loss_axis(left, [*finite, *_finite(winner.training if winner else [])])
    width = 1.2 if len(trials) < FEW_TRIALS else 0.8
    for rank, (colour, label, members) in enumerate(groups):
        for trial in members:
            _curve(left, trial.validation, color=colour, linewidth=width, zorder=2 + rank)
        left.plot([], [], color=colour, label=label)
    if winner:
        name = f"winner, trial {winner.number}"
        for axis in (left, right):
            _curve(axis, winner.validation, color=COLOURS["accent"], linewidth=2.2, label=name, zorder=9)
        _curve(right, winner.training, color=COLOURS["muted"], linewidth=1.4, linestyle=(0, (4, 2)))
        _name_curves(right, winner)
    for number, rung in enumerate(milestones(config, epochs)[:-1]):
        label = "" if number else "rung"
        left.axvline(rung, color=COLOURS["muted"], linewidth=0.8, linestyle=DASHED, zorder=1, label=label)
    for axis in (left, right):
        _epoch_axis(axis, config, epochs)
    left.set(title="All trials", ylabel="validation loss")
    right.set(title="Winner")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _name_curves(axis: Axes, winner: Trial) -> None:
    """Write the names of the winner's losses in their colours."""
    names = (("training", winner.training, "muted"), ("validation", winner.validation, "accent"))
    for line, (name, losses, colour) in enumerate(names):
        if _finite(losses):
            style: dict[str, Any] = {"ha": "right", "va": "top", "color": COLOURS[colour], "weight": "bold"}
            axis.annotate(name, (0.97, 0.97 - 0.07 * line), xycoords="axes fraction", **style)


def draw_fronts(figure: Figure, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Draw loss against cost after the epochs ``front_panels``, and mark the trials of the front."""
    costs = ["parameters", "time"] if config.objective == "time" else ["parameters"]
    panels = front_panels(trials, config, epochs)
    axes = figure.subplots(len(costs), len(panels), squeeze=False)
    for row, cost in zip(axes, costs, strict=True):
        for axis, at in zip(row, panels, strict=True):
            _draw_front(axis, trials, cost, at)
        row[0].set_ylabel("least validation loss")


def _draw_front(axis: Axes, trials: Sequence[Trial], cost: str, at: int) -> None:
    """Draw loss against one cost."""
    from matplotlib.ticker import MaxNLocator

    candidates, unbeaten = compared(trials, cost, at), front(trials, cost, at)
    axis.set(title=f"After {in_epochs(at)}: {in_trials(len(candidates))}", xlabel=COSTS[cost][1])
    if not candidates:
        return
    top = loss_axis(axis, [trial.loss(at) for trial in candidates])
    x, y = [_cost(trial, cost) for trial in candidates], [min(top, trial.loss(at)) for trial in candidates]
    axis.scatter(x, y, s=30 if len(candidates) < FEW_TRIALS else 18, color=COLOURS["ramp2"], linewidths=0)
    x, y = [_cost(trial, cost) for trial in unbeaten], [trial.loss(at) for trial in unbeaten]
    axis.step(x, y, where="post", color=COLOURS["accent"], linewidth=1.4, marker="o", markersize=5)
    for trial, point in zip(unbeaten, zip(x, y, strict=True), strict=True):
        style: dict[str, Any] = {"textcoords": "offset points", "size": TYPE_PT - 1, "ha": "right", "va": "top"}
        axis.annotate(str(trial.number), point, (-4, -3), **style)
    axis.margins(x=0.08)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    if cost == "parameters":
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))


def _cost(trial: Trial, cost: str) -> float:
    return float(getattr(trial, COSTS[cost][0]))


def _by_milestone(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[tuple[str, str, list[Trial]]]:
    """Return colour, label and members of each group of trials with the same last milestone, in ascending order."""
    ends, groups = milestones(config, epochs), []
    for index, until in enumerate(ends):
        least = ends[index - 1] if index else 0
        members = [t for t in trials if least < t.epochs <= until and math.isfinite(t.loss())]
        if members:
            colour = ramp(index + (len(ends) == 1), len(ends))
            groups.append((colour, f"trained for {in_epochs(until)}: {in_trials(len(members))}", members))
    return groups


def _generations(trials: Sequence[Trial]) -> list[int]:
    """Return the number of the first trial of each generation."""
    return [min(_numbers(t for t in trials if t.generation == g)) for g in sorted({t.generation for t in trials})]


def _numbers(trials: Iterable[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _curve(axis: Axes, losses: Sequence[float], **style: Any) -> None:
    """Draw losses by epoch; a single loss is a dot."""
    marker = {"marker": "o", "markersize": 5} if len(losses) == 1 else {}
    axis.plot(range(1, len(losses) + 1), losses, **(style | marker))


def _epoch_axis(axis: Axes, config: TuneConfig, epochs: int) -> None:
    """Label the axis of epochs; it is logarithmic in a search with rungs, as most of its trials end early."""
    from matplotlib.ticker import NullLocator

    axis.set_xlabel("epoch")
    ends = milestones(config, epochs)
    if len(ends) == 1:
        _whole_numbers(axis)
        return
    axis.set_xscale("log")
    ticks = {1, *ends}
    for further in (2, 3, 5, 10, 20, 50, 100):
        if len(ticks) < LEAST_TICKS and further < epochs:
            ticks.add(further)
    axis.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axis.xaxis.set_minor_locator(NullLocator())


def _whole_numbers(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def loss_axis(axis: Axes, losses: Sequence[float]) -> float:
    """Scale an axis to the losses, except for a few that are far above the others; return its upper end."""
    values = np.array(_finite(losses))
    low, middle, most, high = (float(value) for value in np.quantile(values, (0, 0.5, 0.95, 1)))
    high = min(high, max(1.5 * most if len(values) >= FEW_TRIALS else high, 2 * middle), 20 * middle)
    if low <= 0 or high < 1.6 * low:
        room = 0.08 * (high - low) or 0.05 * abs(low) or 1.0
        axis.set_ylim(low - room, high + room)
        return high + room
    room = (high / low) ** 0.07
    low, high = low / room, high * room
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    ticks = loss_ticks(low, high)
    axis.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    return high


def loss_ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis from ``low`` to ``high``, at least ``LEAST_TICKS`` if the axis allows."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in TICKS:
        ticks = [tick for decade in decades for step in steps if low <= (tick := step * 10.0**decade) <= high]
        if len(ticks) >= LEAST_TICKS:
            break
    return ticks


def in_epochs(count: int) -> str:
    """Return a number of epochs as text."""
    return f"{count} epoch{'s' * (count != 1)}"


def in_trials(count: int) -> str:
    """Return a number of trials as text."""
    return f"{count} trial{'s' * (count != 1)}"
