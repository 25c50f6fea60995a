"""Benchmark a catalogue against the information limit: the least errors of labels that the noise of the spectra allows.

    raystellar simulate survey --stars 12000
    raystellar label survey/spectra --model model --out catalog
    raystellar bench limit survey --catalog catalog

The limit of a star is computed from the derivatives of its spectrum in the simulator and from the inverse variance of
its own pixels, see ``simulator.information``. Rows of a catalogue count whatever their flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from raystellar.simulator.derivatives import PARAMETERS
from raystellar.simulator.information import POPULATION, Exposure, Limits, Prior, population_prior, star_limits
from raystellar.simulator.labels import label_bias
from raystellar.simulator.population import Star
from raystellar.simulator.starlight import K_FIRST, N_LATTICE
from raystellar.simulator.survey import SPECTRA_DIR, TRUTH_NAME
from raystellar.spectra.record import LATTICE_STEP
from raystellar.targets import TARGET_NAMES

STAR_COLUMNS = ("star", *PARAMETERS, "g", "sn")
"""Columns of truth.parquet from which a star is made."""

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


class Group(NamedTuple):
    """Limits and errors of a group of stars, as mean absolute errors of teff [K], feh [dex] and logg [dex]."""

    name: str
    """Stars of the group."""

    stars: int
    """Number of stars."""

    limits: Limits
    """Means of the least expected errors, (3,) each."""

    label_bias: np.ndarray
    """Systematic error (3,) of the labels in ssppOut.fits, which a model learns from them."""

    errors: np.ndarray
    """Error (catalogues, 3) of the labels of each catalogue against the truth."""

    @property
    def ratios(self) -> np.ndarray:
        """Errors of the catalogues in units of the Bayesian limit (catalogues, 3)."""
        return self.errors / self.limits.bayesian


class LimitTable(NamedTuple):
    """The information limit of the stars of a survey, and the errors of catalogues."""

    groups: list[Group]
    """All stars, quarters by S/N and regions of the Kiel diagram; a group without stars is left out."""

    chosen: int
    """Number of stars whose limit was computed."""

    available: int
    """Number of stars that could be chosen."""


def limit_table(
    survey: str, catalogs: Sequence[str] = (), stars: int = 500, *, every: bool = False, cores: int = 1
) -> LimitTable:
    """Return the information limit of stars of a simulated survey, and the errors of catalogues for the same stars.

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
    truth = read_true_stars(survey)
    candidates = truth if every else truth.filter(pc.invert(truth["labelled"]))
    if not len(candidates):
        raise InputError(f"all plates of {survey} have labels, so no star is held out; add --all to take all stars")
    rows, predicted = _join(survey, candidates, catalogs)
    taken = np.linspace(0, len(rows), min(stars, len(rows)), endpoint=False).astype(int)
    chosen = candidates.take(rows[taken])
    prior = population_prior({name: truth[name].to_numpy() for name in POPULATION})
    with ThreadPoolExecutor(cores) as pool, Progress("limit", len(chosen), "stars") as progress:
        # the kernels of the simulator release the interpreter lock
        found = list(_counted(pool.map(partial(_limits_of_row, survey, prior), chosen.to_pylist()), progress))
    limits = Limits(*(np.array(values) for values in zip(*found, strict=True)))
    return LimitTable(list(groups(chosen, limits, predicted[:, taken])), len(chosen), len(rows))


def read_true_stars(survey: str) -> pa.Table:
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
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a simulated spectrum ({first_line(error)}); simulate the survey again"
        ) from None
    pixels = np.rint(loglam / LATTICE_STEP).astype(int) - K_FIRST
    known = wdisp > 0.0  # 0 in dead columns
    everywhere = np.zeros(N_LATTICE)
    everywhere[pixels] = np.where(known, ivar, 0.0)
    return Exposure(np.interp(np.arange(N_LATTICE), pixels[known], wdisp[known]), everywhere)


def groups(truth: pa.Table, limits: Limits, predicted: np.ndarray) -> Iterator[Group]:
    """Yield all stars, the quarters by S/N and the regions of the Kiel diagram.

    Parameters
    ----------
    truth : rows of truth.parquet (n)
    limits : least expected errors of the stars, (n, 3) each
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
                Limits(*(values[chosen].mean(axis=0) for values in limits)),
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
    labels = np.full((len(catalogs), len(keys), len(TARGET_NAMES)), np.nan)
    for of_catalog, catalog in zip(labels, catalogs, strict=True):
        predicted = _labels_by_key(catalog)
        for i, key in enumerate(keys):
            of_catalog[i] = predicted.get(key, np.nan)
        if np.isnan(of_catalog).all():
            raise InputError(
                f"{catalog} has none of the {len(keys)} stars of {survey} to compare; label them with "
                f"raystellar label {places.join(survey, SPECTRA_DIR)} --model MODEL --out {catalog}"
            )
    rows_of_all = np.flatnonzero(np.isfinite(labels).all(axis=(0, 2)))
    if not len(rows_of_all):
        raise InputError(f"no star is in all of {', '.join(catalogs)}; give one catalogue at a time")
    return rows_of_all, labels[:, rows_of_all]


def _labels_by_key(catalog: str) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Return teff [K], feh and logg [dex] of the rows of a catalogue, by plate, mjd and fiberid."""
    labels: dict[tuple[int, ...], tuple[float, ...]] = {}
    for rows in open_catalog(catalog).rows():
        keys, values = (zip(*(rows[name].to_pylist() for name in names), strict=True) for names in (KEY, TARGET_NAMES))
        labels.update(zip(keys, values, strict=True))
    return labels


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
