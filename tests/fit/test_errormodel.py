"""The calibration of the error model, on stars whose errors are known."""

import dataclasses
import tempfile

import bundles
import numpy as np
import pytest
from fitdata import spectra
from scipy.stats import t

from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
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
from raystellar.fit.networks import fit_networks, parts_of
from raystellar.model.architecture import NetworkConfig
from raystellar.model.errormodel import HALF_68, N_TERMS
from raystellar.model.network import joined, predict
from raystellar.targets import TARGET_NAMES

POWERS = np.array([[0.5, 0.3], [0.3, 0.6], [0.4, 0.5]])
"""Exponents of the variances by photons and by units in the squared errors of ``stars``."""


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
    table_errors = noise * np.exp(rng.normal(-0.1225, 0.35, (n, 3)))
    return predicted, labels, table_errors, np.hstack([photon, units]), sn, errors, truth


@pytest.mark.parametrize(("outliers", "tolerance"), [(0.0, 0.06), (0.01, 0.1), (0.03, 0.3)])
def test_errors_are_recovered_under_the_noise_of_labels(outliers, tolerance):
    predicted, labels, table_errors, variances, sn, errors, truth = stars(4000, outliers=outliers)
    model = fit_errors(predicted, labels, label_noise(table_errors, predicted, sn), variances, sn)
    estimated = model(variances, predicted, sn)
    np.testing.assert_allclose(np.median(estimated / errors, axis=0), 1.0, atol=tolerance)
    if not outliers:
        own = [[row[N_TERMS + t], row[N_TERMS + 3 + t]] for t, row in enumerate(model.weights)]
        np.testing.assert_allclose(own, POWERS, atol=0.2)
        assert (np.abs(np.log(estimated / errors)) < 0.35).mean() > 0.98
        assessment = assess(predicted - truth, estimated, sn)
        for name in TARGET_NAMES:
            assert 0.93 < assessment[name]["std"] < 1.07
            assert abs(assessment[name]["within68"] - 0.683) < 0.03
            assert abs(assessment[name]["within95"] - 0.95) < 0.015


@pytest.mark.parametrize(("n", "tolerance"), [(100, 0.35), (500, 0.2)])
def test_few_stars_are_enough(n, tolerance):
    for seed in range(3):
        predicted, labels, table_errors, variances, sn, _, _ = stars(n, seed)
        model = fit_errors(predicted, labels, label_noise(table_errors, predicted, sn), variances, sn)
        predicted, _, _, variances, sn, errors, _ = stars(2000, seed + 10)
        ratio = model(variances, predicted, sn) / errors
        np.testing.assert_allclose(np.sqrt((ratio**2).mean(axis=0)), 1.0, atol=tolerance)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_a_handful_of_stars_still_gives_errors(n):
    predicted, labels, table_errors, variances, sn, _, _ = stars(n)
    model = fit_errors(predicted, labels, label_noise(table_errors, predicted, sn), variances, sn)
    predicted, _, _, variances, sn, _, _ = stars(50, 1)
    estimated = model(variances, predicted, sn)
    assert np.isfinite(estimated).all()
    assert (estimated > 0).all()


def test_perfect_predictions_from_noiseless_pixels_have_small_errors():
    predicted, _, _, variances, sn, _, _ = stars(100)
    model = fit_errors(predicted, predicted, np.zeros((100, 3)), 0 * variances, sn)
    estimated = model(0 * variances, predicted, sn)
    assert ((estimated > 0) & (estimated < 1e-2)).all()


def test_label_noise_is_smooth_and_between_its_mean_and_its_mean_square():
    predicted, _, table_errors, _, sn, _, _ = stars(3000)
    table_errors[::5] = np.nan
    table_errors[1::5, 1] = 0.0
    noise = label_noise(table_errors, predicted, sn)
    known = table_errors[:, 0] > 0
    assert table_errors[known, 0].mean() < noise[known, 0].mean()
    assert (noise[known, 0] ** 2).mean() < (table_errors[known, 0] ** 2).mean()
    np.testing.assert_allclose(noise, np.broadcast_to(0.06 + 0.8 / sn[:, None], (3000, 3)), rtol=0.25)


