"""Which trial is to be trained how far next: successive halving, a generation at a time.

All trials of a generation are trained to the first rung. Of all trials so far, one of ``keep`` may go on at each
rung, those of the least loss there; who went on stays. Then the next generation is proposed. When there are no more,
the best of the last rung are trained to the end, and the best of these again with other seeds. One generation and one
rung are a step: what is to be done next depends on what the steps before have shown, not on the order in which trials
of one step end.

Source of the halving: Jamieson & Talwalkar (2016), https://arxiv.org/abs/1502.07943. That losses after the first
epochs of one long schedule rank trials better than short schedules of their own was measured here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from raystellar.search.config import TuneConfig
from raystellar.search.trials import Trial


class Task(NamedTuple):
    """Train a trial until it has had so many epochs."""

    trial: int
    until: int
    repeat: int = 0
    """0, or the number of a further seed with which it is trained from the beginning."""


class Propose(NamedTuple):
    """Propose so many more choices."""

    choices: int


def next_step(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[Task] | Propose:
    """Return what is to be done next: tasks that may run at a time, or a proposal; no tasks at the end.

    The tasks of a step that are done already are left out.

    Parameters
    ----------
    trials : all that were proposed so far
    config : of the search
    epochs : of a whole training
    """
    rungs = [rung for rung in config.rungs if rung < epochs]
    stages = [*rungs, epochs]
    first = [Task(trial.number, stages[0]) for trial in trials if not trial.reached(stages[0])]
    if first:
        return first
    for level in range(1, len(rungs)):
        tasks = _promoted(trials, stages, level, config)
        if tasks:
            return tasks
    if len(trials) < config.trials:
        return Propose(min(config.generation, config.trials - len(trials)))
    return (_promoted(trials, stages, len(rungs), config) if rungs else []) or _repeats(trials, config, epochs)


def total_epochs(config: TuneConfig, epochs: int) -> int:
    """Return the epochs that a whole search trains."""
    stages = [0, *(rung for rung in config.rungs if rung < epochs), epochs]
    quotas = [_quota(config.trials, level, config) for level in range(len(stages) - 1)]
    once = sum(quota * (b - a) for quota, (a, b) in zip(quotas, itertools.pairwise(stages), strict=True))
    return once + min(config.finalists, quotas[-1]) * (config.seeds - 1) * epochs


def order(trials: Iterable[Trial], config: TuneConfig, at: int | None = None) -> list[Trial]:
    """Return the trials from the best to the worst by what is known after ``at`` epochs, or in all.

    A trial that came further is better; of those that came as far, the one of the less loss. In a Pareto search
    those which no other beats come first, then those whom only these beat, and so on.
    """
    known = list(trials)
    fronts = pareto_fronts([costs(trial, config, at) for trial in known])
    ranks = {
        trial.number: (-min(trial.epochs, at or trial.epochs), front, trial.loss(at), trial.number)
        for trial, front in zip(known, fronts, strict=True)
    }
    return sorted(known, key=lambda trial: ranks[trial.number])


def costs(trial: Trial, config: TuneConfig, at: int | None = None) -> tuple[float, ...]:
    """Return what the search makes small."""
    loss = trial.loss(at)
    further = {"loss": (), "parameters": (float(trial.parameters),), "time": (trial.predict_ms,)}
    return (loss, *further[config.objective])


def pareto_fronts(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the front of each point, 0 where no other is as good in all and better in one; quadratic in their number.

    With one cost there is nothing to trade: all are in front 0.
    """
    if not points or len(points[0]) == 1:
        return [0] * len(points)
    values = np.array(points)
    worse = (values[:, None] >= values[None]).all(2) & (values[:, None] > values[None]).any(2)
    fronts = np.full(len(values), -1)
    front = 0
    while (fronts < 0).any():
        left = fronts < 0
        here = left & ~(worse & left[None]).any(1)
        fronts[here] = front
        front += 1
    return fronts.tolist()


def _promoted(trials: Sequence[Trial], stages: Sequence[int], level: int, config: TuneConfig) -> list[Task]:
    """Return the tasks of those who go on from the rung before ``level`` and have not yet."""
    before, until = stages[level - 1], stages[level]
    # one that failed on its way keeps its place, or it would matter whether another ended before
    gone = [trial for trial in trials if trial.epochs > before or (trial.failure and trial.epochs == before)]
    # ranked among all who came here, or it would matter which of this step have ended before
    ranked = order((trial for trial in trials if trial.epochs >= before and not trial.failure), config, before)
    waiting = [trial for trial in ranked if trial.epochs == before]
    unfinished = [trial for trial in gone if not trial.reached(until)]
    free = max(0, _quota(len(trials), level, config) - len(gone))
    return [Task(trial.number, until) for trial in (*unfinished, *waiting[:free])]


def _repeats(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[Task]:
    """Return the tasks of the finalists with further seeds."""
    done = [trial for trial in trials if trial.epochs >= epochs and not trial.failure]
    return [
        Task(trial.number, epochs, repeat)
        for trial in order(done, config)[: config.finalists]
        for repeat in range(1, config.seeds)
        if str(repeat) not in trial.repeats
    ]


def _quota(count: int, level: int, config: TuneConfig) -> int:
    return -(-count // config.keep**level)
