"""The fit of all networks of a model: those whose mean is the model, and those that only show its errors.

Residuals of a network on the spectra that it was fitted to say little about its errors; residuals on spectra that were
left out show them. Each of several networks therefore leaves out another part of the training spectra, so that each
spectrum is left out once (Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1). Where there are enough plates, a part
consists of whole plates, because all spectra of a plate share the errors of its calibration and spectra of other plates
do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from raystellar.config import digest
from raystellar.files.places import join
from raystellar.fit.checkpoints import Checkpoints
from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
from raystellar.fit.loop import EpochReport, FitResult, fit
from raystellar.labels.keys import FIBRES_PER_KEY
from raystellar.labels.splits import SPLITMIX64_STEP, seeded_hash
from raystellar.model.architecture import NetworkConfig

PLATES_PER_PART = 3
"""Least number of plates per part. With fewer plates, parts consist of stars, because networks that lack one or two
plates would differ too much from each other."""

SEED_STEP = SPLITMIX64_STEP
"""Seed stride between networks, so that runs with adjacent seeds share no seed of a network."""

EpochCallback = Callable[[int, EpochReport], None]
"""Function of the number of a network, from 0, and the outcome of its epoch."""


def parts_of(star_id: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Return the part (n,) of each training spectrum, from 0; None where ``count`` is 0.

    All spectra of a star belong to one part, and so do all stars of a plate, except those observed on several plates.
    The parts depend only on the set of stars and the seed.

    Parameters
    ----------
    star_id : (n,) the smallest key of the spectra of each star, see ``labels.keys.pack_key``
    count : number of parts
    seed : seed of the assignment of plates to parts
    """
    if not count:
        return None
    plates, plate = np.unique(star_id // FIBRES_PER_KEY, return_inverse=True)
    if len(plates) < PLATES_PER_PART * count:
        plates, plate = np.unique(star_id, return_inverse=True)
    rank = np.argsort(np.argsort(seeded_hash(plates, seed), kind="stable"), kind="stable")
    return rank[plate] % count


def fit_networks(
    train: SpectraSet,
    validation: SpectraSet,
    network: NetworkConfig,
    config: FitConfig,
    *,
    parts: np.ndarray | None,
    checkpoints: str,
    identity: str,
    report: EpochCallback | None = None,
    **where: Any,
) -> list[FitResult]:
    """Fit the networks of ``config.left_out`` one after the other, and return them.

    Parameters
    ----------
    train, validation, network, config : see ``loop.fit``
    parts : see ``parts_of``
    checkpoints : folder for the state of all networks after each epoch, from which a killed fit resumes
    identity : digest of network, settings and data
    report : function called after each epoch
    where : rank, world and device, see ``loop.fit``

    Raises
    ------
    DatasetError : see ``loop.fit``
    """
    results = []
    for number, part in enumerate(config.left_out):
        results.append(
            fit(
                train,
                validation,
                network,
                replace(config, seed=(config.seed + number * SEED_STEP) % 2**63),
                chosen=None if part is None else np.flatnonzero(parts != part),
                checkpoints=Checkpoints(join(checkpoints, f"network-{number}"), digest([identity, number])),
                report=None if report is None else _numbered(report, number),
                **where,
            )
        )
    return results


def _numbered(report: EpochCallback, number: int) -> Callable[[EpochReport], None]:
    return lambda outcome: report(number, outcome)
