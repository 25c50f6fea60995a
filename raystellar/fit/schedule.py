"""Quantities that change over the steps of a fit: learning rate (Source: Sec. 5) and memory of the averaged weights."""

from __future__ import annotations

import math

from raystellar.fit.config import FitConfig


def learning_rate(step: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of ``step`` = 0 ... ``steps`` - 1.

    With ``w`` warm-up steps and the peak ``p``, the rate is ``p (step + 1) / w`` in the warm-up. Then the rate is
    ``p (f + (1 - f) (1 + cos(pi t)) / 2)``, where ``t`` grows from 0 to 1 at the last step and ``f`` is the final
    fraction.
    """
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    t = (step - warmup) / max(steps - 1 - warmup, 1)
    cosine = 0.5 * (1.0 + math.cos(math.pi * t))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * cosine)


def memory(step: int, horizon: float) -> float:
    """Return the share of the averaged weights that is kept in ``step`` = 1, 2, ...

    The share is smaller in the first steps, whose weights are far from the final weights.

    Parameters
    ----------
    horizon : number of steps after which a share of 1 / e is left; 0 for no average
    """
    return min(math.exp(-1.0 / horizon), (1.0 + step) / (10.0 + step)) if horizon > 0.0 else 0.0