def test_labels_without_errors_count_as_exact():
    predicted, labels, _, variances, sn, _, _ = stars(1000)
    noise = label_noise(np.full((1000, 3), np.nan), predicted, sn)
    assert not noise.any()
    model = fit_errors(predicted, labels, noise, variances, sn)
    assessment = assess(predicted - labels, model(variances, predicted, sn), sn)
    assert 0.9 < assessment["feh"]["std"] < 1.1


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    square, noise = rng.uniform(0, 0.1, (2, 40))
    matrix, w, prior = rng.standard_normal((40, 21)), rng.normal(0, 0.3, 21), rng.normal(0, 0.3, 21)
    _, gradient = _loss(w, square, noise, matrix, prior)
    for k in range(21):
        step = np.eye(21)[k] * 1e-6
        ends = [_loss(w + sign * step, square, noise, matrix, prior)[0] for sign in (1, -1)]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_the_loss_is_that_of_students_t():
    rng = np.random.default_rng(1)
    residuals, noise, matrix = rng.normal(0, 0.3, 40), rng.uniform(0, 0.1, 40), np.ones((40, 1))
    w, nu = np.array([-3.0]), RESIDUAL_DEGREES_OF_FREEDOM
    deviation = np.sqrt((np.exp(-3.0) + noise) * (nu - 2) / nu)
    loss = _loss(w, residuals**2, noise, matrix, w)[0]
    expected = -t.logpdf(residuals / deviation, nu) + np.log(deviation)
    constant = 40 * (t.logpdf(0.0, nu) - 0.5 * np.log((nu - 2) / nu))
    assert loss == pytest.approx(expected.sum() + constant, rel=1e-6)


def test_two_stars_leave_the_exponents_at_their_prior():
    predicted, labels, table_errors, variances, sn, _, _ = stars(2)
    model = fit_errors(predicted, labels, label_noise(table_errors, predicted, sn), variances, sn)
    for k, row in enumerate(model.weights):
        assert row[N_TERMS + k] == pytest.approx(SLOPES[0], abs=0.1)
        assert row[N_TERMS + 3 + k] == pytest.approx(SLOPES[1], abs=0.1)


def test_the_assessment_has_shares_of_all_stars_and_of_each_quarter():
    z = np.tile([[0.5], [-1.5], [3.0], [0.0]], (25, 3))
    sn = np.linspace(10.0, 109.0, 100)
    logg = assess(2.0 * z, np.full((100, 3), 2.0), sn)["logg"]
    assert (logg["stars"], logg["within68"], logg["within95"]) == (100, 0.5, 0.75)
    assert logg["std"] == pytest.approx(np.sqrt((z**2).mean()))
    assert [quarter["stars"] for quarter in logg["quartiles"]] == [25] * 4
    assert logg["quartiles"][0]["sn"] == pytest.approx([10.0, 34.75])
    assert assess(z, np.ones((100, 3)), np.full(100, np.nan))["teff"]["quartiles"][0]["std"] is None


NOISE = (150.0, 0.12, 0.14)
"""Standard errors of labels."""


def columns(n, errors=(None, None, None), sn=30.0):
    """Return the further columns of n spectra: constant ``sn`` and ``errors`` of the labels, or arrays of them."""
    label_errors = {
        f"e_{name}": [e] * n if e is None else list(e * np.ones(n))
        for name, e in zip(TARGET_NAMES, errors, strict=True)
    }
    return {"ivar": np.full((n, 5), 2500.0, np.float32), "sn": list(sn * np.ones(n)), **label_errors}


def noisy(spectra, rng):
    targets = (spectra.targets + NOISE * rng.standard_normal(spectra.targets.shape)).astype(np.float32)
    return dataclasses.replace(spectra, targets=targets, extra=columns(len(spectra), NOISE))


