"""The report of a search, its figures, the order of a finished search, and the files for TensorBoard."""

import math
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from pagereader import Page

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.fit.config import FitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.report.search.choices import importances
from raystellar.report.search.figures import front, loss_ticks
from raystellar.report.search.page import search_page, write_search_report
from raystellar.report.search.tensorboard import EVENTS_NAME, TENSORBOARD_NAME, write_tensorboard
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.replay import best_so_far, replay
from raystellar.search.schedule import Propose, next_step, total_epochs
from raystellar.search.space import Space
from raystellar.search.trials import Trial, best

EPOCHS = 6
SPACE = Space(SpaceConfig(), NetworkConfig(), FitConfig(epochs=EPOCHS))
CONFIG = TuneConfig(trials=12, generation=6, rungs=(1, 3), keep=3, finalists=2, seeds=2)
SECTIONS = ["winner", "finalists", "history", "curves", "parallel", "importance", "front", "states", "trials"]


def choice(rng):
    chosen = {name: values[rng.integers(len(values))] for name, values in (SPACE.ordered | SPACE.named).items()}
    return chosen | {
        name: float(np.exp(rng.uniform(np.log(low), np.log(high)))) for name, (low, high) in SPACE.ranges.items()
    }


def train(trial, task, failing):
    """Train as a search would, with losses that the learning rate alone decides."""
    if task.repeat:
        return trial.update({"validation": [trial.loss() + 0.01 * task.repeat], "seconds": 1.0}, task.repeat)
    if trial.number in failing:
        return trial.update({"failure": "the loss is <not finite>"})
    at = np.arange(1, task.until + 1)
    loss = (0.1 - 0.02 * math.log(trial.choice["learning_rate"])) * (0.3 + 1 / at)
    outcome = {"validation": loss.tolist(), "training": (1.1 * loss).tolist(), "mae": [[90.0, 0.1, 0.2]] * task.until}
    size = 1000 * trial.choice["stem"]
    return trial.update(outcome | {"seconds": 0.5 * task.until, "parameters": size, "predict_ms": 2 + size / 1e5})


def search(config, failing=()):
    """Return the trials of a search, and its tasks in their order."""
    rng, trials, tasks = np.random.default_rng(5), [], []
    while step := next_step(trials, config, EPOCHS):
        if isinstance(step, Propose):
            generation = len({trial.generation for trial in trials})
            trials += [Trial(len(trials) + k, generation, choice(rng)) for k in range(step.choices)]
            continue
        for task in step:
            train(trials[task.trial], task, failing)
        tasks += step
    return trials, tasks


@pytest.mark.parametrize(
    ("config", "failing", "absent"),
    [
        (replace(CONFIG, trials=20), (), []),
        (replace(CONFIG, trials=9, seeds=1), (2, 7), ["finalists", "parallel", "importance"]),
        (replace(CONFIG, trials=2), (), ["history", "parallel", "importance", "front"]),
        (replace(CONFIG, rungs=(), seeds=1, trials=4, generation=4), (0,), ["finalists", "parallel", "importance"]),
        (replace(CONFIG, trials=9, generation=9, objective="parameters"), (3,), ["importance"]),
        (replace(CONFIG, trials=9, objective="time"), (), ["importance"]),
    ],
    ids=["whole", "failures", "two trials", "no rungs", "one generation by parameters", "by time"],
)
@pytest.mark.filterwarnings("error")
def test_the_page_shows_the_search_and_fetches_nothing(config, failing, absent):
    trials, _ = search(config, failing)
    html = search_page("s3://bucket/a&b", trials, config, EPOCHS, SPACE)
    page, winner = Page(html), best(trials)
    text = " ".join(page.words)
    assert page.sections == [name for name in SECTIONS if name not in absent]
    assert re.findall(r'<a href="#([a-z]+)"', html) == page.sections
    assert not page.fetched
    assert "http" not in html
    assert "@import" not in html
    assert len(page.ids) == len(set(page.ids))
    assert ("Figures left out" in text) == bool(set(absent) - {"finalists"})
    assert f"Winner: trial {winner.number}" in text
    assert f"{winner.loss():.5f}" in text
    assert f"{winner.parameters:,}".replace(",", "\u202f") in text
    assert f"{winner.choice['learning_rate']:.3g}" in text
    assert "raystellar train DATASET --config s3://bucket/a&b/best.toml --out MODEL" in text
    assert text.count("the loss is <not finite>") == bool(failing)
    assert not re.search(r"\b(nan|inf)\b", html)


