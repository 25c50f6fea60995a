"""The state of a fit after each epoch, in files.

Each epoch has one file, in a folder named by the digest of network, settings and data, so that the state of another fit
is never resumed. The name of a file holds the digest of its bytes, by which damage is noticed.
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
"""Ending of the files."""


@dataclass
class State:
    """The state from which a fit continues as if it had never stopped.

    Attributes
    ----------
    tensors : parameters, moments of the optimiser and best parameters so far, as flat float32 vectors
    epoch : number of epochs done
    step : number of optimiser steps done
    best_epoch : epoch of the best parameters, from 1; 0 before the first
    history : one plain dict per epoch done
    """

    tensors: dict[str, np.ndarray]
    epoch: int
    step: int
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the state as the bytes of a safetensors file with the scalars as JSON in its header."""
        scalars = {name: getattr(self, name) for name in ("epoch", "step", "best_epoch", "history")}
        return safetensors.numpy.save(self.tensors, metadata={"state": json.dumps(scalars)})

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Return the state from bytes made by ``encode``."""
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return cls(tensors=safetensors.numpy.load(data), **json.loads(header["__metadata__"]["state"]))


class Checkpoints:
    """The checkpoints of one fit.

    Parameters
    ----------
    folder : folder with the checkpoints of all fits for one output, a path or URL; every worker that may run rank 0
        must see it
    identity : digest of network, settings and data
    keep : number of latest epochs to keep
    durable : whether checkpoints survive a loss of power, which makes writing slower
    """

    def __init__(self, folder: str, identity: str, keep: int = 2, durable: bool = True) -> None:
        self._all, self._identity, self._folder = folder, identity, places.join(folder, identity)
        self._keep, self._durable = keep, durable

    def save(self, epoch: int, data: bytes) -> None:
        """Write the encoded state after ``epoch`` and remove older states beyond the number to keep."""
        places.make_folder(self._folder)
        name = f"epoch-{epoch:05d}-{_digest(data)}{SUFFIX}"
        places.write_bytes(places.join(self._folder, name), data, durable=self._durable)
        for old in self._names()[: -self._keep]:
            places.remove(places.join(self._folder, old))

    def latest(self) -> bytes | None:
        """Return the newest undamaged state, encoded, or None; warn about damaged files."""
        others = places.names(self._all)
        if others and self._identity not in others:
            logger.warning("%s: checkpoints of another fit are ignored", self._all)
        for name in reversed(self._names()):
            path = places.join(self._folder, name)
            data = places.read_bytes(path)
            if name.endswith(f"-{_digest(data)}{SUFFIX}"):
                return data
            logger.warning("%s is damaged and ignored", path)
        return None

    def _names(self) -> list[str]:
        return sorted(
            name for name in places.names(self._folder) if name.startswith("epoch-") and name.endswith(SUFFIX)
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
