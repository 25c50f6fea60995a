"""Prediction in plain torch and the bare matrix products, as references for benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from raystellar.model.batches import CPU_BATCH
from raystellar.model.bundle import Bundle


def predict_one(bundle: Bundle, flux: np.ndarray) -> np.ndarray:
    """Return the labels (3,) of one standardised spectrum (n_pixels,) float32, as a loop over files would."""
    with torch.no_grad():
        scaled = bundle.module(torch.from_numpy(flux[None])).numpy()[0]
    return scaled * np.array(bundle.scale) + np.array(bundle.centre)


def matrix_products(bundle: Bundle, flux: np.ndarray) -> Callable[[], None]:
    """Return a function that computes only the matrix products of the network for ``flux`` (n, n_pixels)."""
    layers = [module for module in bundle.module.modules() if isinstance(module, torch.nn.Linear)]
    hidden = {layer.in_features: torch.randn(CPU_BATCH, layer.in_features) for layer in layers}
    weights = [layer.weight.detach().t() for layer in layers]
    blocks = torch.from_numpy(flux).split(CPU_BATCH)

    def products() -> None:
        with torch.inference_mode():
            for block in blocks:
                for weight in weights:
                    (block if len(weight) == block.shape[1] else hidden[len(weight)]) @ weight

    return products
