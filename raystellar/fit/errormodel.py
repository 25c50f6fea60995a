"""Calibrate the error model on stars the predicting network has not seen, and assess it.

The variance of predicted minus label is the variance of the prediction plus the variance of the label. Users need the
variance of the prediction alone. The variance of the label is not fitted but taken from the label table and subtracted.
A network also learns the errors that the labels of similar stars share, and no comparison with such labels can show
these errors. Predicted errors therefore include a typical amount of them, the floor.

A network has not seen the validation stars, but a thousand of them give its error only to a tenth, because half of the
variance is that of the label. Networks that leave out parts of the training stars make these stars usable, too. The
squared error of such a network is the squared error of the mean of all of them plus the squared spread of the networks
about their mean. Validation stars give the spread well, because it involves no label. With the spread subtracted, the
training stars give the error of the mean.

Where the model is not that mean but a single network fitted to all training stars, its error is nearly that of the
mean. The validation stars give the ratio of the two variances well, because both see the same labels.

All constants in this module were chosen on simulated stars by comparison with their true labels. None of these stars
was used for the figures in the README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from raystellar.fit.data import FIT_COLUMNS, LABEL_ERROR_NAMES, SpectraSet
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import (
    LEAST_VARIANCE,
    N_TERMS,
    WITHIN,
    ErrorModel,
    clipped,
    coordinates,
    half_68,
    logarithms,
    terms,
)
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from raystellar.model.network import Ensemble, StellarNet

CALIBRATION_COLUMNS = (*FIT_COLUMNS, "sn")
"""Columns of the dataset that the calibration needs beside flux and labels."""

CALIBRATION_VERSION = 4
"""Version of the calibration; bump it when the same network and stars get other errors, so that older bundles are made
anew."""

SYSTEMATIC = (0.44, 0.3, 0.46)
"""Systematic errors of labels per target, in units of the least errors in the label table. No comparison with labels
can measure them. For simulated labels they are 0.42, 0.34 and 0.41 on average; for real labels they are assumed."""

LEAST_NOISE = 10.0
"""Percentile of the label errors that stands for the least error in the label table."""

SPECTRA_AT_ONCE = 8192
"""Number of spectra predicted at a time: 130 MB."""

RESIDUAL_DEGREES_OF_FREEDOM = 20.0
"""Degrees of freedom of Student's t for predicted minus label. The tails are shorter than those of predicted minus true
label, because the noise of labels is normal."""

OUTLIER_SIGMA, OUTLIER_ROUNDS = 5.0, 3
"""Residual [standard deviations] beyond which a star is left out, as its label or prediction is a blunder, and number
of fits that look for such stars."""

SLOPES = (0.35, 0.55)
"""Prior exponents of the target's own variances by photons and by units, kept where the stars do not determine them."""

PENALTY = 15.0
"""Weight of the penalty on the squares of all terms but the first and of the deviations from ``SLOPES``."""

SMOOTHNESS = 5.0
"""Weight of the penalty on the squares of the terms in the smoothed errors of labels."""

EDGES = (1.0, 99.0)
"""Percentiles of the stars between which scatter and label noise vary; they are constant beyond."""

EXPECTED_EXCESS = 0.2
"""Typical excess of the variance of a network over that of the mean of networks that saw fewer stars, or its deficit,
as a share of that variance."""

LEAST_FACTOR = 0.5
"""Least ratio of the variance of a network to that of the mean of other networks."""

MOST_EXPONENT = 20.0
"""Largest exponent, which keeps exponentials finite."""


class StarPredictions(NamedTuple):
    """Predictions for stars beside their labels; all targets are scaled."""

    predicted: np.ndarray
    """(n, 3) predicted targets."""
    labels: np.ndarray
    """(n, 3) labels."""
    label_errors: np.ndarray
    """(n, 3) errors of the labels as in the label table; NaN where the table has no error."""
    variances: np.ndarray
    """(n, 6) variances by photons and by units, see ``uncertainty.predict_with_variances``."""
    sn: np.ndarray
    """(n,) median S/N per pixel."""


