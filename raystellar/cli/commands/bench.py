"""``raystellar bench``: benchmarks of accuracy and of speed; each prints a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from raystellar.cli.command import SPECTRA_HELP, Command


def _run_sky(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench sky``; return 0 only if every spectral line meets its limit."""
    from raystellar.bench.sky import measure, sky_table

    real, simulated, left_out = measure(options.miles, options.labels)
    print(f"{len(real)} stars; left out: {', '.join(f'{count} {reason}' for reason, count in left_out.items())}")
    print(f"{'index':8s} {'spearman':>9s} {'real':>8s} {'simulated':>10s} {'slope':>7s}")
    table = sky_table(real, simulated)
    for row in table:
        print(f"{row.name:8s} {row.correlation:9.3f} {row.real:8.2f} {row.simulated:10.2f} {row.slope:7.2f}")
    return 0 if all(row.as_wanted for row in table) else 1


def _run_stars(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench stars``."""
    from raystellar.bench.stars import compare_stars

    comparison = compare_stars(options.spectra, options.labels, options.model)
    print(
        f"{comparison.stars} stars with labels, {comparison.unmatched} spectra without, {comparison.rejected} rejects"
    )
    print(
        f"{'ours - theirs':17s} {'label':5s} {'n':>5s} {'bias':>9s} {'scatter':>8s} {'mae':>8s} {'z':>6s} {'rank':>6s}"
    )
    for line in comparison.lines:
        digits = 0 if line.label == "teff" else 3
        figures = f"{line.bias:+9.{digits}f} {line.scatter:8.{digits}f} {line.mae:8.{digits}f}"
        print(f"{line.group:17s} {line.label:5s} {line.n:5d} {figures} {line.z_std:6.2f} {line.rank:6.2f}")
    return 0


def _run_limit(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench limit``."""
    from raystellar.bench.limit import limit_table
    from raystellar.targets import TARGETS

    table = limit_table(options.survey, options.catalog, options.stars, every=options.all, cores=options.cores)
    print(f"mean absolute errors of {table.chosen} of {table.available} stars")
    print("unbiased: limit without knowledge of the population (Cramer-Rao); van Trees: lower bound with it")
    print("Bayesian: limit with it; bias: systematic error of the labels in ssppOut; ratio: catalogue / Bayesian")
    for number, catalog in enumerate(options.catalog, 1):
        print(f"catalogue {number}: {catalog}")
    titles = [f"{name:>10s}" for name in ("unbiased", "van Trees", "Bayesian", "bias")]
    titles += [f"{f'catalogue {number}':>13s} {'ratio':>6s}" for number in range(1, len(options.catalog) + 1)]
    print(f"{'stars':36s} {'n':>5s}  {'label':9s}{''.join(titles)}")
    for group in table.groups:
        limits = (*group.limits, group.label_bias)
        for t, target in enumerate(TARGETS):
            digits = 1 if target.unit == "K" else 4
            name = f"{group.name:36s} {group.stars:5d}" if t == 0 else " " * 42
            figures = [f"{value[t]:10.{digits}f}" for value in limits]
            for error, ratio in zip(group.errors[:, t], group.ratios[:, t], strict=True):
                figures.append(f"{error:13.{digits}f} {ratio:6.2f}")
            print(f"{name}  {f'{target.name} [{target.unit}]':9s}{''.join(figures)}")
    return 0


def _run_kernels(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench kernels``."""
    from raystellar.bench.kernels import kernel_table

    print(f"{'ms per spectrum and core':26s} {'plain':>8s} {'raystellar':>11s} {'ratio':>7s}")
    for part, plain, ours in kernel_table(options.spectra, options.model, options.count):
        print(f"{part:26s} {plain:8.3f} {ours:11.3f} {plain / ours:7.1f}")
    return 0


def _run_ingest(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench ingest``."""
    from raystellar.bench.ingest import ingest_table, read_floor

    _print_rates(ingest_table(options.spectra, options.cores), ("read", "resample", "write"))
    size, floor = read_floor(options.spectra)
    print(f"floor: {size:.0f} bytes a file, read from the page cache in {floor:.3f} ms on one core")
    return 0


def _run_label(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench label``."""
    from raystellar.bench.label import label_table, predict_ratio

    _print_rates(label_table(options.spectra, options.model, options.cores), ("read", "resample", "label", "write"))
    predict, products = predict_ratio(options.model)
    print(f"predicting alone {predict:.4f}, the bare matrix products {products:.4f}: ratio {predict / products:.2f}")
    return 0


def _print_rates(lines: Iterable[Any], parts: Sequence[str]) -> None:
    """Print each line of a benchmark as soon as it is measured, with its ratio to the first line."""
    first = None
    print(
        f"{'ms per spectrum and core':24s}" + "".join(f"{name:>10s}" for name in (*parts, "whole", "ratio", "spectra"))
    )
    for line in lines:
        first = first or line.whole
        known = [f"{line.parts[name]:10.3f}" if name in line.parts else " " * 10 for name in parts]
        print(f"{line.name:24s}{''.join(known)}{line.whole:10.3f}{first / line.whole:10.1f}{line.spectra:10d}")


def _run_plates(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench plates``."""
    from raystellar.bench.plates import plates_table

    first = None
    print(f"{'ms per spectrum':14s} {'whole':>8s} {'ratio':>7s} {'spectra':>9s}")
    for rate in plates_table([options.plates], [options.spectra]):
        first = first or rate.ms
        print(f"{rate.name:14s} {rate.ms:9.3f} {first / rate.ms:7.2f} {rate.spectra:9d}")
    return 0


def _run_ood(options: argparse.Namespace, settings: None) -> int:
    """Print the table of ``raystellar bench ood``; return 0 only if every kind of spectrum meets its limit."""
    from raystellar.bench.ood import ood_table, score_files

    print(f"{'kind':18s} {'spectra':>8s} {'S/N':>6s} {'flagged %':>10s}   score:     5 %   median     95 %")
    fine = True
    for row in ood_table(options.model, options.dataset, options.count, options.seed):
        scores = " ".join(f"{value:8.2f}" for value in row.quantiles)
        print(f"{row.kind:18s} {row.spectra:8d} {row.sn:6.1f} {100 * row.flagged:10.1f}          {scores}")
        fine &= row.wanted
    if options.spectra:
        print()
        scores = score_files(options.model, options.spectra)
        for row in scores:
            about = f"{row['object_class']} {row['subclass']}"
            print(f"{row['spec_id']:24s} {about:28s} S/N {row['sn']:6.1f}  score {row['ood_score']:8.2f}")
        for row in scores.rejects or ():
            print(f"{row['spec_id'] or row['path']:24s} rejected: {row['reason']}")
    return 0 if fine else 1


def _options_of_sky(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("miles", metavar="MILES.npz", help="MILES spectra (wave_air, flux) and labels")
    parser.add_argument("labels", nargs="?", metavar="LABELS.csv", help="table of labels, for an npz without labels")


def _options_of_stars(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=f"{SPECTRA_HELP}; or MILES.npz")
    parser.add_argument("--labels", metavar="TABLE", help="CSV, FITS or Parquet; elodie: labels in the spec files")
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")


def _options_of_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("survey", metavar="SURVEY", help="folder written by simulate")
    parser.add_argument(
        "--catalog",
        action="append",
        default=[],
        metavar="CATALOG",
        help="folder written by label for these spectra, to compare with the limit; may be repeated",
    )
    parser.add_argument("--stars", type=int, default=500, metavar="N", help="stars to take evenly (default: 500)")
    parser.add_argument("--all", action="store_true", help="take stars with labels too, not only held-out stars")
    parser.add_argument("--cores", type=int, default=1, metavar="N", help="threads (default: 1)")


def _options_of_kernels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    parser.add_argument("--model", metavar="BUNDLE", help="also predict, with this bundle")
    parser.add_argument("--count", type=int, default=400, metavar="N", help="files to take (default: 400)")


def _options_of_ingest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help=SPECTRA_HELP)
    parser.add_argument(
        "--cores", type=int, nargs="+", default=[1, 2], metavar="N", help="cores of the Ray job (default: 1 2)"
    )


def _options_of_label(parser: argparse.ArgumentParser) -> None:
    _options_of_ingest(parser)
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="folder written by train")


def _options_of_plates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plates", metavar="PLATES", help="a folder, glob or list of spPlate files; paths or URLs")
    parser.add_argument("spectra", metavar="SPECTRA", help="spec files of the same fibres, named in the same way")


def _options_of_ood(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="BUNDLE", help="model bundle whose OOD score is judged")
    parser.add_argument("spectra", nargs="*", metavar="SPECTRA", help="files to score too; one line for each spectrum")
    parser.add_argument("--dataset", metavar="DATASET", help="score the test split of this dataset too")
    parser.add_argument("--count", type=int, default=500, metavar="N", help="spectra of each kind (default: 500)")
    parser.add_argument("--seed", type=int, default=2, metavar="S", help="seed of the simulated spectra (default: 2)")


BENCHES = (
    Command(
        name="sky",
        summary="line strengths of simulated twins of the MILES stars against the real ones",
        add_options=_options_of_sky,
        run=_run_sky,
    ),
    Command(
        name="stars",
        summary="labels of real stars beside those of the literature",
        add_options=_options_of_stars,
        run=_run_stars,
    ),
    Command(
        name="limit",
        summary="least errors that the noise of a simulated survey allows, and the errors of catalogues",
        examples=(
            "raystellar bench limit survey",
            "raystellar bench limit survey --catalog catalog --stars 200 --cores 2",
        ),
        add_options=_options_of_limit,
        run=_run_limit,
    ),
    Command(
        name="kernels",
        summary="read, resample, predict beside plain astropy, SciPy and torch",
        add_options=_options_of_kernels,
        run=_run_kernels,
    ),
    Command(
        name="ingest",
        summary="spec files to Parquet beside what a user would write",
        add_options=_options_of_ingest,
        run=_run_ingest,
    ),
    Command(
        name="label",
        summary="spec files to a catalogue beside what a user would write",
        add_options=_options_of_label,
        run=_run_label,
    ),
    Command(
        name="plates",
        summary="spPlate files to Parquet beside the spec files of the same fibres",
        add_options=_options_of_plates,
        run=_run_plates,
    ),
    Command(
        name="ood",
        summary="share of galaxies, quasars, sky and so on that a model flags",
        add_options=_options_of_ood,
        run=_run_ood,
    ),
)
"""Benchmarks in the order of the help."""
