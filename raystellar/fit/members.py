"""The networks whose mean is the model, each fitted without another part of the training spectra.

A network says little of its errors on spectra that it was fitted to. Of those that were left out it is true, and with
as many networks as parts each spectrum is left out once (Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1). Parts are of
whole plates, where there are enough: all spectra of a plate share the errors of its calibration, which those of another
plate do not.
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
from raystellar.labels.splits import seeded_hash
from raystellar.model.architecture import NetworkConfig

PLATES_PER_PART = 3
"""Below this, parts are of stars: what a network lacks of two plates is too different from one to the other."""

SEED_STEP = 0x9E3779B97F4A7C15
"""Between the seeds of two members, so that those of neighbouring seeds are others."""

EpochCallback = Callable[[int, EpochReport], None]
"""Told of the number of the member, from 0, and of its epoch."""


def parts_of(star_id: np.ndarray, members: int, seed: int) -> np.ndarray | None:
    """Return the member (n,) that each training spectrum is kept from; None where there is one, which learns from all.

    All spectra of a star are of one part, and all stars of a plate, but for those seen on several. Depends on the set
    of stars and the seed alone.

    Parameters
    ----------
    star_id : (n,) the smallest key of the spectra of each star, see ``catalog.pack_key``
    members : number of parts
    seed : chooses the draw
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
    checkpoints : folder for the state of all members after each epoch; a fit that was killed goes on from there
    identity : digest of what is fitted
    report : called once an epoch
    where : rank, world and device, see ``loop.fit``

    Raises
    ------
    DatasetError : the pixels do not fit the network, or a label does not vary
    """
    found = []
    for member in range(config.members):
        mine = replace(config, seed=(config.seed + member * SEED_STEP) % 2**63)
        found.append(
            fit(
                train,
                validation,
                network,
                mine,
                chosen=None if parts is None else np.flatnonzero(parts != member),
                checkpoints=Checkpoints(join(checkpoints, f"member-{member}"), digest([identity, member])),
                report=None if report is None else _numbered(report, member),
                **where,
            )
        )
    return found


def _numbered(report: EpochCallback, member: int) -> Callable[[EpochReport], None]:
    return lambda told: report(member, told)
