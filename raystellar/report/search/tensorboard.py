"""Write the trials of a search as event files for TensorBoard."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raystellar.files import places
from raystellar.report.search.choices import spoken
from raystellar.search.trials import Trial
from raystellar.targets import TARGET_NAMES

TENSORBOARD_NAME = "tensorboard"
"""Name of the folder of event files."""

EVENTS_NAME = "events.out.tfevents.0.raystellar"
"""Name of an event file. TensorBoard recognises files by the middle of the name. The usual rest is time and host, which
would differ from run to run."""

FINAL = "loss/final"
"""Name of the mean loss over all seeds."""


def write_tensorboard(out: str, trials: Sequence[Trial]) -> None:
    """Write ``tensorboard/trial-NNNNN/`` for each trial: losses and errors by epoch, and the choice.

    Each file is written completely or not at all. The same trials give the same bytes.

    Parameters
    ----------
    out : folder of the search, a path or URL
    trials : all trials of the search
    """
    with tempfile.TemporaryDirectory(prefix="raystellar-tensorboard-") as scratch:
        path = Path(scratch, EVENTS_NAME)
        for trial in trials:
            _write_trial(str(path), trial)
            folder = places.join(out, TENSORBOARD_NAME, f"trial-{trial.number:05d}")
            places.make_folder(folder)
            places.write_bytes(places.join(folder, EVENTS_NAME), path.read_bytes(), durable=False)
            path.unlink()


def _write_trial(path: str, trial: Trial) -> None:
    """Write the event file of one trial."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    writer = RecordWriter(path)
    writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
    for epoch, seconds, summary in _summaries(trial):
        writer.write(Event(wall_time=seconds, step=epoch, summary=summary).SerializeToString())
    writer.close()


def _summaries(trial: Trial) -> Iterator[tuple[int, float, Any]]:
    """Yield epoch, time of training up to the epoch [s], and summary."""
    from tensorboardX.summary import scalar

    begin, start, end = _hyperparameters(trial)
    yield from ((0, 0.0, summary) for summary in (begin, start))
    for epoch in range(1, trial.epochs + 1):
        seconds = trial.seconds * epoch / trial.epochs
        for name, value in _values(trial, epoch - 1):
            yield epoch, seconds, scalar(name, value)
    if math.isfinite(trial.mean_loss()):
        yield trial.epochs, trial.seconds, scalar(FINAL, trial.mean_loss())
    yield trial.epochs, trial.seconds, end


def _values(trial: Trial, at: int) -> Iterator[tuple[str, float]]:
    """Yield name and value of each scalar of an epoch, counted from 0."""
    yield "loss/validation", trial.validation[at]
    if at < len(trial.training):
        yield "loss/training", trial.training[at]
    if at < len(trial.mae):
        yield from ((f"mae/{name}", error) for name, error in zip(TARGET_NAMES, trial.mae[at], strict=True))


def _hyperparameters(trial: Trial) -> tuple[Any, Any, Any]:
    """Return the records of TensorBoard's plugin before and after the scalars; heads are texts such as 48-32."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.summary import hparams

    chosen = {name: spoken(value) if isinstance(value, list) else value for name, value in trial.choice.items()}
    begin, start, end = hparams(chosen, {FINAL: trial.loss()})
    plugin = start.value[0].metadata.plugin_data  # the mapping in it has another order in each run
    plugin.content = HParamsPluginData.FromString(plugin.content).SerializeToString(deterministic=True)
    return begin, start, end
