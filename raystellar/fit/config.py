"""The section ``fit`` of the configuration, without torch. Source: Sec. 5."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How networks are fitted; the defaults are the paper's but for ``members`` and ``averaging``."""

    epochs: int = 30
    """Passes over the augmented training set. Source: Sec. 5."""

    batch_size: int = 256
    """Spectra per step, over all workers together. Source: Sec. 5."""

    learning_rate: float = 1e-3
    """Peak learning rate. The published text lost the paper's; searched in 1e-4 to 5e-3."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, on every parameter as Keras does. Source: Sec. 6."""

    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises linearly. Source: Sec. 5."""

    final_fraction: float = 0.05
    """Last learning rate as a share of the peak. Source: Sec. 5."""

    averaging: float = 0.5
    """Epochs over which weights are averaged, exponentially, before they are judged and kept (Polyak & Juditsky 1992,
    doi:10.1137/0330046): single steps of a high learning rate leave all labels too high or too low, by a third of the
    error. 0, the paper's, keeps the weights as they are."""

    huber_delta: float = 1.0
    """Residual [scaled target] at which the loss turns from square to linear. Source: Sec. 5."""

    copies: int = 2
    """Noisy copies of each training spectrum, beside the spectrum itself. Source: Sec. 5."""

    noise_min: float = 0.01
    """Least noise of a copy, in standard deviations of the spectrum. Source: Sec. 5."""

    noise_max: float = 0.05
    """Greatest noise of a copy, in standard deviations of the spectrum. Source: Sec. 5."""

    members: int = 4
    """Networks of which the model is the mean, each fitted without another part of the training spectra: a tenth more
    accurate, and the spectra that a network has not seen tell its errors. 1 is the paper's single network, whose errors
    rest on the validation spectra alone; searches always try single networks."""

    fresh_noise: bool = False
    """Whether copies get new noise each epoch; False is the paper's fixed set of copies."""

    seed: int = 0
    """Of the initial weights, the order of batches, dropout and noise."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("copies", 0), ("members", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")
        if self.seed >= 2**63:
            raise ValueError(f"seed = {self.seed} must be below 2**63")
        for name in ("learning_rate", "huber_delta"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)} must be positive")
        for name in ("weight_decay", "warmup_fraction", "final_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in [0, 1]")
        if not 0.0 <= self.averaging < float("inf"):
            raise ValueError(f"averaging = {self.averaging} must be 0 or positive")
        if not 0.0 <= self.noise_min <= self.noise_max < float("inf"):
            raise ValueError(f"noise_min = {self.noise_min}, noise_max = {self.noise_max} must increase from 0")
