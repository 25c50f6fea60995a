"""The sections ``tune`` and ``space`` of the settings. Source: Sec. 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rates = tuple[float, ...]
"""Dropout rates to choose from."""

TEMPLATES = ((16,), (32,), (48,), (48, 32), (48, 16), (32, 16), (48, 32, 16))
"""Hidden units of a head to choose from. Source: Sec. 6."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of the search for hyperparameters. Together with the data they decide the result."""

    trials: int = 100
    """Number of distinct choices to try. Source: Sec. 6."""

    sampler: Literal["tpe", "gp", "random"] = "tpe"
    """Method that proposes choices: tree-structured Parzen estimator, Gaussian process, or random."""

    generation: int = 20
    """Number of choices proposed at once from all earlier outcomes, and largest number of trials at a time."""

    rungs: tuple[int, ...] = (3, 9)
    """Epochs after which only the best trials continue; empty: every trial is trained to the end."""

    keep: int = 4
    """Reduction factor: one of ``keep`` trials continues at each rung."""

    finalists: int = 3
    """Number of the best fully trained trials that are trained again with other seeds."""

    seeds: int = 3
    """Number of seeds for each finalist; 1: the finalists are not trained again. The scatter between seeds is as large
    as the differences between good choices."""

    objective: Literal["loss", "parameters", "time"] = "loss"
    """Quantity to minimise. ``loss`` is the validation loss. ``parameters`` and ``time`` are Pareto searches for the
    loss and the number of parameters, or the time of inference. That time is measured, so it differs from run to run.
    """

    seed: int = 0
    """Seed of the choices; trainings use ``fit.seed``."""

    def __post_init__(self) -> None:
        least = {"trials": 1, "generation": 1, "keep": 2, "finalists": 1, "seeds": 1, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {bound}")
        if any(b <= a for a, b in zip((0, *self.rungs), self.rungs, strict=False)):
            raise ValueError(f"rungs = {self.rungs} must increase from 1")


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """Values to choose from; the defaults are those of the paper. Source: Sec. 6."""

    stem: tuple[int, ...] = (64, 96, 128)
    """Units of the stem."""

    stem_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """Dropout rates after the stem."""

    blocks: tuple[int, ...] = (1, 2)
    """Numbers of residual blocks."""

    block_units: tuple[int, ...] = (32, 48, 64)
    """Units of each block; all blocks of a network have the same."""

    trunk_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Dropout rates at the end of every block."""

    heads: tuple[tuple[int, ...], ...] = TEMPLATES
    """Hidden units of a head; each head has its own choice."""

    head_dropout: Rates = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Dropout rates of a head; each head has its own choice."""

    learning_rate: tuple[float, float] = (1e-4, 5e-3)
    """Least and greatest peak learning rate; uniform in the logarithm."""

    weight_decay: tuple[float, float] = (1e-5, 1e-2)
    """Least and greatest weight decay; uniform in the logarithm."""

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} = {values} must hold values, none of them twice")
        for name in ("learning_rate", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(f"{name} = ({low}, {high}) must be two positive numbers that increase")
