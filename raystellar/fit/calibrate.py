"""The error model of a network, learnt on validation stars, and how well it does there.

What is seen is predicted minus label, the variance of which is that of the prediction and that of the label. Users need
the first alone, so the second, as the label table has it, is taken off, not learnt. What labels of like stars have
wrong in common the network learns, and no comparison with such labels can show it: errors do not hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from raystellar.fit.data import SpectraSet
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import ErrorModel, place, terms
from raystellar.schema import N_NOISE
from raystellar.targets import TARGET_NAMES

CALIBRATION_COLUMNS = ("ivar", "sn", *(f"e_{name}" for name in TARGET_NAMES))
"""Of the dataset, beside flux and labels."""

DEGREES_OF_FREEDOM = 10.0
"""Of Student's t for the residuals: a star in a hundred is off by more than a normal distribution allows, and must
not make the errors of all others. Chosen between 4 and infinity on simulated stars against the truth: standard
deviation and 95 % interval of (predicted - true) / error come out right, and 68 % intervals hold 71 to 75 %."""

BLUNDER, ROUNDS = 5.0, 3
"""So many standard errors off is a blunder, of the label or of the network, and left out; and how often to look."""

PENALTY = 5.0
"""On the squared weights of the terms but the first; chosen between 1 and 20 on simulated stars against the truth."""

EDGES = (1.0, 99.0)
"""Percentiles of the validation stars beyond which the scatter no longer changes."""

WITHIN = {"within68": 1.0, "within95": 1.96}
"""Shares of stars to count, and within how many standard errors a normal distribution has them."""

LEAST_VARIANCE, MOST_EXPONENT = 1e-12, 20.0
"""What keeps logarithms and exponentials finite."""


def calibrate(bundle: Bundle, validation: SpectraSet) -> Bundle:
    """Return ``bundle`` with its error model, and how well that does.

    Parameters
    ----------
    validation : with the columns ``CALIBRATION_COLUMNS``; a spectrum without ``ivar`` has no good pixel
    """
    from raystellar.model.uncertainty import photon_variance

    columns, blank = validation.extra, [0.0] * N_NOISE
    sn = np.array(columns["sn"], dtype=np.float64)  # None becomes NaN
    table_errors = np.array([columns[f"e_{name}"] for name in TARGET_NAMES], dtype=np.float64).T
    ivar = np.array([row or blank for row in columns["ivar"]], dtype=np.float32)
    centre, scale = np.array(bundle.centre), np.array(bundle.scale)
    predicted, labels = ((y - centre) / scale for y in (bundle.predict(validation.flux), validation.targets))
    photon = photon_variance(bundle.module, validation.flux, ivar)
    noise = label_noise(table_errors / scale, predicted, sn)
    model = fit_errors(predicted, labels, noise, photon, sn)
    errors = np.hypot(model(photon, predicted, sn), noise)
    return replace(bundle, errors=model, calibration=assess(predicted - labels, errors, sn))


def fit_errors(
    predicted: np.ndarray, labels: np.ndarray, noise: np.ndarray, photon: np.ndarray, sn: np.ndarray
) -> ErrorModel:
    """Fit the error model by maximum likelihood of the residuals.

    Parameters
    ----------
    predicted, labels : (n, 3) scaled targets
    noise : (n, 3) standard errors of the scaled labels, see ``label_noise``
    photon : (n, 3) variance of the scaled targets by photon noise
    sn : (n,) median S/N per pixel
    """
    places = place(predicted, sn)
    low, high = ends(places)
    matrix = np.column_stack(terms(places, low, high))
    square = (predicted - labels) ** 2
    found = [_fit(square[:, t], photon[:, t], noise[:, t] ** 2, matrix) for t in range(len(TARGET_NAMES))]
    return ErrorModel(
        gain=tuple(float(np.exp(0.5 * p[0])) for p in found),
        low=low,
        high=high,
        weights=tuple(tuple(p[1:].tolist()) for p in found),
    )


def ends(places: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the least and greatest ``places`` (n, 4) that there are enough stars to learn from."""
    low, high = np.percentile(places, EDGES, axis=0)
    return tuple(low.tolist()), tuple(high.tolist())


