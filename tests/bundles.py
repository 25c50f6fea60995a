"""A small bundle of two networks that were never fitted."""

from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import ErrorModel
from raystellar.model.network import StellarNet, joined
from raystellar.preprocessing.pixels import PreprocessConfig

NETWORK = NetworkConfig(n_pixels=40, stem=16, blocks=(8,))
ERRORS = ErrorModel(
    low=(1.0, -1.0, -2.0, -2.0, *(-9.0,) * 6),
    high=(2.0, 2.0, 1.0, 1.0, *(-3.0,) * 6),
    weights=tuple(tuple(-3.0 - t + 0.01 * k for k in range(21)) for t in range(3)),
    floor=(0.02, 0.03, 0.05),
)


def random_weights(network, seeds):
    """Return the weights of an ensemble with a member for each seed."""
    members = [StellarNet(network, seed).state_dict() for seed in seeds]
    return joined({name: tensor.numpy().copy() for name, tensor in state.items()} for state in members)


def make(seed=0, **changes):
    """Return the bundle with the initial weights of ``seed`` and with changed fields."""
    values = {
        "network": NETWORK,
        "weights": random_weights(NETWORK, (seed, seed + 1)),
        "preprocess": PreprocessConfig(passes="two"),
        "centre": (5800.0, -0.7, 4.1),
        "scale": (900.0, 0.8, 0.6),
        "errors": ERRORS,
        "calibration": {"teff": {"std": 1.0, "quartiles": [{"sn": [10.0, 20.0], "std": None}]}},
        "label_ranges": {"teff": (4003.5, 9186.6), "feh": (-4.38, 0.74), "logg": (0.18, 4.93)},
        "history": [[{"epoch": 1, "train_loss": float("nan"), "validation_loss": 0.1}]] * 2,
        "best_epochs": (1, 1),
        "data_hash": "0123456789abcdef",
        "seed": seed,
    }
    return Bundle(**{**values, **changes})