def calibrate(
    bundle: Bundle, train: SpectraSet, validation: SpectraSet, parts: np.ndarray | None, left_out: Bundle
) -> Bundle:
    """Return ``bundle`` with its error model and the assessment of that model on the validation spectra.

    Parameters
    ----------
    train, validation : spectra with the columns ``CALIBRATION_COLUMNS``; a spectrum without ``ivar`` has no good pixel
    parts : (n,) number of the network in ``left_out`` that has not seen each training spectrum; None where there is no
        such network
    left_out : networks that each left out a part of the training spectra, like ``bundle`` in all else: those of
        ``bundle``, or networks fitted beside a single one
    """
    held_out = _predictions(bundle, bundle.module, validation, slice(None))
    if parts is None:
        model, floor = _fit_model([held_out], None)
    elif bundle.members > 1:
        model, floor = _model_of_mean(bundle, held_out, train, validation, parts)
    else:
        mean = _predictions(left_out, left_out.module, validation, slice(None))
        model, floor = _model_of_mean(left_out, mean, train, validation, parts)
        model = _rescaled(model, held_out, mean)
    own = model.scatter(held_out.variances, held_out.predicted, held_out.sn)
    theirs = label_noise(held_out.label_errors, held_out.predicted, held_out.sn)
    assessment = assess(held_out.predicted - held_out.labels, half_68(own, theirs), held_out.sn)
    return replace(bundle, errors=replace(model, floor=tuple(floor.tolist())), calibration=assessment)


def _fit_model(parts: list[StarPredictions], spread: ErrorModel | None) -> tuple[ErrorModel, np.ndarray]:
    """Return the error model and the floor (3,) of predictions; all but the first have the ``spread`` in addition."""
    stars = _joined(parts)
    noise = label_noise(stars.label_errors, stars.predicted, stars.sn)
    known, floor = noise.copy(), np.multiply(SYSTEMATIC, np.percentile(noise, LEAST_NOISE, axis=0))
    if spread is not None:
        new = slice(len(parts[0].sn), None)
        known[new] = np.hypot(noise, spread.scatter(stars.variances, stars.predicted, stars.sn))[new]
    return fit_errors(stars.predicted, stars.labels, known, stars.variances, stars.sn), floor


def _model_of_mean(
    left_out: Bundle, mean: StarPredictions, train: SpectraSet, validation: SpectraSet, parts: np.ndarray
) -> tuple[ErrorModel, np.ndarray]:
    """Return the error model and the floor (3,) of the ``mean`` of the networks in ``left_out``."""
    networks = left_out.module
    spread = _spread(left_out, networks, validation, mean.predicted)
    return _fit_model([mean, *_left_out(left_out, networks, train, parts)], spread)


def _rescaled(model: ErrorModel, own: StarPredictions, mean: StarPredictions) -> ErrorModel:
    """Return the error model of a network, given the ``model`` of the mean of other networks.

    The variance changes by the same factor for all stars, which follows from the differences of the squared residuals.
    The factor is drawn towards 1 as far as its own error demands.

    Parameters
    ----------
    own, mean : predictions of the network and of the mean for the same stars, which none of the networks has seen
    """
    variance = np.square(model.scatter(mean.variances, mean.predicted, mean.sn))
    total = variance + np.square(label_noise(mean.label_errors, mean.predicted, mean.sn))
    squares = [np.square(stars.predicted - stars.labels) for stars in (own, mean)]
    good = np.maximum(*squares) <= OUTLIER_SIGMA**2 * total
    weights = []
    for t, row in enumerate(model.weights):
        kept = good[:, t]
        differences = (squares[0] - squares[1])[kept, t] / total[kept, t]
        share = max(float((variance / total)[kept, t].sum()), LEAST_VARIANCE)  # 0 where labels hide all errors
        excess, uncertainty = differences.sum() / share, np.sqrt(np.square(differences).sum()) / share
        factor = 1.0 + excess / (1.0 + (uncertainty / EXPECTED_EXCESS) ** 2)
        weights.append((row[0] + float(np.log(max(factor, LEAST_FACTOR))), *row[1:]))
    return replace(model, weights=tuple(weights))


