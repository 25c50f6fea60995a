"""The error model learnt on stars whose errors are known."""

import dataclasses
import tempfile

import numpy as np
import pytest
from fitdata import spectra
from scipy.stats import norm, t

from raystellar.fit.config import FitConfig
from raystellar.fit.errormodel import (
    RESIDUAL_DEGREES_OF_FREEDOM,
    SLOPES,
    SYSTEMATIC,
    _loss,
    assess,
    calibrate,
    fit_errors,
    label_noise,
)
from raystellar.fit.members import fit_members, parts_of
from raystellar.model import errormodel
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import HALF_68, N_TERMS, WITHIN
from raystellar.model.network import joined, predict
from raystellar.targets import TARGET_NAMES

POWERS = np.array([[0.5, 0.3], [0.3, 0.6], [0.4, 0.5]])
"""Of the variances by photons and by units, in those of the errors of ``stars``."""


def stars(n, seed=0, outliers=0.0):
    """Return predictions, labels, errors of the labels, variances, S/N, true errors and true labels."""
    rng = np.random.default_rng(seed)
    sn, truth = 10.0 ** rng.uniform(1.0, 2.0, n), rng.normal(0.0, 0.8, (n, 3))
    photon = (np.array([1.0, 1.5, 2.0]) / sn[:, None]) ** 2 * rng.uniform(0.3, 3.0, (n, 3))
    units = np.exp(rng.normal(-3.0, 1.0, (n, 3)))
    errors = np.sqrt(0.8 * np.exp(0.4 * np.tanh(truth[:, :1])) * photon ** POWERS[:, 0] * units ** POWERS[:, 1])
    predicted = truth + errors * rng.standard_normal((n, 3))
    wild = rng.random((n, 3)) < outliers
    predicted[wild] += 8 * errors[wild] * rng.choice((-1, 1), wild.sum())
    noise = np.broadcast_to(0.06 + 0.8 / sn[:, None], (n, 3))
    labels = truth + noise * rng.standard_normal((n, 3))
    told = noise * np.exp(rng.normal(-0.1225, 0.35, (n, 3)))
    return predicted, labels, told, np.hstack([photon, units]), sn, errors, truth


@pytest.mark.parametrize(("outliers", "price"), [(0.0, 0.06), (0.01, 0.1), (0.03, 0.3)])
def test_errors_against_the_truth_are_found_under_the_noise_of_labels(outliers, price):
    predicted, labels, told, variances, sn, errors, truth = stars(4000, outliers=outliers)
    model = fit_errors(predicted, labels, label_noise(told, predicted, sn), variances, sn)
    found = model(variances, predicted, sn)
    np.testing.assert_allclose(np.median(found / errors, axis=0), 1.0, atol=price)
    if not outliers:
        own = [[row[N_TERMS + t], row[N_TERMS + 3 + t]] for t, row in enumerate(model.weights)]
        np.testing.assert_allclose(own, POWERS, atol=0.2)
        assert (np.abs(np.log(found / errors)) < 0.35).mean() > 0.98
        told_by_z = assess(predicted - truth, found, sn)
        for name in ("teff", "feh", "logg"):
            assert 0.93 < told_by_z[name]["std"] < 1.07
            assert abs(told_by_z[name]["within68"] - 0.683) < 0.03
            assert abs(told_by_z[name]["within95"] - 0.95) < 0.015


