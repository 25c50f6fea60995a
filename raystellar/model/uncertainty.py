"""Photon noise through the network: what the noise of the pixels does to the targets.

To first order the covariance of the targets is ``J diag(v) J^T`` with ``J`` the Jacobian of the network and ``v`` the
variance of the standardised flux. Mean and standard deviation of a spectrum depend on its noise too, which is neglected
(it changes errors by less than 2 %), as are the covariances of neighbouring pixels after resampling.

Shapes: B spectra of a batch, P pixels, K blocks of pixels with one inverse variance, D units of the stem.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raystellar.fit.threads import threads
from raystellar.model.batches import CPU_BATCH
from raystellar.model.network import StellarNet
from raystellar.targets import TARGET_NAMES

MOST_VARIANCE = 1.0
"""Variance of standardised flux where no pixel is good: that of a whole spectrum, for anything may stand there. On
simulated stars, errors that knew these pixels by the greatest variance of the others, or not at all, were worse."""


def block_variance(ivar: np.ndarray) -> np.ndarray:
    """Return the variance (n, K) float32 of the standardised flux for its inverse variance ``ivar`` (n, K)."""
    return np.reciprocal(np.fmax(ivar, 1.0 / MOST_VARIANCE), dtype=np.float32)


def photon_variance(network: StellarNet, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    r"""Return the variance (n, 3) float32 of the scaled targets that the noise of the pixels makes.

    .. math:: \sigma_t^2 = \sum_p J_{tp}^2 \, v_p, \qquad J = G W_0

    with :math:`W_0` the weights of the first layer and :math:`G` the gradient of all that follows, so that the cost
    is that of three first layers. A row's result is the same to the last bit whatever rows come with it, as in
    ``network.predict``.

    Parameters
    ----------
    flux : (n, P) standardised
    ivar : (n, K) mean inverse variance of ``flux`` in blocks of P / K pixels; 0 where no pixel is good
    """
    network.eval()
    out = np.empty((len(flux), len(TARGET_NAMES)), dtype=np.float32)
    batch, slopes = (torch.zeros(CPU_BATCH, flux.shape[1]) for _ in range(2))
    noise = torch.zeros(CPU_BATCH, ivar.shape[1])
    with threads(1):
        for start in range(0, len(flux), CPU_BATCH):
            rows = flux[start : start + CPU_BATCH]
            batch.numpy()[: len(rows)] = rows
            noise.numpy()[: len(rows)] = block_variance(ivar[start : start + CPU_BATCH])
            out[start : start + len(rows)] = _variance(network, batch, noise, slopes).numpy()[: len(rows)]
    return out


@torch.no_grad()
def _variance(network: StellarNet, flux: Tensor, noise: Tensor, slopes: Tensor) -> Tensor:
    """Return the variance (B, 3) of the scaled targets for ``flux`` (B, P) of variance ``noise`` (B, K).

    ``slopes`` (B, P) is room for one row of the Jacobian of each spectrum.
    """
    deviation = noise.sqrt().repeat_interleave(flux.shape[1] // noise.shape[1], dim=1)
    columns = []
    for first, rest in network.paths():
        for gradient in _gradients(rest, first(flux)):
            torch.mm(gradient, first.weight, out=slopes)
            columns.append(torch.linalg.vector_norm(slopes.mul_(deviation), dim=1).square())
    return torch.stack(columns, dim=1)


@torch.enable_grad()
def _gradients(rest: Callable[[Tensor], Tensor], hidden: Tensor) -> list[Tensor]:
    """Return the gradient (B, D) of each target that ``rest`` makes of ``hidden`` (B, D)."""
    hidden.requires_grad_()
    totals = rest(hidden).sum(0)  # a row's targets depend on that row alone
    return [torch.autograd.grad(total, hidden, retain_graph=True)[0] for total in totals]
