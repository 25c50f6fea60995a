"""The program ``raystellar``: all commands, and the entry point."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

import raystellar
from raystellar.cli.command import Command
from raystellar.cli.commands import (
    bench,
    demo,
    evaluate,
    export,
    fetch_list,
    label,
    plan,
    preprocess,
    report,
    simulate,
    train,
    tune,
)
from raystellar.cli.logs import configure
from raystellar.errors import RaystellarError

LOG = logging.getLogger(__name__)

COMMANDS: tuple[Command, ...] = (
    simulate.COMMAND,
    preprocess.COMMAND,
    tune.COMMAND,
    train.COMMAND,
    label.COMMAND,
    evaluate.COMMAND,
    report.COMMAND,
    export.COMMAND,
    fetch_list.COMMAND,
    plan.COMMAND,
    demo.COMMAND,
)
"""Commands in the order of the help."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="raystellar",
        description="From survey spectra to stellar parameters, distributed on Ray.",
        epilog="Start with: raystellar demo",
    )
    top.add_argument("--version", action="version", version=f"raystellar {raystellar.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    benches = commands.add_parser("bench", help="benchmarks of accuracy and of speed")
    below = benches.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for command in bench.BENCHES:
        command.add_to(below)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(arguments)
    name = f"raystellar {options.command}"
    try:
        configure(name, verbose=options.verbose, quiet=options.quiet, log_file=options.log_file)
        return options.action.start(options)
    except RaystellarError as error:
        LOG.error("%s", error)
        return 1
    except KeyboardInterrupt:
        LOG.error("interrupted; the same command goes on where it was")
        return 130
