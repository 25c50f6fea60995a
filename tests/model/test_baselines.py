"""The linear baselines, against plain linear algebra and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.preprocessing import RobustScaler

from raystellar.model.baselines import ALPHAS, OLS, Ridge


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    flux = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 40)) + 0.5 * rng.standard_normal((300, 40))
    flux = ((flux - flux.mean(1, keepdims=True)) / flux.std(1, keepdims=True)).astype(np.float32)
    targets = flux[:, :3] * (500, 0.5, 0.7) + (5500, -1, 4) + rng.standard_normal((300, 3)) * (300, 0.3, 0.5)
    return flux, targets.astype(np.float32)


def test_there_are_thirteen_alphas_from_1e_3_to_1e3():
    assert len(ALPHAS) == 13
    assert (ALPHAS[0], ALPHAS[-1]) == pytest.approx((1e-3, 1e3))


def test_ridge_solves_the_normal_equations(data):
    flux, targets = data
    model = Ridge((10.0,)).fit(flux, targets)
    x, y = flux.astype(float), targets.astype(float)
    xc, yc = x - x.mean(0), y - y.mean(0)
    weights = np.linalg.solve(xc.T @ xc + 10.0 * np.eye(40), xc.T @ yc)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-8)
    np.testing.assert_allclose(model.predict(flux), xc @ weights + y.mean(0), rtol=1e-8)
    assert model.weights.size + model.intercept.size == 3 * 41


@pytest.mark.parametrize("rows", [300, 30])  # more and fewer rows than pixels
def test_ridge_chooses_the_alpha_of_scikit_learn(data, rows):
    flux, targets = data[0][:rows], data[1][:rows]
    scaled = RobustScaler().fit_transform(targets.astype(float))
    expected = RidgeCV(alphas=ALPHAS).fit(flux.astype(float), scaled)
    model = Ridge().fit(flux, targets)
    assert model.alpha == pytest.approx(expected.alpha_)
    predicted = RobustScaler().fit(targets.astype(float)).inverse_transform(expected.predict(flux.astype(float)))
    np.testing.assert_allclose(model.predict(flux), predicted, rtol=1e-6)


def test_ols_predicts_as_scikit_learn(data):
    flux, targets = data
    expected = LinearRegression().fit(flux, targets).predict(flux)
    np.testing.assert_allclose(OLS().fit(flux, targets).predict(flux), expected, rtol=1e-4, atol=1e-4)


def test_ols_does_not_fit_the_rounding_errors_of_standardised_spectra(data):
    flux, targets = data
    assert np.abs(flux.sum(1)).max() < 1e-4  # collinear but for rounding
    assert np.abs(OLS().fit(flux, targets).weights.sum(0)).max() < 1.0
