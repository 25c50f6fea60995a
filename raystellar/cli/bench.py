"""What each benchmark of ``raystellar bench`` does: call it, print its table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any


def run_bench_sky(options: argparse.Namespace) -> int:
    """Run ``raystellar bench sky``; 0 only if every line agrees as it should."""
    from raystellar.bench.sky import measure, sky_table

    real, simulated, left_out = measure(options.miles, options.labels)
    print(f"{len(real)} stars; left out: {', '.join(f'{count} {reason}' for reason, count in left_out.items())}")
    print(f"{'index':8s} {'spearman':>9s} {'real':>8s} {'simulated':>10s} {'slope':>7s}")
    table = sky_table(real, simulated)
    for row in table:
        print(f"{row.name:8s} {row.correlation:9.3f} {row.real:8.2f} {row.simulated:10.2f} {row.slope:7.2f}")
    return 0 if all(row.as_wanted for row in table) else 1


def run_bench_stars(options: argparse.Namespace) -> int:
    """Run ``raystellar bench stars``."""
    from raystellar.bench.stars import compare_stars

    found = compare_stars(options.spectra, options.labels, options.model)
    print(f"{found.stars} stars with labels, {found.unmatched} spectra without, {found.rejected} rejects")
    print(
        f"{'ours - theirs':17s} {'label':5s} {'n':>5s} {'bias':>9s} {'scatter':>8s} {'mae':>8s} {'z':>6s} {'rank':>6s}"
    )
    for line in found.lines:
        digits = 0 if line.label == "teff" else 3
        figures = f"{line.bias:+9.{digits}f} {line.scatter:8.{digits}f} {line.mae:8.{digits}f}"
        print(f"{line.group:17s} {line.label:5s} {line.n:5d} {figures} {line.z_std:6.2f} {line.rank:6.2f}")
    return 0


def run_bench_errors(options: argparse.Namespace) -> int:
    """Run ``raystellar bench errors``; 0 only if the errors are as wanted."""
    from raystellar.bench.errors import errors_table

    table = errors_table(options.catalog, options.truth)
    print(f"{'z of':6s} {'stars by':8s} {'from':>9s} {'to':>9s} {'stars':>7s} {'std':>6s} {'bias':>6s}", end="")
    print(f" {'within 1':>9s} {'2.09':>6s}")
    for line in table:
        ends = " " * 19 if line.sorted_by == "all" else f"{line.low:9.5g} {line.high:9.5g}"
        shares = f"{100 * line.within[0]:7.1f} % {100 * line.within[1]:4.1f} %"
        note = "" if line.as_wanted else "  not as wanted"
        figures = f"{line.stars:7d} {line.std:6.2f} {line.bias:6.2f}"
        print(f"{line.target:6s} {line.sorted_by:8s} {ends} {figures}  {shares}{note}")
    return 0 if all(line.as_wanted for line in table) else 1


def run_bench_kernels(options: argparse.Namespace) -> int:
    """Run ``raystellar bench kernels``."""
    from raystellar.bench.kernels import kernel_table

    print(f"{'ms per spectrum and core':26s} {'plain':>8s} {'raystellar':>11s} {'ratio':>7s}")
    for part, plain, ours in kernel_table(options.spectra, options.model, options.count):
        print(f"{part:26s} {plain:8.3f} {ours:11.3f} {plain / ours:7.1f}")
    return 0


def run_bench_ingest(options: argparse.Namespace) -> int:
    """Run ``raystellar bench ingest``."""
    from raystellar.bench.ingest import ingest_table, read_floor

    _print_rates(ingest_table(options.spectra, options.cores), ("read", "resample", "write"))
    size, floor = read_floor(options.spectra)
    print(f"floor: {size:.0f} bytes a file, read from the page cache in {floor:.3f} ms on one core")
    return 0


def run_bench_label(options: argparse.Namespace) -> int:
    """Run ``raystellar bench label``."""
    from raystellar.bench.label import label_table, predict_ratio

    _print_rates(label_table(options.spectra, options.model, options.cores), ("read", "resample", "label", "write"))
    predict, products = predict_ratio(options.model)
    print(f"predicting alone {predict:.4f}, the bare matrix products {products:.4f}: ratio {predict / products:.2f}")
    return 0


def _print_rates(lines: Iterable[Any], parts: Sequence[str]) -> None:
    """Print lines of a benchmark as they come, with their ratio to the first."""
    first = None
    print(
        f"{'ms per spectrum and core':24s}" + "".join(f"{name:>10s}" for name in (*parts, "whole", "ratio", "spectra"))
    )
    for line in lines:
        first = first or line.whole
        known = [f"{line.parts[name]:10.3f}" if name in line.parts else " " * 10 for name in parts]
        print(f"{line.name:24s}{''.join(known)}{line.whole:10.3f}{first / line.whole:10.1f}{line.spectra:10d}")


def run_bench_plates(options: argparse.Namespace) -> int:
    """Run ``raystellar bench plates``."""
    from raystellar.bench.plates import plates_table

    first = None
    print(f"{'ms per spectrum':14s} {'whole':>8s} {'ratio':>7s} {'spectra':>9s}")
    for rate in plates_table([options.plates], [options.spectra]):
        first = first or rate.ms
        print(f"{rate.name:14s} {rate.ms:9.3f} {first / rate.ms:7.2f} {rate.spectra:9d}")
    return 0


def run_bench_ood(options: argparse.Namespace) -> int:
    """Run ``raystellar bench ood``; 0 only if all kinds are flagged as they should be."""
    from raystellar.bench.ood import ood_table, score_files

    print(f"{'kind':18s} {'spectra':>8s} {'S/N':>6s} {'flagged %':>10s}   score:     5 %   median     95 %")
    fine = True
    for row in ood_table(options.model, options.dataset, options.count, options.seed):
        scores = " ".join(f"{value:8.2f}" for value in row.quantiles)
        print(f"{row.kind:18s} {row.spectra:8d} {row.sn:6.1f} {100 * row.flagged:10.1f}          {scores}")
        fine &= row.wanted
    if options.spectra:
        print()
        for one in (found := score_files(options.model, options.spectra)):
            about = f"{one['object_class']} {one['subclass']}"
            print(f"{one['spec_id']:24s} {about:28s} S/N {one['sn']:6.1f}  score {one['ood_score']:8.2f}")
        for one in found.rejects or ():
            print(f"{one['spec_id'] or one['path']:24s} rejected: {one['reason']}")
    return 0 if fine else 1
