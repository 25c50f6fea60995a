"""``raystellar report``: the page of a catalogue or a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import Command
from raystellar.cli.summaries import say_page

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", metavar="FOLDER", help="folder written by label or by train")
    parser.add_argument("--out", metavar="FILE", help="page to write (default: _report.html in the folder)")
    parser.add_argument("--truth", metavar="TABLE", help="labels to compare a catalogue with; FITS, CSV or Parquet")
    parser.add_argument("--model", metavar="BUNDLE", help="model of a catalogue (default: as recorded by label)")
    parser.add_argument("--dataset", metavar="DATASET", help="dataset of a model, whose validation spectra are shown")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Write the page and print where it is."""
    from raystellar.report.write import write_page

    page = write_page(
        options.folder,
        options.out,
        truth=options.truth,
        model=options.model,
        dataset=options.dataset,
        labels_config=settings.labels,
        fetch=settings.fetch,
    )
    say_page(page)
    return 0


COMMAND = Command(
    name="report",
    summary="a page of a catalogue or a model: figures, tables, spectra",
    examples=(
        "raystellar report catalog",
        "raystellar report catalog --truth survey/truth.parquet --out page.html",
        "raystellar report model --dataset dataset",
    ),
    sections=("labels", "fetch"),
    add_options=add_options,
    run=run,
)
