"""Learn the OOD score from the training spectra, and set its scale by cross-fitting.

``model.ood`` explains the score. Labels, classes, velocities and the network play no part.

The scale says how surprising ordinary stars are that the score has not seen. Validation spectra alone are too few: with
205 of them, a limit that 1 % of them exceeded was exceeded by 5.5 % of the stars on new plates. The spectra are
therefore cut into ``FOLDS`` parts, and each part is judged by a score that was learned from the others.

All functions but ``learn_ood`` take binned spectra, ``values`` (n, P / BIN), see ``model.ood.binned``.

The Gaussian mixtures are fitted by expectation-maximisation in this module, in float64, because covariances are shrunk
towards their diagonals in every round, which scikit-learn's ``GaussianMixture`` cannot do. With covariances shrunk only
after its fit, the score missed 7 % of the white dwarfs instead of 4 %. scikit-learn computes the principal components
and the clusters from which the mixtures start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from raystellar.model.ood import (
    BATCH_ROWS,
    BIN,
    ComponentFit,
    FittedSpectra,
    OodScore,
    binned,
    line,
    log_density,
    log_sn,
    one_thread,
)

OOD_VERSION = 3
"""Version of the score; bump it when the same spectra get another score, so that older bundles are made anew."""

MOST_SPECTRA = 12_000
"""Largest number of training spectra to learn from, evenly sampled; more spectra change nothing and take longer."""

COMPONENTS = 20
"""Largest number of principal components. With 24 or 32 more white dwarfs score like stars, and their number differs
between surveys."""

GAUSSIANS, MIXTURES = 32, 3
"""Number of Gaussians in a mixture, and number of mixtures, which start from different clusters and are averaged. Half
as many Gaussians, with 24 components, flagged 90 to 95 % of the white dwarfs in six surveys instead of 95 to 98 %."""

SPECTRA_PER_DIMENSION = 6
"""Least number of spectra per Gaussian and dimension."""

CLUSTER_ROUNDS = 15
"""Number of times that spectra are assigned to the nearest cluster centre."""

EM_ROUNDS = 40
"""Number of rounds of expectation-maximisation."""

ADDED_VARIANCE = 1e-3
"""Variance added to each coordinate of a Gaussian; the coordinates have a variance of 1."""

POWER_ROUNDS = 4
"""Number of power iterations in the randomised search for the components. Source: Halko, Martinsson & Tropp 2011,
SIAM Rev. 53, 217."""

FOLDS = 4
"""Number of parts in which the spectra are judged by scores that have not seen them."""

ENOUGH = 3000
"""Number of spectra after which no further part is judged; 22 of them are above the limit."""

SHARE_ABOVE = 0.0075
"""Share of the stars that score above 1 in cross-fitting. The share among stars on new plates is somewhat larger."""

ACCIDENT_SIGMA = 5.0
"""Limit to which residuals are clipped when the scatter is measured [standard errors]."""

SN_ENDS = ((1.0, 99.0), (1.0, 25.0))
"""Percentiles of log10 S/N between which the lines of the chi squares, and the line of the surprise, vary. The range of
the surprise ends early: at high S/N odd spectra score high anyway, and stars on new plates differ most from the
validation stars that set the limit."""


def learn_ood(
    train: np.ndarray, train_ivar: np.ndarray, validation: np.ndarray, validation_ivar: np.ndarray
) -> tuple[OodScore | None, dict[str, Any]]:
    """Learn the OOD score from training spectra, and its scale from validation spectra.

    Parameters
    ----------
    train, validation : (n, P) float32, standardised
    train_ivar, validation_ivar : (n, P / NOISE_BLOCK) mean inverse variance in blocks of pixels

    Returns
    -------
    score : the OOD score; None where the noise is known for fewer than two training or for no validation spectra
    assessment : result of ``assess`` on the validation spectra; empty where there is no score
    """
    rows = np.flatnonzero((train_ivar > 0).any(1))
    known = (validation_ivar > 0).any(1)
    if len(rows) < 2 or not known.any():
        return None, {}
    rows = rows[:: max(1, -(-len(rows) // MOST_SPECTRA))]
    with one_thread():
        values, ivar = _binned(train, rows), train_ivar[rows]
        held_out, held_out_ivar = _binned(validation, np.flatnonzero(known)), validation_ivar[known]
        ood = _learn(values, ivar, held_out, held_out_ivar)
        ood = _scaled(ood, *_surprise(np.concatenate([values, held_out]), np.concatenate([ivar, held_out_ivar])))
        scores = ood.score(validation, validation_ivar)[known]
    return ood, assess(scores, log_sn(held_out_ivar))


def _binned(flux: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the bins of some rows of ``flux`` without copying the rows all at once."""
    return np.concatenate([binned(flux[rows[batch]]) for batch in _batches(len(rows))])


