"""``raystellar tune``: preprocessed spectra -> the best hyperparameters."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from raystellar.cli.command import Command
from raystellar.cli.commands import train
from raystellar.cli.logs import say

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="folder written by preprocess")
    parser.add_argument("--out", required=True, metavar="SEARCH", help="folder to write")
    parser.add_argument("--trials", type=int, metavar="N", help="distinct choices to try (default: 100)")
    parser.add_argument("--sampler", metavar="NAME", help="tpe, gp or random (default: tpe)")
    parser.add_argument("--warm-start", metavar="EARLIER", help="folder of a search in the same space to learn from")
    parser.add_argument("--then-train", metavar="BUNDLE", help="train the best choice at once, into this folder")
    parser.add_argument("--no-report", action="store_true", help="no _report.html of the bundle of --then-train")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Search the hyperparameters, print the best, and train it if asked to."""
    from raystellar.stages.tune import tune

    summary = tune(
        options.dataset,
        options.out,
        network=settings.network,
        fit=settings.fit,
        config=settings.tune,
        space=settings.space,
        resources=settings.resources,
        tuning=settings.tuning,
        warm_start=options.warm_start,
    )
    say(str(summary))
    if options.then_train:
        return train.train_and_report(options, options.then_train, replace(settings, **summary.settings))
    return 0


COMMAND = Command(
    name="tune",
    summary="preprocessed Parquet -> the best hyperparameters",
    examples=(
        "raystellar tune dataset --out search",
        "raystellar tune dataset --out search --trials 30 --set tune.objective=parameters",
        "raystellar tune dataset --out search --warm-start earlier --then-train model",
    ),
    sections=("tune", "space", "network", "fit", "tuning", "training", "resources"),
    where=("local", "address", "actors"),
    own_settings=lambda options: {"tune": {"trials": options.trials, "sampler": options.sampler}},
    add_options=add_options,
    run=run,
)
