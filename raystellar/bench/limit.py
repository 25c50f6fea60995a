"""Benchmark a catalogue against the information limit: the least error of labels that the noise of the spectra allows.

    raystellar simulate survey --stars 12000
    raystellar label survey/spectra --model model --out catalog
    raystellar bench limit survey --catalog catalog

The limit of a star follows from the derivatives of its spectrum without noise, from the inverse variance of its own
pixels, and from what is known of all other parameters. With J the derivatives of the flux with respect to all
parameters, W the inverse variance and P the information that is known beforehand, the information is

    F = J^T W J + P,

and the variance of label i is (F^-1)_ii or more. The parameters are teff, feh, logg, and the nuisances: [alpha/Fe],
microturbulence, reddening, velocity, the smooth errors of flux calibration, and the scale of the flux. P holds, for the
nuisances, the scatter with which the simulator draws them: that of alpha, microturbulence and reddening among stars of
the same labels, that of the velocities of the pipeline, and that of the calibration. Nothing is known of the scale.

There are two limits. The *unbiased* limit holds for an estimator that knows nothing of the labels beforehand
(Cramer-Rao). The *Bayesian* limit holds for an estimator that knows the population of the survey, as a trained network
does: P also holds the information of the population on the labels (van Trees). It is the mean over the population, so
the Bayesian limit is right for all stars together, and an approximation for a few.

The limits take the inverse variance as known and true, and the noise of different pixels as independent. They leave out
cosmic rays with ivar > 0 and the correlation of the residuals of a sky line. The spectrum is taken as a linear function
of the parameters over the size of an error.

Sources: Ting et al. 2017, ApJ 843, 32, doi:10.3847/1538-4357/aa7688, for spectra; Van Trees 1968, *Detection,
Estimation, and Modulation Theory*, Sec. 2.4, for the two bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.io import fits

from raystellar.catalog.finished import open_catalog
from raystellar.engine.progress import Progress
from raystellar.errors import InputError, first_line
from raystellar.files import places
from raystellar.labels.columns import KEY
from raystellar.simulator.derivatives import PARAMETERS, derivatives
from raystellar.simulator.instrument import K_FIRST, N_LATTICE, N_RIPPLES, ripple_scatter, ripple_shapes
from raystellar.simulator.labels import label_bias
from raystellar.simulator.population import Star, label_score
from raystellar.simulator.spectro1d import velocity_error
from raystellar.simulator.survey import SPECTRA_DIR, TRUTH_NAME
from raystellar.spectra.record import LATTICE_STEP
from raystellar.targets import TARGET_NAMES

POPULATION = PARAMETERS[: PARAMETERS.index("rv")]
"""Parameters that the population has a distribution of: the labels, then the nuisances that depend on them."""

STAR_COLUMNS = ("star", *PARAMETERS, "g", "sn")
"""Columns of truth.parquet from which a star is made."""

N_LABELS, N_UNKNOWN = len(TARGET_NAMES), len(PARAMETERS) + N_RIPPLES + 1
"""Number of labels, and of all unknown parameters: those of the star, the calibration and the scale."""

MEAN_OF_NORMAL = math.sqrt(2.0 / math.pi)
"""Mean absolute value of a normal distribution with a standard deviation of 1."""

FEWEST = 20
"""Least number of stars in truth.parquet from which the distribution of the nuisances is measured."""

REGIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "hot: teff >= 7000": lambda teff, logg: teff >= 7000.0,
    "turn-off: 5800-7000, logg >= 3.5": lambda teff, logg: (teff >= 5800.0) & (teff < 7000.0) & (logg >= 3.5),
    "warm dwarfs: 5200-5800, logg >= 3.5": lambda teff, logg: (teff >= 5200.0) & (teff < 5800.0) & (logg >= 3.5),
    "cool dwarfs: < 5200, logg >= 3.5": lambda teff, logg: (teff < 5200.0) & (logg >= 3.5),
    "giants: < 7000, logg < 3.5": lambda teff, logg: (teff < 7000.0) & (logg < 3.5),
}
"""Regions of the Kiel diagram: names, and functions of teff [K] and logg (n,) that return which stars are inside."""


class Prior(NamedTuple):
    """Information on the labels and nuisances of a star that does not come from its spectrum."""

    labels: np.ndarray
    """Information of the population on teff, feh and logg (3, 3), mean over the population."""

    nuisances: np.ndarray
    """Information on labels and nuisances (6, 6), in the order of ``POPULATION``, from the distribution of alpha,
    microturbulence and reddening among stars of the same labels."""


class Limits(NamedTuple):
    """Least standard deviations of the labels of one star, or of many."""

    unbiased: np.ndarray
    """Standard deviations (3,) or (n, 3) of teff [K], feh [dex] and logg [dex] without knowledge of the population."""

    bayesian: np.ndarray
    """The same with knowledge of the population."""


class Group(NamedTuple):
    """Limits and errors of a group of stars, as mean absolute errors of teff [K], feh [dex] and logg [dex]."""

    name: str
    """Stars of the group."""

    stars: int
    """Number of stars."""

    unbiased: np.ndarray
    """Expected error (3,) at the unbiased limit."""

    bayesian: np.ndarray
    """Expected error (3,) at the Bayesian limit."""

    label_bias: np.ndarray
    """Systematic error (3,) of the labels in ssppOut.fits, which a model learns from them."""

    errors: np.ndarray
    """Error (catalogues, 3) of the labels of each catalogue against the truth."""

    @property
    def ratios(self) -> np.ndarray:
        """Errors of the catalogues in units of the Bayesian limit (catalogues, 3)."""
        return self.errors / self.bayesian


class LimitTable(NamedTuple):
    """The information limit of the stars of a survey, and the errors of catalogues."""

    groups: list[Group]
    """All stars, quarters by S/N and regions of the Kiel diagram; a group without stars is left out."""

    chosen: int
    """Number of stars whose limit was computed."""

    available: int
    """Number of stars that could be chosen."""


@dataclass(frozen=True)
class Exposure:
    """Resolution and noise of a spectrum, on all pixels of the simulator."""

    sigma: np.ndarray
    """Sigma of the line spread function (N_LATTICE,) [pixels]."""

    ivar: np.ndarray
    """Inverse variance of the flux (N_LATTICE,); 0 where a pixel is bad or not in the file."""


def limit_table(
    survey: str, catalogs: Sequence[str] = (), stars: int = 500, *, every: bool = False, cores: int = 1
) -> LimitTable:
    """Return the information limit of stars of a simulated survey, and the errors of catalogues for the same stars.

    Rows of a catalogue count whatever their flags.

    Parameters
    ----------
    survey : folder written by ``raystellar simulate``
    catalogs : folders written by ``raystellar label`` for spectra of the survey
    stars : greatest number of spectra, taken evenly from those that are in all catalogues
    every : take spectra of labelled plates too, instead of only the held-out ones
    cores : number of threads

    Raises
    ------
    InputError : the survey or a catalogue cannot be used, or no star is left to compare
    IncompleteError : a catalogue is not finished
    """
    if stars < 1 or cores < 1:
        raise InputError(f"the number of stars ({stars}) and of cores ({cores}) must be at least 1")
    truth = read_truth(survey)
    candidates = truth if every else truth.filter(pc.invert(truth["labelled"]))
    if not len(candidates):
        raise InputError(f"all plates of {survey} have labels, so no star is held out; add --all to take all stars")
    rows, predicted = _join(survey, candidates, catalogs)
    taken = np.linspace(0, len(rows), min(stars, len(rows)), endpoint=False).astype(int)
    chosen = candidates.take(rows[taken])
    prior = population_prior(truth)
    with ThreadPoolExecutor(cores) as pool, Progress("limit", len(chosen), "stars") as progress:
        # the kernels of the simulator release the interpreter lock
        found = list(_counted(pool.map(partial(_limits_of_row, survey, prior), chosen.to_pylist()), progress))
    limits = Limits(*(np.array(values) for values in zip(*found, strict=True)))
    return LimitTable(list(groups(chosen, limits, predicted[:, taken])), len(chosen), len(rows))


def read_truth(survey: str) -> pa.Table:
    """Return truth.parquet of a survey.

    Raises
    ------
    InputError : the folder is no simulated survey, or has too few stars
    """
    path = places.join(survey, TRUTH_NAME)
    cure = "give a folder that raystellar simulate has written to the end"
    try:
        truth = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{survey} is not a simulated survey, since it has no {TRUTH_NAME}; {cure}") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}); {cure}") from None
    missing = [name for name in (*KEY, "path", "labelled", *STAR_COLUMNS) if name not in truth.column_names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; {cure}")
    if len(truth) < FEWEST:
        raise InputError(f"{survey} has {len(truth)} stars, at least {FEWEST} are needed; simulate more stars")
    return truth


def population_prior(truth: pa.Table) -> Prior:
    """Return the information that a population gives on a star, from the true parameters of its stars.

    The information on the labels is the mean of s s^T over the stars, with s the gradient of the logarithm of the
    density of the labels. Alpha, microturbulence and reddening are taken as normally distributed around linear
    functions of the labels.

    Parameters
    ----------
    truth : truth.parquet with at least ``FEWEST`` stars
    """
    columns = {name: truth[name].to_numpy() for name in POPULATION}
    score = label_score(columns["teff"], columns["logg"], columns["feh"])[:, (0, 2, 1)]
    values = np.stack(list(columns.values()), axis=1)
    values = values - values.mean(axis=0)
    labels, nuisances = values[:, :N_LABELS], values[:, N_LABELS:]
    slopes = np.linalg.lstsq(labels, nuisances, rcond=None)[0]
    scatter = np.cov(nuisances - labels @ slopes, rowvar=False)
    residual = np.vstack([-slopes, np.eye(nuisances.shape[1])])  # of parameters (6,) to nuisances off their mean (3,)
    return Prior(score.T @ score / len(score), residual @ np.linalg.inv(scatter) @ residual.T)


def read_exposure(path: str) -> Exposure:
    """Return resolution and noise of a simulated spec file.

    Raises
    ------
    InputError : the file cannot be read
    """
    try:
        with fits.open(path) as file:
            table = file[1].data
            loglam, ivar, wdisp = (np.array(table[name], dtype=np.float64) for name in ("loglam", "ivar", "wdisp"))
    except (OSError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as a simulated spectrum ({first_line(error)}); simulate the survey again"
        ) from None
    pixels = np.rint(loglam / LATTICE_STEP).astype(int) - K_FIRST
    known = wdisp > 0.0  # dead columns have neither
    everywhere = np.zeros(N_LATTICE)
    everywhere[pixels] = np.where(known, ivar, 0.0)
    return Exposure(np.interp(np.arange(N_LATTICE), pixels[known], wdisp[known]), everywhere)


def star_limits(star: Star, exposure: Exposure, prior: Prior) -> Limits:
    """Return the least standard deviations of the labels of a star.

    Parameters
    ----------
    star : star with its true parameters
    exposure : resolution and noise of its spectrum
    prior : what the population tells of a star
    """
    information = spectrum_information(star, exposure) + nuisance_information(prior, velocity_error(star.sn))
    unbiased = label_errors(information)
    information[:N_LABELS, :N_LABELS] += prior.labels
    return Limits(unbiased, label_errors(information))


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
    """Return the derivatives (n, N_UNKNOWN) of the flux with respect to all unknown parameters.

    Parameters
    ----------
    flux : flux without noise (n,)
    slopes : derivatives of the flux with respect to ``PARAMETERS`` (n, parameters)
    """
    return np.hstack([slopes, flux[:, None] * ripple_shapes(), flux[:, None]])


def nuisance_information(prior: Prior, velocity: float) -> np.ndarray:
    """Return what is known of the nuisances without the spectrum, as information (N_UNKNOWN, N_UNKNOWN).

    Parameters
    ----------
    prior : what the population tells of a star
    velocity : standard deviation of the velocity of the pipeline [km/s]
    """
    information = np.zeros((N_UNKNOWN, N_UNKNOWN))
    n = len(POPULATION)
    information[:n, :n] = prior.nuisances
    others = np.arange(n, N_UNKNOWN - 1)
    information[others, others] = np.concatenate([[velocity], ripple_scatter()]) ** -2.0
    return information


def label_errors(information: np.ndarray) -> np.ndarray:
    """Return the standard deviations (3,) of teff [K], feh and logg [dex] of the inverse of an information matrix.

    Parameters
    ----------
    information : (n, n) positive definite; the first three parameters are the labels
    """
    unit = 1.0 / np.sqrt(np.diag(information))  # parameters of this unit have a well-conditioned matrix
    covariance = np.linalg.inv(information * unit * unit[:, None])
    return np.asarray((unit * np.sqrt(np.diag(covariance)))[:N_LABELS])


def groups(truth: pa.Table, limits: Limits, predicted: np.ndarray) -> Iterator[Group]:
    """Yield all stars, the quarters by S/N and the regions of the Kiel diagram.

    Parameters
    ----------
    truth : rows of truth.parquet (n)
    limits : least standard deviations (n, 3)
    predicted : labels of each catalogue (catalogues, n, 3)
    """
    true = np.stack([truth[name].to_numpy() for name in TARGET_NAMES], axis=1)
    absolute = np.abs(predicted - true)
    bias = np.abs([_label_bias(row) for row in truth.select(STAR_COLUMNS).to_pylist()])
    for name, chosen in _selections(truth):
        if chosen.any():
            yield Group(
                name,
                int(chosen.sum()),
                MEAN_OF_NORMAL * limits.unbiased[chosen].mean(axis=0),
                MEAN_OF_NORMAL * limits.bayesian[chosen].mean(axis=0),
                bias[chosen].mean(axis=0),
                absolute[:, chosen].mean(axis=1),
            )


def _selections(truth: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each group, and which of the stars are in it (n,) bool."""
    sn, teff, logg = (truth[name].to_numpy() for name in ("sn", "teff", "logg"))
    yield "all", np.ones(len(sn), bool)
    edges = np.quantile(sn, np.linspace(0.0, 1.0, 5))
    quarter = np.searchsorted(edges[1:-1], sn, side="right")
    for k in range(4):
        yield f"S/N {edges[k]:.0f} to {edges[k + 1]:.0f}", quarter == k
    for name, inside in REGIONS.items():
        yield name, inside(teff, logg)


