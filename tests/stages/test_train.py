"""The stage ``train``."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading

import fsspec
import numpy as np
import pytest
from fitdata import PREPROCESS, rows, write
from servers import s3_server, use_s3

from raystellar.config import to_plain
from raystellar.engine.training import TrainResources
from raystellar.errors import BundleError, DatasetError, OutputError, RaystellarError
from raystellar.fit.config import FitConfig
from raystellar.fit.data import read_dataset
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle_files import load_bundle
from raystellar.schema import BUNDLE_NAME, OOD_NAME, WEIGHTS_NAME
from raystellar.stages.train import train

NETWORK = NetworkConfig(stem=8, blocks=(8,))
FIT = FitConfig(epochs=3, least_steps=0, batch_size=16, members=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return str(write(tmp_path_factory.mktemp("train") / "dataset", rows(90)))


def weights(path):
    return load_bundle(path).weights


def quiet(member, told):
    """Report nothing."""


def test_bundle_holds_all_that_made_it(dataset, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="raystellar")
    out = tmp_path / "deep" / "model"
    summary = train(dataset, str(out), network=NETWORK, fit=FIT, provenance={"network": {"stem": 8}})
    bundle = load_bundle(out)
    assert summary.model_id == bundle.model_id
    assert not summary.reused
    assert to_plain(bundle.preprocess) == PREPROCESS
    assert bundle.grid == {"start": 3.5754, "stop": 3.967, "n": 4000}
    assert (bundle.data_hash, bundle.config, bundle.seed) == ("0123456789abcdef", {"network": {"stem": 8}}, 0)
    assert set(bundle.validation["teff"]) == {"mae", "rmse", "bias", "scatter"}
    assert [len(history) for history in bundle.history] == [3, 3]
    assert (bundle.members, len(summary.best_epochs), bundle.best_epochs) == (2, 2, summary.best_epochs)
    for symbol in ("Teff", "[Fe/H]", "log g"):
        assert f"errors of {symbol}: std of z" in str(summary)
    assert bundle.calibration == summary.calibration
    assert bundle.calibration["teff"]["stars"] == 30
    assert sum(quarter["stars"] for quarter in bundle.calibration["teff"]["quartiles"]) == 30
    assert "6 of 6 epochs" in caplog.text
    assert caplog.text.count("network 2, epoch") == 4  # each epoch for who wants all messages, and the last line
    assert [path.name for path in out.parent.iterdir()] == ["model"]  # checkpoints are gone


@pytest.mark.parametrize("missing", [("ivar",), ("sn", "e_teff", "e_feh", "e_logg")])
def test_errors_are_calibrated_with_what_the_dataset_has(tmp_path, missing):
    columns = {name: [None] * 30 if name in missing else values for name, values in rows(30).items()}
    folder = write(tmp_path / "dataset", columns)
    train(str(folder), str(tmp_path / "model"), network=NETWORK, fit=FIT, report=quiet)
    bundle, spectra = load_bundle(tmp_path / "model"), read_dataset(folder).split("test")
    _, errors = bundle.predict_with_errors(spectra.flux, np.zeros((10, 500)), np.full(10, np.nan))
    assert np.isfinite(errors).all()
    assert (errors > 0).all()
    scores = bundle.ood_score(spectra.flux, np.ones((10, 500), dtype=np.float32))
    assert np.isnan(scores).all() == ("ivar" in missing)  # nothing is said where no noise was known


def test_the_same_again_does_nothing_and_another_is_refused(dataset, tmp_path):
    out = tmp_path / "model"
    first = train(dataset, str(out), network=NETWORK, fit=FIT, report=quiet)
    before = (out / BUNDLE_NAME).read_bytes()
    again = train(dataset, str(out), network=NETWORK, fit=FIT, report=quiet, resources=TrainResources(use_gpu="no"))
    assert again.reused
    assert again.model_id == first.model_id
    assert (out / BUNDLE_NAME).read_bytes() == before
    other = dataclasses.replace(FIT, seed=1)
    with pytest.raises(OutputError, match=f"holds model {first.model_id}"):
        train(dataset, str(out), network=NETWORK, fit=other, report=quiet)
    assert train(dataset, str(out), network=NETWORK, fit=other, report=quiet, overwrite=True).model_id != first.model_id


def test_output_is_checked_before_anything_is_trained(dataset, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not a model bundle"):
        train(dataset, str(tmp_path / "model"), overwrite=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / BUNDLE_NAME).write_text("{")
    with pytest.raises(OutputError, match="cannot be used"):
        train(dataset, str(tmp_path / "broken"), network=NETWORK, fit=FIT)
    train(dataset, str(tmp_path / "broken"), network=NETWORK, fit=FIT, overwrite=True, report=quiet)
    with pytest.raises(DatasetError, match="does not exist"):
        train(str(tmp_path / "nowhere"), str(tmp_path / "out"))


def test_a_gpu_that_is_not_there(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RaystellarError, match="sees no GPU"):
        train(dataset, str(tmp_path / "model"), network=NETWORK, fit=FIT, resources=TrainResources(use_gpu="yes"))


def test_interrupted_and_given_again(dataset, tmp_path):
    train(dataset, str(tmp_path / "whole"), network=NETWORK, fit=FIT, report=quiet)

    def interrupt(member, told):
        if (member, told.epoch) == (1, 2):
            raise KeyboardInterrupt

    out = str(tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, out, network=NETWORK, fit=FIT, report=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.checkpoints", "whole"]
    told = []
    train(dataset, out, network=NETWORK, fit=FIT, report=lambda member, entry: told.append((member, entry.epoch)))
    assert told == [(1, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "whole"]
    assert load_bundle(out).model_id == load_bundle(tmp_path / "whole").model_id


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, ignore_reinit_error=True)
    yield
    ray.shutdown()


def workers():
    """Return the process ids of the Ray Train workers below this process."""
    parents, names = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as command:
                parents[int(pid)] = int(stat.read().rpartition(")")[2].split()[1])
                names[int(pid)] = command.read()
        except OSError:
            continue

    def mine(pid):
        return pid == os.getpid() or (pid > 1 and mine(parents.get(pid, 0)))

    return [pid for pid, name in names.items() if "RayTrainWorker" in name and mine(pid)]


@pytest.mark.ray
def test_ray_workers_of_whom_one_is_killed_fit_the_same_network(dataset, tmp_path, cluster):
    fit = dataclasses.replace(FIT, epochs=15)
    train(dataset, str(tmp_path / "one"), network=NETWORK, fit=fit, report=quiet)
    told, killed = [], threading.Event()

    def kill(member, report):
        told.append((member, report.epoch))
        if report.epoch >= 3 and not killed.is_set():
            killed.set()
            os.kill(max(workers()), signal.SIGKILL)

    resources = TrainResources(workers=2)
    train(dataset, str(tmp_path / "two"), network=NETWORK, fit=fit, resources=resources, report=kill)
    assert killed.is_set()
    assert told == sorted(set(told))  # no epoch is done twice: the fit went on from its checkpoint
    assert told[-1] == (1, 15)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.ray
def test_dataset_and_model_on_s3(dataset, tmp_path, monkeypatch):
    """Fitted here and by a worker of Ray Train, on a real S3 server."""
    small = ("network.stem=8", "network.blocks=[8]", "fit.epochs=3", "fit.least_steps=0", "fit.batch_size=16")
    settings = [word for setting in (*small, "fit.members=2") for word in ("--set", setting)]
    train(dataset, str(tmp_path / "model"), network=NETWORK, fit=FIT, report=quiet)
    with s3_server() as url:
        use_s3(monkeypatch, url)
        remote = fsspec.filesystem("s3")
        remote.mkdir("bucket")
        remote.put(f"{dataset}/", "bucket/dataset/", recursive=True)
        files = {BUNDLE_NAME, WEIGHTS_NAME, OOD_NAME, "_report.html"}
        for name, workers in (("here", "0"), ("by-ray", "1")):
            words = ["train", "s3://bucket/dataset", "--out", f"s3://bucket/{name}", "--workers", workers, *settings]
            ended = subprocess.run(
                [sys.executable, "-m", "raystellar", *words],
                capture_output=True,
                text=True,
                timeout=500,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr[-2000:]
            remote.invalidate_cache()
            assert {path.rsplit("/", 1)[-1] for path in remote.ls(f"bucket/{name}")} == files
            assert not remote.exists(f"bucket/{name}.checkpoints")
            assert load_bundle(f"s3://bucket/{name}").model_id == load_bundle(tmp_path / "model").model_id
        assert train("s3://bucket/dataset", "s3://bucket/here", network=NETWORK, fit=FIT, report=quiet).reused
        with pytest.raises(OutputError, match="not a model bundle"):
            train("s3://bucket/dataset", "s3://bucket/dataset", network=NETWORK, fit=FIT, report=quiet)
        remote.rm_file(f"bucket/here/{BUNDLE_NAME}")  # as one that is being replaced
        with pytest.raises(BundleError, match=r"bundle\.json is not in it"):
            load_bundle("s3://bucket/here")
