"""Robust scaling of the targets, against scikit-learn."""

import numpy as np
from sklearn import preprocessing

from raystellar.fit.scaler import RobustScaler


def test_the_scaler_agrees_with_scikit_learn():
    targets = np.random.default_rng(0).lognormal(size=(1001, 3)).astype(np.float32) * (5000, 1, 4)
    targets[:, 2] = 4.0  # a target that does not vary
    ours, theirs = RobustScaler.fit(targets), preprocessing.RobustScaler().fit(targets)
    np.testing.assert_allclose(ours.centre, theirs.center_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(ours.transform(targets), theirs.transform(targets), atol=1e-12)
    np.testing.assert_allclose(ours.inverse(ours.transform(targets)), targets, rtol=1e-12)
