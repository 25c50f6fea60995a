"""Searches for hyperparameters whose losses are a formula instead of a training."""

import math

import numpy as np

from raystellar.fit.config import FitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.schedule import Propose, next_step
from raystellar.search.space import Space
from raystellar.search.trials import Trial

EPOCHS = 6


SPACE = Space(SpaceConfig(), NetworkConfig(), FitConfig(epochs=EPOCHS))


CONFIG = TuneConfig(trials=12, generation=6, rungs=(1, 3), keep=3, finalists=2, seeds=2)


def choice(rng):
    chosen = {name: values[rng.integers(len(values))] for name, values in (SPACE.ordered | SPACE.named).items()}
    return chosen | {
        name: float(np.exp(rng.uniform(np.log(low), np.log(high)))) for name, (low, high) in SPACE.ranges.items()
    }


def outcome(trial, task, failing=()):
    """Return the outcome of a task, with losses that the learning rate alone decides."""
    if task.repeat:
        return {"validation": [trial.loss() + 0.01 * task.repeat], "seconds": 1.0}
    if trial.number in failing:
        return {"failure": "the loss is <not finite>"}
    at = np.arange(1, task.until + 1)
    loss = (0.1 - 0.02 * math.log(trial.choice["learning_rate"])) * (0.3 + 1 / at)
    losses = {"validation": loss.tolist(), "training": (1.1 * loss).tolist(), "mae": [[90.0, 0.1, 0.2]] * task.until}
    size = 1000 * trial.choice["stem"]
    return losses | {"seconds": 0.5 * task.until, "parameters": size, "predict_ms": 2 + size / 1e5}


def search(config, failing=()):
    """Return the trials of a search, and its tasks in their order."""
    rng, trials, tasks = np.random.default_rng(5), [], []
    while step := next_step(trials, config, EPOCHS):
        if isinstance(step, Propose):
            generation = len({trial.generation for trial in trials})
            trials += [Trial(len(trials) + k, generation, choice(rng)) for k in range(step.choices)]
            continue
        for task in step:
            trials[task.trial].update(outcome(trials[task.trial], task, failing), task.repeat)
        tasks += step
    return trials, tasks