def _joined(parts: list[StarPredictions]) -> StarPredictions:
    return StarPredictions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _predictions(bundle: Bundle, network: Ensemble | StellarNet, spectra: SpectraSet, rows: Any) -> StarPredictions:
    """Return the predictions of ``network`` for the ``rows`` of ``spectra``."""
    from raystellar.model.uncertainty import predict_with_variances

    columns, flux = spectra.extra, spectra.flux[rows]
    label_errors = np.array([columns[name] for name in LABEL_ERROR_NAMES], dtype=np.float64).T  # None becomes NaN
    predicted, variances = predict_with_variances(network, flux, columns["ivar"][rows])
    return StarPredictions(
        predicted.astype(np.float64),
        (spectra.targets[rows].astype(np.float64) - bundle.centre) / bundle.scale,
        label_errors[rows] / bundle.scale,
        variances,
        np.array(columns["sn"], dtype=np.float64)[rows],
    )


def _left_out(bundle: Bundle, ensemble: Ensemble, train: SpectraSet, parts: np.ndarray) -> Iterator[StarPredictions]:
    """Yield predictions for the training spectra, each by the member that has not seen the spectrum."""
    for number, member in enumerate(ensemble.each()):
        rows = np.flatnonzero(parts == number)
        for start in range(0, len(rows), SPECTRA_AT_ONCE):
            yield _predictions(bundle, member, train, rows[start : start + SPECTRA_AT_ONCE])


def _spread(bundle: Bundle, ensemble: Ensemble, validation: SpectraSet, mean: np.ndarray) -> ErrorModel:
    """Return the model of the spread of the members about their ``mean`` (n, 3), which stands in for the label."""
    each = [_predictions(bundle, member, validation, slice(None)) for member in ensemble.each()]
    members, means = _joined(each), np.tile(mean, (len(each), 1))
    return fit_errors(members.predicted, means, np.zeros_like(means), members.variances, members.sn)


def fit_errors(
    predicted: np.ndarray, labels: np.ndarray, noise: np.ndarray, variances: np.ndarray, sn: np.ndarray
) -> ErrorModel:
    """Fit the error model to the residuals by penalised maximum likelihood.

    Parameters
    ----------
    predicted, labels : (n, 3) scaled targets
    noise : (n, 3) standard deviations of the part of the residuals that is not to be modelled, see ``label_noise``
    variances : (n, 6) of the scaled targets by photons and by units
    sn : (n,) median S/N per pixel
    """
    stars, logs = coordinates(predicted, sn), logarithms(variances)
    low, high = limits(np.column_stack([stars, logs]))
    powers = np.column_stack(clipped(logs, low, high))
    middle = powers.mean(axis=0)
    matrix = np.column_stack([*terms(stars, low, high), powers - middle])
    square, weights = (predicted - labels) ** 2, []
    for t in range(len(TARGET_NAMES)):
        prior = np.zeros(matrix.shape[1])
        prior[[N_TERMS + t, N_TERMS + len(TARGET_NAMES) + t]] = SLOPES
        w = _fit(square[:, t], noise[:, t] ** 2, matrix, prior)
        w[0] -= middle @ w[N_TERMS:]
        weights.append(tuple(w.tolist()))
    return ErrorModel(low=low, high=high, weights=tuple(weights))


