"""``raystellar preprocess``: survey files and a label table -> preprocessed spectra in Parquet."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import LABELS_HELP, MATCH_HELP, RETRY_HELP, SPECTRA_HELP, Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_end, say_job, say_labels

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    parser.add_argument("--labels", required=True, metavar="TABLE", help=LABELS_HELP)
    parser.add_argument("--match-radius", type=float, metavar="ARCSEC", help=MATCH_HELP)
    parser.add_argument("--out", required=True, metavar="DATASET", help="folder to write")
    parser.add_argument("--retry-rejects", action="store_true", help=RETRY_HELP)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Preprocess the spectra and print the account."""
    from raystellar.stages.preprocess import preprocess

    summary = preprocess(
        options.spectra,
        options.labels,
        options.out,
        labels_config=settings.labels,
        splits=settings.splits,
        config=settings.preprocess,
        fetch=settings.fetch,
        resources=settings.resources,
        retry_rejects=options.retry_rejects,
    )
    say_labels(summary.labels)
    say_job(summary.job)
    say(
        f"{summary.joined} of {summary.job.accounting.rows_in} spectra have a row of the label table; "
        f"{summary.stars[0]} of {summary.stars[1]} stars with usable labels are in the dataset"
    )
    say("splits: " + ", ".join(f"{name} {count}" for name, count in summary.splits.items()))
    say_end(summary.out, summary.seconds)
    return 0


COMMAND = Command(
    name="preprocess",
    summary="survey files and labels -> preprocessed Parquet",
    examples=(
        "raystellar preprocess survey/spectra --labels survey/ssppOut.fits --out dataset",
        "raystellar preprocess 'dr12/lite/2[0-9]*/*.fits' --labels ssppOut-dr12.fits --out dataset --preset paper",
        "raystellar preprocess @paths.txt --labels sppParams.csv --out s3://bucket/dataset --set preprocess.passes=one",
    ),
    sections=("labels", "splits", "preprocess", "fetch", "resources"),
    where=("local", "address", "actors"),
    add_options=add_options,
    run=run,
    own_settings=lambda options: {"labels": {"match_radius_arcsec": options.match_radius}},
)
