"""``raystellar export``: a finished catalogue as one file, or a model for other programs."""

from __future__ import annotations

import argparse

from raystellar.cli.command import Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_end
from raystellar.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", metavar="FOLDER", help="catalogue written by label, or model written by train")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="file to write: *.fits, *.parquet, *.csv or *.hats; for a model *.onnx, or *.pt2 for torch.export",
    )
    parser.add_argument("--good", action="store_true", help="only rows without a flag that warns or forbids")
    parser.add_argument("--primary", action="store_true", help="only the best row of each star")


def run(options: argparse.Namespace, settings: None) -> int:
    """Export the catalogue or the model and print its counts."""
    from raystellar.model.bundle_files import is_bundle

    if is_bundle(options.folder):
        return _export_model(options)
    from raystellar.catalog.export import export

    summary = export(options.folder, options.out, good=options.good, primary=options.primary)
    say(f"{summary.rows} of {summary.accounting.rows_out} rows, {summary.accounting.rejected.total()} rejects")
    say_end(summary.out, summary.seconds)
    return 0


def _export_model(options: argparse.Namespace) -> int:
    from raystellar.model.exchange import export_model
    from raystellar.targets import TARGETS

    if options.good or options.primary:
        name = "--good" if options.good else "--primary"
        raise ConfigError(f"{name} is for the rows of a catalogue, and {options.folder} is a model")
    summary = export_model(options.folder, options.out)
    largest = ", ".join(f"{target.name} {summary.difference[target.name]:.2g} {target.unit}" for target in TARGETS)
    say(f"model: {summary.model_id}")
    say(f"run on {summary.spectra} spectra, largest difference from the model: {largest}")
    say(f"written: {summary.out}, {summary.text}")
    return 0


COMMAND = Command(
    name="export",
    summary="a finished catalogue -> FITS, Parquet, CSV; a model -> ONNX, pt2",
    examples=(
        "raystellar export catalog --out catalog.fits",
        "raystellar export catalog --out good.fits --good",
        "raystellar export catalog --out stars.fits --primary",
        "raystellar export s3://bucket/catalog --out s3://bucket/catalog.parquet",
        "raystellar export model --out model.onnx",
    ),
    add_options=add_options,
    run=run,
)
