"""Learn what the training spectra are like, and set the scale of the score on the validation spectra.

Labels, classes and velocities play no part, nor does the network. Of many training spectra a sample is enough.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from raystellar.model.novelty import BIN, ROWS, Fit, Novelty, Seen, binned, line, one_thread

NOVELTY_VERSION = 1
"""Raised when the same spectra would get another score: an older bundle is not taken for this."""

MOST_SPECTRA = 12_000
"""Training spectra to learn from, evenly taken: more change nothing and take longer."""

COMPONENTS = 24
"""Principal components at most. Of 16, 20, 24, 32 and 40 these left the fewest odd spectra unseen."""

PARTS, MIXTURES = 16, 3
"""Normal distributions in a mixture, and mixtures, which differ by where their fit began and are averaged."""

ROWS_PER_PART = 12
"""Spectra per dimension that a part of a mixture needs."""

ROUNDS = 40
"""Of expectation and maximisation."""

LEAST_VARIANCE = 1e-3
"""Added to the variances of the parts, of coordinates whose variance is 1."""

POWER_ROUNDS = 4
"""Of the randomised search for the components. Source: Halko, Martinsson & Tropp 2011, SIAM Rev. 53, 217."""

SHARE_ABOVE = 0.0075
"""Share of the validation stars above the score 1. Of stars on new plates there are twice as many."""

BLUNDER = 5.0
"""Standard errors beyond which a residual is an accident."""

SN_ENDS = ((1.0, 99.0), (1.0, 25.0))
"""Percentiles of the S/N beyond which the lines of chi and of surprise stay constant. The second bends early: what is
odd is seen well at high S/N, where stars of new plates differ most from those that the limit was set on."""


def learn_novelty(
    train: np.ndarray, train_ivar: np.ndarray, validation: np.ndarray, validation_ivar: np.ndarray
) -> tuple[Novelty | None, dict[str, Any]]:
    """Learn the score from training spectra, and its scale from validation spectra.

    Parameters
    ----------
    train, validation : (n, P) float32, standardised
    train_ivar, validation_ivar : (n, P / NOISE_BLOCK) mean inverse variance in blocks of pixels

    Returns
    -------
    the score, and how it does on the validation spectra, see ``assess``; None and nothing where the noise of fewer than
    two training spectra or of no validation spectrum is known
    """
    rows = np.flatnonzero((train_ivar > 0).any(1))
    known = (validation_ivar > 0).any(1)
    if len(rows) < 2 or not known.any():
        return None, {}
    if not known.all():
        validation, validation_ivar = validation[known], validation_ivar[known]
    rows = rows[:: max(1, -(-len(rows) // MOST_SPECTRA))]
    with one_thread():
        novelty, sn = _learn(train, train_ivar, rows, validation, validation_ivar)
        return novelty, assess(novelty.score(validation, validation_ivar), sn)


def _learn(
    train: np.ndarray,
    train_ivar: np.ndarray,
    rows: np.ndarray,
    validation: np.ndarray,
    validation_ivar: np.ndarray,
) -> tuple[Novelty, np.ndarray]:
    """Return the score learnt from these rows of the training spectra, and log10 S/N (n,) of the validation spectra."""
    values = np.concatenate([binned(train[some]) for some in _blocks(rows)])
    mean = values.mean(0, dtype=np.float64).astype(np.float32)
    basis, variance = components(values, min(COMPONENTS, max(1, len(rows) // 3)))
    scale = np.sqrt(np.maximum(variance, 1e-6)).astype(np.float32)
    scatter = _scatter(mean, basis, scale, validation, validation_ivar)
    fit = Fit(mean, basis, scale, scatter)
    seen = _seen(fit, train, train_ivar, rows)
    ends = np.array([np.percentile(seen.log_sn, SN_ENDS[0]), SN_ENDS[1]], dtype=np.float32)
    chi = np.stack([_straight(seen.log_sn, column, ends[0]) for column in seen.chi.T], axis=1)
    left = seen.chi - line(seen.log_sn[:, None], ends[0], chi)
    chi_scale = np.maximum(left.std(0), 1e-3)
    parts = mixtures(np.hstack([seen.coefficients, left / chi_scale]))
    arrays = (mean, basis, scale, scatter, chi, chi_scale, *parts)
    others = _seen(fit, validation, validation_ivar, np.arange(len(validation)))
    ends[1] = np.percentile(others.log_sn, SN_ENDS[1])
    bare = Novelty(*(np.ascontiguousarray(array, dtype=np.float32) for array in (*arrays, ends, (0.0, 0.0, 1.0))))
    surprise = _limits(bare.surprise_of(others), others.log_sn, ends[1])
    return Novelty(**bare.arrays() | {"surprise": surprise.astype(np.float32)}), others.log_sn


def components(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components (bins, k) of ``values`` (n, bins) and the variances (k,) along them."""
    found = PCA(k, svd_solver="randomized", iterated_power=POWER_ROUNDS, random_state=0).fit(values)
    return np.ascontiguousarray(found.components_.T), found.explained_variance_


