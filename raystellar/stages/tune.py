"""Stage: preprocessed spectra -> the best hyperparameters, and a page about the search. Source: Sec. 6.

    dataset -> [ conductor: next task -> worker: train to the next rung -> record ] -> best.toml, page

The folder of a search holds ``trials.json``, the records from which a killed search resumes; ``best.toml``, settings
for ``raystellar train --config``; and ``_report.html`` and ``tensorboard/`` to look at. The result depends on the data,
the settings and the seeds, never on the number of trials that run at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raystellar.config import digest, or_default, to_plain, toml_text
from raystellar.engine.progress import Progress
from raystellar.engine.session import Resources, session
from raystellar.engine.trials import TuneResources, Work, run_here, run_on_ray
from raystellar.errors import DatasetError, IncompleteError, InputError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.files.places import PathOrUrl, as_path
from raystellar.fit.config import FitConfig
from raystellar.fit.data import FIT_COLUMNS, SpectraSet, read_dataset
from raystellar.model.architecture import NetworkConfig
from raystellar.output.run import begin_run
from raystellar.report.search.page import write_search_report
from raystellar.report.search.tensorboard import write_tensorboard
from raystellar.search.conductor import Conductor
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.search.schedule import costs, next_step, pareto_fronts, total_epochs
from raystellar.search.space import Space, key
from raystellar.search.trials import DONE, Trial, best, read_trials

BEST_NAME = "best.toml"
"""Settings of the best trial."""

FRONT = "front"
"""Folder of the settings of all trials of a Pareto front."""

CHECKPOINTS = "checkpoints"
"""Folder of the states of trials, removed at the end."""


@dataclass(frozen=True)
class TuneSummary:
    """The outcome of a search.

    Attributes
    ----------
    out : folder of the search
    trials : all trials
    best : the best trial
    settings : sections ``network`` and ``fit`` of the best trial
    states : number of trials by state
    epochs : epochs of all trials
    resumed : number of trials that an earlier run had proposed
    training_s : time that all workers together spent on training [s]
    overhead_s : time that all workers together spent otherwise [s]
    seconds : time of this run [s]
    """

    out: str
    trials: list[Trial]
    best: Trial
    settings: dict[str, Any]
    states: dict[str, int]
    epochs: int
    resumed: int
    training_s: float
    overhead_s: float
    seconds: float = field(default=0.0)

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in self.states.items())
        again = f" ({self.resumed} of an earlier run)" if self.resumed else ""
        return (
            f"{len(self.trials)} trials{again}: {states}; {self.epochs} epochs in {self.training_s:.1f} s of training, "
            f"{self.overhead_s / len(self.trials):.2f} s overhead a trial\n"
            f"best: trial {self.best.number}, validation loss {self.best.mean_loss():.5f} after {self.best.epochs} "
            f"epochs, mean of {1 + len(self.best.repeats)} seeds; {self.best.parameters} parameters\n"
            f"  {', '.join(f'{name} {value}' for name, value in _rounded(self.best).items())}\n"
            f"written: {places.join(self.out, BEST_NAME)}, _report.html; {self.seconds:.1f} s"
        )


def tune(
    dataset: PathOrUrl,
    out: PathOrUrl,
    *,
    network: NetworkConfig | None = None,
    fit: FitConfig | None = None,
    config: TuneConfig | None = None,
    space: SpaceConfig | None = None,
    resources: Resources | None = None,
    tuning: TuneResources | None = None,
    warm_start: PathOrUrl | None = None,
) -> TuneSummary:
    """Search the hyperparameters of network and training, and write the best ones.

    Parameters
    ----------
    dataset : folder written by ``raystellar preprocess``, a path or URL
    out : folder of the search, a path or URL. On a disk that not all workers see, a trial that continues after a rung
        may start anew, with the same result
    network, fit : settings that are not searched
    config : number of trials, sampler, rungs and objective
    space : values among which the search chooses
    resources : where the search runs; ``resources.local`` runs it without Ray
    tuning : processors of each trial
    warm_start : folder of an earlier search in the same space, whose trials the sampler learns from

    Raises
    ------
    DatasetError : the dataset is missing or damaged, or no trial had a finite loss
    OutputError : ``out`` holds another search or something else, or cannot be written
    ConfigError : the settings are not valid for a network, or the cluster has no room for a trial
    IncompleteError : workers were lost too often, or trials are missing at the end
    """
    dataset, out = as_path(dataset), as_path(out)
    warm_start = None if warm_start is None else as_path(warm_start)
    began = time.perf_counter()
    network, fit = or_default(network, NetworkConfig), or_default(fit, FitConfig)
    config, space = or_default(config, TuneConfig), or_default(space, SpaceConfig)
    resources, tuning = or_default(resources, Resources), or_default(tuning, TuneResources)
    data = read_dataset(dataset)
    fit = fit.for_spectra(data.counts()["train"])
    choices = Space(space, network, fit)
    earlier = _earlier(warm_start, choices)
    identity = {"tune": config, "space": space, "network": network, "fit": fit}
    identity |= {"data": data.about["digest"], "warm_start": digest([asdict(trial) for trial in earlier])}
    begin_run(out, "search", identity)
    places.remove_temporaries(out)
    conductor = Conductor(out, choices, config, fit.epochs, earlier)
    resumed = len(conductor.trials)
    folder = places.join(places.absolute(out), CHECKPOINTS)
    work = Work(choices, fit, data.about["digest"], folder, timed=config.objective == "time")
    if next_step(conductor.trials, config, fit.epochs):
        _run(conductor, data.splits(("train", "validation"), FIT_COLUMNS), work, resources, tuning)
    winner = _check(conductor.trials, config)
    _write_settings(places.join(out, BEST_NAME), choices, winner)
    if config.objective != "loss":
        _write_front(out, choices, conductor.trials, config, fit.epochs)
    write_search_report(out, conductor.trials, config, fit.epochs, choices)
    write_tensorboard(out, conductor.trials)
    places.remove_folder(work.folder)
    return TuneSummary(
        out=out,
        trials=conductor.trials,
        best=winner,
        settings=dict(zip(("network", "fit"), choices.meaning(winner.choice), strict=True)),
        states=dict(Counter(trial.state(fit.epochs) for trial in conductor.trials)),
        epochs=sum(trial.cost(fit.epochs) for trial in conductor.trials),
        resumed=resumed,
        training_s=sum(trial.seconds for trial in conductor.trials),
        overhead_s=sum(trial.overhead for trial in conductor.trials),
        seconds=time.perf_counter() - began,
    )


def _earlier(warm_start: str | None, space: Space) -> list[Trial]:
    """Return the trials of the earlier search in the folder ``warm_start``; an empty list for None.

    Raises
    ------
    InputError : the folder holds no search
    ConfigError : the trials were chosen from another space
    """
    if warm_start is None:
        return []
    trials = read_trials(warm_start) if (read_run(warm_start) or {}).get("kind") == "search" else []
    if not trials:
        raise InputError(f"{warm_start} holds no search to start from; name a folder that raystellar tune has written")
    for trial in trials:
        space.drawn(trial.choice)
    return trials


def _run(
    conductor: Conductor, spectra: dict[str, SpectraSet], work: Work, resources: Resources, tuning: TuneResources
) -> None:
    """Run the rest of a search, with progress."""
    from raystellar.fit.loop import check

    check(**spectra, network=work.space.network)
    with Progress("tune", total_epochs(conductor.config, work.fit.epochs), "epochs") as progress:
        conductor.watch = _Line(progress, conductor)
        if resources.local:
            run_here(conductor, spectra, work, tuning)
        else:
            with session(resources):
                run_on_ray(conductor, spectra, work, tuning, resources.actors)


class _Line:
    """Display of the state of a search on the line of progress."""

    def __init__(self, progress: Progress, conductor: Conductor) -> None:
        self._progress, self._shown = progress, _epochs(conductor)
        progress.skip(self._shown)

    def __call__(self, conductor: Conductor) -> None:
        trials, open_tasks = conductor.trials, len(conductor.running)
        epochs, begun = _epochs(conductor), sum(1 for trial in trials if trial.epochs or trial.failure)
        failed, winner = sum(1 for trial in trials if trial.failure), best(trials)
        parts = [f"trials {begun}/{conductor.config.trials}"]
        for rung in conductor.config.rungs:
            further = sum(1 for trial in trials if trial.epochs > rung)
            parts += [f"{further} past epoch {rung}"] if further else []
        parts += [f"{open_tasks} open"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"best {winner.loss():.4f} after {winner.epochs} epochs"] if winner else []
        self._progress.note(", ".join(parts))
        self._progress.add(epochs - self._shown)
        self._shown = epochs


def _epochs(conductor: Conductor) -> int:
    return sum(trial.cost(conductor.epochs) for trial in conductor.trials)


def _check(trials: Sequence[Trial], config: TuneConfig) -> Trial:
    """Return the best trial of a complete search.

    Raises
    ------
    IncompleteError : trials are missing, or two are equal
    DatasetError : no trial has a finite loss
    """
    distinct = len({key(trial.choice) for trial in trials})
    if not len(trials) == distinct == config.trials or any(not (trial.epochs or trial.failure) for trial in trials):
        raise IncompleteError(
            f"{len(trials)} of {config.trials} trials were recorded, {distinct} distinct; run the same command again"
        )
    winner = best(trials)
    if winner is None:
        raise DatasetError(f"none of {len(trials)} trials had a finite loss; the first failed: {trials[0].failure}")
    return winner


def _write_front(out: str, space: Space, trials: Sequence[Trial], config: TuneConfig, epochs: int) -> None:
    """Write the settings of each trial that no other trial beats in all costs to the folder ``front``."""
    done = [trial for trial in trials if trial.state(epochs) == DONE]
    places.make_folder(places.join(out, FRONT))
    for trial, front in zip(done, pareto_fronts([costs(trial, config) for trial in done]), strict=True):
        if front == 0:
            _write_settings(places.join(out, FRONT, f"trial-{trial.number:05d}.toml"), space, trial)


def _write_settings(path: str, space: Space, trial: Trial) -> None:
    """Write the settings of a trial, as ``raystellar train --config`` takes them."""
    network, fit = space.meaning(trial.choice)
    head = (
        f"# Trial {trial.number}: validation loss {trial.mean_loss():.6f} after {trial.epochs} epochs, mean "
        f"of {1 + len(trial.repeats)} seeds,\n# {trial.parameters} parameters. Use it with\n"
        f"#     raystellar train DATASET --config {path} --out MODEL\n\n"
    )
    text = head + toml_text({"network": to_plain(network), "fit": to_plain(fit)})
    places.write_bytes(path, text.encode())


def _rounded(trial: Trial) -> dict[str, Any]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in trial.choice.items()}
