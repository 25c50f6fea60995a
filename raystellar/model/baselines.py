"""The paper's linear baselines: ordinary least squares and ridge regression. Source: Sec. 6, Table 2.

Both have 4000 x 3 weights and 3 intercepts, 12,003 parameters, and the same interface:
``fit(flux, targets)``, then ``predict(flux)`` in the units of the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

ALPHAS: tuple[float, ...] = tuple(np.logspace(-3.0, 3.0, 13).tolist())
"""Strengths among which ridge regression chooses. Source: Sec. 6."""

CHUNK = 2048
"""Rows that are turned to float64 at a time."""


@dataclass(frozen=True)
class Linear:
    """A fitted linear model: ``targets = flux @ weights + intercept``.

    Attributes
    ----------
    weights : (n_pixels, n_targets)
    intercept : (n_targets,)
    alpha : the chosen strength of the penalty; 0 for least squares
    """

    weights: np.ndarray
    intercept: np.ndarray
    alpha: float = 0.0

    def predict(self, flux: np.ndarray) -> np.ndarray:
        """Return the targets (n, n_targets) of ``flux`` (n, n_pixels), in the units of the training targets."""
        return np.concatenate([chunk @ self.weights + self.intercept for chunk in _chunks(flux)])


def fit_ols(flux: np.ndarray, targets: np.ndarray) -> Linear:
    """Fit ordinary least squares, of least norm where the pixels are collinear.

    Standardised spectra always are: every row sums to zero.

    Parameters
    ----------
    flux : (n, n_pixels) standardised flux
    targets : (n, n_targets) in any units
    """
    x_mean, y_mean = flux.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
    weights = scipy.linalg.lstsq(flux - x_mean, targets - y_mean, overwrite_a=True, check_finite=False)[0]
    return Linear(weights, y_mean - x_mean @ weights)


def fit_ridge(flux: np.ndarray, targets: np.ndarray, alphas: tuple[float, ...] = ALPHAS) -> Linear:
    """Fit ridge regression, its strength chosen by leave-one-out cross-validation.

    With ``X = U S V^T`` centred, the residual of row i of a fit without row i is ``r_i / (1 - h_i)`` where
    ``h_i = 1/n + sum_k (X V)_ik^2 / (s_k^2 + alpha)``: one eigendecomposition of ``X^T X`` serves all alphas.
    The result is that of scikit-learn's ``RidgeCV``, which takes four times as long.
    Targets are robust-scaled for the choice, so that one alpha weighs them alike.

    Parameters
    ----------
    flux : (n, n_pixels) standardised flux
    targets : (n, n_targets) in any units
    alphas : strengths > 0 to choose from
    """
    low, centre, high = np.percentile(targets.astype(np.float64), (25, 50, 75), axis=0)
    scale = np.where(high > low, high - low, 1.0)
    scaled = (targets - centre) / scale
    x_mean, y_mean = flux.mean(axis=0, dtype=np.float64), scaled.mean(axis=0)
    values, vectors, projected = _decompose(flux, scaled - y_mean, x_mean)
    filters = 1.0 / (values[:, None] + np.asarray(alphas))  # (n_pixels, n_alphas)
    errors = np.zeros(len(alphas))
    for chunk, truth in zip(_chunks(flux), _chunks(scaled - y_mean), strict=True):
        z = (chunk - x_mean) @ vectors
        leverage = 1.0 / len(flux) + z**2 @ filters
        for a in range(len(alphas)):
            residual = truth - z @ (filters[:, a, None] * projected)
            errors[a] += np.sum((residual / (1.0 - leverage[:, a, None])) ** 2)
    best = int(np.argmin(errors))
    weights = vectors @ (filters[:, best, None] * projected)
    return Linear(weights * scale, (y_mean - x_mean @ weights) * scale + centre, float(alphas[best]))


def _decompose(flux: np.ndarray, targets: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of ``X^T X``, and ``V^T X^T y``, for X the centred flux."""
    gram = np.zeros((flux.shape[1], flux.shape[1]))
    moment = np.zeros((flux.shape[1], targets.shape[1]))
    for chunk, truth in zip(_chunks(flux), _chunks(targets), strict=True):
        centred = chunk - mean
        gram += centred.T @ centred
        moment += centred.T @ truth
    values, vectors = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
    return np.clip(values, 0.0, None), vectors, vectors.T @ moment


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + CHUNK].astype(np.float64) for start in range(0, len(array), CHUNK))
