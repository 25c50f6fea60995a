"""The residual multitask network (Source: Sec. 4), and the mean of several networks.

Shapes: B spectra of a batch, P pixels, D units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from raystellar.model.architecture import NetworkConfig
from raystellar.model.batches import batches
from raystellar.model.threads import threads
from raystellar.targets import TARGET_NAMES

LAYER_NORM_EPSILON = 1e-3
"""Keras' default, with which the paper's network was trained (torch: 1e-5)."""


class DropoutKey(NamedTuple):
    """Key of the dropout masks of one step, and the rows of the global batch that a worker holds."""

    seed: int
    """Seed of the fit."""
    step: int
    """Number of the optimiser step, from 0."""
    start: int
    """First row of the global batch that this worker holds."""
    total: int
    """Number of rows of the global batch."""


class KeyedDropout(nn.Module):
    r"""Dropout whose mask depends on the spectrum's row in the global batch, not on the worker that holds it.

    .. math:: y_{bd} = x_{bd} \, m_{bd} / (1 - p), \qquad m_{bd} \sim \mathrm{Bernoulli}(1 - p)

    The mask is drawn for the whole global batch from (seed, step, layer) and cut to the rows of this worker, so that
    one worker and many train the same network.

    Arguments:
        p: dropout rate :math:`p` in [0, 1)
        layer: number of this layer in the network
    """

    def __init__(self, p: float, layer: int = 0) -> None:
        super().__init__()
        self.p, self.layer = p, layer
        self.key: DropoutKey | None = None

    def extra_repr(self) -> str:
        """Return the rate, which torch shows when it prints the network."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Drop units of ``x`` (B, D) in training; return ``x`` otherwise."""
        if not self.training or self.p == 0.0:
            return x
        if self.key is None:
            raise RuntimeError("StellarNet.at(...) must name the step before a forward pass in training")
        return x * self.mask(self.key, x.shape[0], x.shape[1]).to(x.device, non_blocking=True)

    def mask(self, key: DropoutKey, rows: int, width: int) -> Tensor:
        """Return the mask (rows, width): 0 for dropped units, 1 / (1 - p) for kept units."""
        words = np.random.SeedSequence((key.seed, key.step, self.layer)).generate_state(1, np.uint64)
        # always on the CPU: generators of CPU and GPU draw different numbers
        generator = torch.Generator().manual_seed(int(words[0]) >> 1)
        keep = torch.rand(key.total, width, generator=generator)[key.start : key.start + rows] >= self.p
        return keep.float() / (1.0 - self.p)


class Residual(nn.Module):
    r"""Residual block, normalised before each linear map.

    .. math:: y = S(x) + W_2 \, \mathrm{LN}(\phi(W_1 \, \mathrm{LN}(x) + b_1)) + b_2

    The shortcut :math:`S` is the identity, or LN and a linear map where the width changes.

    Arguments:
        body: branch with the two linear maps
        shortcut: :math:`S`; None for a block without shortcut
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, D')."""
        return self.body(x) if self.shortcut is None else self.shortcut(x) + self.body(x)