@pytest.mark.parametrize(("n", "price"), [(100, 0.35), (500, 0.2)])
def test_few_stars_are_enough(n, price):
    for seed in range(3):
        predicted, labels, told, variances, sn, _, _ = stars(n, seed)
        model = fit_errors(predicted, labels, label_noise(told, predicted, sn), variances, sn)
        predicted, _, _, variances, sn, errors, _ = stars(2000, seed + 10)
        ratio = model(variances, predicted, sn) / errors
        np.testing.assert_allclose(np.sqrt((ratio**2).mean(axis=0)), 1.0, atol=price)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_hardly_any_stars_still_make_errors(n):
    predicted, labels, told, variances, sn, _, _ = stars(n)
    model = fit_errors(predicted, labels, label_noise(told, predicted, sn), variances, sn)
    predicted, _, _, variances, sn, _, _ = stars(50, 1)
    found = model(variances, predicted, sn)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_perfect_predictions_and_noiseless_pixels_make_small_errors():
    predicted, _, _, variances, sn, _, _ = stars(100)
    model = fit_errors(predicted, predicted, np.zeros((100, 3)), 0 * variances, sn)
    found = model(0 * variances, predicted, sn)
    assert ((found > 0) & (found < 1e-2)).all()


def test_label_noise_is_smooth_and_between_its_mean_and_its_mean_square():
    predicted, _, told, _, sn, _, _ = stars(3000)
    told[::5] = np.nan
    told[1::5, 1] = 0.0
    found = label_noise(told, predicted, sn)
    known = told[:, 0] > 0
    assert told[known, 0].mean() < found[known, 0].mean()
    assert (found[known, 0] ** 2).mean() < (told[known, 0] ** 2).mean()
    np.testing.assert_allclose(found, np.broadcast_to(0.06 + 0.8 / sn[:, None], (3000, 3)), rtol=0.25)


def test_labels_without_errors_count_as_exact():
    predicted, labels, _, variances, sn, _, _ = stars(1000)
    noise = label_noise(np.full((1000, 3), np.nan), predicted, sn)
    assert not noise.any()
    model = fit_errors(predicted, labels, noise, variances, sn)
    found = assess(predicted - labels, model(variances, predicted, sn), sn)
    assert 0.9 < found["feh"]["std"] < 1.1


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    square, noise = rng.uniform(0, 0.1, (2, 40))
    matrix, w, usual = rng.standard_normal((40, 21)), rng.normal(0, 0.3, 21), rng.normal(0, 0.3, 21)
    _, gradient = _loss(w, square, noise, matrix, usual)
    for k in range(21):
        step = np.eye(21)[k] * 1e-6
        ends = [_loss(w + sign * step, square, noise, matrix, usual)[0] for sign in (1, -1)]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_the_loss_is_that_of_students_t():
    rng = np.random.default_rng(1)
    residuals, noise, matrix = rng.normal(0, 0.3, 40), rng.uniform(0, 0.1, 40), np.ones((40, 1))
    w, nu = np.array([-3.0]), RESIDUAL_DEGREES_OF_FREEDOM
    deviation = np.sqrt((np.exp(-3.0) + noise) * (nu - 2) / nu)
    found = _loss(w, residuals**2, noise, matrix, w)[0]
    expected = -t.logpdf(residuals / deviation, nu) + np.log(deviation)
    constant = 40 * (t.logpdf(0.0, nu) - 0.5 * np.log((nu - 2) / nu))
    assert found == pytest.approx(expected.sum() + constant, rel=1e-6)


def test_an_error_is_half_of_an_interval_of_that_distribution():
    nu = errormodel.DEGREES_OF_FREEDOM
    half, wide = (np.sqrt((nu - 2) / nu) * t.ppf(share, nu) for share in (norm.cdf(1.0), 0.975))
    assert pytest.approx(half, abs=1e-3) == HALF_68
    assert {"within68": 1.0, "within95": pytest.approx(wide / half, abs=0.005)} == WITHIN


def test_where_nothing_can_be_learnt_the_powers_are_the_usual_ones():
    predicted, labels, told, variances, sn, _, _ = stars(2)
    model = fit_errors(predicted, labels, label_noise(told, predicted, sn), variances, sn)
    for k, row in enumerate(model.weights):
        assert row[N_TERMS + k] == pytest.approx(SLOPES[0], abs=0.1)
        assert row[N_TERMS + 3 + k] == pytest.approx(SLOPES[1], abs=0.1)


