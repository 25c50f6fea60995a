"""Noisy copies: their statistics, and their independence of order, batch and worker."""

import numpy as np
import pytest

from raystellar.fit.augment import Augmenter
from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
from raystellar.schema import N_NOISE, NOISE_BLOCK

N, PIXELS = 200, 4000
PAPER_NOISE = {"copies": 2, "noise_unit": "spectrum", "noise_min": 0.01, "noise_max": 0.05, "ripples": 0.0,
               "fresh_noise": False}  # fmt: skip
PIXEL_NOISE = {"noise_unit": "pixel", "noise_min": 0.0, "noise_max": 1.5, "copies": 0, "fresh_noise": True}


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    flux = (rng.standard_normal((N, PIXELS)) * rng.uniform(0.5, 2.0, (N, 1))).astype(np.float32)
    flux.setflags(write=False)  # as they come from Ray's object store
    ivar = rng.uniform(100.0, 400.0, (N, N_NOISE)).astype(np.float32)
    ivar[:, 7] = 0.0
    return SpectraSet(flux, np.zeros((N, 3), np.float32), rng.integers(0, 2**63, N).astype(np.uint64), {"ivar": ivar})


def draw(spectra, items, epoch=0, **config):
    out = np.empty((len(items), PIXELS), np.float32)
    Augmenter(spectra, FitConfig(**(PAPER_NOISE | config))).fill(np.asarray(items), epoch, out)
    return out


def test_the_set_is_each_spectrum_and_its_copies(spectra):
    assert len(Augmenter(spectra, FitConfig(copies=2))) == 3 * N
    assert len(Augmenter(spectra, FitConfig(copies=0))) == N
    assert np.array_equal(draw(spectra, range(N)), spectra.flux)


def test_noise_is_normal_and_its_level_uniform(spectra):
    flux = spectra.flux
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
    moved = SpectraSet(spectra.flux[order], spectra.targets, spectra.keys[order])
    assert np.array_equal(draw(moved, range(N, 2 * N)), whole[N : 2 * N][order])


def test_noise_depends_on_seed_copy_and_epoch_where_fresh(spectra):
    items = range(N, 2 * N)
    first = draw(spectra, items, fresh_noise=False)
    assert not np.array_equal(first, draw(spectra, items, fresh_noise=False, seed=1))
    assert not np.array_equal(first, draw(spectra, range(2 * N, 3 * N), fresh_noise=False))
    assert np.array_equal(first, draw(spectra, items, epoch=5, fresh_noise=False))
    assert not np.array_equal(draw(spectra, items, fresh_noise=True), draw(spectra, items, epoch=5, fresh_noise=True))


def test_order_is_a_function_of_seed_and_epoch(spectra):
    items = Augmenter(spectra, FitConfig(copies=2))
    assert sorted(items.order(3)) == list(range(3 * N))
    assert np.array_equal(items.order(3), Augmenter(spectra, FitConfig(copies=2)).order(3))
    assert not np.array_equal(items.order(3), items.order(4))
    assert not np.array_equal(items.order(3), Augmenter(spectra, FitConfig(copies=2, seed=1)).order(3))


def test_noise_of_pixels_has_the_errors_of_the_star_and_is_new_in_each_epoch(spectra):
    """Copy 0 has noise too; the level is uniform; blocks without a good pixel stay as they are."""
    drawn = [draw(spectra, range(N), epoch, **PIXEL_NOISE) - spectra.flux for epoch in (0, 1)]
    sigma = np.repeat(np.where(spectra.extra["ivar"] > 0, spectra.extra["ivar"], np.inf) ** -0.5, NOISE_BLOCK, axis=1)
    assert not np.abs(drawn[0])[sigma == 0].any()
    unit = (drawn[0] / np.where(sigma > 0, sigma, 1.0))[:, sigma[0] > 0]
    level = unit.std(axis=1)
    assert 0.0 <= level.min() < 0.05
    assert 1.45 < level.max() < 1.55
    assert level.mean() == pytest.approx(0.75, abs=0.08)
    assert ((unit / level[:, None]) ** 4).mean() == pytest.approx(3.0, abs=0.1)
    assert np.abs(np.corrcoef(drawn[0], drawn[1])[:N, N:]).max() < 0.1


def test_ripples_are_smooth_and_leave_a_standardised_spectrum(spectra):
    flux = spectra.flux / spectra.flux.std(1, keepdims=True) - spectra.flux.mean(1, keepdims=True)
    plain = SpectraSet(flux, spectra.targets, spectra.keys, spectra.extra)
    rippled = draw(plain, range(N), ripples=0.02, copies=0, fresh_noise=True, noise_min=0.0, noise_max=0.0)
    np.testing.assert_allclose(rippled.mean(1), 0.0, atol=1e-4)
    np.testing.assert_allclose(rippled.std(1), 1.0, rtol=1e-4)
    x, ripples = np.linspace(-1, 1, PIXELS), []
    for before, after in zip(flux, rippled, strict=True):  # after = k (before + ripple (before + 2)) + constant
        basis = [before, np.ones(PIXELS)]
        basis += [(before + 2.0) * np.polynomial.legendre.Legendre.basis(order)(x) for order in range(1, 5)]
        solution, *_ = np.linalg.lstsq(np.stack(basis, axis=1), after, rcond=None)
        np.testing.assert_allclose(np.stack(basis, axis=1) @ solution, after, atol=1e-4)
        ripples.append(solution[2:] / solution[0])
    assert np.std(ripples, axis=0) == pytest.approx([0.02] * 4, rel=0.2)
    assert np.abs(np.corrcoef(np.transpose(ripples)) - np.eye(4)).max() < 0.25
