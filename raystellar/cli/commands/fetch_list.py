"""``raystellar fetch-list``: the addresses in the SDSS archive of the spectra of a label table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import LABELS_HELP, Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_labels

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings

RELEASES = tuple(f"dr{number}" for number in range(12, 21))
"""Names of ``labels.addresses.RELEASES``, which takes too long to import for a line of help."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("labels", metavar="TABLE", help=LABELS_HELP)
    parser.add_argument("--out", required=True, metavar="LIST", help="text file to write, one address a line")
    parser.add_argument("--release", default="dr12", choices=RELEASES, help="data release (default: dr12)")
    parser.add_argument("--full", action="store_true", help="full files with all exposures (default: lite)")
    parser.add_argument("--base", metavar="URL", help="address of a mirror, a bucket or a mounted copy of the archive")
    parser.add_argument("--run2d", metavar="X", help="reduction of all plates (default: the table's, else by plate)")
    parser.add_argument("--every", action="store_true", help="also spectra whose labels cannot be used")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Write the list and print its counts."""
    from raystellar.labels.addresses import BASE, write_addresses

    summary = write_addresses(
        options.labels,
        options.out,
        labels_config=settings.labels,
        release=options.release,
        full=options.full,
        base=options.base or BASE,
        run2d=options.run2d or "",
        every=options.every,
    )
    say_labels(summary.labels)
    say(f"{summary.spectra} addresses of {summary.plates} plates or fields, by run2d: {summary.by_run2d}")
    if summary.elsewhere:
        say(f"{summary.elsewhere} spectra of other surveys have no address in the SDSS archive")
    say(f"written: {summary.out}")
    return 0


COMMAND = Command(
    name="fetch-list",
    summary="the archive addresses of the spectra of a label table",
    examples=(
        "raystellar fetch-list ssppOut-dr12.fits --out paths.txt",
        "raystellar fetch-list ssppOut-dr12.fits --out paths.txt --base s3://bucket/dr12",
    ),
    sections=("labels",),
    add_options=add_options,
    run=run,
)