class StellarNet(nn.Module):
    r"""Residual multitask perceptron from a spectrum to three scaled stellar parameters.

    The network has a stem, a trunk of residual blocks, and for each target a head, which is a small perceptron:

    .. math::
        h_0 &= \phi(\mathrm{LN}(W_0 x + b_0)) \\
        h_k &= \mathrm{Residual}_k(h_{k-1}) \\
        y_t &= \mathrm{Head}_t(\mathrm{LN}(h_K)) \qquad t \in \{T_\mathrm{eff}, \mathrm{[Fe/H]}, \log g\}

    Here :math:`\phi` is the GELU. The paper's selection has 542,771 parameters. The weights of linear maps start from
    Glorot's uniform distribution and their biases from zero, the defaults of Keras, which the paper used.

    Arguments:
        config: widths, dropout rates and ablations
        seed: seed of the initial weights
        stem_scale: factor of the initial weights of the first layer; 1 in the paper

    Example:
        >>> network = StellarNet(NetworkConfig()).eval()
        >>> network(torch.zeros(2, 4000)).shape
        torch.Size([2, 3])
    """

    def __init__(self, config: NetworkConfig, seed: int = 0, stem_scale: float = 1.0) -> None:
        super().__init__()
        self.config = config
        trunks = 1 if config.multitask else len(TARGET_NAMES)
        self.trunks = nn.ModuleList(nn.Sequential(*_trunk(config)) for _ in range(trunks))
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(*_head(config.blocks[-1], *config.head(name))) for name in TARGET_NAMES}
        )
        self._dropouts = tuple(module for module in self.modules() if isinstance(module, KeyedDropout))
        for layer, dropout in enumerate(self._dropouts):
            dropout.layer = layer
        self.reset(seed, stem_scale)

    def reset(self, seed: int, stem_scale: float = 1.0) -> None:
        """Draw the initial weights as a function of ``seed``; ``stem_scale`` multiplies those of the first layers."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            for first, _ in self.paths():
                first.weight *= stem_scale

    def forward(self, flux: Tensor) -> Tensor:
        """Map standardised flux (B, P) to scaled targets (B, 3) in the order of ``targets.TARGETS``."""
        hidden = [trunk(flux) for trunk in self.trunks]
        if self.config.multitask:
            hidden *= len(self.heads)
        return torch.cat([head(h) for head, h in zip(self.heads.values(), hidden, strict=True)], dim=1)

    def paths(self) -> Iterator[tuple[nn.Linear, Callable[[Tensor], Tensor]]]:
        """Yield each first layer with a function from its output to the scaled targets that depend on it, in order."""
        heads = list(self.heads.values())
        for t, trunk in enumerate(self.trunks):
            own_heads = heads if self.config.multitask else heads[t : t + 1]
            first, *rest = trunk.children()
            yield cast(nn.Linear, first), partial(_after, nn.Sequential(*rest), own_heads)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def at(self, key: DropoutKey) -> StellarNet:
        """Set the step and the rows of the global batch for the next forward pass in training; return the network."""
        for dropout in self._dropouts:
            dropout.key = key
        return self


class Ensemble(nn.Module):
    r"""The mean of networks of one shape, each fitted to other spectra, which is more accurate than each of them.

    .. math:: y(x) = \frac{1}{M} \sum_{m=1}^{M} y_m(x)

    Arguments:
        config: shape of every member
        members: number M of members
    """

    def __init__(self, config: NetworkConfig, members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(StellarNet(config) for _ in range(members))

    def forward(self, flux: Tensor) -> Tensor:
        """Map standardised flux (B, P) to scaled targets (B, 3)."""
        return torch.stack([member(flux) for member in self.members]).mean(0)

    def each(self) -> list[StellarNet]:
        """Return the members."""
        return [cast(StellarNet, member) for member in self.members]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device


def joined(weights: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the state of an ensemble by name, joined from the states of its members."""
    return {f"members.{m}.{name}": array for m, state in enumerate(weights) for name, array in state.items()}


@torch.inference_mode()
def predict(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    """Return the network's scaled targets (n, 3) float32 for ``flux`` (n, P), computed on the network's device.

    The result of a row is the same to the last bit whatever the other rows are, see ``batches``. One thread is used on
    a CPU, because more threads sum in another order.
    """
    network.eval()
    targets = [torch.empty(0, len(TARGET_NAMES), device=network.device)]
    with threads(1):
        targets += [network(batch) for _, (batch,) in batches([flux], network.device)]
    return torch.cat(targets)[: len(flux)].cpu().numpy()


def _after(trunk: nn.Module, heads: Sequence[nn.Module], hidden: Tensor) -> Tensor:
    """Map the output of a first layer (B, D) to the scaled targets (B, T) of ``heads``."""
    hidden = trunk(hidden)
    return torch.cat([head(hidden) for head in heads], dim=1)


def _norm(config: NetworkConfig, width: int) -> Iterator[nn.Module]:
    if config.layer_norm:
        yield nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)


def _trunk(config: NetworkConfig) -> Iterator[nn.Module]:
    yield nn.Linear(config.n_pixels, config.stem)
    yield from _norm(config, config.stem)
    yield nn.GELU()
    yield KeyedDropout(config.stem_dropout)
    for width_in, width in zip((config.stem, *config.blocks), config.blocks, strict=False):
        yield _residual(config, width_in, width)
    yield from _norm(config, config.blocks[-1])


def _residual(config: NetworkConfig, width_in: int, width: int) -> Residual:
    body = nn.Sequential(
        *_norm(config, width_in),
        nn.Linear(width_in, width),
        nn.GELU(),
        *_norm(config, width),
        nn.Linear(width, width),
        KeyedDropout(config.trunk_dropout),
    )
    if not config.skip:
        return Residual(body, None)
    if width == width_in:
        return Residual(body, nn.Identity())
    return Residual(body, nn.Sequential(*_norm(config, width_in), nn.Linear(width_in, width)))


def _head(width_in: int, hidden: tuple[int, ...], dropout: float) -> Iterator[nn.Module]:
    for before, after in zip((width_in, *hidden), hidden, strict=False):
        yield nn.Linear(before, after)
        yield nn.GELU()
        yield KeyedDropout(dropout)
    yield nn.Linear((width_in, *hidden)[-1], 1)
