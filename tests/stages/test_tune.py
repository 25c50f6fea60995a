"""The stage ``tune``: the same trials wherever it runs, however often it is killed."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from fitdata import rows, write
from searches import CONFIG, FIT, LONG_CONFIG, LONG_FIT, SPACE, epochs_on_record, records, search, workers
from servers import s3_server, use_s3

from raystellar.cli import main
from raystellar.cli.settings import compose
from raystellar.engine.session import Resources
from raystellar.engine.trials import TuneResources, needs_of
from raystellar.errors import ConfigError, IncompleteError, InputError, OutputError
from raystellar.model.bundle_files import load_bundle
from raystellar.search.conductor import Conductor
from raystellar.search.space import key
from raystellar.search.trials import TRIALS_NAME, Trial, read_trials
from raystellar.stages.tune import BEST_NAME

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return str(write(tmp_path_factory.mktemp("tune") / "dataset", rows(90)))


@pytest.fixture(scope="module")
def done(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "search"
    return out, search(dataset, out)


@pytest.fixture(scope="module")
def long(dataset, tmp_path_factory):
    """The records of a longer search that nothing has interrupted."""
    out = tmp_path_factory.mktemp("long") / "search"
    search(dataset, out, config=LONG_CONFIG, fit=LONG_FIT)
    return records(out)


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    """A file of settings that ask for the longer search."""
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    lists = {name: json.dumps(values) for name, values in vars(SPACE).items()}
    path.write_text(
        "[space]\n" + "\n".join(f"{name} = {values}" for name, values in lists.items()) + "\n"
        "[tune]\ntrials = 8\ngeneration = 4\nrungs = [2, 5]\nkeep = 2\nfinalists = 2\nseeds = 2\n"
        "[fit]\nepochs = 16\nleast_steps = 0\nbatch_size = 4\ncopies = 3\n"
    )
    assert compose(config=str(path)).tune == LONG_CONFIG
    assert compose(config=str(path)).space == SPACE
    return path


def said(capsys):
    """Return the one sentence on standard error."""
    told = capsys.readouterr().err
    assert told.startswith("raystellar tune: ")
    assert told.count("\n") == 1
    assert "Traceback" not in told
    return told


def test_a_search(done):
    out, summary = done
    trials = read_trials(str(out))
    assert trials == summary.trials
    assert len({key(trial.choice) for trial in trials}) == len(trials) == 8
    assert [trial.generation for trial in trials] == [0] * 4 + [1] * 4
    assert sorted(trial.epochs for trial in trials) == [1] * 4 + [2] * 2 + [3] * 2
    assert sum(bool(trial.repeats) for trial in trials) == 2
    assert summary.epochs == 8 + 4 + 2 + 2 * 3
    finalists = [trial for trial in trials if trial.repeats]
    assert summary.best == min(finalists, key=Trial.mean_loss)
    for trial in trials:
        assert len(trial.validation) == len(trial.training) == len(trial.mae)
        assert all(map(math.isfinite, trial.validation))
        assert trial.parameters > 0
        assert trial.seconds > 0
    assert f"best: trial {summary.best.number}" in str(summary)
    assert not (out / "checkpoints").exists()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_a_finished_search_is_not_done_again(dataset, done, monkeypatch):
    def started(*_, **__):
        raise AssertionError("something was run")

    monkeypatch.setattr("raystellar.stages.tune._run", started)
    before = {name: (done[0] / name).read_bytes() for name in (TRIALS_NAME, BEST_NAME)}
    again = search(dataset, done[0], resources=Resources())
    assert again.best == done[1].best
    assert again.resumed == 8
    assert {name: (done[0] / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"config": replace(CONFIG, trials=9)}, "tune"),
        ({"config": replace(CONFIG, seed=1)}, "tune"),
        ({"fit": replace(FIT, epochs=4)}, "fit"),
        ({"space": replace(SPACE, stem=(8, 16, 32))}, "space"),
    ],
)
def test_another_search_is_refused(dataset, done, other, named):
    with pytest.raises(OutputError, match=rf"another job \(different: {named}\)"):
        search(dataset, done[0], **other)


def test_other_data_and_a_warm_start_are_another_search(done, dataset, tmp_path):
    other = write(tmp_path / "dataset", rows(60, seed=1))
    run = json.loads((other / "_run.json").read_text())
    (other / "_run.json").write_text(json.dumps(run | {"digest": "fedcba9876543210"}))
    with pytest.raises(OutputError, match="different: the dataset"):
        search(str(other), done[0])
    with pytest.raises(OutputError, match="different: warm_start"):
        search(dataset, done[0], warm_start=str(done[0]))


def test_the_winner_as_settings(dataset, done, tmp_path, capsys):
    out, summary = done
    settings = compose(config=str(out / BEST_NAME))
    assert settings.network == summary.settings["network"]
    assert settings.fit == summary.settings["fit"]
    assert settings.fit.learning_rate == summary.best.choice["learning_rate"]  # to the last bit
    model = tmp_path / "model"
    words = ["train", dataset, "--config", str(out / BEST_NAME), "--out", str(model), "--local"]
    assert main([*words, "--set", "fit.members=1"]) == 0
    bundle = load_bundle(model)
    assert bundle.network == summary.settings["network"]
    assert [[past["validation_loss"] for past in history] for history in bundle.history] == [summary.best.validation]
    capsys.readouterr()


def test_search_and_train_in_one_command(dataset, tmp_path, capsys):
    words = ["tune", dataset, "--out", str(tmp_path / "search"), "--trials", "2", "--sampler", "random", "--local"]
    small = ("fit.epochs=2", "fit.least_steps=0", "tune.rungs=[1]", "tune.seeds=1", "space.stem=[8, 16]")
    words += [word for setting in small for word in ("--set", setting)]
    words += ["--then-train", str(tmp_path / "model")]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "best: trial" in told.out
    bundle = load_bundle(tmp_path / "model")
    settings = compose(config=str(tmp_path / "search" / BEST_NAME))
    assert bundle.network == settings.network
    assert bundle.config["fit"]["learning_rate"] == settings.fit.learning_rate
    assert main(words) == 0  # all is there already
    assert "nothing done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--sampler", "grid"], "tune.sampler = 'grid' must be one of"),
        (["--trials", "0"], "trials = 0 must be at least 1"),
        (["--set", "tune.rungs=[3, 1]"], "must increase"),
        (["--set", "tune.rungs=[0, 1]"], "must increase"),
        (["--set", "tune.keep=1"], "keep = 1"),
        (["--set", "space.stem=[]"], "must hold values"),
        (["--set", "space.stem=[64, 0, 128]"], "must hold widths"),
        (["--set", "space.learning_rate=[1e-3]"], "learning_rate"),
        (["--set", "space.stems=[64]"], "did you mean stem"),
        (["--set", "tuning.trials_per_gpu=0"], "trials_per_gpu = 0"),
        (["--warm-start", "nowhere"], "nowhere holds no search to start from"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(dataset, tmp_path, capsys, words, cause):
    assert main(["tune", dataset, "--out", str(tmp_path / "search"), "--local", *words]) == 1
    assert cause in said(capsys)
    assert not (tmp_path / "search").exists()


def test_a_gpu_that_is_not_there(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        search(dataset, tmp_path / "search", tuning=TuneResources(use_gpu="yes"))


def test_threads_of_torch_are_left_as_they_were(dataset, tmp_path):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search(dataset, tmp_path / "search", config=replace(CONFIG, trials=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_dataset_or_an_output_that_is_none(dataset, tmp_path, capsys):
    assert main(["tune", str(tmp_path / "nowhere"), "--out", str(tmp_path / "search"), "--local"]) == 1
    assert "does not exist" in said(capsys)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert main(["tune", dataset, "--out", str(tmp_path / "thesis"), "--local"]) == 1
    assert "already holds something else" in said(capsys)


def test_a_warm_start(dataset, done, tmp_path):
    warm = search(dataset, tmp_path / "warm", warm_start=str(done[0]))
    cold = {key(trial.choice) for trial in done[1].trials}
    assert [key(trial.choice) in cold for trial in warm.trials[:4]].count(True) == 1  # the best is tried again
    other = replace(SPACE, stem=(32, 64))
    with pytest.raises(ConfigError, match="not in this space"):
        search(dataset, tmp_path / "other", space=other, warm_start=str(done[0]))
    with pytest.raises(InputError, match="no search to start from"):
        search(dataset, tmp_path / "other", warm_start=dataset)


def test_an_output_on_no_disk(dataset, done):
    summary = search(dataset, "memory://search-of-tests")
    assert records("memory://search-of-tests") == records(done[0])
    assert summary.settings == done[1].settings


def test_the_greatest_seed_has_others_after_it(dataset, tmp_path):
    summary = search(dataset, tmp_path / "search", fit=replace(FIT, seed=2**63 - 1), config=replace(CONFIG, trials=2))
    assert any(trial.repeats for trial in summary.trials)


def test_choices_that_burst_are_on_record(dataset, tmp_path):
    fit = replace(FIT, huber_delta=1e38, warmup_fraction=0.0)
    space = replace(SPACE, learning_rate=(1e-3, 1e38))
    summary = search(dataset, tmp_path / "search", fit=fit, space=space, config=replace(CONFIG, sampler="random"))
    failed = [trial for trial in summary.trials if trial.failure]
    assert 0 < len(failed) < 8
    assert all("never finite" in trial.failure and not trial.epochs for trial in failed)
    assert summary.best.epochs == 3


@pytest.mark.parametrize("objective", ["parameters", "time"])
def test_two_costs(dataset, tmp_path, objective):
    summary = search(dataset, tmp_path / "search", config=replace(CONFIG, objective=objective))
    assert len(summary.trials) == 8
    assert all((trial.predict_ms > 0) == (objective == "time") for trial in summary.trials)
    again = search(dataset, tmp_path / "search", config=replace(CONFIG, objective=objective))
    assert again.best == summary.best


def command(dataset, out, settings_file, *words):
    return [sys.executable, "-m", "raystellar", "tune", dataset, "--out", str(out), "--config", str(settings_file),
            *words]  # fmt: skip


def run_until(words, out, goal):
    """Run a command, and kill it as soon as so many epochs are on record; return what was then."""
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        end = time.monotonic() + 300
        while running.poll() is None and time.monotonic() < end and epochs_on_record(out) < goal:
            time.sleep(0.002)
        assert running.poll() is None, running.stdout.read().decode()[-2000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
        running.wait()
        running.stdout.close()
    return epochs_on_record(out)


@pytest.mark.processes
def test_killed_again_and_again(dataset, long, settings_file, tmp_path):
    out = tmp_path / "search"
    words = command(dataset, out, settings_file, "--local")
    reached = [run_until(words, out, goal) for goal in (1, 12, 50)]
    assert reached == sorted(set(reached))
    assert records(out) != long
    assert main(words[3:]) == 0
    assert records(out) == long


@pytest.mark.ray
def test_ray_makes_the_same_search(dataset, done, tmp_path, ray_session):
    summary = search(dataset, tmp_path / "search", resources=Resources())
    assert records(tmp_path / "search") == records(done[0])
    assert summary.settings == done[1].settings
    assert all(re.fullmatch(r"[\d.]+ pid \d+", trial.worker) for trial in summary.trials)


@pytest.mark.ray
def test_a_worker_killed_in_the_middle_changes_nothing(dataset, long, tmp_path, ray_session):
    out, killed, over = tmp_path / "search", [], threading.Event()

    def kill():
        for goal in (3, 25):
            while not over.is_set() and not (epochs_on_record(out) >= goal and workers()):
                time.sleep(0.02)
            for process in workers()[:1]:
                process.kill()
                killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = search(dataset, out, config=LONG_CONFIG, fit=LONG_FIT, resources=Resources())
    finally:
        over.set()
        killer.join()
    assert len(killed) == 2
    assert records(out) == long
    assert len(summary.trials) == 8


@pytest.mark.ray
def test_workers_lost_between_two_tasks_change_nothing(dataset, done, tmp_path, ray_session, monkeypatch):
    """Ray Tune notices such a loss when it gives the worker its next task."""
    put, killed = Conductor.put, []

    def put_and_kill(conductor, task, outcome):
        put(conductor, task, outcome)
        if len(killed) < 2:
            killed.append(int(re.search(r"pid (\d+)", outcome["worker"])[1]))
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(Conductor, "put", put_and_kill)
    search(dataset, tmp_path / "search", resources=Resources())
    assert len(set(killed)) == 2
    assert records(tmp_path / "search") == records(done[0])


@pytest.mark.ray
def test_workers_lost_too_often_end_the_search_which_then_goes_on(dataset, long, tmp_path, ray_session):
    out, over = tmp_path / "search", threading.Event()

    def kill():
        while not over.is_set() and not (epochs_on_record(out) >= 3 and workers()):
            time.sleep(0.02)
        for process in workers():
            process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(IncompleteError, match=r"failed 1 times, at last with: .*; remove the cause"):
            search(dataset, out, config=LONG_CONFIG, fit=LONG_FIT, resources=Resources(),
                   tuning=TuneResources(max_failures=0))  # fmt: skip
    finally:
        over.set()
        killer.join()
    assert records(out) != long
    search(dataset, out, config=LONG_CONFIG, fit=LONG_FIT)
    assert records(out) == long


@pytest.mark.ray
def test_a_killed_driver_on_ray(dataset, long, settings_file, tmp_path):
    """The workers that outlive it for a moment do no harm to the next, which is another process."""
    out = tmp_path / "search"
    run_until(command(dataset, out, settings_file), out, 12)
    assert records(out) != long
    assert main(command(dataset, out, settings_file, "--local")[3:]) == 0
    assert records(out) == long


@pytest.mark.ray
def test_a_search_on_s3_killed_and_continued(dataset, long, settings_file, monkeypatch):
    """Dataset, records and the states of trials on a real S3 server; the driver is killed once."""
    with s3_server() as url:
        use_s3(monkeypatch, url)
        remote = fsspec.filesystem("s3")
        remote.mkdir("bucket")
        remote.put(f"{dataset}/", "bucket/dataset/", recursive=True)
        words = command("s3://bucket/dataset", "s3://bucket/search", settings_file)
        assert run_until(words, "s3://bucket/search", 12) >= 12
        assert remote.ls("bucket/search/checkpoints")  # what goes on after a rung need not begin anew
        assert main([*words[3:], "--local"]) == 0
        assert records("s3://bucket/search") == long
        remote.invalidate_cache()
        left = {name.rsplit("/", 1)[-1] for name in remote.ls("bucket/search")}
        assert left == {"_run.json", "best.toml", "_report.html", "tensorboard", "trials.json"}


@pytest.mark.ray
def test_a_cluster_without_room_is_refused(dataset, tmp_path, ray_session):
    for tuning in (TuneResources(cpus_per_trial=1000), TuneResources(use_gpu="yes")):
        with pytest.raises(ConfigError, match="a trial needs") as told:
            search(dataset, tmp_path / "search", resources=Resources(), tuning=tuning)
        assert "\n" not in str(told.value)


@pytest.mark.ray
def test_room_is_room_on_one_node(monkeypatch):
    def cluster(*nodes):
        monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])

    cluster({"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0})
    assert needs_of(TuneResources()) == {"cpu": 1.0, "gpu": 0.25}
    assert needs_of(TuneResources(use_gpu="no", cpus_per_trial=2)) == {"cpu": 2}
    with pytest.raises(ConfigError, match="3 CPU"):
        needs_of(TuneResources(use_gpu="no", cpus_per_trial=3))  # four there are, but on two nodes
    cluster({"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0})
    with pytest.raises(ConfigError, match=r"2 CPU and 0\.25 GPU on one node"):
        needs_of(TuneResources(cpus_per_trial=2))
    cluster({"memory": 1.0})
    with pytest.raises(ConfigError):
        needs_of(TuneResources())


GPUS = """
import json, sys, threading
from dataclasses import replace

