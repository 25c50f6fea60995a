"""``raystellar train``: preprocessed spectra -> a model bundle."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raystellar.cli.command import NO_REPORT_HELP, Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import page_at_end
from raystellar.config import to_plain
from raystellar.errors import ConfigError

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings

SECTIONS = ("network", "fit", "training", "resources")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="folder written by preprocess")
    parser.add_argument("--out", required=True, metavar="BUNDLE", help="folder to write")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of weights, noise and order")
    parser.add_argument("--workers", type=int, metavar="N", help="Ray Train workers; 0 trains in this process")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle made from other data or settings")
    parser.add_argument("--no-report", action="store_true", help=NO_REPORT_HELP)


def own_settings(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the settings that options of the command set; ``--local`` trains in this process.

    Raises
    ------
    ConfigError : ``--local`` is given together with workers of Ray Train
    """
    if options.local and options.workers:
        raise ConfigError(f"--local trains in this process and --workers {options.workers} on Ray; give one of them")
    return {"fit": {"seed": options.seed}, "training": {"workers": 0 if options.local else options.workers}}


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Train a model and write its page.

    Raises
    ------
    ConfigError : ``--address`` is given without workers of Ray Train
    """
    if options.address and not settings.training.workers:
        raise ConfigError(f"--address {options.address} names a cluster and no workers train there; add --workers N")
    return train_and_report(options, options.out, settings, options.overwrite)


def train_and_report(options: argparse.Namespace, out: str, settings: Settings, overwrite: bool = False) -> int:
    """Train a model on ``options.dataset``, write it and its page to the folder ``out``, and return the exit code."""
    from raystellar.engine.session import session
    from raystellar.stages.train import train

    with session(replace(settings.resources, local=settings.training.workers == 0)):
        summary = train(
            options.dataset,
            out,
            network=settings.network,
            fit=settings.fit,
            resources=settings.training,
            provenance={name: to_plain(getattr(settings, name)) for name in SECTIONS},
            overwrite=overwrite,
        )
    say(str(summary))
    page_at_end(out, wanted=not options.no_report, changed=not summary.reused, dataset=options.dataset)
    return 0


COMMAND = Command(
    name="train",
    summary="preprocessed Parquet -> model bundle",
    examples=(
        "raystellar train dataset --out model",
        "raystellar train dataset --out model --preset paper --set fit.seed=3",
        "raystellar train dataset --out model --workers 4",
    ),
    sections=SECTIONS,
    where=("local", "address"),
    own_settings=own_settings,
    add_options=add_options,
    run=run,
)
