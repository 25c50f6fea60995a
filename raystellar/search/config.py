"""The sections ``tune`` and ``space`` of the configuration. Source: Sec. 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rates = tuple[float, ...]

TEMPLATES = ((16,), (32,), (48,), (48, 32), (48, 16), (32, 16), (48, 32, 16))
"""Hidden units of a head. Source: Sec. 6."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How hyperparameters are searched; decides the result, together with the data."""

    trials: int = 100
    """Distinct choices that are tried. Source: Sec. 6."""

    sampler: Literal["tpe", "gp", "random"] = "tpe"
    """What proposes choices: tree-structured Parzen estimator, Gaussian process, or the dice."""

    generation: int = 20
    """Choices proposed at once, from what all earlier ones have shown; as many trials can run at a time."""

    rungs: tuple[int, ...] = (3, 9)
    """Epochs after which only the best go on; none: every trial is trained to the end."""

    keep: int = 4
    """One of so many goes on at each rung."""

    finalists: int = 3
    """So many of the best that were trained to the end are trained again, with other seeds."""

    seeds: int = 3
    """With so many seeds each, for the luck of one seed is as large as what is between good choices; 1: once only."""

    objective: Literal["loss", "parameters", "time"] = "loss"
    """``loss`` is the validation loss; the others are Pareto searches for it and the number of parameters, or the
    time of inference, which is measured and so differs from run to run."""

    seed: int = 0
    """Of the choices; what is trained has ``fit.seed``."""

    def __post_init__(self) -> None:
        least = {"trials": 1, "generation": 1, "keep": 2, "finalists": 1, "seeds": 1, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {bound}")
        if any(b <= a for a, b in zip((0, *self.rungs), self.rungs, strict=False)):
            raise ValueError(f"rungs = {self.rungs} must increase from 1")


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """What is searched; the defaults are the paper's. Source: Sec. 6."""

    stem: tuple[int, ...] = (64, 96, 128)
    """Units of the stem."""

    stem_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """Dropout rates after the stem."""

    blocks: tuple[int, ...] = (1, 2)
    """Numbers of residual blocks."""

    block_units: tuple[int, ...] = (32, 48, 64)
    """Units of every block."""

    trunk_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Dropout rates at the end of every block."""

    heads: tuple[tuple[int, ...], ...] = TEMPLATES
    """Hidden units of each head, chosen for each by itself."""

    head_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Dropout rates of each head, chosen for each by itself."""

    learning_rate: tuple[float, float] = (1e-4, 5e-3)
    """Least and greatest peak learning rate, uniform in the logarithm."""

    weight_decay: tuple[float, float] = (1e-5, 1e-2)
    """Least and greatest weight decay, uniform in the logarithm."""

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} = {values} must hold values, each once")
        for name in ("learning_rate", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(f"{name} = ({low}, {high}) must be two positive numbers that increase")
