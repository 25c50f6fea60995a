"""Which choices are worth a trial, from what all earlier ones have shown.

Optuna's samplers see a trial's place in the order of all trials in place of its loss, for losses after one epoch and
after thirty cannot be compared: those that came further are better, of those that came as far the ones of less
loss. The places are given as quantiles of a normal distribution. Proposals are a function of the trials on record
and the seed: nothing is kept between two calls.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from raystellar.errors import ConfigError
from raystellar.search.config import TuneConfig
from raystellar.search.schedule import costs, order
from raystellar.search.space import Choice, Space, key
from raystellar.search.trials import Trial

if TYPE_CHECKING:
    import optuna

TRIES = 100
"""Proposals of one known choice after which the space is taken for exhausted."""

AGAIN = 4
"""One of so many choices of the first generation is one of the best of an earlier search, tried again."""


def propose(
    space: Space, trials: Sequence[Trial], earlier: Sequence[Trial], count: int, config: TuneConfig
) -> list[Choice]:
    """Return ``count`` choices that no trial has made.

    Parameters
    ----------
    space : what may be chosen
    trials : all of this search, each with a loss or a failure
    earlier : of a search before, whose order is learnt from, too, and whose best are tried again first
    count : of the choices
    config : of the search

    Raises
    ------
    ConfigError : the space has no more choices
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of packages that would make it quicker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _study(space, trials, earlier, config)
        found = [] if trials else [trial.choice for trial in _ranked(earlier, config)[: count // AGAIN]]
        known = {key(trial.choice) for trial in trials} | {key(choice) for choice in found}
        while len(found) < count:
            found.append(_unknown(study, space, known))
            known.add(key(found[-1]))
    return found


def _unknown(study: optuna.Study, space: Space, known: set[str]) -> Choice:
    """Ask until the choice is a new one."""
    import optuna

    for _ in range(TRIES):
        trial = study.ask(space.distributions())
        choice = space.choice(trial.params)
        if key(choice) not in known:
            return choice
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    raise ConfigError(f"the space has hardly more than {len(known)} choices; ask for fewer trials")


def _study(space: Space, trials: Sequence[Trial], earlier: Sequence[Trial], config: TuneConfig) -> optuna.Study:
    """Return a study that knows the trials."""
    import optuna

    directions = [optuna.study.StudyDirection.MINIMIZE] * len(costs(Trial(0, 0, {}), config))
    study = optuna.create_study(sampler=_sampler(len(trials), len(earlier), config), directions=directions)
    distributions = space.distributions()
    for one_search in (earlier, trials):
        ranked = _ranked(one_search, config)
        for place, trial in enumerate(ranked):
            score = float(ndtri((place + 0.5) / len(ranked)))
            study.add_trial(
                optuna.trial.create_trial(
                    params=space.drawn(trial.choice),
                    distributions=distributions,
                    values=[score, *(math.log(cost) for cost in costs(trial, config)[1:])],
                )
            )
    return study


def _ranked(trials: Sequence[Trial], config: TuneConfig) -> list[Trial]:
    """Return those of which all costs are known, from the best to the worst; another search may not have timed any."""
    return [trial for trial in order(trials, config) if all(0 < cost < math.inf for cost in costs(trial, config))]


def _sampler(known: int, earlier: int, config: TuneConfig) -> optuna.samplers.BaseSampler:
    import optuna

    entropy = (config.seed, known, earlier) if earlier else (config.seed, known)
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    kinds: dict[str, Any] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    return kinds[config.sampler]()
