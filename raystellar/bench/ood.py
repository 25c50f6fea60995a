"""What share of galaxies, quasars, sky and other odd spectra does the score of a bundle find, and of ordinary stars?

Simulated spectra of each kind (``simulate.others``) are preprocessed as the bundle says, with their own velocity or,
beyond 1,500 km/s, none, and scored; class, warnings and velocity of a pipeline play no part. Ordinary stars are drawn
anew, each on a plate of its own; those of a dataset's test split are held out, and so are spectra in files.
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
from raystellar.preprocess.pixels import Preprocessor
from raystellar.quality import QualityConfig
from raystellar.schema import N_NOISE, N_PIXELS
from raystellar.simulate.others import KINDS, observe_kind

STARS_PER_ODD = 4
"""Ordinary stars for each spectrum of an odd kind: their share is small."""

LEAST_ODD, MOST_STARS = 0.95, 0.02
"""Shares that are to be flagged at least of odd kinds, at most of stars."""

STARS, EITHER = ("star", "held-out star"), ("blend",)
"""Kinds of which few are to be flagged, and of which the share is told only."""


@dataclass(frozen=True)
class Row:
    """One kind: how many spectra, their median S/N, and how they score."""

    kind: str
    spectra: int
    sn: float
    flagged: float
    """Share that OOD flags, and nothing else is asked."""
    quantiles: tuple[float, float, float]
    """Scores of which 5, 50 and 95 % are below."""

    @property
    def wanted(self) -> bool:
        """Whether the share is as it should be."""
        if self.kind in EITHER:
            return True
        return self.flagged <= MOST_STARS if self.kind in STARS else self.flagged >= LEAST_ODD


def ood_table(model: str, dataset: str | None = None, count: int = 500, seed: int = 2) -> Iterator[Row]:
    """Yield a row for each kind of spectra.

    Parameters
    ----------
    model : bundle
    dataset : preprocessed dataset, the test split of which is scored too; None for none
    count : spectra of each odd kind, and four times as many stars
    seed : of the simulated spectra

    Raises
    ------
    RaystellarError : bundle or dataset cannot be used
    """
    if count < 1:
        raise InputError(f"count = {count} must be at least 1")
    bundle = load_bundle(model)
    if dataset:
        held_out = read_dataset(dataset).split("test", ("ivar", "sn"))
        sn = np.array(held_out.extra["sn"], dtype=float)
        yield _row("held-out star", bundle, held_out.flux, held_out.extra["ivar"], sn)
    for kind in KINDS:
        yield _row(kind, bundle, *_simulated(kind, bundle, count * STARS_PER_ODD if kind == "star" else count, seed))


def score_files(model: str, spectra: list[str]) -> Labels:
    """Return the rows of the catalogue of spectra in files."""
    return Model(model).label(spectra)


def _simulated(kind: str, bundle: Bundle, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux (count, P), ivar (count, blocks) and S/N (count,) of simulated spectra of a kind."""
    preprocessor = Preprocessor(bundle.preprocess)
    flux, ivar = np.empty((count, N_PIXELS), np.float32), np.empty((count, N_NOISE), np.float32)
    sn = np.empty(count)
    for index in range(count):
        seen = observe_kind(kind, seed, index)
        one = seen.spectrum
        preprocessor(one.loglam, one.flux, one.ivar, seen.rv, flux[index], ivar[index])
        sn[index] = one.sn_median
    return flux, ivar, sn


def _row(kind: str, bundle: Bundle, flux: np.ndarray, ivar: np.ndarray, sn: np.ndarray) -> Row:
    scores = bundle.ood_score(flux, ivar)
    flagged = float((scores > QualityConfig().max_ood_score).mean())
    low, middle, high = np.percentile(scores, (5.0, 50.0, 95.0)).tolist()
    return Row(kind, len(scores), float(np.median(sn)), flagged, (low, middle, high))
