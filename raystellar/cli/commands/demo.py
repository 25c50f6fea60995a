"""``raystellar demo``: the whole job on a simulated survey."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_end, say_page

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder to write (default: demo)")
    parser.add_argument("--stars", type=int, metavar="N", help="number of stars")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of all randomness")
    parser.add_argument("--no-report", action="store_true", help="no pages of the model and the catalogue")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the demo and print its errors against the truth."""
    from raystellar.cli.demo import demo, error_table

    summary = demo(options.out, settings, report=not options.no_report)
    say(f"\n{summary.spectra} held-out stars:")
    say(error_table(summary))
    say(f"picture: {summary.picture}")
    for page in summary.pages:
        say_page(page)
    say_end(options.out, summary.seconds)
    return 0


COMMAND = Command(
    name="demo",
    summary="the whole job on a simulated survey",
    examples=("raystellar demo", "raystellar demo --out /tmp/demo --stars 12000 --seed 1"),
    sections=("simulate", "labels", "splits", "preprocess", "network", "fit", "quality", "training", "resources"),
    where=("local", "address", "actors"),
    preset="demo",
    own_settings=lambda options: {"simulate": {"stars": options.stars, "seed": options.seed}},
    add_options=add_options,
    run=run,
)
