"""The parameters of a search, and the network and training that a choice of them means. Source: Sec. 6.

A choice is a plain mapping from parameter to value, as JSON holds it. Every trial chooses every parameter, also those
that its network does not use, because some samplers know no conditional parameters.
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
"""Value of each parameter, by name; the value of a head is the list of its hidden units."""


class Space:
    """The parameters of a search, in a fixed order.

    Parameters
    ----------
    config : values to choose from
    network, fit : settings that are not searched

    Attributes
    ----------
    ordered : values of each parameter whose values have an order
    named : values of each parameter without an order
    ranges : least and greatest value of each continuous parameter
    network, fit : settings that are not searched

    Raises
    ------
    ConfigError : a value is not allowed for a network or a training
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
        for index in range(max(map(len, values.values()))):  # each value is part of one of these choices
            self.meaning({name: known[min(index, len(known) - 1)] for name, known in values.items()})

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the distributions that a sampler draws from: indices of values, and ranges in the logarithm."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1) for name, values in self.ordered.items()
        }
        distributions |= {name: CategoricalDistribution(range(len(values))) for name, values in self.named.items()}
        return distributions | {name: FloatDistribution(*ends, log=True) for name, ends in self.ranges.items()}

    def choice(self, drawn: Mapping[str, Any]) -> Choice:
        """Return the choice that corresponds to values drawn from the ``distributions``."""
        lists = self.ordered | self.named
        return {name: lists[name][value] if name in lists else float(value) for name, value in drawn.items()}

    def drawn(self, choice: Choice) -> dict[str, Any]:
        """Return the values that would be drawn for a choice: the inverse of ``choice``.

        Raises
        ------
        ConfigError : the choice is not in the space
        """
        names = set(self.ordered) | set(self.named) | set(self.ranges)
        if set(choice) != names:
            raise ConfigError(f"a trial chose {sorted(choice)} and this space has {sorted(names)}")
        drawn: dict[str, Any] = {}
        for name, values in (self.ordered | self.named).items():
            if choice[name] not in values:
                raise ConfigError(f"a trial chose {name} = {choice[name]}, which is not in this space: {values}")
            drawn[name] = values.index(choice[name])
        for name, (low, high) in self.ranges.items():
            if not low <= choice[name] <= high:
                raise ConfigError(f"a trial chose {name} = {choice[name]:g}, outside {low:g} to {high:g}")
            drawn[name] = choice[name]
        return drawn

    def meaning(self, choice: Choice) -> tuple[NetworkConfig, FitConfig]:
        """Return the settings of the network and of the training that a choice means.

        Raises
        ------
        ConfigError : the settings are not allowed
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
    """Return a text that is the same for equal choices."""
    return json.dumps(choice, sort_keys=True)
