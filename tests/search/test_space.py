"""The space of choices, and the settings that a choice means."""

import itertools
import json
from dataclasses import fields, replace

import numpy as np
import pytest

from raystellar.cli.settings import compose
from raystellar.errors import ConfigError
from raystellar.fit.config import FitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.space import Space, key

SPACE = Space(SpaceConfig(), NetworkConfig(), FitConfig())
PAPER = {
    "stem": 128,
    "stem_dropout": 0.0,
    "blocks": 1,
    "block_units": 64,
    "trunk_dropout": 0.4,
    "dropout_teff": 0.0,
    "dropout_feh": 0.0,
    "dropout_logg": 0.0,
    "head_teff": [48, 32],
    "head_feh": [16],
    "head_logg": [48],
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
}


def corners():
    """Yield draws at the ends of the distributions: all combinations of three parameters at a time."""
    ends = {}
    for name, distribution in SPACE.distributions().items():
        if hasattr(distribution, "choices"):
            ends[name] = (distribution.choices[0], distribution.choices[-1])
        else:
            ends[name] = (distribution.low, distribution.high)
    for few in itertools.combinations(ends, 3):
        for last in itertools.product((0, 1), repeat=3):
            sides = dict(zip(few, last, strict=True))
            yield {name: values[sides.get(name, 0)] for name, values in ends.items()}


def draws(count):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        yield study.ask(SPACE.distributions()).params


def test_choice_and_drawn_are_inverses():
    for drawn in itertools.chain(corners(), draws(100)):
        choice = SPACE.choice(drawn)
        assert SPACE.drawn(choice) == drawn
        kept = json.loads(json.dumps(choice))
        assert key(kept) == key(choice)
        assert SPACE.choice(SPACE.drawn(kept)) == choice
        SPACE.meaning(kept)


def test_keys_of_different_choices_differ():
    drawn = [*corners(), *draws(50)]
    different = {json.dumps(one, sort_keys=True) for one in drawn}
    assert len({key(SPACE.choice(one)) for one in drawn}) == len(different)


def test_a_choice_means_a_network_and_a_training():
    network = NetworkConfig(n_pixels=500, skip=False, layer_norm=False)
    fit = FitConfig(epochs=7, batch_size=32, copies=1, seed=9)
    choice = PAPER | {
        "stem": 96, "stem_dropout": 0.3, "blocks": 2, "block_units": 48, "trunk_dropout": 0.1,
        "dropout_teff": 0.4, "dropout_feh": 0.2, "dropout_logg": 0.1,
        "head_teff": [16], "head_feh": [48, 32, 16], "head_logg": [32, 16],
        "learning_rate": 2e-4, "weight_decay": 3e-5,
    }  # fmt: skip
    shape, training = Space(SpaceConfig(), network, fit).meaning(choice)
    assert shape == NetworkConfig(
        n_pixels=500, stem=96, stem_dropout=0.3, blocks=(48, 48), trunk_dropout=0.1,
        head_teff=(16,), head_feh=(48, 32, 16), head_logg=(32, 16),
        dropout_teff=0.4, dropout_feh=0.2, dropout_logg=0.1, skip=False, layer_norm=False,
    )  # fmt: skip
    assert training == replace(fit, learning_rate=2e-4, weight_decay=3e-5)


def test_the_configuration_of_the_paper_is_in_the_space():
    from raystellar.model.network import StellarNet

    assert SPACE.choice(SPACE.drawn(PAPER)) == PAPER
    network, fit = SPACE.meaning(PAPER)
    paper = compose(preset="paper")
    assert network == paper.network
    assert (fit.learning_rate, fit.weight_decay) == (paper.fit.learning_rate, paper.fit.weight_decay)
    assert sum(weights.numel() for weights in StellarNet(network).parameters()) == 542_771


def test_the_default_space_is_that_of_the_paper():
    counts = {name: len(getattr(SpaceConfig(), name)) for name in ("stem", "stem_dropout", "blocks", "block_units")}
    assert counts == {"stem": 3, "stem_dropout": 6, "blocks": 2, "block_units": 3}
    assert len(SPACE.distributions()) == 13
    assert set(PAPER) == set(SPACE.distributions())
    assert TuneConfig().trials == 100


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"stem": 65}, "stem = 65, which is not in this space"),
        ({"stem_dropout": 0.05}, "stem_dropout"),
        ({"head_feh": [16, 16]}, "head_feh"),
        ({"learning_rate": 9e-5}, "learning_rate = 9e-05, outside 0.0001 to 0.005"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"weight_decay": 1.0}, "weight_decay"),
        ({"activation": "gelu"}, "activation"),
    ],
)
def test_a_choice_outside_the_space_is_refused(other, words):
    with pytest.raises(ConfigError, match=words) as error:
        SPACE.drawn(PAPER | other)
    assert "\n" not in str(error.value)


def test_a_choice_that_lacks_a_parameter_is_refused():
    with pytest.raises(ConfigError, match="this space has"):
        SPACE.drawn({name: value for name, value in PAPER.items() if name != "stem"})


@pytest.mark.parametrize(
    "values",
    [
        {"stem": (64, 0, 128)},  # the middle one, too
        {"stem": (10_000, 64)},
        {"stem_dropout": (0.0, 1.0, 0.2)},
        {"blocks": (1, 0, 2)},
        {"block_units": (32, -1, 64)},
        {"trunk_dropout": (0.1, float("nan"), 0.2)},
        {"heads": ((16,), (16, 0), (32,))},
        {"head_dropout": (0.0, -0.1, 0.4)},
        {"weight_decay": (1e-5, 2.0)},
        {"learning_rate": (1e-5, float("inf"))},
    ],
)
def test_values_that_are_not_allowed_for_a_network_are_refused(values):
    with pytest.raises(ConfigError, match="section space") as error:
        Space(SpaceConfig(**values), NetworkConfig(), FitConfig())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [{name: ()} for name in (entry.name for entry in fields(SpaceConfig)) if name not in ("learning_rate",)]
    + [{"stem": (64, 64)}, {"learning_rate": (1e-3, 1e-4)}, {"learning_rate": (0.0, 1e-3)},
       {"weight_decay": (float("nan"), 1e-3)}, {"heads": ((16,), (16,))}],
)  # fmt: skip
def test_a_space_with_empty_or_repeated_values_is_refused(values):
    with pytest.raises(ValueError, match="must"):
        SpaceConfig(**values)


def test_a_space_may_have_one_value_for_each_parameter():
    config = SpaceConfig(
        stem=(8,), stem_dropout=(0.0,), blocks=(1,), block_units=(8,), trunk_dropout=(0.0,), heads=((8,),),
        head_dropout=(0.0,),
    )  # fmt: skip
    space = Space(config, NetworkConfig(), FitConfig())
    for share in np.linspace(0, 1, 5):
        drawn = dict.fromkeys(space.distributions(), 0) | {"learning_rate": 1e-4 + share * 4e-3, "weight_decay": 1e-3}
        assert space.drawn(space.choice(drawn)) == drawn