def test_the_table_has_shares_of_all_and_of_each_quarter():
    z = np.tile([[0.5], [-1.5], [3.0], [0.0]], (25, 3))
    sn = np.linspace(10.0, 109.0, 100)
    found = assess(2.0 * z, np.full((100, 3), 2.0), sn)["logg"]
    assert (found["stars"], found["within68"], found["within95"]) == (100, 0.5, 0.75)
    assert found["std"] == pytest.approx(np.sqrt((z**2).mean()))
    assert [quarter["stars"] for quarter in found["quartiles"]] == [25] * 4
    assert found["quartiles"][0]["sn"] == pytest.approx([10.0, 34.75])
    assert assess(z, np.ones((100, 3)), np.full(100, np.nan))["teff"]["quartiles"][0]["std"] is None


NOISE = (150.0, 0.12, 0.14)
"""Of labels."""


@pytest.fixture(scope="module")
def ensemble():
    """Return a calibrated model of four networks, and stars that none has seen, with their true labels."""
    train, validation, fresh = (spectra(n, seed) for n, seed in ((1200, 0), (150, 1), (3000, 2)))
    rng = np.random.default_rng(0)
    noisy = [
        dataclasses.replace(
            one,
            targets=(one.targets + NOISE * rng.standard_normal(one.targets.shape)).astype(np.float32),
            extra=columns(len(one))
            | {f"e_{name}": [e] * len(one) for name, e in zip(TARGET_NAMES, NOISE, strict=True)},
        )
        for one in (train, validation)
    ]
    network, parts = (
        NetworkConfig(n_pixels=40, stem=32, blocks=(16,), trunk_dropout=0.0),
        parts_of(np.arange(1200), 4, 0),
    )
    config = FitConfig(epochs=15, batch_size=32, copies=0, learning_rate=5e-3)
    with tempfile.TemporaryDirectory() as folder:
        found = fit_members(*noisy, network, config, parts=parts, checkpoints=folder, identity="", device="cpu")
    bundle = Bundle(
        network=network, weights=joined(one.weights for one in found), preprocess={}, label_ranges={},
        centre=tuple(found[0].scaler.centre), scale=tuple(found[0].scaler.scale),
    )  # fmt: skip
    return calibrate(bundle, *noisy, parts), fresh


def columns(n):
    return {"ivar": np.full((n, 5), 2500.0, np.float32), "sn": [30.0] * n}


def test_errors_of_an_ensemble_are_true_though_labels_are_as_uncertain(ensemble):
    bundle, fresh = ensemble
    given = fresh.flux, columns(3000)["ivar"], np.full(3000, 30.0)
    predicted, errors = bundle.predict_with_errors(*given)
    off = predicted - fresh.targets
    assert (np.sqrt((off**2).mean(0)) < 1.2 * np.array(NOISE)).all()
    floor = bundle.errors.floor * np.array(bundle.scale)
    ratio = np.sqrt(((errors / HALF_68) ** 2 - floor**2).mean(0) / (off**2).mean(0))
    assert (np.abs(np.log(ratio)) < 0.2).all()


def test_the_mean_of_an_ensemble_is_better_than_its_members(ensemble):
    bundle, fresh = ensemble
    scaled = (fresh.targets - bundle.centre) / bundle.scale
    of_members = [np.square(predict(member, fresh.flux) - scaled).mean(0) for member in bundle.module.each()]
    assert (np.square(predict(bundle.module, fresh.flux) - scaled).mean(0) < 0.95 * np.mean(of_members, axis=0)).all()


def test_the_floor_is_a_share_of_the_errors_of_the_labels(ensemble):
    bundle, _ = ensemble
    np.testing.assert_allclose(bundle.errors.floor, np.multiply(SYSTEMATIC, NOISE) / bundle.scale, rtol=1e-6)
