"""The error model of a model, learnt on stars that are new to who predicts them, and how well it does there.

What is seen is predicted minus label, the variance of which is that of the prediction and that of the label. Users need
the first alone, so the second, as the label table has it, is taken off, not learnt. What labels of like stars have
wrong in common the network learns, and no comparison with such labels can show it: of that, errors hold what is usual.

Validation stars are new to a model, and a thousand of them tell an error to a tenth: half of what is seen is the label.
Of an ensemble every training star is new to one member. The square of a member's error is that of their mean and that
of what members differ by, which validation stars tell well, for no label is in it; taken off too, training stars tell
the error of the mean.

All numbers chosen here were chosen on simulated stars against their truth, and on none of the stars by which the
figures in the README were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from raystellar.fit.data import SpectraSet
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import (
    LEAST_VARIANCE,
    N_TERMS,
    WITHIN,
    ErrorModel,
    clipped,
    half_68,
    logarithms,
    place,
    terms,
)
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from raystellar.model.network import Ensemble, StellarNet

CALIBRATION_COLUMNS = ("ivar", "sn", *(f"e_{name}" for name in TARGET_NAMES))
"""Of the dataset, beside flux and labels."""

CALIBRATION_VERSION = 3
"""Raised when the same network and validation stars would get other errors: an older bundle is not taken for this."""

SYSTEMATIC = (0.44, 0.3, 0.46)
"""Systematic errors of labels per target, in units of their own errors where these are least. No comparison with
labels can tell them: of simulated labels they are 0.42, 0.34 and 0.41 on average; for others it is an assumption."""

LEAST_NOISE = 10.0
"""Percentile of the errors of labels that counts as their least."""

CHUNK = 8192
"""Spectra predicted at a time: 130 MB."""

DEGREES_OF_FREEDOM = 20.0
"""Of Student's t for residuals, which have shorter tails than predictions alone: the noise of labels is normal."""

BLUNDER, ROUNDS = 5.0, 3
"""So many standard deviations off is a blunder, of the label or of the network, and left out; and how often to look."""

SLOPES = (0.35, 0.55)
"""Powers of the target's own variances, by photons and by units, in that of its error where nothing else is learnt."""

PENALTY = 15.0
"""On the squared weights of the terms but the first, and on how far the powers are from ``SLOPES``."""

SMOOTHNESS = 5.0
"""On the squared weights of the terms in the errors of labels."""

EDGES = (1.0, 99.0)
"""Percentiles of the validation stars beyond which the scatter no longer changes."""

MOST_EXPONENT = 20.0
"""What keeps exponentials finite."""


class Stars(NamedTuple):
    """Stars and what is predicted of them; targets are scaled."""

    predicted: np.ndarray
    """(n, 3)."""
    labels: np.ndarray
    """(n, 3)."""
    label_errors: np.ndarray
    """(n, 3), as the label table has them, scaled."""
    variances: np.ndarray
    """(n, 6), see ``uncertainty.predict_with_variances``."""
    sn: np.ndarray
    """(n,) median S/N per pixel."""


def calibrate(bundle: Bundle, train: SpectraSet, validation: SpectraSet, parts: np.ndarray | None) -> Bundle:
    """Return ``bundle`` with its error model, and how well that does on the validation spectra.

    Parameters
    ----------
    train, validation : with the columns ``CALIBRATION_COLUMNS``; a spectrum without ``ivar`` has no good pixel
    parts : (n,) the member of the ensemble that each training spectrum is new to; None where there is one network
    """
    ensemble = bundle.module
    seen = _stars(bundle, ensemble, validation, slice(None))
    left_out = [] if parts is None else list(_left_out(bundle, ensemble, train, parts))
    stars = _together([seen, *left_out])
    noise = label_noise(stars.label_errors, stars.predicted, stars.sn)
    known, floor = noise.copy(), np.multiply(SYSTEMATIC, np.percentile(noise, LEAST_NOISE, axis=0))
    if left_out:
        apart, new = _apart(bundle, ensemble, validation, seen.predicted), slice(len(validation), None)
        known[new] = np.hypot(noise, apart.scatter(stars.variances, stars.predicted, stars.sn))[new]
    model = fit_errors(stars.predicted, stars.labels, known, stars.variances, stars.sn)
    own = model.scatter(seen.variances, seen.predicted, seen.sn)
    theirs = label_noise(seen.label_errors, seen.predicted, seen.sn)
    told = assess(seen.predicted - seen.labels, half_68(own, theirs), seen.sn)
    return replace(bundle, errors=replace(model, floor=tuple(floor.tolist())), calibration=told)


