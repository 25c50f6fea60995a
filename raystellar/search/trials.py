"""The record of every trial, kept in one JSON file, which is written again after each task."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from raystellar.errors import InputError
from raystellar.files import places
from raystellar.search.space import Choice

TRIALS_NAME = "trials.json"
"""Name of the record in the folder of a search."""

WAITING, STOPPED, DONE, FAILED = "waiting", "stopped", "done", "failed"
"""States of a trial: never trained, stopped at a rung, trained to the end, failed without a finite loss."""


@dataclass
class Trial:
    """One choice and its outcome.

    Attributes
    ----------
    number : number of the trial in the order of proposal, from 0
    generation : number of the generation that it was proposed with, from 0
    choice : value of each parameter
    validation : validation loss after each epoch; NaN where it was not finite
    training : training loss of each epoch
    mae : mean absolute errors on the validation set after each epoch, in the order of ``targets.TARGETS``
    repeats : least validation loss with each further seed, by the number of the seed, from 1
    seconds : time of training over all tasks [s]
    overhead : time of the workers besides training over all tasks [s]
    parameters : number of parameters of the network
    predict_ms : time to predict 256 spectra [ms]; 0 if it was not measured
    failure : reason why the trial has no loss; empty if it has one
    worker : worker that trained the trial last, and its device
    """

    number: int
    generation: int
    choice: Choice
    validation: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    mae: list[list[float]] = field(default_factory=list)
    repeats: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    overhead: float = 0.0
    parameters: int = 0
    predict_ms: float = 0.0
    failure: str = ""
    worker: str = ""

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return len(self.validation)

    def loss(self, epochs: int | None = None) -> float:
        """Return the least validation loss of the first ``epochs``, or of all; infinite if no loss is finite."""
        known = [loss for loss in self.validation[:epochs] if math.isfinite(loss)]
        return math.inf if self.failure or not known else min(known)

    def cost(self, epochs: int) -> int:
        """Return the epochs trained with all seeds, in a search whose whole training has ``epochs``."""
        return self.epochs + len(self.repeats) * epochs

    def mean_loss(self) -> float:
        """Return the mean of the least validation losses over all seeds."""
        losses = [self.loss(), *self.repeats.values()]
        return sum(losses) / len(losses)

    def reached(self, epochs: int) -> bool:
        """Return whether no task up to ``epochs`` is left: the trial was trained that far, or failed."""
        return bool(self.failure) or self.epochs >= epochs

    def update(self, outcome: Mapping[str, Any], repeat: int = 0) -> None:
        """Add the outcome of a task; ``repeat`` is the number of a further seed, 0 for the first seed."""
        self.overhead += outcome.get("overhead", 0.0)
        if repeat:
            losses = [loss for loss in outcome.get("validation", ()) if math.isfinite(loss)]
            self.repeats[str(repeat)] = min(losses, default=math.inf)
            self.repeats = dict(
                sorted(self.repeats.items())
            )  # so that the mean does not depend on which seed ends first
            self.seconds += outcome.get("seconds", 0.0)
            return
        for name in outcome.keys() - {"overhead"}:
            setattr(self, name, outcome[name])

    def state(self, epochs: int) -> str:
        """Return the state of the trial in a search whose whole training has ``epochs``."""
        if self.failure:
            return FAILED
        return DONE if self.epochs >= epochs else STOPPED if self.epochs else WAITING


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the least mean loss among those trained the longest; None if no trial has a loss."""
    known = [trial for trial in trials if math.isfinite(trial.loss())]
    furthest = max(((trial.epochs, len(trial.repeats)) for trial in known), default=None)
    return min(
        (trial for trial in known if (trial.epochs, len(trial.repeats)) == furthest), key=Trial.mean_loss, default=None
    )


def write_trials(run: str, trials: Sequence[Trial]) -> None:
    """Write the record to the folder ``run``, completely or not at all."""
    text = json.dumps([asdict(trial) for trial in trials], indent=None, separators=(",", ":"))
    places.write_bytes(places.join(run, TRIALS_NAME), text.encode(), durable=False)


def read_trials(run: str) -> list[Trial]:
    """Read the record of the folder ``run``; empty if there is no record yet.

    Raises
    ------
    InputError : the file is damaged
    """
    path = places.join(run, TRIALS_NAME)
    if not places.exists(path):
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(places.read_bytes(path))
        return [Trial(**{entry.name: row[entry.name] for entry in fields(Trial)}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); remove the folder and search again") from None
