"""Propose the next choices of a search with Optuna, from the outcomes of all earlier trials.

A sampler sees the rank of a trial instead of its loss, because losses after one epoch and after thirty cannot be
compared. Trials that were trained longer rank first, then trials of lower loss. Ranks are passed as quantiles of a
normal distribution. Proposals are a function of the recorded trials and the seed; nothing is kept between two calls.
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
"""Number of proposals of known choices in a row after which the space counts as exhausted."""

AGAIN = 4
"""One choice in ``AGAIN`` of the first generation repeats one of the best choices of an earlier search."""


def propose(
    space: Space, trials: Sequence[Trial], earlier: Sequence[Trial], count: int, config: TuneConfig
) -> list[Choice]:
    """Return new choices, which no trial has made.

    Parameters
    ----------
    space : parameters of the search
    trials : all trials of this search, each with a loss or a failure
    earlier : trials of an earlier search; the sampler learns from their order, and the best are tried again first
    count : number of choices
    config : settings of the search

    Raises
    ------
    ConfigError : the space has no more choices
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # Optuna warns of packages that would make it quicker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _study(space, trials, earlier, config)
        choices = [] if trials else [trial.choice for trial in _ranked(earlier, config)[: count // AGAIN]]
        known = {key(trial.choice) for trial in trials} | {key(choice) for choice in choices}
        while len(choices) < count:
            choices.append(_unknown(study, space, known))
            known.add(key(choices[-1]))
    return choices


def _unknown(study: optuna.Study, space: Space, known: set[str]) -> Choice:
    """Return a choice that is not in ``known``."""
    import optuna

    for _ in range(TRIES):
        trial = study.ask(space.distributions())
        choice = space.choice(trial.params)
        if key(choice) not in known:
            return choice
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    raise ConfigError(f"the space has hardly more than {len(known)} choices; lower tune.trials")


def _study(space: Space, trials: Sequence[Trial], earlier: Sequence[Trial], config: TuneConfig) -> optuna.Study:
    """Return a study that holds the trials of this search and of an earlier one."""
    import optuna

    directions = [optuna.study.StudyDirection.MINIMIZE] * len(costs(Trial(0, 0, {}), config))
    study = optuna.create_study(sampler=_sampler(len(trials), len(earlier), config), directions=directions)
    distributions = space.distributions()
    for search_trials in (earlier, trials):
        ranked = _ranked(search_trials, config)
        for rank, trial in enumerate(ranked):
            score = float(ndtri((rank + 0.5) / len(ranked)))
            study.add_trial(
                optuna.trial.create_trial(
                    params=space.drawn(trial.choice),
                    distributions=distributions,
                    values=[score, *(math.log(cost) for cost in costs(trial, config)[1:])],
                )
            )
    return study


def _ranked(trials: Sequence[Trial], config: TuneConfig) -> list[Trial]:
    """Return the trials whose costs are all known, the best first; an earlier search may not have measured times."""
    return [trial for trial in order(trials, config) if all(0 < cost < math.inf for cost in costs(trial, config))]


def _sampler(known: int, earlier: int, config: TuneConfig) -> optuna.samplers.BaseSampler:
    """Return the sampler, seeded by ``config.seed`` and the numbers of trials."""
    import optuna

    entropy = (config.seed, known, earlier) if earlier else (config.seed, known)
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    kinds: dict[str, Any] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    return kinds[config.sampler]()