def _learn(values: np.ndarray, ivar: np.ndarray, held_out: np.ndarray, held_out_ivar: np.ndarray) -> OodScore:
    """Return the score learned from spectra, whose scale is not set yet; held-out spectra give the scatter."""
    mean = values.mean(0, dtype=np.float64).astype(np.float32)
    basis, variance = components(values, min(COMPONENTS, max(1, len(values) // 3)))
    scale = np.sqrt(np.maximum(variance, 1e-6)).astype(np.float32)
    scatter = _scatter(mean, basis, scale, held_out, held_out_ivar)
    fitted = _fitted(ComponentFit(mean, basis, scale, scatter), values, ivar)
    ends = np.percentile(fitted.log_sn, SN_ENDS)
    chi = np.stack([_line_through(fitted.log_sn, column, ends[0]) for column in fitted.chi.T], axis=1)
    excess = fitted.chi - line(fitted.log_sn[:, None], ends[0], chi)
    chi_scale = np.maximum(excess.std(0), 1e-3)
    gaussians = mixtures(np.hstack([fitted.coefficients, excess / chi_scale]))
    arrays = (mean, basis, scale, scatter, chi, chi_scale, *gaussians, ends, (0.0, 0.0, 1.0))
    return OodScore(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))


def _surprise(values: np.ndarray, ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the surprise (m,) of spectra among the spectra of the other folds, and their log10 S/N (m,)."""
    fold = np.arange(len(values)) % min(FOLDS, len(values))
    surprise: list[np.ndarray] = []
    judged: list[np.ndarray] = []
    for k in range(fold.max() + 1):
        if sum(map(len, judged)) >= ENOUGH:
            break
        own, others = fold == k, fold != k
        ood = _learn(values[others], ivar[others], values[own], ivar[own])
        surprise.append(ood.surprise_of(_fitted(ood.fit, values[own], ivar[own])))
        judged.append(ivar[own])
    return np.concatenate(surprise), log_sn(np.concatenate(judged))


def _scaled(ood: OodScore, surprise: np.ndarray, signal_to_noise: np.ndarray) -> OodScore:
    """Return the score with the scale that the surprise (n,) of ordinary stars and their log10 S/N (n,) give."""
    ends = np.percentile(signal_to_noise, SN_ENDS[1])
    limits = _limits(surprise, signal_to_noise, ends)
    return OodScore(**ood.arrays() | {
        "ends": np.array([ood.ends[0], ends], dtype=np.float32),
        "surprise": limits.astype(np.float32),
    })  # fmt: skip


def components(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components (bins, k) of ``values`` (n, bins) and the variances (k,) along them."""
    fitted = PCA(k, svd_solver="randomized", iterated_power=POWER_ROUNDS, random_state=0).fit(values)
    return np.ascontiguousarray(fitted.components_.T), fitted.explained_variance_


def mixtures(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, centres and factors, as in ``OodScore``, of the mixtures fitted to ``y`` (n, D)."""
    count = int(np.clip(len(y) // (SPECTRA_PER_DIMENSION * y.shape[1]), 1, GAUSSIANS))
    fits = [_mixture(y.astype(np.float64), count, np.random.default_rng(seed)) for seed in range(MIXTURES)]
    weights, centres, factors = (np.stack(arrays) for arrays in zip(*fits, strict=True))
    return weights, centres, factors


def _mixture(y: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, centres and factors of one mixture of ``count`` Gaussians, fitted to ``y`` (n, D)."""
    share = np.eye(count)[clusters(y, count, rng)]
    for _ in range(EM_ROUNDS):
        weights, centres, factors = _gaussians(y, share)
        logs = np.stack([
            log_density(y, weights[None, m : m + 1], centres[None, m : m + 1], factors[None, m : m + 1])[:, 0]
            for m in range(count)
        ], axis=1)  # fmt: skip
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
    return weights, centres, factors


def clusters(y: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number (n,) of the cluster of each row of ``y`` (n, D), by Lloyd's k-means.

    The first centres are ``count`` rows of ``y``, drawn by ``rng``.
    """
    centres = y[rng.choice(len(y), count, replace=False)]
    # fit_predict assigns the rows once more after the last round
    kmeans = KMeans(count, init=centres, n_init=1, max_iter=CLUSTER_ROUNDS - 1, tol=0.0)
    with threadpool_limits(1, user_api="openmp"):  # threads add up their parts of a centre in any order
        return kmeans.fit_predict(y)


def _gaussians(y: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, centres and factors of M Gaussians to which the rows of ``y`` (n, D) belong by ``share`` (n, M).

    Covariances are shrunk towards their diagonals, as if by 2 D further rows without correlation.
    """
    d = y.shape[1]
    weights, centres, factors = [], [], []
    for belong in share.T:
        count = belong.sum() + 1e-9
        centre = belong @ y / count
        offset = y - centre
        covariance = (offset * belong[:, None]).T @ offset / count
        kept = count / (count + 2.0 * d)
        covariance = kept * covariance + (1.0 - kept) * np.diag(np.diag(covariance)) + ADDED_VARIANCE * np.eye(d)
        factor = np.linalg.inv(np.linalg.cholesky(covariance)).T
        weights.append(np.log(count / len(y)) + np.log(np.diag(factor)).sum() - 0.5 * d * np.log(2.0 * np.pi))
        centres.append(centre)
        factors.append(factor)
    return np.array(weights), np.array(centres), np.array(factors)


def assess(scores: np.ndarray, signal_to_noise: np.ndarray) -> dict[str, Any]:
    """Return the share of ``scores`` (n,) above 1, for all spectra and for each quarter of them by log10 S/N (n,)."""
    edges = np.quantile(signal_to_noise, (0.25, 0.5, 0.75))
    quarter = np.searchsorted(edges, signal_to_noise, side="right")
    shares = [float((scores[quarter == q] > 1.0).mean()) if (quarter == q).any() else None for q in range(4)]
    return {"stars": len(scores), "above": float((scores > 1.0).mean()), "above_by_sn_quartile": shares}


def _limits(surprise: np.ndarray, signal_to_noise: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return constant and slope of the surprise (n,) of typical stars over log10 S/N, and the excess that scores 1."""
    coefficients = _line_through(signal_to_noise, np.minimum(surprise, np.percentile(surprise, 95.0)), ends)
    excess = surprise - line(signal_to_noise, ends, coefficients)
    middle = np.median(excess)
    most = np.percentile(excess - middle, 100.0 * (1.0 - SHARE_ABOVE))
    return np.array([coefficients[0] + middle, coefficients[1], max(float(most), 1.0)])


def _line_through(x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return constant and slope of the line through ``y`` (n,) over ``x`` (n,) clipped to ``ends``."""
    inside = np.clip(x.astype(np.float64), *ends)
    offset = inside - inside.mean()
    slope = float(offset @ (y - y.mean()) / max(offset @ offset, 1e-6))
    return np.array([y.mean() - slope * inside.mean(), slope])


def _scatter(
    mean: np.ndarray, basis: np.ndarray, scale: np.ndarray, values: np.ndarray, ivar: np.ndarray
) -> np.ndarray:
    """Return the variance (blocks,) of the residuals of spectra in excess of their noise.

    The variance is a mean over spectra, weighted by their inverse variances and repeated with better weights. Residuals
    are clipped to ``ACCIDENT_SIGMA`` standard errors.
    """
    scatter = np.zeros(ivar.shape[1], dtype=np.float32)
    for _ in range(3):
        total, count = np.full(scatter.size, 1e-12), np.full(scatter.size, 1e-9)
        fit = ComponentFit(mean, basis, scale, scatter)
        for rows in _batches(len(values)):
            known = ivar[rows] > 0
            noise = np.where(known, 1.0 / np.maximum(BIN * ivar[rows], 1e-6), 0.0)
            expected = noise + scatter + 1e-6
            square = np.square(fit.fit_bins(values[rows], ivar[rows]).residual).reshape(*known.shape, -1)
            if scatter.any():
                square = np.minimum(square, ACCIDENT_SIGMA**2 * expected[:, :, None])
            weight = np.where(known, np.square(1.0 / expected), 0.0)
            total += (weight * (square.mean(2) - noise)).sum(0)
            count += weight.sum(0)
        scatter = np.maximum(total / count, 1e-5).astype(np.float32)
    return scatter


def _fitted(fit: ComponentFit, values: np.ndarray, ivar: np.ndarray) -> FittedSpectra:
    """Return the fit of the components to the spectra, without the residuals, which would fill the memory."""
    batches = [fit.fit_bins(values[batch], ivar[batch]) for batch in _batches(len(values))]
    names = ("coefficients", "chi", "signal", "log_sn")
    joined = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names}
    return FittedSpectra(**joined, residual=np.empty((0, 0), np.float32))


def _batches(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BATCH_ROWS):
        yield slice(start, start + BATCH_ROWS)
