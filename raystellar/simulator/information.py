"""The least errors of the labels of a simulated star that the noise of its spectrum allows.

With J the derivatives of the flux with respect to all unknown parameters, W the inverse variance of the pixels and P
the information on the nuisances that is known beforehand, the information of a spectrum is

    F = J^T W J + P,

and no unbiased estimator of label i has a variance below (F^-1)_ii (Cramer-Rao). The parameters are teff, feh, logg,
and the nuisances: [alpha/Fe], microturbulence, reddening, velocity, smooth errors of flux calibration, and the scale of
the flux. P describes the scatter with which the simulator draws the nuisances: that of alpha, microturbulence and
reddening among stars of the same labels, of the velocities of the pipeline, and of the calibration. Nothing is known of
the scale.

An estimator that knows the population of the stars, as a trained network does, has smaller errors. The best one is the
mean of the posterior density, which is the density of the population times the likelihood. A lower bound of its errors
follows from F plus the information of the population (van Trees); only a normal population attains it.

The limits take the inverse variance as known and true, and the noise of different pixels as independent. They leave out
cosmic rays with ivar > 0 and the correlation of the residuals of a sky line. The spectrum is taken as a linear function
of the parameters over the size of an error.

Sources: Ting et al. 2017, ApJ 843, 32, doi:10.3847/1538-4357/aa7688, for spectra; Van Trees 1968, *Detection,
Estimation, and Modulation Theory*, Sec. 2.4, for the bounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from raystellar.simulator.derivatives import PARAMETERS, derivatives
from raystellar.simulator.instrument import N_RIPPLES, ripple_scatter, ripple_shapes
from raystellar.simulator.population import Star, label_score, posterior_means
from raystellar.simulator.spectro1d import velocity_error
from raystellar.targets import TARGET_NAMES

POPULATION = PARAMETERS[: PARAMETERS.index("rv")]
"""Parameters that the population describes: the labels, then nuisances that depend on the labels."""

N_LABELS, N_UNKNOWN = len(TARGET_NAMES), len(PARAMETERS) + N_RIPPLES + 1
"""Number of labels, and of all unknown parameters: those of the star, the calibration and the scale."""

MEAN_OF_NORMAL = math.sqrt(2.0 / math.pi)
"""Mean absolute value of a normal distribution with a standard deviation of 1."""

DRAWS = 400
"""Number of noisy measurements of a star over which the error of the mean of the posterior density is averaged."""


class Prior(NamedTuple):
    """Information of the population on a star."""

    labels: np.ndarray
    """Information on log10 teff, feh and logg (3, 3), mean over the population."""

    nuisances: np.ndarray
    """Information on labels and nuisances (6, 6), in the order of ``POPULATION``, from the distribution of alpha,
    microturbulence and reddening among stars of the same labels."""


class Limits(NamedTuple):
    """Expected absolute errors of teff [K], feh [dex] and logg [dex], (3,) of one star or (n, 3) of many."""

    unbiased: np.ndarray
    """Error of the best estimator that does not know the population (Cramer-Rao)."""

    van_trees: np.ndarray
    """Lower bound of the error of any estimator; right for the mean over the population only."""

    bayesian: np.ndarray
    """Error of the best estimator that knows the population, the mean of the posterior density."""


@dataclass(frozen=True)
class Exposure:
    """Resolution and noise of a spectrum on the pixels of the simulator."""

    sigma: np.ndarray
    """Sigma of the line spread function (N_LATTICE,) [pixels], greater than 0."""

    ivar: np.ndarray
    """Inverse variance of the flux (N_LATTICE,); 0 where a pixel is bad or missing."""


def population_prior(stars: Mapping[str, np.ndarray]) -> Prior:
    """Return the information of a population on a star, from the true parameters of stars of the population.

    The information on the labels is the mean of s s^T over the stars, where s is the gradient of the logarithm of the
    density. Alpha, microturbulence and reddening are taken as normally distributed around linear functions of the
    labels.

    Parameters
    ----------
    stars : each of ``POPULATION`` (n,), for 20 stars or more
    """
    score = label_score(_to_mixture(np.stack([stars[name] for name in TARGET_NAMES], axis=1)))[:, _SWAP]
    values = np.stack([stars[name] - np.mean(stars[name]) for name in POPULATION], axis=1)
    labels, nuisances = values[:, :N_LABELS], values[:, N_LABELS:]
    slopes = np.linalg.lstsq(labels, nuisances, rcond=None)[0]
    scatter = np.cov(nuisances - labels @ slopes, rowvar=False)
    residual = np.vstack([-slopes, np.eye(nuisances.shape[1])])  # from all six parameters to nuisances off their mean
    return Prior(score.T @ score / len(score), residual @ np.linalg.inv(scatter) @ residual.T)


def star_limits(star: Star, exposure: Exposure, prior: Prior) -> Limits:
    """Return the least expected errors of the labels of a star.

    Parameters
    ----------
    star : star with its true parameters
    exposure : resolution and noise of its spectrum
    prior : information of the population on a star
    """
    information = spectrum_information(star, exposure) + nuisance_information(prior, velocity_error(star.sn))
    covariance = label_covariance(information)
    unit = _mixture_unit(star.teff)
    information[:N_LABELS, :N_LABELS] += prior.labels / unit / unit[:, None]
    return Limits(
        MEAN_OF_NORMAL * np.sqrt(np.diag(covariance)),
        MEAN_OF_NORMAL * np.sqrt(np.diag(label_covariance(information))),
        posterior_errors(np.array([getattr(star, name) for name in TARGET_NAMES]), covariance),
    )


def spectrum_information(star: Star, exposure: Exposure, factor: float = 1.0) -> np.ndarray:
    """Return the Fisher information J^T W J of a spectrum.

    Parameters
    ----------
    star : star with its true parameters
    exposure : resolution and noise of its spectrum
    factor : factor of the steps of the derivatives

    Returns
    -------
    (N_UNKNOWN, N_UNKNOWN), in the order of ``PARAMETERS``, then amplitudes of the errors of calibration, then the scale
    """
    slopes = design(*derivatives(star, exposure.sigma, factor))
    return np.asarray(slopes.T @ (slopes * exposure.ivar[:, None]))


def design(flux: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the derivatives (N_LATTICE, N_UNKNOWN) of the flux with respect to all unknown parameters.

    Parameters
    ----------
    flux : flux without noise (N_LATTICE,)
    slopes : derivatives of the flux with respect to ``PARAMETERS`` (N_LATTICE, parameters)
    """
    return np.hstack([slopes, flux[:, None] * ripple_shapes(), flux[:, None]])


