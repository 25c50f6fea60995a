"""Noisy copies: their statistics, and their independence of order, batch and worker."""

import numpy as np
import pytest

from raystellar.fit.augment import Augmenter
from raystellar.fit.config import FitConfig

N, PIXELS = 200, 4000


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    flux = (rng.standard_normal((N, PIXELS)) * rng.uniform(0.5, 2.0, (N, 1))).astype(np.float32)
    flux.setflags(write=False)  # as they come from Ray's object store
    return flux, rng.integers(0, 2**63, N).astype(np.uint64)


def draw(spectra, items, epoch=0, **config):
    out = np.empty((len(items), PIXELS), np.float32)
    Augmenter(*spectra, FitConfig(**config)).fill(np.asarray(items), epoch, out)
    return out


def test_the_set_is_each_spectrum_and_its_copies(spectra):
    assert len(Augmenter(*spectra, FitConfig(copies=2))) == 3 * N
    assert len(Augmenter(*spectra, FitConfig(copies=0))) == N
    assert np.array_equal(draw(spectra, range(N)), spectra[0])


def test_noise_is_normal_and_its_level_uniform(spectra):
    flux = spectra[0]
    noise = (draw(spectra, range(N, 3 * N), noise_min=0.01, noise_max=0.05) - np.tile(flux, (2, 1))) / np.tile(
        flux.std(1, keepdims=True), (2, 1)
    )
    eta = noise.std(axis=1)
    assert 0.0095 < eta.min() < 0.0115
    assert 0.0485 < eta.max() < 0.052
    assert eta.mean() == pytest.approx(0.03, abs=0.002)
    assert eta.std() == pytest.approx(0.04 / np.sqrt(12), abs=0.0015)
    unit = noise / eta[:, None]
    assert unit.mean() == pytest.approx(0.0, abs=0.01)
    assert (unit**4).mean() == pytest.approx(3.0, abs=0.1)
    assert np.abs(np.corrcoef(unit) - np.eye(2 * N)).max() < 0.1  # copies do not share their noise


def test_noise_does_not_depend_on_order_or_batch(spectra):
    items = np.random.default_rng(1).permutation(3 * N)
    whole, shuffled = draw(spectra, range(3 * N)), draw(spectra, items)
    assert np.array_equal(whole[items], shuffled)
    order = np.random.default_rng(2).permutation(N)  # nor on where a spectrum stands in the set
    moved = (spectra[0][order], spectra[1][order])
    assert np.array_equal(draw(moved, range(N, 2 * N)), whole[N : 2 * N][order])


def test_noise_depends_on_seed_copy_and_epoch_where_fresh(spectra):
    items = range(N, 2 * N)
    first = draw(spectra, items, fresh_noise=False)
    assert not np.array_equal(first, draw(spectra, items, fresh_noise=False, seed=1))
    assert not np.array_equal(first, draw(spectra, range(2 * N, 3 * N), fresh_noise=False))
    assert np.array_equal(first, draw(spectra, items, epoch=5, fresh_noise=False))
    assert not np.array_equal(draw(spectra, items, fresh_noise=True), draw(spectra, items, epoch=5, fresh_noise=True))


def test_order_is_a_function_of_seed_and_epoch(spectra):
    items = Augmenter(*spectra, FitConfig())
    assert sorted(items.order(3)) == list(range(3 * N))
    assert np.array_equal(items.order(3), Augmenter(*spectra, FitConfig()).order(3))
    assert not np.array_equal(items.order(3), items.order(4))
    assert not np.array_equal(items.order(3), Augmenter(*spectra, FitConfig(seed=1)).order(3))
