"""Learning rate over the steps of a fit. Source: Sec. 5."""

from __future__ import annotations

import math

from raystellar.fit.config import FitConfig


def learning_rate(step: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of ``step`` = 0 ... ``steps`` - 1.

    With ``w`` warm-up steps and the peak ``p``: ``p (step + 1) / w`` in the warm-up, then
    ``p (f + (1 - f) (1 + cos(pi t)) / 2)`` with ``t`` from 0 to 1 at the last step and ``f`` the final
    fraction.
    """
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    t = (step - warmup) / max(steps - 1 - warmup, 1)
    cosine = 0.5 * (1.0 + math.cos(math.pi * t))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * cosine)