def fitted(**config):
    """Return a calibrated model, and stars that none of its networks has seen, with their true labels."""
    train, validation, fresh = (spectra(n, seed) for n, seed in ((1200, 0), (150, 1), (2000, 2)))
    rng = np.random.default_rng(0)
    labelled = [noisy(train, rng), noisy(validation, rng)]
    network = NetworkConfig(n_pixels=40, stem=32, blocks=(16,), trunk_dropout=0.0)
    config = FitConfig(epochs=8, batch_size=64, copies=0, learning_rate=1e-2, **config)
    parts = parts_of(np.arange(1200), config.parts, 0)
    with tempfile.TemporaryDirectory() as folder:
        results = fit_networks(*labelled, network, config, parts=parts, checkpoints=folder, identity="", device="cpu")
    scaler, weights = results[0].scaler, joined(result.weights for result in results[: config.members])
    bundle = bundles.make(
        network=network, weights=weights, centre=tuple(scaler.centre), scale=tuple(scaler.scale), errors=None
    )
    left_out = joined(result.weights for result in results[-config.parts :]) if config.members == 1 else weights
    return calibrate(bundle, *labelled, parts, dataclasses.replace(bundle, weights=left_out)), fresh


@pytest.fixture(scope="module")
def ensemble():
    return fitted(members=4)


@pytest.mark.parametrize(("config", "limit"), [({"members": 4}, 0.2), ({"folds": 3}, 0.3)])
def test_errors_are_true_though_labels_are_as_uncertain(config, limit, request):
    bundle, fresh = fitted(**config) if "folds" in config else request.getfixturevalue("ensemble")
    predicted, errors = bundle.predict_with_errors(fresh.flux, columns(2000)["ivar"], np.full(2000, 30.0))
    off = predicted - fresh.targets
    assert (np.sqrt((off**2).mean(0)) < 1.2 * np.array(NOISE)).all()
    floor = bundle.errors.floor * np.array(bundle.scale)
    ratio = np.sqrt(((errors / HALF_68) ** 2 - floor**2).mean(0) / (off**2).mean(0))
    assert (np.abs(np.log(ratio)) < limit).all()


def test_the_mean_of_an_ensemble_is_better_than_its_members(ensemble):
    bundle, fresh = ensemble
    scaled = (fresh.targets - bundle.centre) / bundle.scale
    of_members = [np.square(predict(member, fresh.flux) - scaled).mean(0) for member in bundle.module.each()]
    assert (np.square(predict(bundle.module, fresh.flux) - scaled).mean(0) < 0.95 * np.mean(of_members, axis=0)).all()


RANDOM = bundles.make(
    weights=bundles.random_weights(bundles.NETWORK, range(4)), centre=(0.0,) * 3, scale=(1.0,) * 3, errors=None
)
"""Four networks that were never fitted. On white noise they differ by chance."""


def spread_of_members(flux):
    """Return the root mean square (3,) of the members' predictions about their mean (n, 3), and the mean."""
    each = np.stack([predict(member, flux) for member in RANDOM.module.each()])
    return np.sqrt(np.square(each - each.mean(0)).mean((0, 1))), each.mean(0)


def white_noise(n, seed, **more):
    """Return spectra whose labels differ from the mean prediction by as much as a member does."""
    rng = np.random.default_rng(seed)
    flux = rng.standard_normal((n, 40), dtype=np.float32)
    spread, mean = spread_of_members(flux)
    labels = mean + spread * rng.standard_normal((n, 3))
    return SpectraSet(flux, labels.astype(np.float32), np.arange(n).astype(np.uint64), columns(n, **more))


def test_the_spread_of_the_members_is_no_part_of_the_error_of_their_mean():
    train, validation, fresh = white_noise(600, 0), white_noise(100, 1), white_noise(1000, 2)
    bundle = calibrate(RANDOM, train, validation, np.arange(600) % 4, RANDOM)
    predicted, errors = bundle.predict_with_errors(fresh.flux, fresh.extra["ivar"], np.full(1000, 30.0))
    actual = np.sqrt(np.square(predicted - fresh.targets).mean(0))
    np.testing.assert_allclose(np.sqrt(np.square(errors / HALF_68).mean(0)) / actual, 1.0, atol=0.15)


def test_the_floor_is_a_share_of_the_least_errors_of_the_labels():
    """Nine in ten stars have greater label errors; these fall with the S/N."""
    sn = 10.0 ** np.linspace(1.0, 2.0, 400)
    train = white_noise(400, 0, errors=np.array(NOISE)[:, None] * 10.0 / sn, sn=sn)
    bundle = calibrate(RANDOM, train, train, None, RANDOM)
    np.testing.assert_allclose(bundle.errors.floor, np.multiply(SYSTEMATIC, NOISE) * 10.0**-0.9, rtol=0.06)
