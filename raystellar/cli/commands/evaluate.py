"""``raystellar evaluate``: labels of catalogues and models beside labels that are known otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from raystellar.cli.command import LABELS_HELP, MATCH_HELP, Command
from raystellar.cli.logs import say
from raystellar.cli.summaries import say_labels

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings
    from raystellar.evaluation.metrics import Statistics
    from raystellar.evaluation.result import Evaluation, Item

STATISTICS_HEAD = (
    f"{'stars':>7s} {'mae':>8s} {'bias':>8s} {'median':>8s} {'scatter':>8s} {'rms':>8s} {'% range':>7s} "
    f"{'z mean':>6s} {'std':>5s} {'<1':>6s} {'<2.09':>6s} {'>3':>6s}"
)
"""Names of the columns of ``_statistics``."""

MEANINGS = """\
bias, median: mean and median of d = predicted - label; scatter: 1.4826 median absolute deviations of d;
rms: root mean square of d; % range: mae in percent of the range of the labels; ratio: mae / mae of the first item;
z = d / error; <1, <2.09, >3: percent of the stars with such |z|"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("items", nargs="+", metavar="ITEM", help="folder written by label or by train; path or URL")
    parser.add_argument("--labels", metavar="TABLE", help=f"{LABELS_HELP}; also true labels of a simulated survey")
    parser.add_argument("--match-radius", type=float, metavar="ARCSEC", help=MATCH_HELP)
    parser.add_argument("--dataset", metavar="DATASET", help="dataset that models label; only its split is compared")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="split of the dataset (default: test, or validation where there is no test split)",
    )
    parser.add_argument(
        "--own-stars", action="store_true", help="compare each item on all of its stars, not on common ones"
    )
    parser.add_argument("--bins", action="store_true", help="also print quarters by S/N and groups by each label")
    parser.add_argument("--cells", action="store_true", help="also print shares within the errors by S/N, teff and feh")
    parser.add_argument("--page", metavar="PAGE.html", help="page to write: tables and figures in one file")
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 unless the errors are right; needs thousands of stars"
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Evaluate the items, print the tables, and write the page and the JSON file."""
    from raystellar.files import places
    from raystellar.stages.evaluate import evaluate

    result = evaluate(
        options.items,
        labels=options.labels,
        dataset=options.dataset,
        split=options.split,
        page=options.page,
        own_stars=options.own_stars,
        labels_config=settings.labels,
        quality=settings.quality,
    )
    if result.table:
        say_labels(result.table)
    say("\n".join(_lines(result, bins=options.bins, cells=options.cells)))
    if options.json:
        places.write_bytes(options.json, result.to_json().encode())
    for path in filter(None, (options.page, options.json)):
        say(f"written: {path}")
    return _check(result) if options.check else 0


def _check(result: Evaluation) -> int:
    """Print each statistic of z that is outside its limits; return 0 if there is none."""
    wrong = result.wrong_errors() if result.reference else ["there are no labels to compare the errors with"]
    for sentence in wrong:
        say(f"not as wanted: {sentence}")
    return 1 if wrong else 0


def _lines(result: Evaluation, *, bins: bool, cells: bool) -> Iterator[str]:
    """Yield the lines of all tables."""
    for item in result.items:
        yield f"{item.name}: {item.kind} of model {item.model_id}{_counts(item)}"
    if result.reference:
        yield from _comparison(result)
        yield from _groups(result) if bins else ()
        yield from (line for item in result.items for line in _cells(item)) if cells else ()
    for item in result.items:
        yield from _repeats(item)
    for note in result.notes:
        yield f"note: {note}"


def _counts(item: Item) -> str:
    """Return the numbers of rows that are and that cannot be compared."""
    if item.counts is None:
        return ""
    counts = item.counts
    again = f", {counts.duplicates} the spectrum of another row" if counts.duplicates else ""
    return (
        f"; of {counts.rows} rows {counts.bad} are flagged bad, {counts.unlabelled} have no usable label{again}; "
        f"{item.stars} compared"
    )


def _comparison(result: Evaluation) -> Iterator[str]:
    """Yield the table of all stars: for each label one line an item."""
    from raystellar.evaluation.metrics import EXPECTED_STD
    from raystellar.targets import TARGETS

    shared = " that all items have" if len(result.items) > 1 else ""
    stars = f"{result.items[0].stars} stars{shared}" if result.common else "Each item on its own stars"
    yield f"\n{stars}, compared with {result.reference}."
    yield f"z includes the errors of the labels of {', '.join(result.label_errors) or 'no parameter'}."
    width = max(len("teff [dex]"), *(len(item.name) for item in result.items))
    for target in TARGETS:
        yield f"\n{f'{target.name} [{target.unit}]':{width}s} {'ratio':>6s} {STATISTICS_HEAD}"
        for item in result.items:
            agreement = item.labels[target.name]
            yield f"{item.name:{width}s} {agreement.ratio:6.3f} {_statistics(agreement.all, target.unit)}"
    yield f"\n{MEANINGS}"
    yield f"where errors are right: std {EXPECTED_STD:.2f}, <1 68.3, <2.09 95.0, >3 0.9"


def _statistics(of: Statistics, unit: str) -> str:
    """Return one line of statistics, with the columns ``STATISTICS_HEAD``."""
    digits = 1 if unit == "K" else 4
    signed = " ".join(f"{value:+8.{digits}f}" for value in (of.bias, of.median))
    widths = " ".join(f"{value:8.{digits}f}" for value in (of.scatter, of.rms))
    shares = " ".join(f"{100 * value:6.1f}" for value in (of.within68, of.within95, of.outliers))
    z = f"{of.z_mean:+6.2f} {of.z_std:5.2f}"
    return f"{of.stars:7d} {of.mae:8.{digits}f} {signed} {widths} {100 * of.mae_of_range:7.2f} {z} {shares}"


def _groups(result: Evaluation) -> Iterator[str]:
    """Yield the tables of quarters by S/N and of groups by reference label."""
    from raystellar.evaluation.result import interval
    from raystellar.targets import TARGETS

    for item in result.items:
        for target in TARGETS:
            yield f"\n{f'{item.name}: {target.name} [{target.unit}] by':24s} {STATISTICS_HEAD}"
            for one in item.labels[target.name].bins:
                yield f"{interval(one):24s} {_statistics(one.statistics, target.unit)}"


def _cells(item: Item) -> Iterator[str]:
    """Yield the table of the cells of one item."""
    from raystellar.evaluation.metrics import CELL_STARS
    from raystellar.targets import TARGET_NAMES

    yield f"\n{item.name}: percent of the stars within 1 and 2.09 errors, by S/N and predicted teff and feh"
    if not item.cells:
        yield f"no cell has {CELL_STARS} stars"
        return
    yield f"{'S/N':>15s} {'teff':>15s} {'feh':>15s} {'stars':>7s}   " + "  ".join(
        f"{name:>11s}" for name in TARGET_NAMES
    )
    for cell in item.cells:
        (sn, teff, feh), shares = cell.ends.values(), (cell.shares[name].values() for name in TARGET_NAMES)
        ends = f"{sn[0]:7.1f} {sn[1]:7.1f} {teff[0]:7.0f} {teff[1]:7.0f} {feh[0]:7.2f} {feh[1]:7.2f}"
        yield f"{ends} {cell.stars:7d}   " + "  ".join(f"{100 * one:5.1f} {100 * other:5.1f}" for one, other in shares)
    yield _deviation(item)


def _deviation(item: Item) -> str:
    """Return the largest deviation of the shares in the cells of an item."""
    one, other = item.deviation.values()
    return (
        f"largest deviation in {len(item.cells)} cells: {one:.1f} points from 68.3 %, {other:.1f} points from 95 %; "
        f"by chance a share in a cell of {min(cell.stars for cell in item.cells)} stars has a standard deviation of "
        f"{_chance(item, 0.683):.1f} and {_chance(item, 0.95):.1f} points, "
        "and the largest of many is two to three times that"
    )


def _chance(item: Item, share: float) -> float:
    """Return the standard deviation [points] of a share in the smallest cell, if errors are right."""
    return 100.0 * (share * (1.0 - share) / min(cell.stars for cell in item.cells)) ** 0.5


def _repeats(item: Item) -> Iterator[str]:
    """Yield the agreement of different spectra of one star."""
    from raystellar.evaluation.result import REPEAT_PAIRS
    from raystellar.targets import TARGETS

    if not item.has_repeats:
        yield f"\n{item.name}: {item.pairs} pairs of spectra of one star; {REPEAT_PAIRS} are needed for their scatter"
        return
    yield f"\n{item.name}: {item.pairs} pairs of spectra of one star, from {item.repeats['stars']} stars"
    yield f"{'':11s} {'scatter of one':>15s} {'difference / error: rms':>24s} {'robust':>7s}"
    for target in TARGETS:
        if (of := item.repeats[target.name])["scatter"] is not None:
            scatter = f"{of['scatter']:.{1 if target.unit == 'K' else 4}f} {target.unit}"
            yield f"{target.name:11s} {scatter:>15s} {of['pull']:24.2f} {of['pull_robust']:7.2f}"


COMMAND = Command(
    name="evaluate",
    summary="errors, bias, scatter and z of catalogues and models, against labels or truth",
    examples=(
        "raystellar evaluate catalog --labels survey/truth.parquet --page page.html",
        "raystellar evaluate catalog-a catalog-b --labels ssppOut-dr12.fits --bins",
        "raystellar evaluate model-a model-b --dataset dataset --json numbers.json",
        "raystellar evaluate model --dataset dataset --labels survey/truth.parquet --cells --check",
        "raystellar evaluate catalog",
    ),
    sections=("labels", "quality"),
    add_options=add_options,
    run=run,
    own_settings=lambda options: {"labels": {"match_radius_arcsec": options.match_radius}},
)
