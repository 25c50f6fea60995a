"""Learn what the training spectra are like, and set the scale of the score on the validation spectra.

Labels, classes and velocities play no part, nor does the network. Of many training spectra a sample is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from raystellar.model.ood import BIN, ROWS, Fit, OodScore, Seen, binned, line, log_density, one_thread

OOD_VERSION = 2
"""Raised when the same spectra would get another score: an older bundle is not taken for this."""

MOST_SPECTRA = 12_000
"""Training spectra to learn from, evenly taken: more change nothing and take longer."""

COMPONENTS = 20
"""Principal components at most. With 24 or 32, more white dwarfs look like stars, and how many changes by survey."""

PARTS, MIXTURES = 32, 3
"""Normal distributions in a mixture, and mixtures, which differ by where their fit began and are averaged. Half as many
parts, of 24 components, found 90 to 95 % of white dwarfs in six surveys, where these find 95 to 98 %."""

ROWS_PER_PART = 6
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


def learn_ood(
    train: np.ndarray, train_ivar: np.ndarray, validation: np.ndarray, validation_ivar: np.ndarray
) -> tuple[OodScore | None, dict[str, Any]]:
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
        ood, sn = _learn(train, train_ivar, rows, validation, validation_ivar)
        return ood, assess(ood.score(validation, validation_ivar), sn)


def _learn(
    train: np.ndarray,
    train_ivar: np.ndarray,
    rows: np.ndarray,
    validation: np.ndarray,
    validation_ivar: np.ndarray,
) -> tuple[OodScore, np.ndarray]:
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
    bare = OodScore(*(np.ascontiguousarray(array, dtype=np.float32) for array in (*arrays, ends, (0.0, 0.0, 1.0))))
    surprise = _limits(bare.surprise_of(others), others.log_sn, ends[1])
    return OodScore(**bare.arrays() | {"surprise": surprise.astype(np.float32)}), others.log_sn


def components(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components (bins, k) of ``values`` (n, bins) and the variances (k,) along them."""
    found = PCA(k, svd_solver="randomized", iterated_power=POWER_ROUNDS, random_state=0).fit(values)
    return np.ascontiguousarray(found.components_.T), found.explained_variance_


def mixtures(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, centres and factors, as in ``OodScore``, of mixtures fitted to ``y`` (n, D)."""
    count = int(np.clip(len(y) // (ROWS_PER_PART * y.shape[1]), 1, PARTS))
    found = [_mixture(y.astype(np.float64), count, np.random.default_rng(seed)) for seed in range(MIXTURES)]
    weights, centres, factors = (np.stack(arrays) for arrays in zip(*found, strict=True))
    return weights, centres, factors


def _mixture(y: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one mixture by expectation and maximisation, from clusters of nearest centres.

    By own code, for covariances are drawn towards their diagonals in every round: with scikit-learn's GaussianMixture,
    drawn when it had ended, the score missed twice as many white dwarfs.
    """
    share = np.eye(count)[_clusters(y, count, rng)]
    for _ in range(ROUNDS):
        weights, centres, factors = _parts(y, share)
        parts = np.stack([
            log_density(y, weights[None, m : m + 1], centres[None, m : m + 1], factors[None, m : m + 1])[:, 0]
            for m in range(count)
        ], axis=1)  # fmt: skip
        share = np.exp(parts - parts.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
    return weights, centres, factors


def _clusters(y: np.ndarray, count: int, rng: np.random.Generator, rounds: int = 15) -> np.ndarray:
    centres = y[rng.choice(len(y), count, replace=False)]
    nearest = np.zeros(len(y), dtype=np.int64)
    for _ in range(rounds):
        nearest = ((centres**2).sum(1) - 2.0 * y @ centres.T).argmin(1)
        centres = np.stack([y[nearest == m].mean(0) if (nearest == m).any() else y[m] for m in range(count)])
    return nearest


def _parts(y: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the parts of a mixture to which points ``y`` (n, D) belong by ``share`` (n, M).

    Covariances are drawn towards their diagonals, as by 2 D further points without correlation.
    """
    d = y.shape[1]
    weights, centres, factors = [], [], []
    for belong in share.T:
        count = belong.sum() + 1e-9
        centre = belong @ y / count
        offset = y - centre
        covariance = (offset * belong[:, None]).T @ offset / count
        kept = count / (count + 2.0 * d)
        covariance = kept * covariance + (1.0 - kept) * np.diag(np.diag(covariance)) + LEAST_VARIANCE * np.eye(d)
        factor = np.linalg.inv(np.linalg.cholesky(covariance)).T
        weights.append(np.log(count / len(y)) + np.log(np.diag(factor)).sum() - 0.5 * d * np.log(2.0 * np.pi))
        centres.append(centre)
        factors.append(factor)
    return np.array(weights), np.array(centres), np.array(factors)


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
