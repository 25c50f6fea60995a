"""The fit of the networks whose mean is the model; each leaves out another part of the training spectra.

Residuals of a network on the spectra that it was fitted to say little about its errors; residuals on spectra that were
left out show them. With as many networks as parts, each spectrum is left out once (Wolpert 1992,
doi:10.1016/S0893-6080(05)80023-1). Where there are enough plates, a part consists of whole plates, because all spectra
of a plate share the errors of its calibration and spectra of other plates do not.
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
"""Seed stride between members, so that runs with adjacent seeds share no member seed."""

EpochCallback = Callable[[int, EpochReport], None]
"""Function of the number of a member, from 0, and the outcome of its epoch."""


def parts_of(star_id: np.ndarray, members: int, seed: int) -> np.ndarray | None:
    """Return the number (n,) of the member that does not learn from each training spectrum.

    The result is None for a single member, which learns from all spectra. All spectra of a star belong to one part, and
    so do all stars of a plate, except those observed on several plates. The parts depend only on the set of stars and
    the seed.

    Parameters
    ----------
    star_id : (n,) the smallest key of the spectra of each star, see ``labels.keys.pack_key``
    members : number of members, and of parts
    seed : seed of the assignment of plates to parts
    """
    if members == 1:
        return None
    plates, plate = np.unique(star_id // FIBRES_PER_KEY, return_inverse=True)
    if len(plates) < PLATES_PER_PART * members:
        plates, plate = np.unique(star_id, return_inverse=True)
    rank = np.argsort(np.argsort(seeded_hash(plates, seed), kind="stable"), kind="stable")
    return rank[plate] % members


def fit_members(
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
    """Fit ``config.members`` networks one after the other, and return them.

    Parameters
    ----------
    train, validation, network, config : see ``loop.fit``
    parts : see ``parts_of``
    checkpoints : folder for the state of all members after each epoch, from which a killed fit resumes
    identity : digest of network, settings and data
    report : function called after each epoch
    where : rank, world and device, see ``loop.fit``

    Raises
    ------
    DatasetError : see ``loop.fit``
    """
    results = []
    for member in range(config.members):
        member_config = replace(config, seed=(config.seed + member * SEED_STEP) % 2**63)
        results.append(
            fit(
                train,
                validation,
                network,
                member_config,
                chosen=None if parts is None else np.flatnonzero(parts != member),
                checkpoints=Checkpoints(join(checkpoints, f"member-{member}"), digest([identity, member])),
                report=None if report is None else _numbered(report, member),
                **where,
            )
        )
    return results


def _numbered(report: EpochCallback, member: int) -> Callable[[EpochReport], None]:
    return lambda outcome: report(member, outcome)
