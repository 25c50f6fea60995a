"""The section ``fit`` of the configuration, without torch. Source: Sec. 5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of the fit of a network.

    The defaults give errors that are a third smaller than those of the paper's settings, with the same network. The
    preset ``paper`` has the paper's settings.
    """

    epochs: int = 90
    """Number of passes over the training set with its copies. 30 in the paper, with two copies."""

    least_steps: int = 2400
    """Least number of optimiser steps of a network; with few spectra there are as many more epochs as this takes. 0 in
    the paper."""

    batch_size: int = 256
    """Number of spectra per optimiser step, summed over all workers. Source: Sec. 5."""

    learning_rate: float = 3e-3
    """Peak learning rate. The published text lacks the paper's value, which was searched in 1e-4 to 5e-3; the preset
    ``paper`` has 1e-3."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, applied to every parameter as in Keras. Source: Sec. 6."""

    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises linearly. Source: Sec. 5."""

    final_fraction: float = 0.05
    """Last learning rate as a share of the peak. Source: Sec. 5."""

    stem_scale: float = 0.1
    """Factor of the initial weights of the first layer, 1 in the paper. Adam does not forget large initial weights,
    which react to the noise of a spectrum."""

    averaging: float = 0.5
    """Time scale of the exponential average of the weights [epochs]. The average is validated and kept (Polyak and
    Juditsky 1992, doi:10.1137/0330046). Without it, single steps of a high learning rate leave all labels too high or
    too low, by a third of the error. 0 switches the average off, as in the paper."""

    huber_delta: float = 0.3
    """Residual at which the loss changes from quadratic to linear [scaled target]. 1 in the paper."""

    label_weights: bool = True
    """Whether a label with an error e counts as ``2 / (1 + (e / m)^2)`` in the loss, where m is the median error of the
    label in the training set. Labels without an error count as 1. False in the paper."""

    copies: int = 0
    """Number of noisy copies of each training spectrum, beside the spectrum itself. 2 in the paper."""

    noise_unit: Literal["spectrum", "pixel"] = "pixel"
    """Unit of the noise of copies: the standard deviation of the spectrum, as in the paper, or the error of the pixel,
    which follows from the noise of the star's own spectrum."""

    noise_min: float = 0.0
    """Least noise that is added [``noise_unit``]. 0.01 in the paper."""

    noise_max: float = 1.5
    """Greatest noise that is added [``noise_unit``]. 0.05 in the paper."""

    ripples: float = 0.02
    """Smooth errors of the flux calibration that noisy spectra get, one standard deviation as a share of the flux. 0 in
    the paper."""

    members: int = 1
    """Number of networks whose mean is the model. With several networks, each leaves out another part of the training
    spectra. Searches always fit single networks."""

    folds: int = 3
    """Number of networks that are fitted beside a single network to learn its errors, and are then forgotten. Each
    leaves out another part of the training spectra, and shows its errors there. 0: the validation spectra alone show
    the errors, which are then right within a tenth. Of no effect with several ``members``, which do both."""

    fresh_noise: bool = True
    """Whether all items, also the spectra themselves, get new noise in each epoch; False is the paper's fixed set of
    spectra without noise and copies with noise."""

    seed: int = 0
    """Seed of the initial weights, the order of batches, dropout and noise."""

    def for_spectra(self, count: int) -> FitConfig:
        """Return the settings with the number of epochs that ``count`` training spectra need."""
        steps = max(1, -(-count * (1 + self.copies) // self.batch_size))
        return replace(self, epochs=max(self.epochs, -(-self.least_steps // steps)))

    @property
    def parts(self) -> int:
        """Number of parts of the training spectra of which a network leaves one out; 0: no network leaves any out."""
        return self.members if self.members > 1 else self.folds

    @property
    def left_out(self) -> tuple[int | None, ...]:
        """The part that each network leaves out, None for a network that learns from all; the model comes first."""
        return (*((None,) if self.members == 1 else ()), *range(self.parts))

    def __post_init__(self) -> None:
        least = {"epochs": 1, "least_steps": 0, "batch_size": 1, "copies": 0, "members": 1, "folds": 0, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {bound}")
        if self.folds == 1:
            raise ValueError("folds = 1 would leave no spectra to learn from; set 0, or 2 or more")
        if self.seed >= 2**63:
            raise ValueError(f"seed = {self.seed} must be below 2**63")
        for name in ("learning_rate", "huber_delta", "stem_scale"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)} must be positive")
        for name in ("weight_decay", "warmup_fraction", "final_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in [0, 1]")
        for name in ("averaging", "ripples"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)} must be 0 or positive")
        if not 0.0 <= self.noise_min <= self.noise_max < float("inf"):
            raise ValueError(f"noise_min = {self.noise_min}, noise_max = {self.noise_max} must increase from 0")
