"""An OOD score with random arrays."""

import numpy as np

from raystellar.model.ood import BIN, SCALES, OodScore

P, K, E, M = 4000, 5, 2, 3
D = K + len(SCALES)


def make(seed=0, pixels=P):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((pixels // BIN, K)))[0]
    arrays = {
        "mean": rng.standard_normal(pixels // BIN), "basis": basis, "scale": rng.uniform(3.0, 20.0, K),
        "scatter": rng.uniform(0.001, 0.02, pixels // 8), "chi": rng.normal(0.0, 0.2, (2, 3)),
        "chi_scale": rng.uniform(0.5, 1.0, 3), "weights": rng.uniform(-3.0, -1.0, (E, M)),
        "centres": rng.standard_normal((E, M, D)), "factors": np.triu(rng.normal(0.5, 0.2, (E, M, D, D))),
        "ends": np.array([[0.2, 1.5], [0.3, 1.0]]), "surprise": np.array([20.0, -3.0, 30.0]),
    }  # fmt: skip
    return OodScore(**{name: array.astype(np.float32) for name, array in arrays.items()})
