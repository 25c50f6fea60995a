"""Recover the order in which a search ran its tasks from its recorded trials; see ``search.schedule`` for the rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from raystellar.search.config import TuneConfig
from raystellar.search.schedule import Task, milestones, order
from raystellar.search.trials import Trial


def replay(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Iterator[Task]:
    """Yield the tasks of a search in the order of its steps; tasks of one step ran at the same time.

    The record tells which trials continued after a rung. The losses tell the step in which each trial continued. If
    the losses do not decide the step (a time of inference was measured again), the last possible step is assumed.

    Parameters
    ----------
    trials : all trials of the search
    config : settings of the search
    epochs : epochs of a whole training
    """
    steps, known = milestones(config, epochs), list[Trial]()
    for _, generation in itertools.groupby(trials, lambda trial: trial.generation):
        new = [replace(trial, validation=[], repeats={}, failure="") for trial in generation]
        known += new
        yield from _done([Task(trial.number, steps[0]) for trial in new], known, trials)
        for level in range(1, len(steps) - 1):
            free = -(-len(known) // config.keep**level) - sum(_beyond(trial, steps[level - 1]) for trial in known)
            yield from _done(_promoted(known, trials, config, steps, level)[: max(0, free)], known, trials)
    for level in range(1, len(steps)):
        yield from _done(_promoted(known, trials, config, steps, level), known, trials)
    finalists = [trial for trial in order(known, config) if trials[trial.number].repeats]
    tasks = [Task(t.number, epochs, repeat) for t in finalists for repeat in sorted(map(int, trials[t.number].repeats))]
    yield from _done(tasks, known, trials)


def best_so_far(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[tuple[int, float, int]]:
    """Return each improvement of the least validation loss so far.

    Losses of further seeds are left out, as they belong to a choice that has a loss already.

    Returns
    -------
    list of (epochs spent by all trials so far, loss, number of the trial)
    """
    spent, least, steps = 0, math.inf, []
    trained = [0] * len(trials)
    for task in replay(trials, config, epochs):
        if task.repeat:
            continue
        trial = trials[task.trial]
        for loss in trial.validation[trained[task.trial] : task.until]:
            spent += 1
            if loss < least and not trial.failure:
                least = loss
                steps.append((spent, loss, trial.number))
        trained[task.trial] = min(task.until, trial.epochs)
    return steps


def _promoted(
    known: Sequence[Trial], trials: Sequence[Trial], config: TuneConfig, steps: Sequence[int], level: int
) -> list[Task]:
    """Return the tasks of trials that wait at the rung before ``level`` and will continue, the best first."""
    before = steps[level - 1]
    waiting = order([trial for trial in known if trial.epochs == before and not trial.failure], config, before)
    return [Task(trial.number, steps[level]) for trial in waiting if _beyond(trials[trial.number], before)]


def _beyond(trial: Trial, rung: int) -> bool:
    """Return whether a trial was trained beyond a rung, or failed on its way."""
    return trial.epochs > rung or (bool(trial.failure) and trial.epochs == rung)


def _done(tasks: Sequence[Task], known: list[Trial], trials: Sequence[Trial]) -> Iterator[Task]:
    """Yield the tasks that the record holds, and add their outcomes to ``known``."""
    for task in tasks:
        after = _after(task, known[task.trial], trials[task.trial])
        if after != known[task.trial]:
            known[task.trial] = after
            yield task


def _after(task: Task, known: Trial, trial: Trial) -> Trial:
    """Return the trial of a task as it was known after the task."""
    if task.repeat:
        repeat = {seed: loss for seed, loss in trial.repeats.items() if seed == str(task.repeat)}
        return replace(known, repeats=known.repeats | repeat)
    failure = trial.failure if task.until > trial.epochs else ""
    return replace(known, validation=trial.validation[: task.until], failure=failure)
