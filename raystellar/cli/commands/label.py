"""``raystellar label``: survey files and a model bundle -> a catalogue."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raystellar.cli.command import MATCH_HELP, NO_REPORT_HELP, SPECTRA_HELP, Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import page_at_end, say_end, say_job, say_repeats

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")
    parser.add_argument("--out", required=True, metavar="CATALOG", help="folder to write")
    parser.add_argument("--labels", metavar="TABLE", help="label table with radial velocities to prefer")
    parser.add_argument("--match-radius", type=float, metavar="ARCSEC", help=MATCH_HELP)
    parser.add_argument("--no-report", action="store_true", help=NO_REPORT_HELP)
    parser.add_argument(
        "--retry-rejects",
        action="store_true",
        help="repeat the shards in which a file could not be fetched, or was rejected and has changed since",
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Label the spectra, print the account, and write the page."""
    from raystellar.stages.label import label

    summary = label(
        options.spectra,
        options.model,
        options.out,
        labels=options.labels,
        labels_config=settings.labels,
        quality=settings.quality,
        fetch=settings.fetch,
        resources=settings.resources,
        retry_rejects=options.retry_rejects,
    )
    say_job(summary.job)
    say("flags: " + ", ".join(f"{name} {count}" for name, count in summary.flagged.items()))
    say_repeats(summary.repeats)
    for note in summary.notes:
        say(f"note: {note}")
    say(f"model: {summary.model_id}")
    changed = summary.job.accounting.rows_in > summary.job.resumed_rows
    page_at_end(summary.out, wanted=not options.no_report, changed=changed, fetch=settings.fetch)
    say_end(summary.out, summary.seconds)
    return 0


COMMAND = Command(
    name="label",
    summary="survey files and a model bundle -> catalogue",
    examples=(
        "raystellar label dr12/spectra --model model --out catalog",
        "raystellar label survey/spectra/0266 --model model --out catalog --local",
        "raystellar label @paths.txt --model model --out catalog --labels ssppOut-dr12.fits",
    ),
    sections=("labels", "quality", "fetch", "resources"),
    where=("local", "address", "actors"),
    add_options=add_options,
    run=run,
    own_settings=lambda options: {"labels": {"match_radius_arcsec": options.match_radius}},
)
