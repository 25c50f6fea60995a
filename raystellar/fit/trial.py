"""The fit of one trial of a search, part by part."""

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
"""Number of timed predictions of one batch, of which the median is taken."""


class Fitter:
    """Fitter of trials to one set of spectra, one trial after the other.

    Parameters
    ----------
    train, validation : spectra
    config : settings of the fit of all trials, except learning rate and weight decay
    device : device of the networks
    timed : whether to measure the time of inference
    """

    def __init__(
        self, train: SpectraSet, validation: SpectraSet, config: FitConfig, device: str, timed: bool = False
    ) -> None:
        self._train, self._validation = train, validation
        self._device, self._timed = device, timed
        self._items, self._seed = Augmenter(train, config), config.seed

    def __call__(
        self, network: NetworkConfig, config: FitConfig, until: int, checkpoints: Checkpoints | None
    ) -> dict[str, Any]:
        """Fit a trial from its last checkpoint to the epoch ``until``, and return its outcome so far.

        Parameters
        ----------
        network, config : choices of the trial
        until : number of epochs after which to stop
        checkpoints : files of the trial's state; None to start from the beginning

        Returns
        -------
        dict
            fields of ``search.trials.Trial``: losses ``validation`` and ``training`` and errors ``mae`` of each epoch,
            time ``seconds`` in all epochs and ``overhead`` beside them [s], number of ``parameters``, and time
            ``predict_ms`` of a batch if it is measured; for a trial that failed, the reason ``failure`` alone
        """
        began = time.perf_counter()
        epochs: list[float] = []
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
                report=lambda outcome: epochs.append(outcome.seconds),
            )
        except DatasetError as error:  # no loss was finite, because of the choices of the trial, not the data
            return {"failure": str(error)}
        outcome = _outcome(result)
        outcome["parameters"] = sum(weights.size for weights in result.weights.values())
        if self._timed:
            outcome["predict_ms"] = self._predict_ms(network)
        return outcome | {"overhead": time.perf_counter() - began - sum(epochs)}

    def _predict_ms(self, config: NetworkConfig) -> float:
        """Return the median time to predict one batch [ms]."""
        network, flux = StellarNet(config).to(self._device), self._validation.flux[: batch_size(self._device)]
        times = []
        for _ in range(PASSES):
            start = time.perf_counter()
            predict(network, flux)
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


def device(use_gpu: bool) -> str:
    """Return the device for torch, ``cuda`` where a GPU is wanted and present, else ``cpu``."""
    return "cuda" if use_gpu and torch.cuda.is_available() else "cpu"


def _outcome(result: FitResult) -> dict[str, Any]:
    history = result.history
    return {
        "validation": [past["validation_loss"] for past in history],
        "training": [past["train_loss"] for past in history],
        "mae": [past["mae"] for past in history],
        "seconds": sum(past["seconds"] for past in history),
    }