def mixtures(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, centres and factors, as in ``Novelty``, of mixtures fitted to ``y`` (n, D)."""
    count = int(np.clip(len(y) // (ROWS_PER_PART * y.shape[1]), 1, PARTS))
    found = [_mixture(y.astype(np.float64), count, seed) for seed in range(MIXTURES)]
    weights, centres, factors = (np.stack(arrays) for arrays in zip(*found, strict=True))
    return weights, centres, factors


def _mixture(y: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one mixture; then draw covariances towards their diagonals, as by 2 D further points without correlation."""
    d = y.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the density of rare points does not wait for it
        found = GaussianMixture(count, reg_covar=LEAST_VARIANCE, max_iter=ROUNDS, random_state=seed).fit(y)
    points = found.weights_ * len(y)
    kept = (points / (points + 2.0 * d))[:, None, None]
    covariances = kept * found.covariances_ + (1.0 - kept) * found.covariances_ * np.eye(d)
    factors = np.linalg.inv(np.linalg.cholesky(covariances)).transpose(0, 2, 1)
    sizes = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    return np.log(found.weights_) + sizes - 0.5 * d * np.log(2.0 * np.pi), found.means_, factors


def assess(scores: np.ndarray, signal_to_noise: np.ndarray) -> dict[str, Any]:
    """Return how many of these ``scores`` (n,) are above 1, of all and of each quarter by log10 S/N (n,)."""
    edges = np.quantile(signal_to_noise, (0.25, 0.5, 0.75))
    quarter = np.searchsorted(edges, signal_to_noise, side="right")
    shares = [float((scores[quarter == q] > 1.0).mean()) if (quarter == q).any() else None for q in range(4)]
    return {"stars": len(scores), "above": float((scores > 1.0).mean()), "above_by_sn_quartile": shares}


def _limits(surprise: np.ndarray, signal_to_noise: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the line through the surprise (n,) of typical stars over log10 S/N, and the excess of the rarest."""
    coefficients = _straight(signal_to_noise, np.minimum(surprise, np.percentile(surprise, 95.0)), ends)
    excess = surprise - line(signal_to_noise, ends, coefficients)
    middle = np.median(excess)
    most = np.percentile(excess - middle, 100.0 * (1.0 - SHARE_ABOVE))
    return np.array([coefficients[0] + middle, coefficients[1], max(float(most), 1.0)])


def _straight(x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return constant and slope of the line through ``y`` (n,) over ``x`` (n,) kept within ``ends``."""
    inside = np.clip(x.astype(np.float64), *ends)
    offset = inside - inside.mean()
    slope = float(offset @ (y - y.mean()) / max(offset @ offset, 1e-6))
    return np.array([y.mean() - slope * inside.mean(), slope])


def _scatter(mean: np.ndarray, basis: np.ndarray, scale: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return the variance (blocks,) of what the components leave of these spectra beyond their noise.

    Means weighted by what is known of each spectrum, and anew with better weights; residuals beyond ``BLUNDER``
    standard errors count as that.
    """
    scatter = np.zeros(ivar.shape[1], dtype=np.float32)
    for _ in range(3):
        total, count = np.full(scatter.size, 1e-12), np.full(scatter.size, 1e-9)
        fit = Fit(mean, basis, scale, scatter)
        for rows in _blocks(np.arange(len(flux))):
            known = ivar[rows] > 0
            noise = np.where(known, 1.0 / np.maximum(BIN * ivar[rows], 1e-6), 0.0)
            expected = noise + scatter + 1e-6
            square = np.square(fit(flux[rows], ivar[rows]).residual).reshape(*known.shape, -1)
            if scatter.any():
                square = np.minimum(square, BLUNDER**2 * expected[:, :, None])
            weight = np.where(known, np.square(1.0 / expected), 0.0)
            total += (weight * (square.mean(2) - noise)).sum(0)
            count += weight.sum(0)
        scatter = np.maximum(total / count, 1e-5).astype(np.float32)
    return scatter


def _seen(fit: Fit, flux: np.ndarray, ivar: np.ndarray, rows: np.ndarray) -> Seen:
    """Return what the fit finds of these rows, but for the residuals."""
    parts = [fit(flux[some], ivar[some]) for some in _blocks(rows)]
    names = ("coefficients", "chi", "signal", "log_sn")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Seen(**joined, residual=np.empty((0, 0), np.float32))


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), ROWS):
        yield rows[start : start + ROWS]
