"""The proposed choices, given the outcomes of earlier trials."""

import logging
import math
import warnings

import numpy as np
import pytest

from raystellar.errors import ConfigError
from raystellar.fit.config import FitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.sampler import propose
from raystellar.search.space import Space, key
from raystellar.search.trials import Trial

SPACE = Space(SpaceConfig(), NetworkConfig(), FitConfig())


def loss_of(choice):
    """Return a loss that depends on a few of the parameters."""
    return (
        (math.log10(choice["learning_rate"]) + 2.6) ** 2
        + 0.1 * (math.log10(choice["weight_decay"]) + 3) ** 2
        + 2 * choice["stem_dropout"]
        + abs(choice["trunk_dropout"] - 0.1)
        + (0.0 if choice["head_teff"] == [48, 32] else 0.2)
        + 0.1 * (choice["blocks"] - 1)
    )


def record(choices, start=0, fails=lambda choice: False):
    """Return trained trials with these choices."""
    return [
        Trial(start + i, 0, choice, failure="never finite")
        if fails(choice)
        else Trial(start + i, 0, choice, validation=[loss_of(choice)], parameters=1000 * choice["stem"], predict_ms=1.0)
        for i, choice in enumerate(choices)
    ]


def search(config, space=SPACE, earlier=(), fails=lambda choice: False):
    trials = []
    while len(trials) < config.trials:
        count = min(config.generation, config.trials - len(trials))
        trials += record(propose(space, trials, earlier, count, config), len(trials), fails)
    return trials


def tune_config(sampler, **values):
    return TuneConfig(**({"trials": 16, "generation": 4, "sampler": sampler} | values))


SEARCHES = {name: search(tune_config(name)) for name in ("random", "tpe")}


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_proposals_are_a_function_of_records_and_seed(sampler):
    known, config = SEARCHES["tpe"][:12], tune_config(sampler)
    count = 1 if sampler == "gp" else 2  # a Gaussian process takes seconds for each
    first = propose(SPACE, known, (), count, config)
    np.random.seed(3)  # noqa: NPY002 - the global generator must not matter
    assert propose(SPACE, known, (), count, config) == first
    assert propose(SPACE, known, (), count, tune_config(sampler, seed=1)) != first
    assert not {key(choice) for choice in first} & {key(trial.choice) for trial in known}
    for choice in first:
        assert SPACE.choice(SPACE.drawn(choice)) == choice
        SPACE.meaning(choice)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_is_the_same_again_and_no_choice_is_made_twice(sampler):
    assert search(tune_config(sampler)) == SEARCHES[sampler]
    assert len({key(trial.choice) for trial in SEARCHES[sampler]}) == 16


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_an_exhausted_space_is_refused_in_one_line(sampler):
    rate, decay = 1e-3, 1e-2
    config = SpaceConfig(
        stem=(8, 16), stem_dropout=(0.0,), blocks=(1,), block_units=(8,), trunk_dropout=(0.0,), heads=((8,),),
        head_dropout=(0.0,), learning_rate=(rate, math.nextafter(rate, 1)),
        weight_decay=(decay, math.nextafter(decay, 1)),
    )  # fmt: skip
    space = Space(config, NetworkConfig(), FitConfig())
    trials = search(tune_config(sampler, trials=2, generation=2), space)
    assert len({key(trial.choice) for trial in trials}) == 2
    with pytest.raises(ConfigError, match="hardly more than") as error:
        search(tune_config(sampler, trials=9, generation=9), space)
    assert "\n" not in str(error.value)


def best_of(sampler, seeds, **values):
    searches = [search(tune_config(sampler, seed=seed, **values)) for seed in seeds]
    return float(np.mean([min(trial.loss() for trial in trials) for trials in searches]))


def test_tpe_finds_lower_losses_than_random_choices():
    many = {"trials": 48, "generation": 8}
    assert best_of("tpe", range(6), **many) < 0.8 * best_of("random", range(6), **many)


