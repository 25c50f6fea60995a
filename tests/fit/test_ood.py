"""Learning the OOD score, against plain numpy."""

import numpy as np
import pytest

from raystellar.fit.ood import CLUSTER_ROUNDS, assess, clusters, components, learn_ood, mixtures
from raystellar.model.ood import binned
from raystellar.schema import N_NOISE, N_PIXELS, NOISE_BLOCK


def spectra(n, seed, shapes=3, noise=0.1):
    """Return flux and ivar of standardised spectra: smooth curves of a few shapes, with noise."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.0, 1.0, N_PIXELS)
    basis = np.stack([np.sin((k + 1.3) * 5.0 * x) for k in range(shapes)])
    clean = 3.0 * np.cos(7.0 * x) + rng.standard_normal((n, shapes)) @ basis
    level = noise * rng.uniform(0.5, 2.0, (n, 1))
    flux = clean + level * rng.standard_normal(clean.shape)
    scale = flux.std(1, keepdims=True)
    ivar = np.repeat(scale**2 / level**2, N_NOISE, axis=1)
    return ((flux - flux.mean(1, keepdims=True)) / scale).astype(np.float32), ivar.astype(np.float32)


@pytest.fixture(scope="module")
def learnt():
    return learn_ood(*spectra(400, 0), *spectra(150, 1))


def test_components_are_those_of_the_singular_value_decomposition():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((300, 6)) * (9.0, 7.0, 5.0, 3.0, 2.0, 1.0)) @ rng.standard_normal((6, 50))
    values = (values + 0.01 * rng.standard_normal(values.shape)).astype(np.float32)
    mean = values.mean(0)
    basis, variance = components(values, 4)
    _, singular, rows = np.linalg.svd(values - mean, full_matrices=False)
    assert np.allclose(variance, singular[:4] ** 2 / 299, rtol=1e-3)
    assert np.allclose(np.abs(np.sum(basis.T * rows[:4], axis=1)), 1.0, atol=1e-3)


def test_clusters_are_those_of_plain_k_means():
    """The score of older bundles rests on these rounds of assignment, to the last row."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(0.0, 1.0, (600, 23)), rng.standard_t(3.0, (600, 23))])
    centres = y[np.random.default_rng(5).choice(len(y), 9, replace=False)]
    for _ in range(CLUSTER_ROUNDS):
        nearest = np.square(y[:, None] - centres).sum(2).argmin(1)
        centres = np.stack([y[nearest == m].mean(0) for m in range(9)])
    assert np.array_equal(clusters(y, 9, np.random.default_rng(5)), nearest)


def test_mixtures_have_the_mean_and_the_weight_of_the_data():
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(-3.0, 0.5, (750, 2)), rng.normal(3.0, 1.0, (250, 2))])
    weights, centres, factors = mixtures(y)
    for mixture in range(len(weights)):
        middle = np.average(centres[mixture], axis=0, weights=_shares(weights[mixture], factors[mixture]))
        assert np.allclose(middle, y.mean(0), atol=0.1)
        assert _shares(weights[mixture], factors[mixture]).sum() == pytest.approx(1.0, abs=1e-6)


def _shares(weights, factors):
    """Return the weights of the Gaussians without the constants of their densities."""
    return np.exp(weights - np.log(np.linalg.det(factors)) + 0.5 * factors.shape[-1] * np.log(2.0 * np.pi))


def test_few_ordinary_spectra_score_above_the_limit(learnt):
    ood, assessment = learnt
    assert assessment["stars"] == 150
    assert assessment["above"] <= 0.02
    assert (ood.score(*spectra(1000, 2)) > 1.0).mean() <= 0.025  # stars that the score has not seen
    assert assessment == assess(ood.score(*spectra(150, 1)), _log_sn(spectra(150, 1)[1]))


def _log_sn(ivar):
    return 0.5 * np.log10(ivar.mean(1))


def test_spectra_unlike_the_training_spectra_score_above_the_limit(learnt):
    ood = learnt[0]
    flux, ivar = spectra(40, 3)
    assert (ood.score(np.roll(flux, 200, axis=1), ivar) > 1.0).mean() >= 0.95  # shifted
    assert (ood.score(*spectra(40, 4, shapes=6)) > 1.0).mean() >= 0.95  # shapes that no training spectrum has
    noise = np.random.default_rng(5).standard_normal(flux.shape).astype(np.float32)
    assert (ood.score(noise, np.ones_like(ivar)) > 1.0).all()


def test_learning_twice_gives_the_same_score(learnt):
    again = learn_ood(*spectra(400, 0), *spectra(150, 1))[0]
    assert all(np.array_equal(a, b) for a, b in zip(learnt[0].arrays().values(), again.arrays().values(), strict=True))


def test_a_handful_of_spectra_is_enough():
    ood, assessment = learn_ood(*spectra(5, 0), *spectra(3, 1))
    assert np.isfinite(ood.score(*spectra(4, 2))).all()
    assert assessment["stars"] == 3


def test_bins_are_means_of_pixels():
    flux = spectra(3, 0)[0]
    assert np.allclose(binned(flux), flux.reshape(3, -1, 4).mean(2), atol=1e-6)
    assert N_PIXELS % NOISE_BLOCK == 0
