"""The state of a fit after each epoch, in files.

One file an epoch, in a folder named by what is being fitted (network, settings, data), so that the state of
another fit is never taken up. A file's name carries the digest of its bytes; it is written aside and renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy

from raystellar.files import places

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"


@dataclass
class State:
    """What a fit needs to go on as if it had never stopped.

    Attributes
    ----------
    tensors : parameters, moments of the optimiser, best parameters so far, as flat float32 vectors
    epoch : epochs done
    step : optimiser steps done
    best_epoch : epoch of the best parameters, from 1; 0 for none yet
    history : one plain dict per epoch done
    """

    tensors: dict[str, np.ndarray]
    epoch: int
    step: int
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the state as the bytes of one safetensors file, the scalars as JSON in its header."""
        scalars = {name: getattr(self, name) for name in ("epoch", "step", "best_epoch", "history")}
        return safetensors.numpy.save(self.tensors, metadata={"state": json.dumps(scalars)})

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Return the state from the bytes of ``encode``."""
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return cls(tensors=safetensors.numpy.load(data), **json.loads(header["__metadata__"]["state"]))


class Checkpoints:
    """The checkpoints of one fit.

    Parameters
    ----------
    folder : holds the checkpoints of every fit for one output, a path or URL; all workers that may run rank 0 must
        see it
    identity : digest of network, settings and data
    keep : how many of the latest epochs stay
    durable : whether they survive a loss of power, which takes its time
    """

    def __init__(self, folder: str, identity: str, keep: int = 2, durable: bool = True) -> None:
        self._all, self._identity, self._folder = folder, identity, places.join(folder, identity)
        self._keep, self._durable = keep, durable

    def save(self, epoch: int, data: bytes) -> None:
        """Commit the encoded state after ``epoch`` and drop what is older than the kept ones."""
        places.make_folder(self._folder)
        name = f"epoch-{epoch:05d}-{_digest(data)}{SUFFIX}"
        places.write_bytes(places.join(self._folder, name), data, durable=self._durable)
        for old in self._names()[: -self._keep]:
            places.remove(places.join(self._folder, old))

    def latest(self) -> bytes | None:
        """Return the newest state that is whole; damaged files are passed over with a warning."""
        others = places.names(self._all)
        if others and self._identity not in others:
            logger.warning("%s: checkpoints of another fit are ignored", self._all)
        for name in reversed(self._names()):
            place = places.join(self._folder, name)
            data = places.read_bytes(place)
            if name.endswith(f"-{_digest(data)}{SUFFIX}"):
                return data
            logger.warning("%s is damaged and ignored", place)
        return None

    def _names(self) -> list[str]:
        return sorted(
            name for name in places.names(self._folder) if name.startswith("epoch-") and name.endswith(SUFFIX)
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
