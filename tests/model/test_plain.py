"""The references for benchmarks."""

import numpy as np
import torch
from bundles import make

from raystellar.model.batches import CPU_BATCH
from raystellar.model.plain import matrix_products, predict_one

FLUX = np.random.default_rng(0).standard_normal((CPU_BATCH, 40), dtype=np.float32)


def test_plain_torch_predicts_the_labels_of_the_bundle():
    bundle = make()
    np.testing.assert_allclose(predict_one(bundle, FLUX[3]), bundle.predict(FLUX)[3], rtol=1e-5)


def test_the_products_are_those_of_all_layers(monkeypatch):
    bundle, shapes = make(), []
    products = matrix_products(bundle, FLUX)
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: shapes.append((*a.shape, b.shape[1])))
    products()
    linear = [module for module in bundle.module.modules() if isinstance(module, torch.nn.Linear)]
    assert shapes == [(CPU_BATCH, layer.in_features, layer.out_features) for layer in linear]