def nuisance_information(prior: Prior, velocity: float) -> np.ndarray:
    """Return the information (N_UNKNOWN, N_UNKNOWN) on the nuisances that does not come from the spectrum.

    Parameters
    ----------
    prior : information of the population on a star
    velocity : standard deviation of the velocity of the pipeline [km/s]
    """
    information = np.zeros((N_UNKNOWN, N_UNKNOWN))
    n = len(POPULATION)
    information[:n, :n] = prior.nuisances
    others = np.arange(n, N_UNKNOWN - 1)
    information[others, others] = np.concatenate([[velocity], ripple_scatter()]) ** -2.0
    return information


def label_covariance(information: np.ndarray) -> np.ndarray:
    """Return the covariance (3, 3) of teff [K], feh and logg [dex], a block of the inverse of an information matrix.

    Parameters
    ----------
    information : (n, n) positive definite; the first three parameters are the labels
    """
    unit = 1.0 / np.sqrt(np.diag(information))  # in these units the matrix is well-conditioned
    inverse = np.linalg.inv(information * unit * unit[:, None]) * unit * unit[:, None]
    return np.asarray(inverse[:N_LABELS, :N_LABELS])


def posterior_errors(labels: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the expected absolute errors (3,) of the mean of the posterior density of teff [K], feh and logg [dex].

    The mean is taken over ``DRAWS`` measurements, the same multiples of the standard errors for all stars.

    Parameters
    ----------
    labels : true labels (3,)
    covariance : covariance of the errors of an unbiased estimator (3, 3)
    """
    unit = _mixture_unit(labels[0])
    scaled = (covariance / unit / unit[:, None])[np.ix_(_SWAP, _SWAP)]
    true = _to_mixture(labels[None])
    measured = true + _normal_draws() @ np.linalg.cholesky(scaled).T
    return np.asarray(np.abs(posterior_means(measured, scaled) - true).mean(axis=0)[_SWAP] * unit)


_SWAP = [0, 2, 1]
"""Permutation between the order of the targets and that of the population, which has logg before feh."""


def _to_mixture(labels: np.ndarray) -> np.ndarray:
    """Return log10 teff [K], logg and feh (n, 3), as the population describes them, of teff, feh and logg (n, 3)."""
    return np.stack([np.log10(labels[:, 0]), labels[:, 2], labels[:, 1]], axis=1)


def _mixture_unit(teff: float) -> np.ndarray:
    """Return the changes (3,) of teff [K], feh and logg [dex] for a change of log10 teff, feh and logg by 1."""
    return np.array([teff * math.log(10.0), 1.0, 1.0])


@functools.lru_cache(maxsize=1)
def _normal_draws() -> np.ndarray:
    """Return normal random numbers (DRAWS, 3) with a mean of exactly 0."""
    half = np.random.default_rng(0).standard_normal((DRAWS // 2, N_LABELS))
    return np.concatenate([half, -half])
