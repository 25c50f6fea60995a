"""What may be chosen, and what network and training a choice means. Source: Sec. 6.

A choice is a plain mapping, parameter to value, as JSON holds it. Every parameter is chosen in every trial, so that
samplers which know no conditions see all of the space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raystellar.errors import ConfigError
from raystellar.fit.config import FitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.search.config import SpaceConfig
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Choice = dict[str, Any]
"""A value for each parameter; a head is a list of its hidden units."""


class Space:
    """The parameters of a search, in a fixed order.

    Parameters
    ----------
    config : what may be chosen
    network, fit : what holds for all that is not searched

    Raises
    ------
    ConfigError : a value makes no network or no training
    """

    def __init__(self, config: SpaceConfig, network: NetworkConfig, fit: FitConfig) -> None:
        self.network, self.fit = network, fit
        self.ordered: dict[str, tuple[Any, ...]] = {
            "stem": config.stem,
            "stem_dropout": config.stem_dropout,
            "blocks": config.blocks,
            "block_units": config.block_units,
            "trunk_dropout": config.trunk_dropout,
            **{f"dropout_{name}": config.head_dropout for name in TARGET_NAMES},
        }
        self.named = {f"head_{name}": tuple(list(units) for units in config.heads) for name in TARGET_NAMES}
        self.ranges = {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay}
        values = self.ordered | self.named | self.ranges
        for place in range(max(map(len, values.values()))):  # so that each value is looked at once
            self.meaning({name: known[min(place, len(known) - 1)] for name, known in values.items()})

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return what a sampler draws from: places in the lists of values, and the logarithms of the ranges."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1) for name, values in self.ordered.items()
        }
        found |= {name: CategoricalDistribution(range(len(values))) for name, values in self.named.items()}
        return found | {name: FloatDistribution(*ends, log=True) for name, ends in self.ranges.items()}

    def choice(self, drawn: Mapping[str, Any]) -> Choice:
        """Return the choice that was drawn from the ``distributions``."""
        lists = self.ordered | self.named
        return {name: lists[name][value] if name in lists else float(value) for name, value in drawn.items()}

    def drawn(self, choice: Choice) -> dict[str, Any]:
        """Return what would have to be drawn for a choice.

        Raises
        ------
        ConfigError : it does not lie in the space
        """
        names = set(self.ordered) | set(self.named) | set(self.ranges)
        if set(choice) != names:
            raise ConfigError(f"a trial chose {sorted(choice)} and this space has {sorted(names)}")
        found: dict[str, Any] = {}
        for name, values in (self.ordered | self.named).items():
            if choice[name] not in values:
                raise ConfigError(f"a trial chose {name} = {choice[name]}, which is not in this space: {values}")
            found[name] = values.index(choice[name])
        for name, (low, high) in self.ranges.items():
            if not low <= choice[name] <= high:
                raise ConfigError(f"a trial chose {name} = {choice[name]:g}, outside {low:g} to {high:g}")
            found[name] = choice[name]
        return found

    def meaning(self, choice: Choice) -> tuple[NetworkConfig, FitConfig]:
        """Return network and training of a choice.

        Raises
        ------
        ConfigError : they cannot be
        """
        shape: dict[str, Any] = {"stem": choice["stem"], "blocks": (choice["block_units"],) * choice["blocks"]}
        shape |= {name: choice[name] for name in ("stem_dropout", "trunk_dropout")}
        shape |= {f"dropout_{name}": choice[f"dropout_{name}"] for name in TARGET_NAMES}
        shape |= {f"head_{name}": tuple(choice[f"head_{name}"]) for name in TARGET_NAMES}
        try:
            network = replace(self.network, **shape)
            return network, replace(self.fit, **{name: choice[name] for name in self.ranges})
        except (ValueError, TypeError) as error:
            raise ConfigError(f"section space: {error}") from None


def key(choice: Choice) -> str:
    """Return what two choices have in common where they are the same."""
    return json.dumps(choice, sort_keys=True)
