"""Variances of the predicted targets by photon noise and by the weight on single units of the network.

To first order, the noise of the pixels gives the targets the covariance ``J diag(v) J^T``, with the Jacobian ``J`` of
the network and the variance ``v`` of the standardised flux. The dependence of the mean and standard deviation of a
spectrum on its noise is neglected, because it changes errors by less than 2 %. Covariances of neighbouring pixels are
neglected as well.

A target to which few units contribute much is less certain than a target on which many units agree. Randomly dropping
units gives the target a variance (Gal & Ghahramani 2016, arXiv:1506.02142). To first order this variance follows from
the same gradients, and it predicts errors as well as 32 random masks do.

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
"""Variance of standardised flux where no pixel is good: the variance of a whole spectrum, as any flux is possible. On
simulated stars, errors were worse with the greatest variance of the good pixels, and without the bad pixels."""

PIXEL_STEP = 4
"""Step between the pixels whose noise is propagated; each pixel stands for its neighbours. The weights of neighbours
are similar, and noise is known in blocks of eight pixels. Every fourth pixel costs a quarter of all pixels, and changes
the photon noise by a tenth and errors by less. Each member of an ensemble takes other pixels."""


def block_variance(ivar: np.ndarray) -> np.ndarray:
    """Return the variance (n, K) float32 of standardised flux with the inverse variance ``ivar`` (n, K)."""
    return np.reciprocal(np.fmax(ivar, 1.0 / MOST_VARIANCE), dtype=np.float32)


def predict_with_variances(
    network: StellarNet | Ensemble, flux: np.ndarray, ivar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return scaled targets (n, 3) and their variances (n, 6), three by photons, then three by units, float32.

    .. math:: \sigma_t^2 = \sum_p J_{tp}^2 \, v_p, \qquad J = G W_0, \qquad
        \kappa_t^2 = \sum_j \left( \frac{\partial y_t}{\partial x_j} \, x_j \right)^2

    Here :math:`W_0` are the weights of the first layer, :math:`G` is the gradient with respect to its output,
    :math:`p` runs over every fourth pixel, and :math:`x_j` are the outputs of the last units of the residual blocks.
    For an ensemble of M networks the results are means over its members. Each member takes every 4M-th pixel, and no
    two members take the same pixel. The targets equal those of ``network.predict`` to the last bit, and no row depends
    on other rows.

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
        [step**0.5 * first.weight.detach().t()[own_pixels] for first, _ in member.paths()]
        for member, own_pixels in zip(members, pixels, strict=True)
    ]
    deviation = np.sqrt(block_variance(ivar))
    arrays = [flux, *(deviation[:, own_pixels // size] for own_pixels in pixels)]
    rows = [torch.empty(0, 3 * targets, device=network.device)]
    with threads(1):
        for _, (batch, *deviations) in batches(arrays, network.device):
            each = zip(members, weights, deviations, strict=True)
            rows.append(torch.stack([_of_member(*args, batch) for args in each]).mean(0))
    both = torch.cat(rows)[: len(flux)].cpu().numpy()
    return both[:, :targets], both[:, targets:]


@torch.no_grad()
def _of_member(network: StellarNet, weights: list[Tensor], deviation: Tensor, flux: Tensor) -> Tensor:
    """Return the targets and variances (B, 9) of one network for ``flux`` (B, P).

    Parameters
    ----------
    weights : (pixels, D) of each first layer at the chosen pixels, times the root of the step between them
    deviation : (B, pixels) standard deviations of the flux at the chosen pixels
    """
    targets, photon, units = [], [], []
    for weight, (first, rest) in zip(weights, network.paths(), strict=True):
        for target, gradient, weighed in _gradients(network, rest, first(flux)):
            targets.append(target)
            # not torch.mm: on some processors the last bit of a row depends on its position, for some numbers of pixels
            photon.append(functional.linear(gradient, weight).mul_(deviation).square_().sum(1))
            units.append(weighed)
    return torch.stack([*targets, *photon, *units], dim=1)


@torch.enable_grad()
def _gradients(
    network: StellarNet, rest: Callable[[Tensor], Tensor], hidden: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each target (B,) of ``rest(hidden)``, its gradient (B, D) by ``hidden`` (B, D), and its variance by units.

    The variance counts the residual blocks that ``rest`` runs through.
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
    totals = targets.sum(0)  # the targets of a row depend on that row alone
    for target, total in zip(targets.unbind(1), totals, strict=True):
        gradient, *slopes = torch.autograd.grad(total, [hidden, *added], retain_graph=True)
        parts = [(slope * x).square_().sum(1) for slope, x in zip(slopes, added, strict=True)]
        yield target, gradient, torch.stack(parts).sum(0)
