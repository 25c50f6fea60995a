"""The section ``fit`` of the configuration, without torch. Source: Sec. 5."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of the fit of a network.

    The defaults are the paper's, except ``members`` and ``averaging``.
    """

    epochs: int = 30
    """Number of passes over the augmented training set. Source: Sec. 5."""

    batch_size: int = 256
    """Number of spectra per optimiser step, summed over all workers. Source: Sec. 5."""

    learning_rate: float = 1e-3
    """Peak learning rate. The published text lacks the paper's value, which was searched in 1e-4 to 5e-3."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, applied to every parameter as in Keras. Source: Sec. 6."""

    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises linearly. Source: Sec. 5."""

    final_fraction: float = 0.05
    """Last learning rate as a share of the peak. Source: Sec. 5."""

    stem_scale: float = 1.0
    """Factor of the initial weights of the first layer. Adam does not forget large initial weights, which react to the
    noise of a spectrum. With 0.1 a single network is 2 to 8 % more accurate; a mean of networks gains less."""

    averaging: float = 0.5
    """Time scale of the exponential average of the weights [epochs]. The average is validated and kept (Polyak and
    Juditsky 1992, doi:10.1137/0330046). Without it, single steps of a high learning rate leave all labels too high or
    too low, by a third of the error. 0 switches the average off, as in the paper."""

    huber_delta: float = 1.0
    """Residual at which the loss changes from quadratic to linear [scaled target]. Source: Sec. 5."""

    copies: int = 2
    """Number of noisy copies of each training spectrum, beside the spectrum itself. Source: Sec. 5."""

    noise_min: float = 0.01
    """Least noise of a copy [standard deviations of the spectrum]. Source: Sec. 5."""

    noise_max: float = 0.05
    """Greatest noise of a copy [standard deviations of the spectrum]. Source: Sec. 5."""

    members: int = 4
    """Number of networks whose mean is the model; each leaves out another part of the training spectra. The mean of
    four networks is a tenth more accurate than one network. The errors of a network are calibrated on the spectra that
    it has not seen. 1 is the paper's single network, whose errors are calibrated on the validation spectra alone.
    Searches always fit single networks."""

    fresh_noise: bool = False
    """Whether copies get new noise in each epoch; False is the paper's fixed set of copies."""

    seed: int = 0
    """Seed of the initial weights, the order of batches, dropout and noise."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("copies", 0), ("members", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")
        if self.seed >= 2**63:
            raise ValueError(f"seed = {self.seed} must be below 2**63")
        for name in ("learning_rate", "huber_delta", "stem_scale"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)} must be positive")
        for name in ("weight_decay", "warmup_fraction", "final_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in [0, 1]")
        if not 0.0 <= self.averaging < float("inf"):
            raise ValueError(f"averaging = {self.averaging} must be 0 or positive")
        if not 0.0 <= self.noise_min <= self.noise_max < float("inf"):
            raise ValueError(f"noise_min = {self.noise_min}, noise_max = {self.noise_max} must increase from 0")
