"""Decide which trials are trained next and for how long: successive halving, one generation at a time.

All trials of a generation are trained to the first rung. At each rung, one of ``keep`` of all trials so far continues:
the trials with the least loss at that rung. A trial that continued once is never taken back. Then the next generation
is proposed. After the last generation, the best trials of the last rung are trained to the end, and the best of these
again with other seeds. One rung of one generation is a step. The next step depends on the outcome of the steps before,
not on the order in which the trials of a step end.

Source: Jamieson & Talwalkar (2016), https://arxiv.org/abs/1502.07943. All trials follow the learning rate of a whole
training: on simulated stars, losses after its first epochs ranked trials better than short schedules did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from raystellar.search.config import TuneConfig
from raystellar.search.trials import Trial


class Task(NamedTuple):
    """Training of one trial up to a number of epochs."""

    trial: int
    """Number of the trial."""

    until: int
    """Epochs that the trial has at the end of the task."""

    repeat: int = 0
    """Number of a further seed with which the trial is trained from the beginning; 0 for the first seed."""


class Propose(NamedTuple):
    """Proposal of new choices."""

    choices: int
    """Number of choices to propose."""


def milestones(config: TuneConfig, epochs: int) -> list[int]:
    """Return the epochs at which trainings pause: the rungs below ``epochs``, then ``epochs``, a whole training."""
    return [*(rung for rung in config.rungs if rung < epochs), epochs]


def next_step(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[Task] | Propose:
    """Return the next step: tasks that may run at the same time, or a proposal; no tasks when the search is finished.

    Tasks of the step that are done already are left out.

    Parameters
    ----------
    trials : all trials proposed so far
    config : settings of the search
    epochs : epochs of a whole training
    """
    ends = milestones(config, epochs)
    first = [Task(trial.number, ends[0]) for trial in trials if not trial.reached(ends[0])]
    if first:
        return first
    last = len(ends) - 1
    for level in range(1, last):
        tasks = _promoted(trials, ends, level, config)
        if tasks:
            return tasks
    if len(trials) < config.trials:
        return Propose(min(config.generation, config.trials - len(trials)))
    return (_promoted(trials, ends, last, config) if last else []) or _repeats(trials, config, epochs)


def total_epochs(config: TuneConfig, epochs: int) -> int:
    """Return the epochs that a whole search trains, over all trials and seeds."""
    ends = [0, *milestones(config, epochs)]
    quotas = [_quota(config.trials, level, config) for level in range(len(ends) - 1)]
    once = sum(quota * (b - a) for quota, (a, b) in zip(quotas, itertools.pairwise(ends), strict=True))
    return once + min(config.finalists, quotas[-1]) * (config.seeds - 1) * epochs


def order(trials: Iterable[Trial], config: TuneConfig, at: int | None = None) -> list[Trial]:
    """Return the trials from the best to the worst, as known after ``at`` epochs; None: after all epochs.

    Trials that were trained longer come first. Trials trained for as long come in the order of their fronts in a
    Pareto search, see ``pareto_fronts``, and within a front in the order of their losses.
    """
    known = list(trials)
    fronts = pareto_fronts([costs(trial, config, at) for trial in known])
    ranks = {
        trial.number: (-min(trial.epochs, at or trial.epochs), front, trial.loss(at), trial.number)
        for trial, front in zip(known, fronts, strict=True)
    }
    return sorted(known, key=lambda trial: ranks[trial.number])


def costs(trial: Trial, config: TuneConfig, at: int | None = None) -> tuple[float, ...]:
    """Return the quantities to minimise: the loss after ``at`` epochs, and the second cost of a Pareto search."""
    loss = trial.loss(at)
    further = {"loss": (), "parameters": (float(trial.parameters),), "time": (trial.predict_ms,)}
    return (loss, *further[config.objective])


def pareto_fronts(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the front (n,) of each point: 0 if no other point is as good in all costs and better in one.

    Front 1 holds the points that only points of front 0 beat, and so on. With a single cost all points are in front 0.
    The time is quadratic in the number of points.
    """
    if not points or len(points[0]) == 1:
        return [0] * len(points)
    values = np.array(points)
    worse = (values[:, None] >= values[None]).all(2) & (values[:, None] > values[None]).any(2)
    fronts = np.full(len(values), -1)
    front = 0
    while (fronts < 0).any():
        left = fronts < 0
        unbeaten = left & ~(worse & left[None]).any(1)
        fronts[unbeaten] = front
        front += 1
    return fronts.tolist()


def _promoted(trials: Sequence[Trial], ends: Sequence[int], level: int, config: TuneConfig) -> list[Task]:
    """Return the open tasks of the trials that continue from milestone ``level - 1`` to ``level``."""
    before, until = ends[level - 1], ends[level]
    # a trial that failed on its way keeps its rank; else the order in which tasks end would matter
    gone = [trial for trial in trials if trial.epochs > before or (trial.failure and trial.epochs == before)]
    # trials are ranked among all that reached the rung; else the order in which tasks end would matter
    ranked = order((trial for trial in trials if trial.epochs >= before and not trial.failure), config, before)
    waiting = [trial for trial in ranked if trial.epochs == before]
    unfinished = [trial for trial in gone if not trial.reached(until)]
    free = max(0, _quota(len(trials), level, config) - len(gone))
    return [Task(trial.number, until) for trial in (*unfinished, *waiting[:free])]


def _repeats(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[Task]:
    """Return the open tasks of the finalists with further seeds."""
    done = [trial for trial in trials if trial.epochs >= epochs and not trial.failure]
    return [
        Task(trial.number, epochs, repeat)
        for trial in order(done, config)[: config.finalists]
        for repeat in range(1, config.seeds)
        if str(repeat) not in trial.repeats
    ]


def _quota(count: int, level: int, config: TuneConfig) -> int:
    """Return how many of ``count`` trials may reach milestone ``level``."""
    return -(-count // config.keep**level)
