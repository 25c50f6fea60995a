"""``raystellar plan``: the size of a job before a cluster is asked for time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import SPECTRA_HELP, Command

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    parser.add_argument("--model", metavar="BUNDLE", help="plan to label with this bundle (default: to preprocess)")
    parser.add_argument("--sample", type=int, default=512, metavar="N", help="spectra to time (default: 512)")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Time a sample and print the plan."""
    from raystellar.stages.plan import plan, plan_table

    print(
        plan_table(
            plan(
                options.spectra,
                model=options.model,
                config=settings.preprocess,
                fetch=settings.fetch,
                sample=options.sample,
            )
        )
    )
    return 0


COMMAND = Command(
    name="plan",
    summary="size a job: spectra per second, hours, disk and memory",
    examples=("raystellar plan dr12/spectra/lite", "raystellar plan dr12/spectra/lite --model model"),
    sections=("preprocess", "fetch"),
    add_options=add_options,
    run=run,
)