import ray
from searches import LONG_CONFIG, LONG_FIT, search, workers

from raystellar.engine.session import Resources
from raystellar.engine.trials import TuneResources

ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
seen, over = [], threading.Event()


def watch():
    while not over.wait(0.01):
        seen.append([process.pid for process in workers()])


watcher = threading.Thread(target=watch)
watcher.start()
config = replace(LONG_CONFIG, rungs=(), generation=8, seeds=1)  # one worker a trial, which its record names
summary = search(*sys.argv[1:], config=config, fit=LONG_FIT, resources=Resources(),
                 tuning=TuneResources(trials_per_gpu=2))
over.set()
watcher.join()
print(json.dumps([seen, [trial.worker for trial in summary.trials]]))
"""


@pytest.mark.ray
def test_trials_share_the_gpus(dataset, tmp_path):
    """On two GPUs that are only declared, two trials at a time each."""
    here = {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", GPUS, dataset, str(tmp_path / "search")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False, env={**os.environ, **here})
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen, told = json.loads(ran.stdout.splitlines()[-1])
    gpu_of = {}
    for worker in told:
        found = re.fullmatch(r"[\d.]+ pid (\d+) gpu ([01])", worker)
        assert found, worker
        gpu_of[int(found[1])] = found[2]
    assert set(gpu_of.values()) == {"0", "1"}
    counts = [[sum(gpu_of.get(pid) == gpu for pid in now) for gpu in "01"] for now in seen]
    assert max(map(max, counts)) <= 2
    assert max(map(sum, counts)) >= 2
    assert len(told) == 8
