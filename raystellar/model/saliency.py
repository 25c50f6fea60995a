"""The response of the predicted targets to a weak spectral line at each wavelength.

The gradient with respect to single pixels is noisy: no spectrum has features of one pixel, so the network was never
trained on such features. The response to a line as wide as the resolution of a survey spectrograph is smooth and has
units that can be interpreted.
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
"""Width of the line, standard deviation [pixels]; full width at half maximum 480 km/s on the paper's grid."""

LINE_DEPTH = 0.1
"""Depth of the line [standard deviations of the spectrum's flux]."""


def line_response(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    r"""Return the change (n, 3, P) of each scaled target for a weak absorption line at each pixel.

    .. math:: r_{tp} = -d \sum_q \frac{\partial y_t}{\partial x_q} \exp\left(-\frac{(q - p)^2}{2 \sigma^2}\right)

    Here :math:`d` is ``LINE_DEPTH`` and :math:`\sigma` is ``LINE_SIGMA``; the change is of first order in :math:`d`.

    Parameters
    ----------
    flux : (n, P) standardised
    """
    out = np.empty((len(flux), len(TARGET_NAMES), flux.shape[1]), dtype=np.float32)
    for start, gradients in _gradients(network, flux):
        out[start : start + len(gradients)] = _responses(gradients)
    return out


def mean_response(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    """Return the mean (3, P) of the absolute ``line_response`` over spectra (n, P), n > 0, computed in batches."""
    total = np.zeros((len(TARGET_NAMES), flux.shape[1]))
    for _, gradients in _gradients(network, flux):
        total += np.abs(_responses(gradients)).sum(axis=0)
    return total / len(flux)


def _responses(gradients: np.ndarray) -> np.ndarray:
    area = LINE_SIGMA * np.sqrt(2.0 * np.pi)  # the weights of the filter sum to 1
    return -LINE_DEPTH * area * gaussian_filter1d(gradients, LINE_SIGMA, axis=-1, mode="constant")


def _gradients(network: StellarNet | Ensemble, flux: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of the first row and the gradients (m, 3, P) of each batch of rows."""
    network.eval()
    for start in range(0, len(flux), CPU_BATCH):
        yield start, _gradient(network, flux[start : start + CPU_BATCH])


@torch.enable_grad()
def _gradient(network: StellarNet | Ensemble, flux: np.ndarray) -> np.ndarray:
    """Return the gradient (m, 3, P) of each target with respect to the pixels of spectra (m, P)."""
    with threads(1):
        batch = torch.tensor(flux, requires_grad=True)
        totals = network(batch).sum(0)  # the targets of a row depend on that row alone
        gradients = [torch.autograd.grad(total, batch, retain_graph=True)[0] for total in totals]
        return torch.stack(gradients, dim=1).numpy()
