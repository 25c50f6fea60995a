"""The paper's linear baselines: ordinary least squares and ridge regression. Source: Sec. 6, Table 2.

Both have 4000 x 3 weights and 3 intercepts, 12,003 parameters. Both have the same interface:
``Ridge().fit(flux, targets)``, then ``predict(flux)`` in the units of the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

ALPHAS: tuple[float, ...] = tuple(np.logspace(-3.0, 3.0, 13).tolist())
"""Strengths of the penalty from which ridge regression chooses. Source: Sec. 6."""

FLOAT32_EPSILON = float(np.finfo(np.float32).eps)
"""Share of the largest singular value below which singular values are rounding errors of float32 flux."""

ROWS_IN_FLOAT64 = 2048
"""Number of rows converted to float64 at a time."""


@dataclass(frozen=True)
class Linear:
    """A fitted linear model: ``targets = flux @ weights + intercept``.

    Attributes
    ----------
    weights : (n_pixels, n_targets)
    intercept : (n_targets,)
    alpha : strength of the penalty; 0 for least squares
    """

    weights: np.ndarray
    intercept: np.ndarray
    alpha: float = 0.0

    def predict(self, flux: np.ndarray) -> np.ndarray:
        """Return targets (n, n_targets) for ``flux`` (n, n_pixels), in the units of the fitted targets."""
        return np.concatenate([chunk @ self.weights + self.intercept for chunk in _chunks(flux)])


class OLS:
    """Ordinary least squares; the solution of least norm where pixels are collinear.

    The pixels of standardised spectra are always collinear, because every row sums to zero.
    """

    def fit(self, flux: np.ndarray, targets: np.ndarray) -> Linear:
        """Fit ``flux`` (n, n_pixels) to ``targets`` (n, n_targets), in any units."""
        x_mean, y_mean = flux.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
        solved = scipy.linalg.lstsq(
            flux - x_mean, targets - y_mean, cond=FLOAT32_EPSILON, overwrite_a=True, check_finite=False
        )
        return Linear(solved[0], y_mean - x_mean @ solved[0])


@dataclass(frozen=True)
class Ridge:
    """Ridge regression, its strength chosen among ``alphas`` > 0 by leave-one-out cross-validation.

    For the centred ``X = U S V^T``, the residual of row i in a fit without row i is ``r_i / (1 - h_i)`` with
    ``h_i = 1/n + sum_k (X V)_ik^2 / (s_k^2 + alpha)``, so that one eigendecomposition of ``X^T X`` serves all alphas.
    scikit-learn's ``RidgeCV`` gives the same result and takes four times as long. Targets are robust-scaled for the
    choice, so that all have the same weight.
    """

    alphas: tuple[float, ...] = ALPHAS

    def fit(self, flux: np.ndarray, targets: np.ndarray) -> Linear:
        """Fit ``flux`` (n, n_pixels) to ``targets`` (n, n_targets), in any units."""
        low, centre, high = np.percentile(targets.astype(np.float64), (25, 50, 75), axis=0)
        scale = np.where(high > low, high - low, 1.0)
        scaled = (targets - centre) / scale
        x_mean, y_mean = flux.mean(axis=0, dtype=np.float64), scaled.mean(axis=0)
        values, vectors, projected = _decompose(flux, scaled - y_mean, x_mean)
        filters = 1.0 / (values[:, None] + np.asarray(self.alphas))  # (n_pixels, n_alphas)
        squares = np.zeros(len(self.alphas))
        for chunk, truth in zip(_chunks(flux), _chunks(scaled - y_mean), strict=True):
            z = (chunk - x_mean) @ vectors
            kept = 1.0 - 1.0 / len(flux) - z**2 @ filters  # 1 - h, (rows, n_alphas)
            for a in range(len(self.alphas)):
                residual = truth - z @ (filters[:, a, None] * projected)
                squares[a] += np.sum((residual / kept[:, a, None]) ** 2)
        best = int(np.argmin(squares))
        weights = vectors @ (filters[:, best, None] * projected)
        return Linear(weights * scale, (y_mean - x_mean @ weights) * scale + centre, float(self.alphas[best]))


def _decompose(flux: np.ndarray, targets: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of ``X^T X``, and ``V^T X^T y``, for the centred flux X.

    With fewer spectra than pixels only eigenvectors with positive eigenvalues are returned. All spectra are orthogonal
    to the other eigenvectors.
    """
    if len(flux) < flux.shape[1]:
        return _decompose_few(flux - mean, targets)
    gram = np.zeros((flux.shape[1], flux.shape[1]))
    moment = np.zeros((flux.shape[1], targets.shape[1]))
    for chunk, truth in zip(_chunks(flux), _chunks(targets), strict=True):
        centred = chunk - mean
        gram += centred.T @ centred
        moment += centred.T @ truth
    values, vectors = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
    return np.clip(values, 0.0, None), vectors, vectors.T @ moment


def _decompose_few(centred: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the result of ``_decompose`` by way of the smaller ``X X^T = U S^2 U^T``, with ``V = X^T U / S``."""
    values, left = scipy.linalg.eigh(centred @ centred.T, driver="evd", overwrite_a=True, check_finite=False)
    positive = values > values[-1] * len(centred) * np.finfo(float).eps
    root = np.sqrt(values[positive])
    return values[positive], centred.T @ (left[:, positive] / root), root[:, None] * (left[:, positive].T @ targets)


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    starts = range(0, len(array), ROWS_IN_FLOAT64)
    return (array[start : start + ROWS_IN_FLOAT64].astype(np.float64) for start in starts)