def _together(parts: list[Stars]) -> Stars:
    return Stars(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _stars(bundle: Bundle, network: Ensemble | StellarNet, spectra: SpectraSet, rows: Any) -> Stars:
    """Return what ``network`` predicts of some spectra, and what it says of its errors."""
    from raystellar.model.uncertainty import predict_with_variances

    columns, flux = spectra.extra, spectra.flux[rows]
    told = np.array([columns[f"e_{name}"] for name in TARGET_NAMES], dtype=np.float64).T  # None becomes NaN
    predicted, variances = predict_with_variances(network, flux, columns["ivar"][rows])
    return Stars(
        predicted.astype(np.float64),
        (spectra.targets[rows].astype(np.float64) - bundle.centre) / bundle.scale,
        told[rows] / bundle.scale,
        variances,
        np.array(columns["sn"], dtype=np.float64)[rows],
    )


def _left_out(bundle: Bundle, ensemble: Ensemble, train: SpectraSet, parts: np.ndarray) -> Iterator[Stars]:
    """Yield the training spectra, each predicted by the member that it is new to."""
    for number, member in enumerate(ensemble.each()):
        rows = np.flatnonzero(parts == number)
        for start in range(0, len(rows), CHUNK):
            yield _stars(bundle, member, train, rows[start : start + CHUNK])


def _apart(bundle: Bundle, ensemble: Ensemble, validation: SpectraSet, mean: np.ndarray) -> ErrorModel:
    """Return the model of what members differ from their ``mean`` (n, 3) by, as if that were the label."""
    each = [_stars(bundle, member, validation, slice(None)) for member in ensemble.each()]
    members, means = _together(each), np.tile(mean, (len(each), 1))
    return fit_errors(members.predicted, means, np.zeros_like(means), members.variances, members.sn)


def fit_errors(
    predicted: np.ndarray, labels: np.ndarray, noise: np.ndarray, variances: np.ndarray, sn: np.ndarray
) -> ErrorModel:
    """Fit the error model by maximum likelihood of the residuals.

    Parameters
    ----------
    predicted, labels : (n, 3) scaled targets
    noise : (n, 3) standard errors of the scaled labels that predictions do not share, see ``label_noise``
    variances : (n, 6) of the scaled targets by photons and by units
    sn : (n,) median S/N per pixel
    """
    places, found = place(predicted, sn), logarithms(variances)
    low, high = ends(np.column_stack([places, found]))
    powers = np.column_stack(clipped(found, low, high))
    middle = powers.mean(axis=0)
    matrix = np.column_stack([*terms(places, low, high), powers - middle])
    square, weights = (predicted - labels) ** 2, []
    for t in range(len(TARGET_NAMES)):
        usual = np.zeros(matrix.shape[1])
        usual[[N_TERMS + t, N_TERMS + len(TARGET_NAMES) + t]] = SLOPES
        w = _fit(square[:, t], noise[:, t] ** 2, matrix, usual)
        w[0] -= middle @ w[N_TERMS:]
        weights.append(tuple(w.tolist()))
    return ErrorModel(low=low, high=high, weights=tuple(weights))


def ends(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the least and greatest ``values`` (n, m) that there are enough stars to learn from."""
    low, high = np.percentile(values, EDGES, axis=0)
    return tuple(low.tolist()), tuple(high.tolist())


def _fit(square: np.ndarray, noise: np.ndarray, matrix: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return the weights (21,) of one target, ``usual`` where nothing is learnt, without stars beyond ``BLUNDER``."""
    w, shape = usual.copy(), matrix @ usual
    w[0] = np.log(max(0.5 * float(np.median(square)), LEAST_VARIANCE)) - float(np.median(shape))
    good = np.ones(len(square), dtype=bool)
    for _ in range(ROUNDS):
        w = minimize(_loss, w, (square[good], noise[good], matrix[good], usual), method="L-BFGS-B", jac=True).x
        good = square <= BLUNDER**2 * (_variance(w, matrix) + noise)
    return w


def _variance(w: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the variance (n,) of predictions for the weights ``w``."""
    return np.exp(np.clip(matrix @ w, -MOST_EXPONENT, MOST_EXPONENT))


def _loss(
    w: np.ndarray, square: np.ndarray, noise: np.ndarray, matrix: np.ndarray, usual: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the penalised negative log likelihood of Student's t, whose variance the model gives, and its gradient.

    Parameters
    ----------
    w : weights (21,)
    square, noise : (n,) squared residuals, and the variance of the labels
    matrix : (n, 21) terms and logarithms
    usual : (21,) what the penalty draws the weights to
    """
    nu, away = DEGREES_OF_FREEDOM, np.concatenate([[0.0], (w - usual)[1:]])
    own = _variance(w, matrix)
    variance = own + noise + LEAST_VARIANCE
    wide = (nu - 2.0) * variance
    loss = 0.5 * np.log(variance) + 0.5 * (nu + 1.0) * np.log1p(square / wide)
    slope = 0.5 / variance - 0.5 * (nu + 1.0) * square / (variance * (wide + square))
    return float(loss.sum() + 0.5 * PENALTY * (away @ away)), (slope * own) @ matrix + PENALTY * away


def label_noise(errors: np.ndarray, predicted: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the typical standard errors (n, 3) of the labels of such stars at such S/N.

    The errors of a table are the scatter of a handful of methods, and scatter themselves by a third: star by star they
    would say little. So they are smoothed. Whether their mean is right or their mean square, which is a tenth more,
    depends on how they were made; they keep what lies in the middle. Where a table has none, labels count as exact, and
    their noise goes into the errors of predictions.

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
    ridge = known.T @ known + SMOOTHNESS * np.eye(known.shape[1])
    weights = np.linalg.solve(ridge, known.T @ (np.log(errors) - middle))
    scatter = errors / np.exp(known @ weights)
    return np.exp(matrix @ weights) * np.sqrt(scatter.mean() * np.sqrt(np.mean(scatter**2)))


def assess(residuals: np.ndarray, errors: np.ndarray, sn: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return how well ``errors`` (n, 3) foretell ``residuals`` (n, 3), per target by its name.

    ``std``: root mean square of z = residual / error; ``within68``, ``within95``: shares with |z| below 1 and 2.09;
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
