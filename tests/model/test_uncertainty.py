"""Photon noise through the network, and the errors made of it."""

import numpy as np
import pytest
import torch

from raystellar.model.architecture import NetworkConfig
from raystellar.model.errormodel import N_TERMS, ErrorModel
from raystellar.model.network import StellarNet, predict
from raystellar.model.uncertainty import MOST_VARIANCE, block_variance, photon_variance

SHAPE = {"n_pixels": 40, "stem": 16, "blocks": (8, 8), "head_teff": (6, 4), "head_feh": (3,), "head_logg": ()}
ABLATIONS = [{}, {"multitask": False}, {"skip": False, "layer_norm": False}]
RNG = np.random.default_rng(0)
FLUX = RNG.standard_normal((300, 40), dtype=np.float32)
IVAR = RNG.uniform(50.0, 500.0, (300, 5)).astype(np.float32)
IVAR[::7, 2] = 0.0


def make(**ablation):
    return StellarNet(NetworkConfig(**SHAPE, **ablation), seed=1).eval()


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_it_is_that_of_the_explicit_jacobian(ablation):
    network, found = make(**ablation), photon_variance(make(**ablation), FLUX[:9], IVAR[:9])
    variance = np.repeat(np.where(IVAR > 0, 1 / np.maximum(IVAR, 1), MOST_VARIANCE), 8, axis=1)
    for row in range(9):
        jacobian = torch.autograd.functional.jacobian(network, torch.from_numpy(FLUX[row : row + 1]))[0, :, 0]
        np.testing.assert_allclose(found[row], jacobian.numpy() ** 2 @ variance[row], rtol=1e-4)


def test_it_is_the_scatter_of_noisy_copies():
    network, ivar = make(), np.full((1, 5), 1e4, np.float32)
    copies = FLUX[:1] + 0.01 * RNG.standard_normal((20_000, 40), dtype=np.float32)
    expected = photon_variance(network, FLUX[:1], ivar)[0]
    np.testing.assert_allclose(predict(network, copies).var(axis=0), expected, rtol=0.05)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_row_does_not_depend_on_the_rows_with_it(ablation):
    network = make(**ablation)
    whole = photon_variance(network, FLUX, IVAR)
    for rows in ([0], [299, 3], list(range(256, 300)), list(RNG.permutation(300))):
        assert np.array_equal(photon_variance(network, FLUX[rows], IVAR[rows]), whole[rows])
    assert photon_variance(network, FLUX[:0], IVAR[:0]).shape == (0, 3)


def test_neither_weights_nor_threads_are_touched():
    network, threads = make(), torch.get_num_threads()
    photon_variance(network, FLUX, IVAR)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.get_num_threads() == threads


def test_noise_is_bounded_where_no_pixel_is_good():
    found = block_variance(np.array([[0.0, 1e-9, 4.0, np.nan]], np.float32))
    np.testing.assert_allclose(found, [[MOST_VARIANCE, MOST_VARIANCE, 0.25, MOST_VARIANCE]])


@pytest.fixture
def model():
    weights = RNG.normal(0.0, 0.3, (3, N_TERMS))
    return ErrorModel((1.5, 1.2, 1.0), (1.0, -1.0, -2.0, -2.0), (2.0, 2.0, 1.0, 1.0), tuple(map(tuple, weights)))


def test_errors_of_a_row_do_not_depend_on_the_rows_with_it(model):
    photon, targets, sn = RNG.uniform(0, 0.1, (300, 3)), RNG.normal(0, 2, (300, 3)), RNG.uniform(1, 100, 300)
    whole = model(photon, targets, sn)
    for rows in ([5], [299, 3, 17], list(RNG.permutation(300))):
        assert np.array_equal(model(photon[rows], targets[rows], sn[rows]), whole[rows])


def test_the_scatter_is_that_of_the_nearest_star_it_was_learnt_from(model):
    photon, sn = np.zeros((4, 3)), np.array([10.0, 2.0, -3.0, np.nan])
    found = model(photon, np.full((4, 3), -9.0), sn)
    assert np.array_equal(found, np.broadcast_to(found[0], (4, 3)))
    assert np.array_equal(found[:1], model(photon[:1], np.array([[-1.0, -2.0, -2.0]]), sn[:1]))


@pytest.mark.parametrize(
    ("changes", "message"), [({"gain": (1.0,)}, "gain has 1 values"), ({"weights": ((1.0,),)}, "3 rows of 15")]
)
def test_parameters_of_another_shape_are_refused(changes, message):
    good = {"gain": (1.0,) * 3, "low": (0.0,) * 4, "high": (1.0,) * 4, "weights": ((0.0,) * N_TERMS,) * 3}
    with pytest.raises(ValueError, match=message):
        ErrorModel(**{**good, **changes})
