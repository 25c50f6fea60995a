"""Draw stars with the distribution of the stars of the SEGUE Stellar Parameter Pipeline (SSPP).

Every random number is a function of the seed and the number of the star, so a star is the same on any worker, on any
plate and in any order. ``population.json`` holds a mixture of Gaussians in (log10 teff, logg, feh) and names its
source. Velocity, abundance of the alpha elements, reddening, brightness and S/N follow from the drawn values.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

(STREAM_STAR, STREAM_SPECTRUM, STREAM_LABEL, STREAM_PLATE, STREAM_FIELD, STREAM_SURVEY, STREAM_SKY, STREAM_POSITION) = (
    range(8)
)
"""Purposes of random numbers; the streams of one seed are independent of each other."""

MAX_SEED = 2**63 - 1
"""Largest seed."""

SSPP_TEFF_RANGE_K = (4000.0, 10000.0)
SSPP_LOGG_RANGE = (0.0, 5.0)
SSPP_FEH_RANGE = (-4.5, 0.8)
"""Ranges in which SSPP gives parameters [K, dex, dex]. Source: Lee et al. 2008, AJ 136, 2022."""

SN_RANGE = (10.0, 120.0)
"""Range of S/N per pixel; SSPP gives no parameters below 10."""

SN_QUANTILES = (
    (0.0, 0.025, 0.16, 0.25, 0.5, 0.75, 0.84, 0.975, 0.995, 1.0),
    (10.0, 11.6, 18.0, 23.5, 35.0, 48.0, 54.0, 78.0, 95.0, 120.0),
)
"""Probabilities and quantiles of the distribution of S/N, rounded from 7,491 stars with SSPP parameters."""

G_OF_SN = ((10.0, 13.0, 27.0, 61.0, 120.0), (19.8, 19.5, 18.5, 17.0, 15.3))
"""S/N, and the g magnitudes that reach it in a normal exposure of about 5000 s."""

MAX_RV_KM_S = 600.0
"""Largest absolute radial velocity of a star."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Settings of the population of stars, a section of the configuration."""

    sn_median: float = 35.0
    """Median S/N per pixel of the spectra, 12 to 80. The distribution has the shape of SSPP's, from 10 to 120."""

    def __post_init__(self) -> None:
        if not 12.0 <= self.sn_median <= 80.0:
            raise ValueError(f"sn_median = {self.sn_median} must lie between 12 and 80")


@dataclass(frozen=True)
class Star:
    """A star with its true parameters, and the S/N at which it is observed."""

    index: int
    """Number of the star in the survey; with the seed it determines all other values."""

    teff: float
    """Effective temperature [K]."""

    logg: float
    """log10 of the surface gravity [cm/s2]."""

    feh: float
    """[Fe/H] [dex]."""

    alpha: float
    """[alpha/Fe] [dex]."""

    vmicro: float
    """Microturbulent velocity [km/s]."""

    rv: float
    """Heliocentric radial velocity [km/s]."""

    ebv: float
    """Interstellar reddening E(B-V) [mag]."""

    g: float
    """Apparent g magnitude, AB, reddened [mag]."""

    sn: float
    """Median S/N per pixel of the exposure."""


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the generator of random numbers that is a function of seed, stream and index alone.

    Parameters
    ----------
    seed : 0 to ``MAX_SEED``
    stream : purpose of the numbers, a constant ``STREAM_*``
    index : number of the star, spectrum, fibre or plate, below 2**48
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, (stream << 48) | index], dtype=np.uint64)))


def draw_star(config: Population, seed: int, index: int) -> Star:
    """Draw star ``index`` of the survey with this ``seed``."""
    rng = generator(seed, STREAM_STAR, index)
    teff, logg, feh = _parameters(rng)
    sn = draw_sn(config, rng)
    return Star(
        index=index,
        teff=teff,
        logg=logg,
        feh=feh,
        alpha=_alpha(feh, rng),
        vmicro=float(np.clip(2.5 - 0.32 * logg + 0.25 * (teff - 5500.0) / 1000.0 + rng.normal(0, 0.15), 0.5, 3.5)),
        rv=_radial_velocity(feh, rng),
        ebv=float(np.clip(0.045 * np.exp(rng.normal(0, 0.7)), 0.005, 0.5)),
        g=float(np.interp(sn, *G_OF_SN) + rng.normal(0, 0.3)),
        sn=sn,
    )


def draw_sn(config: Population, rng: np.random.Generator) -> float:
    """Draw the S/N of an exposure from SSPP's distribution, stretched to the median of ``config``."""
    sn = float(np.interp(rng.random(), *SN_QUANTILES))
    middle, (low, high) = SN_QUANTILES[1][4], SN_RANGE
    below, wanted = sn <= middle, config.sn_median
    if below:
        return low + (sn - low) * (wanted - low) / (middle - low)
    return high - (high - sn) * (high - wanted) / (high - middle)