def test_references_within_the_page_lead_somewhere_and_colours_are_the_pages():
    config = replace(CONFIG, trials=20)
    html = search_page("out", search(config)[0], config, EPOCHS, SPACE)
    ids = set(Page(html).ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= ids
    assert not re.search(r"#0101[0-9a-f]{2}", html)
    assert set(re.findall(r"var\(--(\w+)\)", html)) <= set(re.findall(r"--(\w+):", html))


@pytest.mark.parametrize("ratio", [1.6, 2.0, 3.0, 7.0, 50.0, 1e4])
def test_a_logarithmic_axis_has_three_labels_at_least_wherever_it_begins(ratio):
    for low in np.geomspace(0.01, 0.1, 50):
        ticks = loss_ticks(low, ratio * low)
        assert 3 <= len(ticks) <= 16
        assert ticks == sorted(ticks)
        assert low <= ticks[0] < ticks[-1] <= ratio * low


def test_the_search_of_four_trials_lists_them_openly():
    trials, _ = search(replace(CONFIG, trials=4))
    html = search_page("out", trials, CONFIG, EPOCHS, SPACE)
    assert "<details>" not in html
    assert "<details>" in search_page("out", search(CONFIG)[0], CONFIG, EPOCHS, SPACE)


def test_a_search_without_any_loss_has_a_page():
    trials, _ = search(CONFIG, range(12))
    assert Page(search_page("out", trials, CONFIG, EPOCHS, SPACE)).sections == ["states", "trials"]


def test_values_that_are_not_finite_do_not_spoil_the_figures():
    trials, _ = search(CONFIG)
    trials[1].validation[0] = trials[1].training[0] = math.nan
    trials[2].validation[0] = 1e30
    for trial in trials:
        trial.repeats = dict.fromkeys(trial.repeats, math.inf)
    html = search_page("out", trials, CONFIG, EPOCHS, SPACE)
    assert not re.search(r"[\s>\"](nan|inf)", html)


def test_the_same_search_makes_the_same_page(tmp_path):
    config = replace(CONFIG, trials=2)
    trials, _ = search(config)
    write_search_report(str(tmp_path), trials, config, EPOCHS, SPACE)
    first = (tmp_path / "_report.html").read_bytes()
    write_search_report(str(tmp_path), trials, config, EPOCHS, SPACE)
    assert (tmp_path / "_report.html").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["_report.html"]
    with pytest.raises(OutputError):
        write_search_report(str(tmp_path / "none"), trials, config, EPOCHS, SPACE)


@pytest.mark.parametrize("failing", [(), (1, 8)])
def test_the_order_of_a_search_is_found_from_its_trials(failing):
    trials, tasks = search(CONFIG, failing)
    assert list(replay(trials, CONFIG, EPOCHS)) == tasks
    steps = best_so_far(trials, CONFIG, EPOCHS)
    assert steps[-1][1] == min(trial.loss() for trial in trials)
    assert steps == sorted(steps, key=lambda step: (step[0], -step[1]))
    assert steps[-1][0] <= sum(trial.epochs for trial in trials) <= total_epochs(CONFIG, EPOCHS)


def test_what_losses_no_longer_tell_comes_last():
    trials, tasks = search(CONFIG)
    for trial in trials:
        trial.validation[:1] = [1 - trial.validation[0]]
    found = list(replay(trials, CONFIG, EPOCHS))
    assert sorted(found) == sorted(tasks)
    assert best_so_far(trials, CONFIG, EPOCHS)[-1][1] == min(trial.loss() for trial in trials)


def test_a_record_that_ends_early_is_replayed_as_far_as_it_goes():
    trials, tasks = search(CONFIG)
    for trial in trials:
        trial.validation, trial.repeats = trial.validation[:1], {}
    assert list(replay(trials, CONFIG, EPOCHS)) == [task for task in tasks if task.until == 1]


def test_the_importance_is_that_of_the_parameter_that_decides():
    trials, _ = search(replace(CONFIG, trials=24))
    shares = importances(trials, SPACE, 1)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(trials, SPACE, 1) == shares
    assert importances(trials[:19], SPACE, 1) == {}


def test_no_trial_beats_one_of_the_front():
    trials, _ = search(CONFIG, failing=(4,))
    chosen = front(trials, "parameters", 1)
    for trial in chosen:
        assert not any(t.loss(1) < trial.loss(1) and 0 < t.parameters <= trial.parameters for t in trials)
    assert [t.parameters for t in chosen] == sorted(t.parameters for t in chosen)


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
    (path,), found = run.glob("*tfevents*"), {}
    for event in events(path):
        for value in event.summary.value:
            if not value.tag.startswith("_hparams_"):
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_is_told_what_was_chosen(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    trials, _ = search(CONFIG)
    write_tensorboard(str(tmp_path), trials[:1])
    (path,) = tmp_path.rglob("*tfevents*")
    told = [value for event in events(path) for value in event.summary.value if value.tag.startswith("_hparams_")]
    assert [value.tag.rsplit("/")[-1] for value in told] == ["experiment", "session_start_info", "session_end_info"]
    chosen = HParamsPluginData.FromString(told[1].metadata.plugin_data.content).session_start_info.hparams
    assert set(chosen) == set(trials[0].choice)
    assert chosen["learning_rate"].number_value == trials[0].choice["learning_rate"]
    assert chosen["head_teff"].string_value == "-".join(map(str, trials[0].choice["head_teff"]))


def test_tensorboard_is_always_the_same_on_a_disk_or_not(tmp_path):
    trials, _ = search(CONFIG)
    found = []
    for out in ("memory://search-for-tensorboard", str(tmp_path), str(tmp_path)):
        write_tensorboard(out, trials)
        root = places.join(out, TENSORBOARD_NAME)
        found.append([places.read_bytes(places.join(root, run, EVENTS_NAME)) for run in sorted(places.names(root))])
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(trials)