def limits(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lower and upper limit of each column of ``values`` (n, m), between which there are enough stars."""
    low, high = np.percentile(values, EDGES, axis=0)
    return tuple(low.tolist()), tuple(high.tolist())


def _fit(square: np.ndarray, noise: np.ndarray, matrix: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the weights (21,) of one target, fitted to the stars that are no outliers; parameters as in ``_loss``."""
    w, shape = prior.copy(), matrix @ prior
    w[0] = np.log(max(0.5 * float(np.median(square)), LEAST_VARIANCE)) - float(np.median(shape))
    good = np.ones(len(square), dtype=bool)
    for _ in range(OUTLIER_ROUNDS):
        w = minimize(_loss, w, (square[good], noise[good], matrix[good], prior), method="L-BFGS-B", jac=True).x
        good = square <= OUTLIER_SIGMA**2 * (_variance(w, matrix) + noise)
    return w


def _variance(w: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the variance (n,) of predictions for the weights ``w``."""
    return np.exp(np.clip(matrix @ w, -MOST_EXPONENT, MOST_EXPONENT))


def _loss(
    w: np.ndarray, square: np.ndarray, noise: np.ndarray, matrix: np.ndarray, prior: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the penalised negative log likelihood of Student's t with the variance of the model, and its gradient.

    Parameters
    ----------
    w : (21,) weights
    square : (n,) squared residuals
    noise : (n,) variance of the part of the residuals that is not to be modelled
    matrix : (n, 21) terms and logarithms
    prior : (21,) weights towards which the penalty pulls
    """
    nu, away = RESIDUAL_DEGREES_OF_FREEDOM, np.concatenate([[0.0], (w - prior)[1:]])
    own = _variance(w, matrix)
    variance = own + noise + LEAST_VARIANCE
    wide = (nu - 2.0) * variance
    loss = 0.5 * np.log(variance) + 0.5 * (nu + 1.0) * np.log1p(square / wide)
    slope = 0.5 / variance - 0.5 * (nu + 1.0) * square / (variance * (wide + square))
    return float(loss.sum() + 0.5 * PENALTY * (away @ away)), (slope * own) @ matrix + PENALTY * away


def label_noise(errors: np.ndarray, predicted: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the typical standard errors (n, 3) of the labels, smooth functions of S/N and predicted targets.

    The errors in a label table are the scatter of a handful of methods and scatter themselves by a third, so that the
    error of a single star says little. The errors are therefore smoothed. Their origin decides whether their mean or
    their root mean square, which is a tenth larger, is right; the result lies between the two. Where a table has no
    errors, labels count as exact, and their noise goes into the errors of predictions.

    Parameters
    ----------
    errors : (n, 3) of the labels, scaled, as in the label table; NaN or not positive where the table has no error
    predicted : (n, 3) scaled targets
    sn : (n,) median S/N per pixel
    """
    stars = coordinates(predicted, sn)
    matrix = np.column_stack(terms(stars, *limits(stars)))
    out = np.zeros(errors.shape)
    for t in range(errors.shape[1]):
        known = errors[:, t] > 0.0
        if known.any():
            out[:, t] = _smooth(errors[known, t], matrix[known], matrix)
    return out


def _smooth(errors: np.ndarray, known: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a smooth function (n,) of the terms ``matrix`` (n, 15), fitted to ``errors`` (m,) at ``known`` (m, 15)."""
    middle = np.log(errors).mean()
    ridge = known.T @ known + SMOOTHNESS * np.eye(known.shape[1])
    weights = np.linalg.solve(ridge, known.T @ (np.log(errors) - middle))
    scatter = errors / np.exp(known @ weights)
    return np.exp(matrix @ weights) * np.sqrt(scatter.mean() * np.sqrt(np.mean(scatter**2)))


def assess(residuals: np.ndarray, errors: np.ndarray, sn: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the agreement of ``errors`` (n, 3) with ``residuals`` (n, 3), per target by its name.

    With z = residual / error, ``std`` is the root mean square of z, and ``within68`` and ``within95`` are the shares
    with ``|z|`` below the limits in ``WITHIN``. ``stars`` is the number of stars. ``quartiles`` holds the same numbers
    for each quarter of the stars by S/N, with the limits ``sn`` of the quarter.
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
    """Return the numbers of ``assess`` for the z (n,) of some stars; None for each share where n is 0."""
    if not len(z):
        return {"stars": 0, "std": None, **dict.fromkeys(WITHIN)}
    shares: Mapping[str, float] = {name: float((z < limit).mean()) for name, limit in WITHIN.items()}
    return {"stars": len(z), "std": float(np.sqrt((z**2).mean())), **shares}