def label_score(labels: np.ndarray) -> np.ndarray:
    """Return the gradient of the logarithm of the density of the population.

    The cuts of the density at the ends of the ranges of SSPP are left out.

    Parameters
    ----------
    labels : log10 teff [K], logg and feh [dex] of stars (n, 3)

    Returns
    -------
    (n, 3) derivatives with respect to the labels [1/dex]
    """
    _, means, factors = _mixture()
    offsets = labels[:, None] - means
    covariances = factors @ factors.transpose(0, 2, 1)
    pulls = np.einsum("kij,nkj->nki", np.linalg.inv(covariances), offsets)
    return np.asarray(-np.einsum("nk,nki->ni", _shares(offsets, covariances), pulls))


def posterior_means(measured: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the expected labels of stars of the population, given measured labels with normal errors.

    No other function of the measured labels has a smaller mean square error. The cuts of the population at the ends of
    the ranges of SSPP are left out.

    Parameters
    ----------
    measured : log10 teff [K], logg and feh [dex] with errors (n, 3)
    covariance : covariance of the errors (3, 3)

    Returns
    -------
    (n, 3) expected values of the true labels
    """
    _, means, factors = _mixture()
    offsets = measured[:, None] - means
    covariances = factors @ factors.transpose(0, 2, 1)
    gains = covariances @ np.linalg.inv(covariances + covariance)  # of each Gaussian, as in a Kalman filter
    expected = means + np.einsum("kij,nkj->nki", gains, offsets)
    return np.asarray(np.einsum("nk,nki->ni", _shares(offsets, covariances + covariance), expected))


def _shares(offsets: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Return the probabilities (n, k) that stars belong to each Gaussian, from offsets (n, k, 3) to its mean."""
    cumulative, _, _ = _mixture()
    distance = np.einsum("nki,kij,nkj->nk", offsets, np.linalg.inv(covariances), offsets)
    heights = np.log(np.diff(cumulative, prepend=0.0)) - 0.5 * (np.log(np.linalg.det(covariances)) + distance)
    shares = np.exp(heights - heights.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@functools.lru_cache(maxsize=1)
def _mixture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cumulative weights (n,), means (n, 3) and Cholesky factors (n, 3, 3) of the Gaussians."""
    text = resources.files("raystellar.simulator").joinpath("population.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    rows = np.array(content["components"], dtype=np.float64)
    factors = np.zeros((len(rows), 3, 3))
    factors[:, (0, 1, 1, 2, 2, 2), (0, 0, 1, 0, 1, 2)] = rows[:, 4:]
    return np.cumsum(rows[:, 0]) / rows[:, 0].sum(), rows[:, 1:4], factors


def _parameters(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw (teff [K], logg, feh) from the mixture, and repeat until all three are in the ranges of SSPP."""
    cumulative, means, factors = _mixture()
    while True:
        component = int(np.searchsorted(cumulative, rng.random()))
        log_teff, logg, feh = (means[component] + factors[component] @ rng.standard_normal(3)).tolist()
        teff = 10.0**log_teff
        values = ((teff, SSPP_TEFF_RANGE_K), (logg, SSPP_LOGG_RANGE), (feh, SSPP_FEH_RANGE))
        if all(low <= value <= high for value, (low, high) in values):
            return teff, logg, feh


def _alpha(feh: float, rng: np.random.Generator) -> float:
    """Draw [alpha/Fe]: a plateau in the halo, two sequences in the disc."""
    in_thick_disc = rng.random() < np.interp(feh, (-1.0, -0.7, -0.3, 0.1), (1.0, 0.85, 0.3, 0.03))
    high = np.interp(feh, (-4.5, -1.0, 0.0, 0.8), (0.38, 0.33, 0.14, 0.02))
    low = np.interp(feh, (-1.0, 0.0, 0.8), (0.17, 0.02, -0.02))
    scatter = 0.09 if feh < -1.0 else 0.05
    return float(np.clip((high if in_thick_disc else low) + rng.normal(0, scatter), -0.2, 0.6))


def _radial_velocity(feh: float, rng: np.random.Generator) -> float:
    """Draw a velocity [km/s] from thin disc, thick disc or halo; their shares depend on ``feh``."""
    halo = np.interp(feh, (-1.7, -1.0, -0.5), (0.95, 0.35, 0.01))
    thick = (1.0 - halo) * np.interp(feh, (-0.8, -0.4, 0.1), (1.0, 0.5, 0.1))
    u = rng.random()
    sigma = 145.0 if u < halo else 62.0 if u < halo + thick else 36.0
    mean = -25.0 if u < halo else -8.0
    while True:
        rv = float(rng.normal(mean, sigma))
        if abs(rv) <= MAX_RV_KM_S:
            return rv
