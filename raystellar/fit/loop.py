"""The fit of one network, by one worker or many. Source: Sec. 5.

Every worker holds the same arrays and takes its rows of each global batch. Gradients are summed over the workers and
divided by the number of rows in the global batch. The order of batches, the noise and the dropout are functions of the
seed and of the row in the global batch. The number of workers therefore changes nothing but the rounding of sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from raystellar.errors import DatasetError
from raystellar.fit.augment import Augmenter
from raystellar.fit.checkpoints import Checkpoints, State
from raystellar.fit.config import FitConfig
from raystellar.fit.data import LABEL_ERROR_NAMES, SpectraSet
from raystellar.fit.metrics import errors
from raystellar.fit.scaler import RobustScaler
from raystellar.fit.schedule import learning_rate, memory
from raystellar.model.architecture import NetworkConfig
from raystellar.model.network import DropoutKey, StellarNet, predict
from raystellar.targets import TARGET_NAMES

ADAM_EPSILON = 1e-7
"""Keras' default, with which the paper's network was trained (torch: 1e-8)."""


@dataclass(frozen=True)
class EpochReport:
    """The outcome of one epoch."""

    epoch: int
    """Number of the epoch, from 1."""
    epochs: int
    """Number of epochs of the fit."""
    train_loss: float
    """Mean loss over the augmented training set, with dropout."""
    validation_loss: float
    """Mean loss over the validation set, with the averaged weights."""
    mae: tuple[float, ...]
    """Mean absolute error on the validation set per target, in the units of the targets."""
    seconds: float
    """Duration of the epoch with its validation [s]."""


@dataclass(frozen=True)
class FitResult:
    """A fitted network with its best weights by validation loss."""

    network: NetworkConfig
    """Architecture of the network."""
    weights: dict[str, np.ndarray]
    """State of the network by name, float32."""
    scaler: RobustScaler
    """Scaler of the targets."""
    label_ranges: dict[str, tuple[float, float]]
    """Least and greatest training label per target, in the units of the targets."""
    validation: dict[str, dict[str, float]]
    """Errors of the best weights on the validation set, see ``metrics.errors``."""
    best_epoch: int
    """Epoch of the best weights, from 1."""
    history: list[dict[str, Any]]
    """Fields of ``EpochReport``, and ``errors`` on the validation set, of each epoch."""


def fit(
    train: SpectraSet,
    validation: SpectraSet,
    network: NetworkConfig,
    config: FitConfig,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
    checkpoints: Checkpoints | None = None,
    report: Callable[[EpochReport], None] | None = None,
    until: int | None = None,
    items: Augmenter | None = None,
    chosen: np.ndarray | None = None,
) -> FitResult:
    """Fit a network and return it with the best weights by validation loss.

    Parameters
    ----------
    train, validation : spectra, the same arrays on every worker
    network : architecture of the network
    config : settings of the fit
    rank, world : number of this worker, from 0, and number of workers; several workers need torch's process group
    device : device of the network
    checkpoints : files to which rank 0 saves each epoch, and from which the fit resumes; None for no checkpoints
    report : function called after each epoch on every worker
    until : epoch after which to stop, so that a later call with the same ``checkpoints`` continues; None for all epochs
    items : augmented ``train``, made before with the same seed, copies and noise; None to augment here
    chosen : rows of ``train`` to learn from; None for all rows. The scaler is always fitted to all rows

    Raises
    ------
    DatasetError : the pixels do not fit the network, a label does not vary, or the validation loss was never finite
    """
    check(train, validation, network)
    items = items or Augmenter(train, config, chosen)
    run = _Fit(train, validation, network, config, _Workers(rank, world, torch.device(device)), items)
    saved = checkpoints.latest() if checkpoints and rank == 0 else None
    saved = run.workers.broadcast(saved) if checkpoints else None
    if saved:
        run.restore(State.decode(saved))
    while run.state.epoch < min(until or config.epochs, config.epochs):
        outcome = run.epoch()
        if checkpoints and rank == 0:
            run.capture()
            checkpoints.save(run.state.epoch, run.state.encode())
        if report:
            report(outcome)
    return run.result()


class _Workers:
    """The workers of a fit, as seen by the worker ``rank``."""

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        self.rank, self.world, self.device = rank, world, device

    def share(self, total: int) -> slice:
        """Return the rows of this worker among ``total`` rows."""
        return slice(total * self.rank // self.world, total * (self.rank + 1) // self.world)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum ``tensor`` in place over the workers and return it."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, data: bytes | None) -> bytes | None:
        """Return the ``data`` of rank 0 on every worker, so that only rank 0 needs access to the files."""
        if self.world == 1:
            return data
        size = torch.tensor([len(data or b"")], device=self.device)
        torch.distributed.broadcast(size, 0)
        buffer = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if data:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        torch.distributed.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes() or None


class _Fit:
    """The running fit of one network."""

    def __init__(
        self,
        train: SpectraSet,
        validation: SpectraSet,
        network: NetworkConfig,
        config: FitConfig,
        workers: _Workers,
        items: Augmenter,
    ) -> None:
        self.train, self.validation, self.config, self.workers = train, validation, config, workers
        self.scaler = RobustScaler.fit(train.targets)
        scaled = self.scaler.transform(train.targets)
        self.task_weights = torch.tensor(1.0 / scaled.var(axis=0), dtype=torch.float32, device=workers.device)
        self.scaled = scaled.astype(np.float32)
        self.weights = label_weights(train) if config.label_weights else np.ones_like(self.scaled)
        self.items = items
        self.network = StellarNet(network, seed=config.seed, stem_scale=config.stem_scale).to(workers.device)
        self.parameters = flatten(self.network)
        self.optimizer = torch.optim.AdamW(
            [self.parameters], weight_decay=config.weight_decay, eps=ADAM_EPSILON, fused=True
        )
        self.average = self.parameters.detach().clone()
        self.best = self.parameters.detach().clone()
        self.best_errors: dict[str, dict[str, float]] = {}
        self.state = State({}, epoch=0, step=0, best_epoch=0)
        pinned = workers.device.type == "cuda"
        self._buffer = None if pinned else np.empty((config.batch_size, network.n_pixels), dtype=np.float32)

    def epoch(self) -> EpochReport:
        """Pass once over the training set, validate, and return the outcome."""
        began = time.perf_counter()
        order = self.items.order(self.state.epoch)
        total = torch.zeros((), dtype=torch.float64, device=self.workers.device)
        self.network.train()
        for start in range(0, len(order), self.config.batch_size):
            total += self.step(order[start : start + self.config.batch_size])
        self.state.epoch += 1
        loss = float(self.workers.sum(total)) / len(order)
        return self._validate(loss, began)

    def step(self, items: np.ndarray) -> Tensor:
        """Take an optimiser step on the global batch ``items``; return the summed loss of this worker's rows."""
        own_rows = self.workers.share(len(items))
        flux, truth, weights = self._batch(items[own_rows])
        self.network.at(DropoutKey(self.config.seed, self.state.step, own_rows.start, len(items)))
        loss = huber(self.network(flux), truth, self.task_weights * weights, self.config.huber_delta)
        assert self.parameters.grad is not None
        self.parameters.grad.zero_()
        (loss / len(items)).backward()
        self.workers.sum(self.parameters.grad)
        steps = -(-len(self.items) // self.config.batch_size)
        self.optimizer.param_groups[0]["lr"] = learning_rate(self.state.step, self.config.epochs * steps, self.config)
        self.optimizer.step()
        self.state.step += 1
        self.average.lerp_(self.parameters.detach(), 1.0 - memory(self.state.step, self.config.averaging * steps))
        return loss.detach()

    def _batch(self, items: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return spectra, scaled targets and the weights of the labels of ``items``."""
        device, rows = self.workers.device, self.items.rows(items)
        labels = torch.from_numpy(np.stack([self.scaled[rows], self.weights[rows]]))
        if self._buffer is not None:  # a new buffer in each step would cost page faults
            flux = torch.from_numpy(self._buffer[: len(items)])
        else:  # torch reuses pinned memory only after the copy from it is complete
            flux = torch.empty(len(items), self.train.flux.shape[1], pin_memory=True)
        self.items.fill(items, self.state.epoch, flux.numpy())
        return flux.to(device, non_blocking=True), *labels.to(device, non_blocking=True)

    def _validate(self, train_loss: float, began: float) -> EpochReport:
        device, own_rows = self.workers.device, self.workers.share(len(self.validation))
        scaled = np.zeros((len(self.validation), len(TARGET_NAMES)), dtype=np.float32)
        latest = self.parameters.detach().clone()
        self.parameters.data.copy_(self.average)
        scaled[own_rows] = predict(self.network, self.validation.flux[own_rows])
        self.parameters.data.copy_(latest)
        predicted = self.workers.sum(torch.from_numpy(scaled).to(device))
        truth = torch.from_numpy(self.scaler.transform(self.validation.targets)).float().to(device)
        loss = float(huber(predicted, truth, self.task_weights, self.config.huber_delta)) / len(truth)
        per_target = errors(self.scaler.inverse(predicted.cpu().numpy()), self.validation.targets)
        mae = tuple(per_target[name]["mae"] for name in TARGET_NAMES)
        seconds = time.perf_counter() - began
        outcome = EpochReport(self.state.epoch, self.config.epochs, train_loss, loss, mae, seconds)
        if loss < min((past["validation_loss"] for past in self.state.history), default=float("inf")):
            self.best.copy_(self.average)
            self.state.best_epoch = self.state.epoch
        self.state.history.append({**asdict(outcome), "mae": list(mae), "errors": per_target})
        return outcome

    def capture(self) -> None:
        """Copy parameters, averaged and best parameters, and moments of the optimiser to the state."""
        moments = self.optimizer.state[self.parameters]
        tensors = {"parameters": self.parameters, "average": self.average, "best": self.best}
        tensors |= {name: moments[name] for name in ("exp_avg", "exp_avg_sq")}
        self.state.tensors = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, state: State) -> None:
        """Set the fit to ``state``."""
        self.state = state
        tensors = {name: torch.from_numpy(array.copy()) for name, array in state.tensors.items()}
        self.parameters.data.copy_(tensors["parameters"])
        self.average.copy_(tensors["average"])
        self.best.copy_(tensors["best"])
        moments = {name: tensors[name].to(self.workers.device) for name in ("exp_avg", "exp_avg_sq")}
        step = torch.tensor(float(state.step), device=self.workers.device)
        self.optimizer.state[self.parameters] = {"step": step, **moments}

    def result(self) -> FitResult:
        """Return the network with its best weights.

        Raises
        ------
        DatasetError : the validation loss was never finite
        """
        if not self.state.best_epoch:
            raise DatasetError("the validation loss was never finite; lower fit.learning_rate or look for extreme flux")
        self.parameters.data.copy_(self.best)
        weights = {name: tensor.cpu().numpy().copy() for name, tensor in self.network.state_dict().items()}
        low, high = self.train.targets.min(axis=0), self.train.targets.max(axis=0)
        ranges = {name: (float(low[t]), float(high[t])) for t, name in enumerate(TARGET_NAMES)}
        validation = self.state.history[self.state.best_epoch - 1]["errors"]
        state, shape = self.state, self.network.config
        return FitResult(shape, weights, self.scaler, ranges, validation, state.best_epoch, state.history)


def huber(predicted: Tensor, truth: Tensor, weights: Tensor, delta: float) -> Tensor:
    """Return the weighted Huber loss summed over rows: ``sum_b sum_t w_bt H(predicted_bt - truth_bt)``.

    ``H(r)`` is ``r^2 / 2`` up to ``|r| = delta`` and ``delta (|r| - delta / 2)`` beyond. Source: Sec. 5.

    Parameters
    ----------
    predicted, truth : (B, 3) scaled targets
    weights : (3,) or (B, 3) weights w: the inverse variance of each scaled target in the training set, times the weight
        of the label where labels have weights
    delta : residual at which the loss changes from quadratic to linear
    """
    return (functional.huber_loss(predicted, truth, reduction="none", delta=delta) * weights).sum()


def label_weights(spectra: SpectraSet) -> np.ndarray:
    """Return the weight (n, 3) float32 of each label in the loss: ``2 / (1 + (e / m)^2)``.

    Here e is the error of the label and m the median error of this label. Labels without a positive error count as 1.
    """
    errors_of = np.array([spectra.extra[name] for name in LABEL_ERROR_NAMES], dtype=np.float64).T  # None becomes NaN
    known = errors_of > 0.0
    weights = np.ones(errors_of.shape)
    for t in range(errors_of.shape[1]):
        own = errors_of[known[:, t], t]
        weights[known[:, t], t] = 2.0 / (1.0 + (own / np.median(own)) ** 2) if len(own) else 1.0
    return weights.astype(np.float32)


def flatten(network: nn.Module) -> nn.Parameter:
    """Return all parameters of ``network`` as one vector; parameters and gradients become views of it and its gradient.

    One vector needs one call of the optimiser, one all-reduce and one tensor in a checkpoint.
    """
    parameters = list(network.parameters())
    flat = nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        span = slice(start, start + parameter.numel())
        parameter.data = flat.data[span].view_as(parameter)
        parameter.grad = flat.grad[span].view_as(parameter)
        start = span.stop
    return flat


def check(train: SpectraSet, validation: SpectraSet, network: NetworkConfig) -> None:
    """Check that the network can be fitted to these spectra.

    Raises
    ------
    DatasetError : there are no spectra, their pixels do not fit the network, or a label does not vary
    """
    for name, spectra in (("train", train), ("validation", validation)):
        if not len(spectra) or spectra.flux.shape[1] != network.n_pixels:
            raise DatasetError(
                f"split {name!r} has flux of shape {spectra.flux.shape} and the network needs "
                f"(n, {network.n_pixels}), n > 0; make the dataset and the network of one size"
            )
    for t, name in enumerate(TARGET_NAMES):
        if np.ptp(train.targets[:, t]) == 0.0:
            raise DatasetError(f"label {name} is {train.targets[0, t]} in every training row and must vary")
