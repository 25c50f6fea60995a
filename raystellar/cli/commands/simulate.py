"""``raystellar simulate``: a survey of simulated stars, written as SDSS files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_end

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--stars", type=int, metavar="N", help="number of stars")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of all randomness")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Simulate a survey and print its counts."""
    from raystellar.stages.simulate import simulate

    summary = simulate(options.out, settings.simulate, settings.resources)
    survey = summary.survey
    before = f" ({summary.resumed_plates} plates existed already)" if summary.resumed_plates else ""
    say(f"{survey.stars} spectra of stars on {survey.plates} plates, {survey.labelled} in the label table{before}")
    say_end(summary.out, summary.seconds)
    return 0


COMMAND = Command(
    name="simulate",
    summary="simulate a survey, written as SDSS files",
    examples=(
        "raystellar simulate survey --stars 12000 --seed 1",
        "raystellar simulate survey --stars 2000 --set simulate.sky_fibres=8 --local",
    ),
    sections=("simulate", "resources"),
    where=("local", "address", "actors"),
    own_settings=lambda options: {"simulate": {"stars": options.stars, "seed": options.seed}},
    add_options=add_options,
    run=run,
)
