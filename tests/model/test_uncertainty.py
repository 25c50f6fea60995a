"""Variances of predictions, against explicit Jacobians and random copies."""

import numpy as np
import pytest
import torch

from raystellar.model.architecture import NetworkConfig
from raystellar.model.network import Ensemble, KeyedDropout, Residual, StellarNet, predict
from raystellar.model.uncertainty import MOST_VARIANCE, PIXEL_STEP, block_variance, predict_with_variances

SHAPE = {"n_pixels": 40, "stem": 16, "blocks": (8, 8), "head_teff": (8, 4), "head_feh": (3,), "head_logg": ()}
ABLATIONS = [{}, {"multitask": False}, {"skip": False, "layer_norm": False}]
RNG = np.random.default_rng(0)
FLUX = RNG.standard_normal((300, 40), dtype=np.float32)
IVAR = RNG.uniform(50.0, 500.0, (300, 5)).astype(np.float32)
IVAR[::7, 2] = 0.0


def variances(network, flux, ivar):
    return predict_with_variances(network, flux, ivar)[1]


def make(**ablation):
    return StellarNet(NetworkConfig(**SHAPE, **ablation), seed=1).eval()


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_variance_by_photons_is_that_of_the_explicit_jacobian_at_every_fourth_pixel(ablation):
    network, by_photons = make(**ablation), variances(make(**ablation), FLUX[:9], IVAR[:9])
    variance = np.repeat(np.where(IVAR > 0, 1 / np.maximum(IVAR, 1), MOST_VARIANCE), 8, axis=1)
    for row in range(9):
        jacobian = torch.autograd.functional.jacobian(network, torch.from_numpy(FLUX[row : row + 1]))[0, :, 0].numpy()
        expected = PIXEL_STEP * (jacobian**2 * variance[row])[:, 1::PIXEL_STEP].sum(axis=1)
        np.testing.assert_allclose(by_photons[row, :3], expected, rtol=1e-4)


def test_the_variance_by_photons_is_the_scatter_of_noisy_copies():
    flux = np.tile(FLUX[:1, ::PIXEL_STEP].repeat(PIXEL_STEP, axis=1), (20_000, 1))
    network, ivar = make(), np.full((1, 5), 1e4, np.float32)
    with torch.no_grad():  # neighbouring pixels weigh alike, as they do in a network that was trained
        weight = network.trunks[0][0].weight
        weight.copy_(weight[:, ::PIXEL_STEP].repeat_interleave(PIXEL_STEP, dim=1))
    expected = variances(network, flux[:1], ivar)[0, :3]
    flux += 0.01 * RNG.standard_normal(flux.shape, dtype=np.float32)
    np.testing.assert_allclose(predict(network, flux).var(axis=0), expected, rtol=0.05)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_variance_by_units_is_the_scatter_when_units_of_the_blocks_are_dropped(ablation):
    network, rate = make(**ablation), 1e-3
    expected = variances(network, FLUX[:4], IVAR[:4])[:, 3:]
    ends = [block.body[-1] for block in network.modules() if isinstance(block, Residual)]
    assert all(isinstance(end, KeyedDropout) for end in ends)
    generator = torch.Generator().manual_seed(0)
    for end in ends:  # a mask close to one, for to first order all that counts is its variance
        end.register_forward_hook(lambda _m, _i, x: x * (1 + rate**0.5 * torch.randn(x.shape, generator=generator)))
    for row in range(4):
        copies = np.repeat(FLUX[row : row + 1], 20_000, axis=0)
        np.testing.assert_allclose(predict(network, copies).var(axis=0) / rate, expected[row], rtol=0.06)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_variances_of_an_ensemble_are_means_over_its_members_at_pixels_of_their_own(ablation):
    ensemble = Ensemble(NetworkConfig(**SHAPE, **ablation), 2).eval()
    both, variance = variances(ensemble, FLUX[:9], IVAR[:9]), np.repeat(block_variance(IVAR), 8, axis=1)
    by_units = np.mean([variances(member, FLUX[:9], IVAR[:9])[:, 3:] for member in ensemble.each()], axis=0)
    np.testing.assert_allclose(both[:, 3:], by_units, rtol=1e-5)
    for row in range(9):
        flux, expected = torch.from_numpy(FLUX[row : row + 1]), np.zeros(3)
        for start, member in zip((1, 1 + PIXEL_STEP), ensemble.each(), strict=True):
            jacobian = torch.autograd.functional.jacobian(member, flux)[0, :, 0].numpy()
            expected += PIXEL_STEP * (jacobian**2 * variance[row])[:, start :: 2 * PIXEL_STEP].sum(axis=1)
        np.testing.assert_allclose(both[row, :3], expected, rtol=1e-4)
    for rows in ([0], [299, 3], list(RNG.permutation(300))):
        assert np.array_equal(variances(ensemble, FLUX[rows], IVAR[rows]), variances(ensemble, FLUX, IVAR)[rows])


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_predictions_are_those_of_the_network_alone(ablation):
    for network in (make(**ablation), Ensemble(NetworkConfig(**SHAPE, **ablation), 3)):
        assert np.array_equal(predict_with_variances(network, FLUX, IVAR)[0], predict(network, FLUX))


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_row_does_not_depend_on_the_rows_with_it(ablation):
    network = make(**ablation)
    whole = variances(network, FLUX, IVAR)
    for rows in ([0], [299, 3], list(range(256, 300)), list(RNG.permutation(300))):
        assert np.array_equal(variances(network, FLUX[rows], IVAR[rows]), whole[rows])
    assert variances(network, FLUX[:0], IVAR[:0]).shape == (0, 6)


def test_weights_and_threads_stay_as_they_were():
    network, threads = make(), torch.get_num_threads()
    variances(network, FLUX, IVAR)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.get_num_threads() == threads


def test_noise_is_bounded_where_no_pixel_is_good():
    variance = block_variance(np.array([[0.0, 1e-9, 4.0, np.nan]], np.float32))
    np.testing.assert_allclose(variance, [[MOST_VARIANCE, MOST_VARIANCE, 0.25, MOST_VARIANCE]])
