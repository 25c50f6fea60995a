"""What a network looks at: how its targets answer to a weak spectral line, wherever that stands.

The gradient of a target by single pixels is rough, for no spectrum has features of one pixel, and none was ever asked
for. The answer to a line as wide as those of a survey spectrograph is smooth, and in units that one can think in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from raystellar.model.batches import CPU_BATCH
from raystellar.model.network import Ensemble, StellarNet
from raystellar.model.threads import threads
from raystellar.targets import TARGET_NAMES

LINE_SIGMA = 3.0
"""Width of the line, standard deviation in pixels: 480 km/s from half to half on the paper's grid."""

LINE_DEPTH = 0.1
"""Its depth, in standard deviations of the spectrum's flux."""


def line_response(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    r"""Return by how much each scaled target (n, 3, P) falls or rises for a weak absorption line at each pixel.

    .. math:: r_{tp} = -d \sum_q \frac{\partial y_t}{\partial x_q} \exp\left(-\frac{(q - p)^2}{2 \sigma^2}\right)

    with :math:`d` = ``LINE_DEPTH`` and :math:`\sigma` = ``LINE_SIGMA``, to first order.

    Parameters
    ----------
    flux : (n, P) standardised
    """
    out = np.empty((len(flux), len(TARGET_NAMES), flux.shape[1]), dtype=np.float32)
    for start, gradients in _gradients(network, flux):
        out[start : start + len(gradients)] = _answers(gradients)
    return out


def mean_response(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    """Return the mean (3, P) of the size of ``line_response`` over spectra (n, P), n > 0, some at a time."""
    total = np.zeros((len(TARGET_NAMES), flux.shape[1]))
    for _, gradients in _gradients(network, flux):
        total += np.abs(_answers(gradients)).sum(axis=0)
    return total / len(flux)


def _answers(gradients: np.ndarray) -> np.ndarray:
    area = LINE_SIGMA * np.sqrt(2.0 * np.pi)  # the filter's own sum is 1
    return -LINE_DEPTH * area * gaussian_filter1d(gradients, LINE_SIGMA, axis=-1, mode="constant")


def _gradients(network: StellarNet | Ensemble, flux: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the gradients (m, 3, P) of some rows at a time."""
    network.eval()
    for start in range(0, len(flux), CPU_BATCH):
        yield start, _gradient(network, flux[start : start + CPU_BATCH])


@torch.enable_grad()
def _gradient(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    """Return the gradient (m, 3, P) of each target by the pixels of spectra (m, P)."""
    with threads(1):
        batch = torch.tensor(flux, requires_grad=True)
        totals = network(batch).sum(0)  # a row's targets depend on that row alone
        found = [torch.autograd.grad(total, batch, retain_graph=True)[0] for total in totals]
        return torch.stack(found, dim=1).numpy()