def _fit(square: np.ndarray, photon: np.ndarray, noise: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return log a^2 and the weights of the terms for one target, without stars that are off beyond ``BLUNDER``."""
    p = np.zeros(1 + matrix.shape[1])
    p[1] = np.log(max(0.5 * float(np.median(square)), LEAST_VARIANCE))
    good = np.ones(len(square), dtype=bool)
    for _ in range(ROUNDS):
        data = (square[good], photon[good], noise[good], matrix[good])
        p = minimize(_loss, p, data, method="L-BFGS-B", jac=True).x
        by_photons, scatter = _variances(p, photon, matrix)
        good = square <= BLUNDER**2 * (by_photons + scatter + noise)
    return p


def _variances(p: np.ndarray, photon: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances (n,) by photon noise and by scatter for log a^2 and the weights ``p``."""
    return np.exp(p[0]) * photon, np.exp(np.clip(matrix @ p[1:], -MOST_EXPONENT, MOST_EXPONENT))


def _loss(
    p: np.ndarray, square: np.ndarray, photon: np.ndarray, noise: np.ndarray, matrix: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the penalised negative log likelihood of Student's t, whose variance the model gives, and its gradient.

    Parameters
    ----------
    p : log a^2, and the weights of the terms
    square, photon, noise : (n,) squared residuals, and the variances by photons and labels
    matrix : (n, 15) terms
    """
    nu, w = DEGREES_OF_FREEDOM, p[1:]
    by_photons, scatter = _variances(p, photon, matrix)
    variance = by_photons + scatter + noise + LEAST_VARIANCE
    wide = (nu - 2.0) * variance
    loss = 0.5 * np.log(variance) + 0.5 * (nu + 1.0) * np.log1p(square / wide)
    slope = 0.5 / variance - 0.5 * (nu + 1.0) * square / (variance * (wide + square))
    penalty = 0.5 * PENALTY * (w[1:] @ w[1:]) + 0.5 * p[0] ** 2
    gradient = np.concatenate([[slope @ by_photons + p[0]], (slope * scatter) @ matrix])
    gradient[2:] += PENALTY * w[1:]
    return float(loss.sum() + penalty), gradient


def label_noise(errors: np.ndarray, predicted: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the typical standard errors (n, 3) of the labels of such stars at such S/N.

    The errors of a table are the scatter of a handful of methods, and scatter themselves by a third: star by star they
    would say little, and their mean square too much, so that the errors of predictions came out too small. So they are
    smoothed, and keep their mean. Where a table has none, labels count as exact, and their noise goes into the scatter.

    Parameters
    ----------
    errors : (n, 3) of the labels, scaled, as the table has them; NaN or not positive where it has none
    predicted : (n, 3) scaled targets
    sn : (n,) median S/N per pixel
    """
    places = place(predicted, sn)
    matrix = np.column_stack(terms(places, *ends(places)))
    out = np.zeros(errors.shape)
    for t in range(errors.shape[1]):
        known = errors[:, t] > 0.0
        if known.any():
            out[:, t] = _smooth(errors[known, t], matrix[known], matrix)
    return out


def _smooth(errors: np.ndarray, known: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a smooth function (n,) of the terms ``matrix`` (n, 15) through ``errors`` at ``known``."""
    middle = np.log(errors).mean()
    ridge = known.T @ known + PENALTY * np.eye(known.shape[1])
    weights = np.linalg.solve(ridge, known.T @ (np.log(errors) - middle))
    return np.exp(matrix @ weights) * np.mean(errors / np.exp(known @ weights))


def assess(residuals: np.ndarray, errors: np.ndarray, sn: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return how well ``errors`` (n, 3) foretell ``residuals`` (n, 3), per target by its name.

    ``std``: root mean square of z = residual / error; ``within68``, ``within95``: shares with |z| below 1 and 1.96;
    ``stars``; and ``quartiles``: the same of each quarter of the stars by S/N, with its ``sn`` from and to.
    """
    z = np.abs(residuals / errors)
    edges = np.quantile(sn[np.isfinite(sn)] if np.isfinite(sn).any() else np.zeros(1), (0.0, 0.25, 0.5, 0.75, 1.0))
    quarter = np.searchsorted(edges[1:-1], np.nan_to_num(sn), side="right")
    table = {}
    for t, name in enumerate(TARGET_NAMES):
        ranges = [{"sn": edges[q : q + 2].tolist(), **_shares(z[quarter == q, t])} for q in range(4)]
        table[name] = {**_shares(z[:, t]), "quartiles": ranges}
    return table


def _shares(z: np.ndarray) -> dict[str, Any]:
    """Return the numbers of ``assess`` for the z (n,) of some stars; of none, None."""
    if not len(z):
        return {"stars": 0, "std": None, **dict.fromkeys(WITHIN)}
    shares: Mapping[str, float] = {name: float((z < limit).mean()) for name, limit in WITHIN.items()}
    return {"stars": len(z), "std": float(np.sqrt((z**2).mean())), **shares}
