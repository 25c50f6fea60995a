"""The response to a weak line, against predictions for spectra with that line."""

import numpy as np
import pytest
import torch

from raystellar.model.architecture import NetworkConfig
from raystellar.model.network import StellarNet
from raystellar.model.saliency import LINE_DEPTH, LINE_SIGMA, line_response, mean_response

P = 120


@pytest.fixture(scope="module", params=[True, False], ids=["multitask", "apart"])
def network(request):
    return StellarNet(NetworkConfig(n_pixels=P, stem=16, blocks=(12,), multitask=request.param), seed=2).eval()


@pytest.fixture(scope="module")
def flux():
    return np.random.default_rng(0).standard_normal((5, P)).astype(np.float32)


def test_the_response_is_the_change_by_a_weak_line(network, flux):
    response, small = line_response(network, flux), 0.02
    for pixel in (20, 63, 97):
        line = small * LINE_DEPTH * np.exp(-0.5 * ((np.arange(P) - pixel) / LINE_SIGMA) ** 2)
        weaker, stronger = exactly(network, flux + line), exactly(network, flux - line)
        np.testing.assert_allclose(response[:, :, pixel], (stronger - weaker) / (2 * small), rtol=2e-2, atol=2e-4)


def exactly(network, flux):
    """Predict in double precision."""
    with torch.no_grad():
        targets = network.double()(torch.tensor(flux, dtype=torch.float64)).numpy()
    network.float()
    return targets


def test_a_row_does_not_depend_on_others_and_the_mean_is_over_all_rows(network, flux):
    response = line_response(network, flux)
    np.testing.assert_allclose(line_response(network, flux[2:3])[0], response[2], rtol=1e-4, atol=1e-7)
    many = np.concatenate([flux] * 60)  # in two batches
    np.testing.assert_allclose(mean_response(network, many), np.abs(response).mean(axis=0), rtol=1e-4, atol=1e-7)
