"""What is known of every trial; kept in one JSON file, which is written anew whenever a trial has come further."""

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

WAITING, STOPPED, DONE, FAILED = "waiting", "stopped", "done", "failed"
"""States of a trial at the end: never trained, stopped at a rung, trained to the end, without a finite loss."""


@dataclass
class Trial:
    """One choice, and what came of it.

    Attributes
    ----------
    number : from 0, in the order of proposal
    generation : which was proposed with it, from 0
    choice : a value for each parameter
    validation : loss after each epoch; NaN where it was not finite
    training : loss of each epoch
    mae : mean absolute errors on the validation set after each epoch, see ``targets.TARGETS``
    repeats : least validation loss with each further seed, by its number, from 1
    seconds : of training, over all its parts
    overhead : seconds of its workers besides, over all its parts
    parameters : of the network
    predict_ms : to predict 256 spectra; 0 where it was not asked for
    failure : why it has no loss; empty where it has
    worker : what trained it last, and on what
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
        """Return the least validation loss of the first ``epochs``; infinite where there is none."""
        known = [loss for loss in self.validation[:epochs] if math.isfinite(loss)]
        return math.inf if self.failure or not known else min(known)

    def cost(self, epochs: int) -> int:
        """Return the epochs it was trained in all, in a search of so many ``epochs`` a training."""
        return self.epochs + len(self.repeats) * epochs

    def mean_loss(self) -> float:
        """Return the mean of its losses over the seeds that it was trained with."""
        losses = [self.loss(), *self.repeats.values()]
        return sum(losses) / len(losses)

    def reached(self, epochs: int) -> bool:
        """Whether it need not be trained to so many epochs, for it was, or cannot be."""
        return bool(self.failure) or self.epochs >= epochs

    def update(self, outcome: Mapping[str, Any], repeat: int = 0) -> None:
        """Take in what came of training it on, or with a further seed."""
        self.overhead += outcome.get("overhead", 0.0)
        if repeat:
            losses = [loss for loss in outcome.get("validation", ()) if math.isfinite(loss)]
            self.repeats[str(repeat)] = min(losses, default=math.inf)
            self.repeats = dict(sorted(self.repeats.items()))  # whichever ended first, the mean is the same
            self.seconds += outcome.get("seconds", 0.0)
            return
        for name in outcome.keys() - {"overhead"}:
            setattr(self, name, outcome[name])

    def state(self, epochs: int) -> str:
        """Return its state after a search of so many epochs."""
        if self.failure:
            return FAILED
        return DONE if self.epochs >= epochs else STOPPED if self.epochs else WAITING


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial of the least mean loss, of those that came furthest; None where none has a loss."""
    known = [trial for trial in trials if math.isfinite(trial.loss())]
    furthest = max(((trial.epochs, len(trial.repeats)) for trial in known), default=None)
    return min(
        (trial for trial in known if (trial.epochs, len(trial.repeats)) == furthest), key=Trial.mean_loss, default=None
    )


def write_trials(run: str, trials: Sequence[Trial]) -> None:
    """Write the file of the folder ``run``, whole or not at all."""
    text = json.dumps([asdict(trial) for trial in trials], indent=None, separators=(",", ":"))
    places.write_bytes(places.join(run, TRIALS_NAME), text.encode(), durable=False)


def read_trials(run: str) -> list[Trial]:
    """Read the trials of the folder ``run``; none where it has none yet.

    Raises
    ------
    InputError : the file is damaged
    """
    place = places.join(run, TRIALS_NAME)
    if not places.exists(place):
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(places.read_bytes(place))
        return [Trial(**{entry.name: row[entry.name] for entry in fields(Trial)}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place} is damaged ({error}); remove the folder and begin anew") from None
