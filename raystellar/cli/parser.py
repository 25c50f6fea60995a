"""The program ``raystellar``: its options and help; ``commands`` has what they do.

Exit codes: 0 the job did what was asked; 1 it could not, and one sentence on standard error says why; 2 the command
line is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import raystellar
from raystellar.cli.bench import (
    run_bench_errors,
    run_bench_ingest,
    run_bench_kernels,
    run_bench_label,
    run_bench_ood,
    run_bench_plates,
    run_bench_sky,
    run_bench_stars,
)
from raystellar.cli.commands import (
    run_demo,
    run_export,
    run_fetch_list,
    run_label,
    run_plan,
    run_preprocess,
    run_report,
    run_simulate,
    run_train,
    run_tune,
)
from raystellar.errors import RaystellarError

SPECTRA_HELP = "spec files, folders, globs, or lists of them (@FILE or *.txt, one a line); paths or URLs"

NO_REPORT_HELP = "write no report.html into the folder"

RETRY_HELP = "try again what could not be fetched"

EXAMPLES = {
    "simulate": """examples:
  raystellar simulate survey --stars 12000 --seed 1
  raystellar simulate survey --stars 2000 --set simulate.sky_fibres=8 --local""",
    "preprocess": """examples:
  raystellar preprocess survey/spectra --labels survey/ssppOut.fits --out dataset
  raystellar preprocess 'dr12/spectra/lite/2[0-9]*/*.fits' --labels ssppOut-dr12.fits --out dataset --preset paper
  raystellar preprocess @paths.txt --labels sppParams.csv --out s3://bucket/dataset --set preprocess.passes=one""",
    "train": """examples:
  raystellar train dataset --out model
  raystellar train dataset --out model --preset paper --set fit.seed=3
  raystellar train dataset --out model --workers 4""",
    "tune": """examples:
  raystellar tune dataset --out search
  raystellar tune dataset --out search --trials 30 --set tune.objective=parameters
  raystellar tune dataset --out search --warm-start earlier --then-train model""",
    "label": """examples:
  raystellar label dr12/spectra --model model --out catalog
  raystellar label survey/spectra/0266 --model model --out catalog --local
  raystellar label @paths.txt --model model --out catalog --labels ssppOut-dr12.fits""",
    "export": """examples:
  raystellar export catalog --out catalog.fits
  raystellar export catalog --out good.fits --good
  raystellar export catalog --out stars.fits --primary
  raystellar export s3://bucket/catalog --out s3://bucket/catalog.parquet
  raystellar export model --out model.onnx""",
    "report": """examples:
  raystellar report catalog
  raystellar report catalog --truth survey/truth.parquet --out page.html
  raystellar report model --dataset dataset""",
    "fetch-list": """examples:
  raystellar fetch-list ssppOut-dr12.fits --out paths.txt
  raystellar fetch-list ssppOut-dr12.fits --out paths.txt --base s3://bucket/dr12""",
    "plan": """examples:
  raystellar plan dr12/spectra/lite
  raystellar plan dr12/spectra/lite --model model""",
    "demo": """examples:
  raystellar demo
  raystellar demo --out /tmp/demo --stars 12000 --seed 1""",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="raystellar",
        description="From survey spectra to stellar parameters, distributed on Ray.",
        epilog="Start with: raystellar demo",
    )
    top.add_argument("--version", action="version", version=f"raystellar {raystellar.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    simulate = _command(commands, "simulate", run_simulate, "simulate a survey, written as SDSS files")
    simulate.add_argument("out", metavar="OUT", help="folder to write")
    simulate.add_argument("--stars", type=int, metavar="N", help="number of stars")
    simulate.add_argument("--seed", type=int, metavar="S", help="seed of all randomness")

    preprocess = _command(commands, "preprocess", run_preprocess, "SDSS files and labels -> preprocessed Parquet")
    preprocess.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    preprocess.add_argument("--labels", required=True, metavar="TABLE", help="ssppOut FITS, sppParams CSV, or Parquet")
    preprocess.add_argument("--out", required=True, metavar="DATASET", help="folder to write")
    preprocess.add_argument("--retry-rejects", action="store_true", help=RETRY_HELP)

    train = _command(commands, "train", run_train, "preprocessed Parquet -> model bundle")
    train.add_argument("dataset", metavar="DATASET", help="folder written by preprocess")
    train.add_argument("--out", required=True, metavar="BUNDLE", help="folder to write")
    train.add_argument("--seed", type=int, metavar="S", help="seed of weights, noise and order")
    train.add_argument("--workers", type=int, metavar="N", help="Ray Train workers; 0 trains in this process")
    train.add_argument("--overwrite", action="store_true", help="replace a bundle made from other data or settings")
    train.add_argument("--no-report", action="store_true", help=NO_REPORT_HELP)

    tune = _command(commands, "tune", run_tune, "preprocessed Parquet -> the best hyperparameters")
    tune.add_argument("dataset", metavar="DATASET", help="folder written by preprocess")
    tune.add_argument("--out", required=True, metavar="SEARCH", help="folder to write")
    tune.add_argument("--trials", type=int, metavar="N", help="distinct choices to try (default: 100)")
    tune.add_argument("--sampler", metavar="NAME", help="tpe, gp or random (default: tpe)")
    tune.add_argument("--warm-start", metavar="EARLIER", help="folder of a search in the same space to learn from")
    tune.add_argument("--then-train", metavar="BUNDLE", help="fit the best at once, and write it to this folder")
    tune.add_argument("--no-report", action="store_true", help="no report.html of the bundle of --then-train")

    label = _command(commands, "label", run_label, "SDSS files and a model bundle -> catalogue")
    label.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    label.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")
    label.add_argument("--out", required=True, metavar="CATALOG", help="folder to write")
    label.add_argument("--labels", metavar="TABLE", help="take radial velocities from this table where it has them")
    label.add_argument("--no-report", action="store_true", help=NO_REPORT_HELP)
    label.add_argument("--retry-rejects", action="store_true", help=RETRY_HELP)

    export = _command(
        commands, "export", run_export, "a finished catalogue -> FITS, Parquet, CSV; a model -> ONNX, pt2"
    )
    export.add_argument("folder", metavar="FOLDER", help="catalogue written by label, or model written by train")
    export.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="to write: *.fits, *.parquet, *.csv or *.hats; of a model *.onnx, or *.pt2 for torch.export",
    )
    export.add_argument("--good", action="store_true", help="only rows without a flag that warns or forbids")
    export.add_argument("--primary", action="store_true", help="only the best row of each star")

    report = _command(commands, "report", run_report, "a page of a catalogue or a model: figures, tables, spectra")
    report.add_argument("folder", metavar="FOLDER", help="written by label, or by train")
    report.add_argument("--out", metavar="FILE", help="to write (default: report.html in the folder)")
    report.add_argument("--truth", metavar="TABLE", help="labels to compare a catalogue with; FITS, CSV or Parquet")
    report.add_argument("--model", metavar="BUNDLE", help="of a catalogue (default: where it was then)")
    report.add_argument("--dataset", metavar="DATASET", help="of a model: show its validation spectra")

    fetch = _command(commands, "fetch-list", run_fetch_list, "the archive addresses of the spectra of a label table")
    fetch.add_argument("labels", metavar="TABLE", help="ssppOut FITS, sppParams CSV, or Parquet")
    fetch.add_argument("--out", required=True, metavar="LIST", help="text file to write, one address a line")
    fetch.add_argument("--release", default="dr12", choices=("dr12", "dr17"), help="of the archive (default: dr12)")
    fetch.add_argument("--full", action="store_true", help="full files with all exposures (default: lite)")
    fetch.add_argument("--base", metavar="URL", help="of a mirror, a bucket or a mounted copy of the archive")
    fetch.add_argument("--run2d", metavar="X", help="reduction of all plates (default: the table's, else by plate)")
    fetch.add_argument("--every", action="store_true", help="also spectra whose labels cannot be used")

    plan = _command(commands, "plan", run_plan, "size a job: spectra per second, hours, disk and memory")
    plan.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    plan.add_argument("--model", metavar="BUNDLE", help="plan to label with this bundle (default: to preprocess)")
    plan.add_argument("--sample", type=int, default=512, metavar="N", help="spectra to time (default: 512)")

    demo = _command(commands, "demo", run_demo, "the whole job on a simulated survey")
    demo.add_argument("--out", default="demo", metavar="DIR", help="folder to write (default: demo)")
    demo.add_argument("--stars", type=int, metavar="N", help="number of stars")
    demo.add_argument("--seed", type=int, metavar="S", help="seed of all randomness")
    demo.add_argument("--no-report", action="store_true", help="no pages of the model and the catalogue")
    demo.set_defaults(default_preset="demo")

    bench = commands.add_parser("bench", help="benchmarks against the sky and against the clock")
    benches = bench.add_subparsers(dest="bench", required=True, metavar="BENCH")
    sky = benches.add_parser("sky", help="line strengths of simulated twins of the MILES stars against the real ones")
    sky.add_argument("miles", metavar="MILES.npz", help="MILES spectra (wave_air, flux) and labels")
    sky.add_argument("labels", nargs="?", metavar="LABELS.csv", help="labels, where the npz has none")
    sky.set_defaults(run=run_bench_sky)
    stars = benches.add_parser("stars", help="labels of real stars beside those of the literature")
    stars.add_argument("spectra", nargs="+", metavar="SPECTRA", help=f"{SPECTRA_HELP}; or MILES.npz")
    stars.add_argument("--labels", metavar="TABLE", help="CSV, FITS or Parquet, or elodie: those in SDSS spec files")
    stars.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")
    stars.set_defaults(run=run_bench_stars)
    errors = benches.add_parser("errors", help="are the errors of a catalogue true? its labels against true ones")
    errors.add_argument("catalog", metavar="CATALOG", help="folder written by label, of stars new to the model")
    errors.add_argument("truth", metavar="TRUTH", help="Parquet file of true labels: truth.parquet of simulate")
    errors.set_defaults(run=run_bench_errors)
    kernels = benches.add_parser("kernels", help="read, resample, predict beside plain astropy, SciPy and torch")
    kernels.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    kernels.add_argument("--model", metavar="BUNDLE", help="also predict, with this bundle")
    kernels.add_argument("--count", type=int, default=400, metavar="N", help="files to take (default: 400)")
    kernels.set_defaults(run=run_bench_kernels)
    ingest = benches.add_parser("ingest", help="spec files to Parquet beside what a user would write")
    ingest.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    ingest.add_argument(
        "--cores", type=int, nargs="+", default=[1, 2], metavar="N", help="of the Ray job (default: 1 2)"
    )
    ingest.set_defaults(run=run_bench_ingest)
    label = benches.add_parser("label", help="spec files to a catalogue beside what a user would write")
    label.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    label.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")
    label.add_argument(
        "--cores", type=int, nargs="+", default=[1, 2], metavar="N", help="of the Ray job (default: 1 2)"
    )
    label.set_defaults(run=run_bench_label)
    plates = benches.add_parser("plates", help="spPlate files to Parquet beside the spec files of the same fibres")
    plates.add_argument("plates", metavar="PLATES", help="a folder, glob or list of spPlate files; paths or URLs")
    plates.add_argument("spectra", metavar="SPECTRA", help="the spec files of the same fibres, likewise")
    plates.set_defaults(run=run_bench_plates)
    ood = benches.add_parser("ood", help="share of galaxies, quasars, sky and so on that a model flags")
    ood.add_argument("model", metavar="BUNDLE", help="model bundle whose score is judged")
    ood.add_argument("spectra", nargs="*", metavar="SPECTRA", help="files to score too, a line for each")
    ood.add_argument("--dataset", metavar="DATASET", help="score the test split of this dataset too")
    ood.add_argument("--count", type=int, default=500, metavar="N", help="spectra of each kind (default: 500)")
    ood.add_argument("--seed", type=int, default=2, metavar="S", help="seed of the simulated spectra (default: 2)")
    ood.set_defaults(run=run_bench_ood)
    return top


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """Add a sub-command with the options that all of them have."""
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, default_preset=None)
    settings = command.add_argument_group("settings")
    settings.add_argument("--preset", metavar="NAME", help="settings that come with raystellar, e.g. paper")
    settings.add_argument("--config", metavar="FILE", help="TOML file of settings")
    settings.add_argument(
        "--set", action="append", default=[], dest="assignments", metavar="SECTION.KEY=VALUE", help="one setting"
    )
    settings.add_argument("--show-settings", action="store_true", help="print the settings as JSON and do nothing")
    where = command.add_argument_group("where it runs")
    where.add_argument("--local", action="store_true", help="in this process, without Ray")
    where.add_argument("--address", metavar="ADDRESS", help="Ray cluster (default: RAY_ADDRESS, else this machine)")
    where.add_argument("--actors", type=int, metavar="N", help="parallel actors (default: one for each CPU)")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except RaystellarError as error:
        print(f"raystellar {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"raystellar {options.command}: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