def test_gp_finds_lower_losses_than_random_choices_and_prints_nothing(capfd, caplog):
    """Both samplers start from the same twelve trials."""
    losses = {"random": [], "gp": []}
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        for seed in range(2):
            known = search(tune_config("random", trials=12, seed=seed))
            for sampler, values in losses.items():
                config = tune_config(sampler, seed=seed)
                values += [loss_of(choice) for choice in propose(SPACE, known, (), 2, config)]
    assert np.mean(losses["gp"]) < np.mean(losses["random"])
    assert not [entry for entry in warned if "optuna" in str(entry.filename) or "Experimental" in str(entry.message)]
    error = capfd.readouterr()
    assert (error.out, error.err, caplog.text) == ("", "", "")


def test_an_earlier_search_improves_the_first_choices():
    earlier = search(tune_config("random", trials=60, generation=60))
    config = tune_config("tpe", trials=8, generation=8)
    cold, warm = propose(SPACE, [], (), 8, config), propose(SPACE, [], earlier, 8, config)
    assert cold != warm
    assert np.mean([loss_of(choice) for choice in warm]) < 0.8 * np.mean([loss_of(choice) for choice in cold])
    ranked = sorted(earlier, key=Trial.loss)
    assert warm[:2] == [trial.choice for trial in ranked[:2]]  # the best are tried again
    assert len({key(choice) for choice in warm}) == 8


def test_failed_trials_of_an_earlier_search_are_not_repeated():
    earlier = record(propose(SPACE, [], (), 8, tune_config("random")), fails=lambda choice: True)
    config = tune_config("tpe", trials=8, generation=8)
    warm = propose(SPACE, [], earlier, 8, config)
    assert not {key(choice) for choice in warm} & {key(trial.choice) for trial in earlier}


def test_an_earlier_search_without_times_can_be_learnt_from():
    earlier = search(tune_config("random"))
    for trial in earlier:
        trial.predict_ms = 0.0
    assert len(propose(SPACE, [], earlier, 4, tune_config("tpe", objective="time"))) == 4


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_failed_trials_do_not_break_the_sampler(sampler):
    trials = search(tune_config(sampler, trials=24), fails=lambda choice: choice["learning_rate"] > 1e-3)
    assert len({key(trial.choice) for trial in trials}) == 24
    assert 0 < sum(bool(trial.failure) for trial in trials) < 24
    assert len(search(tune_config(sampler, trials=12), fails=lambda choice: True)) == 12


def test_losses_that_are_not_finite_do_not_break_the_sampler():
    trials = search(tune_config("random", trials=12))
    for trial, validation in zip(trials, ([math.nan], [math.inf], [], [0.5, math.nan]), strict=False):
        trial.validation = validation
    assert len(propose(SPACE, trials, (), 3, tune_config("tpe"))) == 3


@pytest.mark.parametrize("objective", ["parameters", "time"])
def test_pareto_searches_propose_choices_that_are_cheap_too(objective):
    config = tune_config("tpe", trials=40, generation=8, objective=objective)
    trials = search(config)
    assert len({key(trial.choice) for trial in trials}) == 40
    if objective == "parameters":
        last = [trial.choice["stem"] for trial in trials[16:]]
        assert np.mean(last) < 96  # small ones, as both costs are to be small
    gp = tune_config("gp", objective=objective)
    assert len(propose(SPACE, trials[:11], (), 1, gp)) == 1


def test_a_trial_that_was_trained_longer_is_better_than_one_of_lower_loss():
    """TPE follows the trials that continued, even if trials that stopped early had lower losses."""
    trials = record(propose(SPACE, [], (), 40, tune_config("random")))
    for trial in trials:
        far = trial.choice["stem"] == 128
        trial.validation = [5.0, 4.0, 3.0] if far else [0.1]
    choices = propose(SPACE, trials, (), 12, tune_config("tpe"))
    assert sum(choice["stem"] == 128 for choice in choices) >= 7
