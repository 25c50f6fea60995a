"""In which order a search trained what, found from its trials: see ``search.schedule`` for what comes next when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from raystellar.search.config import TuneConfig
from raystellar.search.schedule import Task, order
from raystellar.search.trials import Trial


def stages(config: TuneConfig, epochs: int) -> list[int]:
    """Return the epochs after which trials are compared, and those of a whole training."""
    return [*(rung for rung in config.rungs if rung < epochs), epochs]


def replay(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Iterator[Task]:
    """Yield the tasks of a search in their order; those of one step, which ran at a time, by their place in it.

    Who went on stands in the record; the losses say when. Where they cannot, as times of inference were measured anew
    since, a trial went on last of all.

    Parameters
    ----------
    trials : all of the search
    config : of the search
    epochs : of a whole training
    """
    steps, known = stages(config, epochs), list[Trial]()
    for _, generation in itertools.groupby(trials, lambda trial: trial.generation):
        new = [replace(trial, validation=[], repeats={}, failure="") for trial in generation]
        known += new
        yield from _done([Task(trial.number, steps[0]) for trial in new], known, trials)
        for level in range(1, len(steps) - 1):
            places = -(-len(known) // config.keep**level) - sum(_beyond(trial, steps[level - 1]) for trial in known)
            yield from _done(_promoted(known, trials, config, steps, level)[: max(0, places)], known, trials)
    for level in range(1, len(steps)):
        yield from _done(_promoted(known, trials, config, steps, level), known, trials)
    finalists = [trial for trial in order(known, config) if trials[trial.number].repeats]
    tasks = [Task(t.number, epochs, repeat) for t in finalists for repeat in sorted(map(int, trials[t.number].repeats))]
    yield from _done(tasks, known, trials)


def best_so_far(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> list[tuple[int, float, int]]:
    """Return where the least validation loss so far became less.

    Further seeds do not count: theirs are other losses of the same choice.

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
    """Return the tasks of those who wait at the rung before ``level`` and went on, the best first."""
    before = steps[level - 1]
    waiting = order([trial for trial in known if trial.epochs == before and not trial.failure], config, before)
    return [Task(trial.number, steps[level]) for trial in waiting if _beyond(trials[trial.number], before)]


def _beyond(trial: Trial, rung: int) -> bool:
    """Return whether a trial went on after a rung, or failed to."""
    return trial.epochs > rung or (bool(trial.failure) and trial.epochs == rung)


def _done(tasks: Sequence[Task], known: list[Trial], trials: Sequence[Trial]) -> Iterator[Task]:
    """Yield tasks that the record holds, and take in what came of them."""
    for task in tasks:
        after = _after(task, known[task.trial], trials[task.trial])
        if after != known[task.trial]:
            known[task.trial] = after
            yield task


def _after(task: Task, known: Trial, trial: Trial) -> Trial:
    """Return what is known of a task's trial after it."""
    if task.repeat:
        here = {seed: loss for seed, loss in trial.repeats.items() if seed == str(task.repeat)}
        return replace(known, repeats=known.repeats | here)
    failure = trial.failure if task.until > trial.epochs else ""
    return replace(known, validation=trial.validation[: task.until], failure=failure)
