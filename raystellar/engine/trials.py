"""Run the trials of a search: by Ray Tune, or in this process.

Ray Tune places workers (CPUs, a share of a GPU), replaces lost workers, and gives each worker one task after the other.
The conductor chooses the tasks; Tune asks it through the ``Searcher``. The task of a lost worker goes back to the
conductor. The spectra lie in the object store of each node
once, and no worker copies them. The files of Tune itself are deleted: a search resumes from its own folder alone.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

from raystellar.config import digest
from raystellar.engine.session import room_for
from raystellar.errors import ConfigError, IncompleteError, first_line
from raystellar.files import places
from raystellar.fit.checkpoints import Checkpoints
from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
from raystellar.model.architecture import NetworkConfig
from raystellar.search.conductor import Conductor
from raystellar.search.schedule import Task
from raystellar.search.space import Space

NAP_S = 0.3
"""Time that a worker without a task sleeps before it asks again [s]."""


@dataclass(frozen=True, kw_only=True)
class TuneResources:
    """Processors of the trials. No setting changes a result beyond the rounding of sums."""

    cpus_per_trial: float = 1.0
    """CPUs that Ray reserves for each trial; torch gets as many threads."""

    use_gpu: Literal["auto", "yes", "no"] = "auto"
    """Whether trials run on GPUs; ``auto``: yes where the cluster has some."""

    trials_per_gpu: int = 4
    """Trials that share a GPU, since one small network does not fill it."""

    max_failures: int = 3
    """Number of times that a task whose worker was lost is begun again before the search gives up."""

    def __post_init__(self) -> None:
        if self.cpus_per_trial <= 0 or self.trials_per_gpu < 1 or self.max_failures < 0:
            raise ValueError(
                f"cpus_per_trial = {self.cpus_per_trial:g} must be positive, trials_per_gpu = {self.trials_per_gpu} at "
                f"least 1 and max_failures = {self.max_failures} at least 0"
            )


@dataclass(frozen=True)
class Work:
    """The settings that every worker needs besides the spectra.

    Attributes
    ----------
    space : translates a choice into the settings of network and training
    fit : training settings that are not searched
    data : digest of the dataset
    folder : folder of the checkpoints, a path or URL that all workers see
    timed : whether the time of inference is measured
    use_gpu : whether each worker has a GPU
    """

    space: Space
    fit: FitConfig
    data: str
    folder: str
    timed: bool
    use_gpu: bool = False

    def checkpoints(self, task: Task, network: NetworkConfig, fit: FitConfig) -> Checkpoints:
        """Return the checkpoints by which a trial hands its state to its next task."""
        identity = digest({"network": network, "fit": fit, "data": self.data})
        name = f"trial-{task.trial:05d}-{task.repeat}"
        return Checkpoints(places.join(self.folder, name), identity, keep=1, durable=False)


class Runner:
    """Run tasks in one process, one after the other."""

    def __init__(self, spectra: dict[str, SpectraSet], work: Work, threads: int) -> None:
        import torch

        from raystellar.fit.trial import Fitter, device

        torch.set_num_threads(threads)
        self._work = work
        self._fitter = Fitter(**spectra, config=work.fit, device=device(work.use_gpu), timed=work.timed)

    def __call__(self, task: Task, choice: dict[str, Any]) -> dict[str, Any]:
        """Continue the training of a trial; return the new entries of its record."""
        network, fit = self._work.space.meaning(choice)
        fit = replace(fit, seed=(fit.seed + task.repeat) % 2**63)
        return self._fitter(network, fit, task.until, self._work.checkpoints(task, network, fit))


def run_here(conductor: Conductor, spectra: dict[str, SpectraSet], work: Work, resources: TuneResources) -> None:
    """Run all tasks in this process.

    Raises
    ------
    ConfigError : a GPU was asked for and there is none
    """
    from raystellar.fit.trial import device
    from raystellar.model.threads import threads

    if resources.use_gpu == "yes" and device(True) == "cpu":
        raise ConfigError("tuning.use_gpu = 'yes' but torch sees no GPU here; set 'auto' or 'no'")
    with threads(1):
        runner = Runner(spectra, replace(work, use_gpu=resources.use_gpu != "no"), threads=1)
        while (task := conductor.take()) is not None:
            conductor.put(task, runner(task, conductor.trials[task.trial].choice))


def run_on_ray(
    conductor: Conductor, spectra: dict[str, SpectraSet], work: Work, resources: TuneResources, workers: int = 0
) -> None:
    """Run all tasks by Ray Tune; Ray must be initialised.

    Parameters
    ----------
    conductor : hands out tasks and records their outcomes
    spectra : training and validation spectra by the name of the split
    work : settings of all trials
    resources : processors of each trial
    workers : parallel trials; 0: as many as the cluster has room for

    Raises
    ------
    ConfigError : the cluster has no room for one trial
    IncompleteError : a worker was lost more than ``resources.max_failures`` times
    """
    needed = needs_of(resources)
    work = replace(work, use_gpu="gpu" in needed)
    # no files and no tables of Tune, and no handler of Tune for the interrupt key
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        TUNE_MAX_PENDING_TRIALS_PG=str(conductor.config.trials),  # with the default 1 a second worker never starts
        RAY_AIR_NEW_OUTPUT="0",
    )
    from ray import tune

    from raystellar.model.threads import threads

    fitting = max(1, room_for(needed))
    searcher = _searcher(conductor, min(workers or fitting, fitting), resources.max_failures)
    trainable = tune.with_parameters(_trainable(), spectra=spectra, work=work, threads=int(resources.cpus_per_trial))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # tables and tracebacks would hide the line of progress
    with tempfile.TemporaryDirectory(prefix="raystellar-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, needed),
            tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        with threads(1):  # the sampler gp is nine times slower with two threads
            results = tuner.fit()
    if searcher.lost:
        cause = first_line(results.errors[-1]) if results.errors else "an unknown cause"
        raise IncompleteError(
            f"the worker of trial {searcher.lost[0].trial} failed {resources.max_failures + 1} times, at last with: "
            f"{cause}; remove the cause and run the same command again"
        )


def needs_of(resources: TuneResources) -> dict[str, float]:
    """Return the amounts of ``cpu`` and ``gpu`` that Ray reserves for each trial.

    Raises
    ------
    ConfigError : no node of the cluster has room for one trial
    """
    import ray

    nodes = [
        {name.lower(): amount for name, amount in node["Resources"].items()} for node in ray.nodes() if node["Alive"]
    ]
    needed = {"cpu": resources.cpus_per_trial}
    if resources.use_gpu == "yes" or (resources.use_gpu == "auto" and any(node.get("gpu") for node in nodes)):
        needed["gpu"] = 1 / resources.trials_per_gpu
    if not any(all(node.get(name, 0.0) >= amount for name, amount in needed.items()) for node in nodes):
        wanted = " and ".join(f"{amount:g} {name.upper()}" for name, amount in needed.items())
        there = "; ".join(f"{node.get('cpu', 0.0):g} CPU and {node.get('gpu', 0.0):g} GPU" for node in nodes[:3])
        raise ConfigError(f"a trial needs {wanted} on one node and no node of the cluster has them ({there})")
    return needed


def _searcher(conductor: Conductor, workers: int, max_failures: int) -> Any:
    """Return the ``Searcher`` by which Ray Tune asks the conductor for tasks.

    A worker that must wait for other trials sleeps for a moment, again and again: Tune would end an idle worker, and a
    new worker takes ten seconds to start.

    Losses of workers are counted here. The ``max_failures`` of Tune do not count a worker that was lost between two
    tasks: the trial that gets this worker next ends at once.
    """
    from ray.tune.search import Searcher

    class Tasks(Searcher):
        def __init__(self) -> None:
            super().__init__(metric="epochs", mode="max")
            self._tasks: dict[str, Task] = {}
            self._asleep: set[str] = set()
            self._failures: Counter[Task] = Counter()
            self.lost: list[Task] = []

        def suggest(self, trial_id: str) -> Any:
            if len(self._asleep) + len(self._tasks) >= workers:
                return None
            task = None if self.lost else conductor.take()
            if task is None:
                if conductor.finished or (self.lost and not conductor.running):
                    return Searcher.FINISHED
                self._asleep.add(trial_id)
                return {"task": None}
            self._tasks[trial_id] = task
            return {"task": tuple(task), "choice": conductor.trials[task.trial].choice}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            self._asleep.discard(trial_id)
            task = self._tasks.pop(trial_id, None)
            if task is None:
                return
            if error or not result:
                conductor.give_back(task)
                self._failures[task] += 1
                if self._failures[task] > max_failures:
                    self.lost.append(task)
            else:
                conductor.put(task, json.loads(result["outcome"]))

        def save(self, checkpoint_path: str) -> None: ...

        def restore(self, checkpoint_path: str) -> None: ...

    return Tasks()


def _trainable() -> Any:
    """Return the class that Ray Tune runs: one trial of Tune is one step, and one step is one task."""
    import ray
    from ray import tune

    class Worker(tune.Trainable):
        def setup(self, config: dict[str, Any], spectra: Any = None, work: Any = None, threads: int = 1) -> None:
            self._runner = Runner(spectra, work, max(1, threads))
            self._where = f"{ray.util.get_node_ip_address()} pid {os.getpid()}"
            self._gpus = [str(gpu) for gpu in ray.get_gpu_ids()]

        def step(self) -> dict[str, Any]:
            if self.config["task"] is None:
                time.sleep(NAP_S)
                return {"epochs": 0, "done": True}
            task = Task(*self.config["task"])
            outcome = self._runner(task, self.config["choice"])
            worker = self._where + (f" gpu {','.join(self._gpus)}" if self._gpus else "")
            text = json.dumps(outcome | {"worker": worker})  # one text, since Tune flattens mappings
            return {"outcome": text, "epochs": task.until, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

    return Worker
