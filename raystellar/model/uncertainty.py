"""What the network itself says of the errors of its targets: photon noise, and the weight that rests on single units.

To first order the covariance of the targets by the noise of the pixels is ``J diag(v) J^T`` with ``J`` the Jacobian of
the network and ``v`` the variance of the standardised flux. Mean and standard deviation of a spectrum depend on its
noise too, which is neglected (it changes errors by less than 2 %), as are the covariances of neighbouring pixels.

A target that few units make, each of them large, is less certain than one that many agree on: the variance that
dropping units at random would give it (Gal & Ghahramani 2016, arXiv:1506.02142) is, to first order, a by-product of
the same gradients, and foretells errors as well as 32 random masks do.

Shapes: B spectra of a batch, P pixels, K blocks of pixels with one inverse variance, D units of the stem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raystellar.model.batches import batches
from raystellar.model.network import Ensemble, Residual, StellarNet
from raystellar.model.threads import threads
from raystellar.targets import TARGET_NAMES

MOST_VARIANCE = 1.0
"""Variance of standardised flux where no pixel is good: that of a whole spectrum, for anything may stand there. On
simulated stars, errors that knew these pixels by the greatest variance of the others, or not at all, were worse."""


PIXEL_STEP = 4
"""Every fourth pixel stands for its neighbours: weights of neighbours are alike, and noise is known in blocks of eight.
It costs a quarter, and changes the photon noise by a tenth, errors by less. Members of an ensemble take turns."""


def block_variance(ivar: np.ndarray) -> np.ndarray:
    """Return the variance (n, K) float32 of the standardised flux for its inverse variance ``ivar`` (n, K)."""
    return np.reciprocal(np.fmax(ivar, 1.0 / MOST_VARIANCE), dtype=np.float32)


def predict_with_variances(
    network: StellarNet | Ensemble, flux: np.ndarray, ivar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return scaled targets (n, 3) and variances (n, 6) by photons, then by units, float32; of members, their means.

    .. math:: \sigma_t^2 = \sum_p J_{tp}^2 \, v_p, \qquad J = G W_0, \qquad
        \kappa_t^2 = \sum_j \left( \frac{\partial y_t}{\partial x_j} \, x_j \right)^2

    with :math:`W_0` the weights of the first layer, :math:`G` the gradient of all that follows, :math:`p` every fourth
    pixel, which stands for its neighbours, and :math:`x_j` what the units at the end of the blocks add. Of M members
    each looks at every 4M-th pixel, at others than the rest. The targets are those of ``network.predict`` to the last
    bit, and no row depends on the rows that come with it.

    Parameters
    ----------
    flux : (n, P) standardised
    ivar : (n, K) mean inverse variance of ``flux`` in blocks of P / K pixels; 0 where no pixel is good
    """
    network.eval()
    size, targets = flux.shape[1] // ivar.shape[1], len(TARGET_NAMES)
    members = network.each() if isinstance(network, Ensemble) else [network]
    step = PIXEL_STEP * len(members)
    pixels = [np.arange((PIXEL_STEP - 1) // 2 + PIXEL_STEP * m, flux.shape[1], step) for m in range(len(members))]
    weights = [
        [step**0.5 * first.weight.detach().t()[mine] for first, _ in member.paths()]
        for member, mine in zip(members, pixels, strict=True)
    ]
    deviation = np.sqrt(block_variance(ivar))
    arrays = [flux, *(deviation[:, mine // size] for mine in pixels)]
    found = [torch.empty(0, 3 * targets, device=network.device)]
    with threads(1):
        for _, (batch, *deviations) in batches(arrays, network.device):
            each = zip(members, weights, deviations, strict=True)
            found.append(torch.stack([_one(member, mine, batch, noise) for member, mine, noise in each]).mean(0))
    both = torch.cat(found)[: len(flux)].cpu().numpy()
    return both[:, :targets], both[:, targets:]


@torch.no_grad()
def _one(network: StellarNet, weights: list[Tensor], flux: Tensor, deviation: Tensor) -> Tensor:
    """Return the targets and variances (B, 9) of one network for ``flux`` (B, P).

    Parameters
    ----------
    weights : (pixels, D) of each first layer, at some pixels, times the root of the pixels that each stands for
    deviation : (B, pixels) standard deviations of the flux at these
    """
    targets, photon, units = [], [], []
    for weight, (first, rest) in zip(weights, network.paths(), strict=True):
        for target, gradient, weighed in _gradients(network, rest, first(flux)):
            targets.append(target)
            # not torch.mm, whose rows differ in their last bit by place for some numbers of pixels on some processors
            photon.append(functional.linear(gradient, weight).mul_(deviation).square_().sum(1))
            units.append(weighed)
    return torch.stack([*targets, *photon, *units], dim=1)


@torch.enable_grad()
def _gradients(
    network: StellarNet, rest: Callable[[Tensor], Tensor], hidden: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each target (B,) that ``rest`` makes of ``hidden`` (B, D), its gradient (B, D) and its variance by units.

    The blocks are those that ``rest`` runs through.
    """
    added: list[Tensor] = []
    hooks = [
        block.body.register_forward_hook(lambda _module, _inputs, output: added.append(output))
        for block in network.modules()
        if isinstance(block, Residual)
    ]
    try:
        targets = rest(hidden.requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    for target, total in zip(
        targets.unbind(1), targets.sum(0), strict=True
    ):  # a row's targets depend on that row alone
        gradient, *slopes = torch.autograd.grad(total, [hidden, *added], retain_graph=True)
        parts = [(slope * x).square_().sum(1) for slope, x in zip(slopes, added, strict=True)]
        yield target, gradient, torch.stack(parts).sum(0)
