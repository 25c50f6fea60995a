"""The residual multitask network."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from raystellar.model.architecture import NetworkConfig
from raystellar.model.network import DropoutKey, KeyedDropout, StellarNet, predict

SMALL = NetworkConfig(
    n_pixels=40, stem=16, blocks=(8, 8), trunk_dropout=0.4, head_teff=(6, 4), head_feh=(3,), head_logg=()
)


def parameters(config):
    return sum(parameter.numel() for parameter in StellarNet(config).parameters())


def test_the_papers_network_has_542771_parameters():
    assert parameters(NetworkConfig()) == 542_771


@pytest.mark.parametrize(
    ("ablation", "ratio"), [({"skip": False, "layer_norm": False}, 0.98), ({"multitask": False}, 2.97)]
)
def test_ablations_have_the_papers_sizes(ablation, ratio):
    assert parameters(NetworkConfig(**ablation)) / 542_771 == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("ablation", [{}, {"skip": False}, {"layer_norm": False}, {"multitask": False}])
def test_shape_and_gradient(ablation):
    config = NetworkConfig(n_pixels=40, stem=16, blocks=(8, 8), trunk_dropout=0.0, **ablation)
    flux = torch.randn(5, 40, requires_grad=True)
    out = StellarNet(config)(flux)
    out.sum().backward()
    assert out.shape == (5, 3)
    assert torch.isfinite(flux.grad).all()
    assert flux.grad.abs().sum() > 0


def test_initial_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    first = StellarNet(SMALL, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = StellarNet(SMALL, seed=3).state_dict(), StellarNet(SMALL, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["trunks.0.0.weight"], other["trunks.0.0.weight"])


def test_the_first_layers_begin_smaller_by_the_scale_and_nothing_else_changes():
    for config in (SMALL, dataclasses.replace(SMALL, multitask=False)):
        usual, small = (StellarNet(config, seed=3, stem_scale=scale).state_dict() for scale in (1.0, 0.1))
        for name, weights in usual.items():
            factor = 0.1 if re.fullmatch(r"trunks\.\d\.0\.weight", name) else 1.0
            torch.testing.assert_close(small[name], factor * weights)


def test_without_dropout_training_is_evaluation():
    config = NetworkConfig(n_pixels=40, stem=16, blocks=(8,), trunk_dropout=0.0)
    network, flux = StellarNet(config), torch.randn(5, 40)
    assert torch.equal(network.train()(flux), network.eval()(flux))


def test_dropout_changes_training_but_not_evaluation():
    network, flux = StellarNet(SMALL), torch.randn(5, 40)
    expected = network.eval()(flux)
    trained = network.train().at(DropoutKey(0, 0, 0, 5))(flux)
    assert not torch.equal(trained, expected)
    assert torch.equal(network.eval()(flux), expected)


def test_dropout_without_a_step_is_a_programming_error():
    with pytest.raises(RuntimeError, match=r"StellarNet\.at"):
        StellarNet(SMALL).train()(torch.randn(5, 40))


def test_masks_depend_on_the_row_in_the_global_batch_and_not_on_the_worker():
    x = torch.ones(10, 64)
    dropout = KeyedDropout(0.4, layer=1).train()

    def part(start, stop, step=7):
        dropout.key = DropoutKey(5, step, start, 10)
        return dropout(x[start:stop])

    whole = part(0, 10)
    assert torch.equal(whole, torch.cat([part(0, 3), part(3, 9), part(9, 10)]))
    assert not torch.equal(whole, part(0, 10, step=8))
    dropout.layer = 2
    assert not torch.equal(whole, part(0, 10))


def test_masks_keep_the_mean():
    dropout = KeyedDropout(0.4)
    mask = dropout.mask(DropoutKey(0, 0, 0, 1000), 1000, 200)
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert mask.mean() == pytest.approx(1.0, abs=0.01)


def test_predict_does_not_depend_on_the_batch(monkeypatch):
    flux = np.random.default_rng(0).standard_normal((50, 40), dtype=np.float32)
    flux.setflags(write=False)
    network = StellarNet(SMALL)
    whole = predict(network, flux)
    monkeypatch.setattr("raystellar.model.batches.CPU_BATCH", 7)
    np.testing.assert_allclose(predict(network, flux), whole, atol=1e-6)
    assert predict(network, flux[:0]).shape == (0, 3)
