"""Small searches for hyperparameters, and ways to look at one that runs."""

import contextlib
import json

import psutil

from raystellar.engine.session import Resources
from raystellar.fit.config import FitConfig
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.trials import read_trials
from raystellar.stages.tune import tune

SPACE = SpaceConfig(
    stem=(8, 16),
    stem_dropout=(0.0, 0.2),
    blocks=(1, 2),
    block_units=(8,),
    trunk_dropout=(0.0, 0.3),
    heads=((8,), (), (8, 4)),
    head_dropout=(0.0, 0.1),
)
CONFIG = TuneConfig(trials=8, generation=4, rungs=(1, 2), keep=2, finalists=2, seeds=2)
FIT = FitConfig(epochs=3, least_steps=0, batch_size=16)
LONG_CONFIG = TuneConfig(trials=8, generation=4, rungs=(2, 5), keep=2, finalists=2, seeds=2)
LONG_FIT = FitConfig(epochs=16, least_steps=0, batch_size=4, copies=3)  # long enough to be killed in the middle
LOCAL = Resources(local=True)
MEASURED = ("seconds", "overhead", "worker", "predict_ms")
"""What differs from run to run."""


def search(dataset, out, **changed):
    asked = {"config": CONFIG, "fit": FIT, "space": SPACE, "resources": LOCAL} | changed
    return tune(dataset, str(out), **asked)


def records(out):
    """Return what is on record of all trials but what is measured, as text, for NaN equals nothing."""
    trials = [vars(trial) for trial in read_trials(str(out))]
    return [json.dumps({name: trial[name] for name in trial if name not in MEASURED}) for trial in trials]


def epochs_on_record(out):
    return sum(trial.epochs + len(trial.repeats) for trial in read_trials(str(out)))


def workers():
    """Return the processes of Ray below this one that are training a trial now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ray::ResourceTrainable.train" in " ".join(process.cmdline()):
                found.append(process)
    return found
