"""The OOD score, against a plain computation row by row in float64."""

import numpy as np
import pytest
from ooddata import K, P, make
from scipy.special import logsumexp

from raystellar.model.ood import BIN, CHUNKS, CLIP, LEAST_SIGNAL, SCALES, SCORE_WITHOUT_SIGNAL, from_arrays


def spectra(ood, n=300, seed=1):
    rng = np.random.default_rng(seed)
    clean = ood.mean + (rng.standard_normal((n, K)) * ood.scale) @ ood.basis.T
    noise = rng.uniform(0.1, 0.8, (n, 1))
    flux = np.repeat(clean, BIN, axis=1) + noise * rng.standard_normal((n, P))
    ivar = np.repeat(1.0 / noise**2, P // 8, axis=1) * rng.uniform(0.7, 1.3, (n, P // 8))
    ivar[:, 100:130] = 0.0  # bad pixels, with flux that must not count
    flux[:, 800:1040] = 5.0
    return flux.astype(np.float32), ivar.astype(np.float32)


def plain(ood, flux, ivar):
    """Return the score of one spectrum."""
    a = {name: array.astype(float) for name, array in ood.arrays().items()}
    x, noise = flux.astype(float).reshape(-1, BIN).mean(1), np.repeat(ivar.astype(float), 8 // BIN)
    known = noise > 0
    w = np.zeros_like(x)
    w[known] = 1.0 / (1.0 / (BIN * noise[known]) + np.repeat(a["scatter"], 8 // BIN)[known])
    b = a["basis"] * a["scale"]
    c = np.linalg.solve(b.T @ np.diag(w) @ b + np.eye(K), b.T @ (w * (x - a["mean"])))
    z = (x - a["mean"] - b @ c) * np.sqrt(w)
    clipped, chi = np.clip(z, -CLIP, CLIP), []
    for scale in SCALES:
        chunks = (clipped.reshape(-1, scale).sum(1) ** 2 / scale).reshape(CHUNKS, -1).mean(1)
        chi.append(np.log(chunks.max() + 1e-6))
    log_sn = 0.5 * np.log10(ivar[ivar > 0].astype(float).mean())
    left = (np.array(chi) - a["chi"][0] - a["chi"][1] * np.clip(log_sn, *a["ends"][0])) / a["chi_scale"]
    y = np.concatenate([c, left])
    white = np.einsum("emd,emdk->emk", y - a["centres"], a["factors"])
    surprise = -logsumexp(a["weights"] - 0.5 * (white**2).sum(2), axis=1).mean()
    usual = a["surprise"][0] + a["surprise"][1] * np.clip(log_sn, *a["ends"][1])
    constant = (w * x).sum() / w.sum()
    signal = ((w * (x - constant) ** 2).sum() - (z**2).sum()) / known.sum()
    return max((surprise - usual) / a["surprise"][2], LEAST_SIGNAL / max(signal, LEAST_SIGNAL / SCORE_WITHOUT_SIGNAL))


def test_the_score_is_that_of_a_plain_computation():
    ood = make()
    flux, ivar = spectra(ood, 20)
    expected = [plain(ood, *spectrum) for spectrum in zip(flux, ivar, strict=True)]
    assert np.allclose(ood.score(flux, ivar), expected, rtol=2e-3, atol=2e-3)


def test_the_score_of_a_row_does_not_depend_on_the_rows_with_it():
    ood = make()
    flux, ivar = spectra(ood)
    scores = ood.score(flux, ivar)
    order = np.random.default_rng(0).permutation(len(flux))
    assert np.array_equal(ood.score(flux[order], ivar[order]), scores[order])
    for part in (slice(0, 1), slice(3, 40), slice(200, 300)):
        assert np.array_equal(ood.score(flux[part], ivar[part]), scores[part])
    assert ood.score(flux[:0], ivar[:0]).shape == (0,)


def test_bad_pixels_do_not_count():
    ood = make()
    flux, ivar = spectra(ood, 10)
    other = flux.copy()
    other[:, 800:1040] = -40.0
    assert np.array_equal(ood.score(flux, ivar), ood.score(other, ivar))


def test_a_spectrum_without_good_pixels_has_no_score():
    ood = make()
    flux, ivar = spectra(ood, 3)
    assert np.isnan(ood.score(flux, np.zeros_like(ivar))).all()


def test_a_score_comes_back_from_its_arrays_and_wrong_arrays_are_refused():
    ood = make()
    flux, ivar = spectra(ood, 5)
    assert np.array_equal(from_arrays(ood.arrays()).score(flux, ivar), ood.score(flux, ivar))
    arrays = ood.arrays()
    for wrong, words in (
        ({name: array for name, array in arrays.items() if name != "scale"}, "and must be"),
        (arrays | {"scale": arrays["scale"][:2]}, r"scale has shape \(2,\)"),
        (arrays | {"scale": arrays["scale"].astype(np.float64)}, "not all float32"),
        (arrays | {"mean": arrays["mean"] * np.nan}, "not finite"),
        (arrays | {"basis": arrays["mean"]}, "two axes"),
    ):
        with pytest.raises(ValueError, match=words):
            from_arrays(wrong)
