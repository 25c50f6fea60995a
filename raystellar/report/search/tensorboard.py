"""The trials of a search as TensorBoard reads them."""

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

EVENTS_NAME = "events.out.tfevents.0.raystellar"
"""TensorBoard knows the files by the middle of their name; the rest, by custom time and host, would change."""

FINAL = "loss/final"


def write_tensorboard(out: str, trials: Sequence[Trial]) -> None:
    """Write ``tensorboard/trial-NNNNN/`` for each trial: losses and errors by epoch, and what it chose.

    Each file is written whole, and the same trials make the same bytes.

    Parameters
    ----------
    out : folder of the search, a path or URL
    trials : all of the search
    """
    with tempfile.TemporaryDirectory(prefix="raystellar-tensorboard-") as aside:
        path = Path(aside, EVENTS_NAME)
        for trial in trials:
            _write_trial(str(path), trial)
            folder = places.join(out, TENSORBOARD_NAME, f"trial-{trial.number:05d}")
            places.make_folder(folder)
            places.write_bytes(places.join(folder, EVENTS_NAME), path.read_bytes(), durable=False)
            path.unlink()


def _write_trial(path: str, trial: Trial) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    writer = RecordWriter(path)
    writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
    for epoch, seconds, summary in _summaries(trial):
        writer.write(Event(wall_time=seconds, step=epoch, summary=summary).SerializeToString())
    writer.close()


def _summaries(trial: Trial) -> Iterator[tuple[int, float, Any]]:
    """Yield epoch, seconds of training until then, and summary."""
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
    yield "loss/validation", trial.validation[at]
    if at < len(trial.training):
        yield "loss/training", trial.training[at]
    if at < len(trial.mae):
        yield from ((f"mae/{name}", error) for name, error in zip(TARGET_NAMES, trial.mae[at], strict=True))


def _hyperparameters(trial: Trial) -> tuple[Any, Any, Any]:
    """Return what TensorBoard's plugin takes before and after the scalars; heads as texts such as 48-32."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.summary import hparams

    chosen = {name: spoken(value) if isinstance(value, list) else value for name, value in trial.choice.items()}
    begin, start, end = hparams(chosen, {FINAL: trial.loss()})
    plugin = start.value[0].metadata.plugin_data  # holds a mapping, whose order would change from run to run
    plugin.content = HParamsPluginData.FromString(plugin.content).SerializeToString(deterministic=True)
    return begin, start, end
