"""TensorBoard reads the trials as they were."""

import struct

import pytest
from formulasearch import CONFIG, search

from raystellar.files import places
from raystellar.report.search.tensorboard import EVENTS_NAME, TENSORBOARD_NAME, write_tensorboard


def events(path):
    """Yield the events of a file: records of length, its checksum, content, and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += length + 16


def test_tensorboard_reads_what_the_trials_say(tmp_path):
    trials, _ = search(CONFIG, failing=(4,))
    write_tensorboard(str(tmp_path), trials)
    write_tensorboard(str(tmp_path), trials)  # again: in place of the first
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    runs = sorted((tmp_path / "tensorboard").iterdir())
    assert [run.name for run in runs] == [f"trial-{number:05d}" for number in range(12)]
    for trial, run in zip(trials, runs, strict=False):
        read = curves(run)
        assert read.pop("loss/final", {}) == pytest.approx({} if trial.failure else {trial.epochs: trial.mean_loss()})
        expected = {"loss/validation": trial.validation, "loss/training": trial.training}
        expected |= {f"mae/{name}": [row[k] for row in trial.mae] for k, name in enumerate(("teff", "feh", "logg"))}
        assert set(read) == (set(expected) if trial.epochs else set())
        for name, values in read.items():
            assert values == pytest.approx(dict(enumerate(expected[name], 1)))


def curves(run):
    """Return the scalars of a run: a value by step, by name."""
    (path,), scalars = run.glob("*tfevents*"), {}
    for event in events(path):
        for value in event.summary.value:
            if not value.tag.startswith("_hparams_"):
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


def test_tensorboard_reads_the_choice(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    trials, _ = search(CONFIG)
    write_tensorboard(str(tmp_path), trials[:1])
    (path,) = tmp_path.rglob("*tfevents*")
    records = [value for event in events(path) for value in event.summary.value if value.tag.startswith("_hparams_")]
    assert [value.tag.rsplit("/")[-1] for value in records] == ["experiment", "session_start_info", "session_end_info"]
    chosen = HParamsPluginData.FromString(records[1].metadata.plugin_data.content).session_start_info.hparams
    assert set(chosen) == set(trials[0].choice)
    assert chosen["learning_rate"].number_value == trials[0].choice["learning_rate"]
    assert chosen["head_teff"].string_value == "-".join(map(str, trials[0].choice["head_teff"]))


def test_event_files_have_the_same_bytes_on_a_disk_and_a_server(tmp_path):
    trials, _ = search(CONFIG)
    contents = []
    for out in ("memory://search-for-tensorboard", str(tmp_path), str(tmp_path)):
        write_tensorboard(out, trials)
        root = places.join(out, TENSORBOARD_NAME)
        contents.append([places.read_bytes(places.join(root, run, EVENTS_NAME)) for run in sorted(places.names(root))])
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == len(trials)
