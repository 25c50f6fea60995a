"""Benchmark the OOD score: its share of flags among galaxies, quasars, sky, other odd spectra and ordinary stars.

Spectra of each kind are simulated (``simulator.others``), preprocessed as the training spectra of the model and scored.
True velocities up to 1,500 km/s are removed; spectra with higher velocities are not shifted. Class, warnings and
velocity of a pipeline are not used. Ordinary stars are simulated anew, each on a plate of its own. The test split of a
dataset and spectra in files can be scored too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from raystellar.api import Labels, Model
from raystellar.errors import InputError
from raystellar.fit.data import read_dataset
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import N_NOISE, N_PIXELS
from raystellar.simulator.others import SPECTRUM_KINDS, observe_kind

STARS_PER_ODD = 4
"""Number of ordinary stars for each spectrum of an odd kind; their share of flags is small and needs more stars."""

LEAST_ODD_FLAGGED, MOST_STARS_FLAGGED = 0.95, 0.02
"""Least share of flags among spectra of an odd kind, and greatest share among ordinary stars."""

ORDINARY_KINDS, KINDS_WITHOUT_LIMIT = ("star", "held-out star"), ("blend",)
"""Kinds that should rarely be flagged, and kinds without a limit."""


@dataclass(frozen=True)
class KindScores:
    """OOD scores of the spectra of one kind."""

    kind: str
    """Name of the kind, see ``simulator.others.SPECTRUM_KINDS``; ``held-out star`` for the test split of a dataset."""

    spectra: int
    """Number of spectra."""

    sn: float
    """Median S/N per pixel."""

    flagged: float
    """Share of the spectra with a score above the limit."""

    quantiles: tuple[float, float, float]
    """5 %, 50 % and 95 % quantiles of the score."""

    @property
    def wanted(self) -> bool:
        """Whether the share of flags meets its limit."""
        if self.kind in KINDS_WITHOUT_LIMIT:
            return True
        if self.kind in ORDINARY_KINDS:
            return self.flagged <= MOST_STARS_FLAGGED
        return self.flagged >= LEAST_ODD_FLAGGED


def ood_table(model: str, dataset: str | None = None, count: int = 500, seed: int = 2) -> Iterator[KindScores]:
    """Yield the scores of each kind of spectra.

    Parameters
    ----------
    model : folder of the model
    dataset : dataset whose test split is scored too; None to leave it out
    count : number of spectra of each odd kind; ``STARS_PER_ODD`` times as many stars
    seed : seed of the simulated spectra

    Raises
    ------
    RaystellarError : model or dataset cannot be used
    """
    if count < 1:
        raise InputError(f"count = {count} must be at least 1")
    bundle = load_bundle(model)
    if dataset:
        held_out = read_dataset(dataset).split("test", ("ivar", "sn"))
        sn = np.array(held_out.extra["sn"], dtype=float)
        yield _scores("held-out star", bundle, held_out.flux, held_out.extra["ivar"], sn)
    for kind in SPECTRUM_KINDS:
        yield _scores(kind, bundle, *_simulated(kind, bundle, count * STARS_PER_ODD if kind == "star" else count, seed))


def score_files(model: str, spectra: list[str]) -> Labels:
    """Return the catalogue rows of spectra in files."""
    return Model(model).label(spectra)


def _simulated(kind: str, bundle: Bundle, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux (count, P), ivar (count, blocks) and S/N (count,) of simulated spectra of one kind."""
    preprocessor = Preprocessor(bundle.preprocess)
    flux, ivar = np.empty((count, N_PIXELS), np.float32), np.empty((count, N_NOISE), np.float32)
    sn = np.empty(count)
    for index in range(count):
        seen = observe_kind(kind, seed, index)
        spectrum = seen.spectrum
        preprocessor(spectrum.loglam, spectrum.flux, spectrum.ivar, seen.rv, flux[index], ivar[index])
        sn[index] = spectrum.sn_median
    return flux, ivar, sn


def _scores(kind: str, bundle: Bundle, flux: np.ndarray, ivar: np.ndarray, sn: np.ndarray) -> KindScores:
    """Return the scores of spectra with flux (n, P), ivar (n, blocks) and S/N (n,)."""
    scores = bundle.ood_score(flux, ivar)
    flagged = float((scores > QualityConfig().max_ood_score).mean())
    low, middle, high = np.percentile(scores, (5.0, 50.0, 95.0)).tolist()
    return KindScores(kind, len(scores), float(np.median(sn)), flagged, (low, middle, high))
