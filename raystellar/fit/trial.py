"""A part of the fit of one trial of a search, and what is told of it."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from raystellar.errors import DatasetError
from raystellar.fit.augment import Augmenter
from raystellar.fit.checkpoints import Checkpoints
from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
from raystellar.fit.loop import FitResult, fit
from raystellar.model.architecture import NetworkConfig
from raystellar.model.batches import batch_size
from raystellar.model.network import StellarNet, predict

PASSES = 15
"""Of one batch, to time the inference; the median counts."""


class Fitter:
    """Fits trials to one set of spectra, one after the other.

    Parameters
    ----------
    train, validation : the spectra
    config : training of all trials, but for learning rate and weight decay
    device : where the networks live
    timed : whether the time of inference is measured
    """

    def __init__(
        self, train: SpectraSet, validation: SpectraSet, config: FitConfig, device: str, timed: bool = False
    ) -> None:
        self._train, self._validation = train, validation
        self._device, self._timed = device, timed
        self._items, self._seed = Augmenter(train.flux, train.keys, config), config.seed

    def __call__(
        self, network: NetworkConfig, config: FitConfig, until: int, checkpoints: Checkpoints | None
    ) -> dict[str, Any]:
        """Fit until there were so many epochs, from the last checkpoint on.

        Returns
        -------
        dict
            fields of ``search.trials.Trial``
        """
        began = time.perf_counter()
        here: list[float] = []
        try:
            result = fit(
                self._train,
                self._validation,
                network,
                config,
                device=self._device,
                checkpoints=checkpoints,
                until=until,
                items=self._items if config.seed == self._seed else None,
                report=lambda told: here.append(told.seconds),
            )
        except DatasetError as error:  # no loss was finite: the choice's fault, not the data's
            return {"failure": str(error)}
        found = _told(result)
        found["parameters"] = sum(weights.size for weights in result.weights.values())
        if self._timed:
            found["predict_ms"] = self._predict_ms(network)
        return found | {"overhead": time.perf_counter() - began - sum(here)}

    def _predict_ms(self, config: NetworkConfig) -> float:
        """Return the median time to predict one batch."""
        network, flux = StellarNet(config).to(self._device), self._validation.flux[: batch_size(self._device)]
        times = []
        for _ in range(PASSES):
            start = time.perf_counter()
            predict(network, flux)
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


def device(use_gpu: bool) -> str:
    """Return the name of the device that torch is to use."""
    return "cuda" if use_gpu and torch.cuda.is_available() else "cpu"


def _told(result: FitResult) -> dict[str, Any]:
    history = result.history
    return {
        "validation": [past["validation_loss"] for past in history],
        "training": [past["train_loss"] for past in history],
        "mae": [past["mae"] for past in history],
        "seconds": sum(past["seconds"] for past in history),
    }