def _join(survey: str, truth: pa.Table, catalogs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of ``truth`` that are in all catalogues (n,), and their labels there (catalogues, n, 3).

    Raises
    ------
    InputError : a catalogue cannot be used, or no star is in all of them
    """
    keys = list(zip(*(truth[name].to_pylist() for name in KEY), strict=True))
    labels = np.full((len(catalogs), len(keys), N_LABELS), np.nan)
    for of_catalog, catalog in zip(labels, catalogs, strict=True):
        rows = pa.concat_tables(table.select((*KEY, *TARGET_NAMES)) for table in open_catalog(catalog).rows())
        row_of = {key: row for row, key in enumerate(zip(*(rows[name].to_pylist() for name in KEY), strict=True))}
        values = np.stack([rows[name].to_numpy() for name in TARGET_NAMES], axis=1)
        both = [(i, row_of[key]) for i, key in enumerate(keys) if key in row_of]
        if not both:
            raise InputError(
                f"{catalog} has none of the {len(keys)} stars of {survey} to compare; label them with "
                f"raystellar label {places.join(survey, SPECTRA_DIR)} --model MODEL --out {catalog}"
            )
        here, there = np.array(both).T
        of_catalog[here] = values[there]
    rows_of_all = np.flatnonzero(np.isfinite(labels).all(axis=(0, 2)))
    if not len(rows_of_all):
        raise InputError(f"no star is in all of {', '.join(catalogs)}; give one catalogue at a time")
    return rows_of_all, labels[:, rows_of_all]


def _limits_of_row(survey: str, prior: Prior, row: dict[str, object]) -> Limits:
    """Return the limits of the star of a row of truth.parquet."""
    return star_limits(_star(row), read_exposure(places.join(survey, str(row["path"]))), prior)


def _star(row: dict[str, object]) -> Star:
    """Return the star of a row of truth.parquet."""
    values = {name: row[name] for name in STAR_COLUMNS if name != "star"}
    return Star(index=row["star"], **values)  # type: ignore[arg-type]


def _label_bias(row: dict[str, object]) -> tuple[float, float, float]:
    """Return the systematic errors of teff [K], feh and logg [dex] in the label table, for a row of truth.parquet."""
    teff, logg, feh = label_bias(_star(row))
    return teff, feh, logg


def _counted(items: Iterable[Limits], progress: Progress) -> Iterator[Limits]:
    """Yield the items and count them."""
    for item in items:
        progress.add(1)
        yield item
