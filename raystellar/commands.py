"""What each sub-command does: compose the settings, call a stage, print its summary."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from raystellar.config import to_plain


def _settings(options: argparse.Namespace, **sections: dict[str, Any]) -> Any:
    """Compose the settings from the options of the command line; None where they were only to be shown."""
    from raystellar.settings import compose

    given = {"local": options.local or None, "address": options.address, "actors": options.actors}
    sections = {**sections, "resources": given}
    set_here = {
        name: {key: value for key, value in section.items() if value is not None} for name, section in sections.items()
    }
    settings = compose(options.preset or options.default_preset, options.config, options.assignments, set_here)
    if options.show_settings:
        print(json.dumps(to_plain(settings), indent=2))
        return None
    return settings


def run_simulate(options: argparse.Namespace) -> int:
    """Run ``raystellar simulate``."""
    settings = _settings(options, simulate={"stars": options.stars, "seed": options.seed})
    if settings is None:
        return 0
    from raystellar.mocksurvey import simulate

    summary = simulate(options.out, settings.simulate, settings.resources)
    survey = summary.survey
    print(f"{survey.stars} spectra of stars on {survey.plates} plates, {survey.labelled} in the label table", end="")
    print(f" ({summary.resumed_plates} plates were there)" if summary.resumed_plates else "")
    _print_end(summary.out, summary.seconds)
    return 0


def run_preprocess(options: argparse.Namespace) -> int:
    """Run ``raystellar preprocess``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.dataset import preprocess

    summary = preprocess(
        options.spectra,
        options.labels,
        options.out,
        catalog=settings.catalog,
        splits=settings.splits,
        config=settings.preprocess,
        fetch=settings.fetch,
        resources=settings.resources,
    )
    _print_labels(summary.labels)
    _print_job(summary.job)
    print("splits: " + ", ".join(f"{name} {count}" for name, count in summary.splits.items()))
    _print_end(summary.out, summary.seconds)
    return 0


def run_train(options: argparse.Namespace) -> int:
    """Run ``raystellar train``."""
    workers = 0 if options.local and options.workers is None else options.workers
    settings = _settings(options, fit={"seed": options.seed}, training={"workers": workers})
    if settings is None:
        return 0
    return _train(options.dataset, options.out, settings, options.overwrite)


def _train(dataset: str, out: str, settings: Any, overwrite: bool = False) -> int:
    from raystellar.engine import session
    from raystellar.train import train

    with session(replace(settings.resources, local=settings.training.workers == 0)):
        summary = train(
            dataset,
            out,
            network=settings.network,
            fit=settings.fit,
            resources=settings.training,
            provenance=to_plain(settings),
            overwrite=overwrite,
        )
    print(summary)
    return 0


def run_tune(options: argparse.Namespace) -> int:
    """Run ``raystellar tune``."""
    settings = _settings(options, tune={"trials": options.trials, "sampler": options.sampler})
    if settings is None:
        return 0
    from raystellar.tune import tune

    summary = tune(
        options.dataset,
        options.out,
        network=settings.network,
        fit=settings.fit,
        config=settings.tune,
        space=settings.space,
        resources=settings.resources,
        tuning=settings.tuning,
        warm_start=options.warm_start,
    )
    print(summary)
    if options.then_train:
        return _train(options.dataset, options.then_train, replace(settings, **summary.settings))
    return 0


def run_label(options: argparse.Namespace) -> int:
    """Run ``raystellar label``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.label import label

    summary = label(
        options.spectra,
        options.model,
        options.out,
        labels=options.labels,
        catalog=settings.catalog,
        quality=settings.quality,
        fetch=settings.fetch,
        resources=settings.resources,
    )
    _print_job(summary.job)
    print("flags: " + ", ".join(f"{name} {count}" for name, count in summary.flagged.items()))
    print(f"model: {summary.model_id}")
    _print_end(summary.out, summary.seconds)
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Run ``raystellar export``."""
    if _settings(options) is None:
        return 0
    from raystellar.export import export

    summary = export(options.catalog, options.out, good=options.good)
    print(f"{summary.rows} of {summary.accounting.rows_out} rows, {summary.accounting.rejected.total()} rejects")
    _print_end(summary.out, summary.seconds)
    return 0


def run_fetch_list(options: argparse.Namespace) -> int:
    """Run ``raystellar fetch-list``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.addresses import BASE, write_addresses

    summary = write_addresses(
        options.labels,
        options.out,
        catalog=settings.catalog,
        release=options.release,
        full=options.full,
        base=options.base or BASE,
        run2d=options.run2d or "",
        every=options.every,
    )
    _print_labels(summary.labels)
    print(f"{summary.spectra} addresses of {summary.plates} plates, by run2d: {summary.by_run2d}")
    print(f"written: {summary.out}")
    return 0


def run_plan(options: argparse.Namespace) -> int:
    """Run ``raystellar plan``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.plan import plan, plan_table

    found = plan(
        options.spectra, model=options.model, config=settings.preprocess, fetch=settings.fetch, sample=options.sample
    )
    print(plan_table(found))
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Run ``raystellar demo``."""
    settings = _settings(options, simulate={"stars": options.stars, "seed": options.seed})
    if settings is None:
        return 0
    from raystellar.demo import demo, error_table

    summary = demo(options.out, settings)
    print(f"\n{summary.spectra} held-out stars:")
    print(error_table(summary))
    print(f"picture: {summary.picture}")
    _print_end(options.out, summary.seconds)
    return 0


def run_bench_sky(options: argparse.Namespace) -> int:
    """Run ``raystellar bench sky``."""
    from raystellar.bench import sky

    return sky.main([options.miles, *([options.labels] if options.labels else [])])


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

    first = None
    print(f"{'ms per spectrum and core':22s} {'read':>8s} {'resample':>9s} {'write':>8s} {'whole':>8s} {'ratio':>7s}")
    for line in ingest_table(options.spectra, options.cores):
        first = first or line.whole
        parts = [f"{value:{width}.3f}" for value, width in ((line.read, 8), (line.resample, 9), (line.write, 8))]
        print(f"{line.name:22s} {' '.join(parts).replace('nan', '   ')} {line.whole:8.3f} {first / line.whole:7.1f}")
    size, floor = read_floor(options.spectra)
    print(f"floor: {size:.0f} bytes a file, read from the page cache in {floor:.3f} ms on one core")
    return 0


def run_bench_plates(options: argparse.Namespace) -> int:
    """Run ``raystellar bench plates``."""
    from raystellar.bench.plates import plates_table

    first = None
    print(f"{'ms per spectrum':14s} {'whole':>8s} {'ratio':>7s} {'spectra':>9s}")
    for rate in plates_table([options.plates], [options.spectra]):
        first = first or rate.ms
        print(f"{rate.name:14s} {rate.ms:9.3f} {first / rate.ms:7.2f} {rate.spectra:9d}")
    return 0


def run_bench_novelty(options: argparse.Namespace) -> int:
    """Run ``raystellar bench novelty``; 0 only if all kinds are flagged as they should be."""
    from raystellar.bench.novelty import novelty_table, score_files

    print(f"{'kind':18s} {'spectra':>8s} {'S/N':>6s} {'flagged %':>10s}   score:     5 %   median     95 %")
    fine = True
    for row in novelty_table(options.model, options.dataset, options.count, options.seed):
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


def _print_labels(labels: dict[str, Any]) -> None:
    print(
        f"labels: {labels['rows']} rows, {labels['spectra']} spectra of {labels['stars']} stars, "
        f"{labels['duplicates']} duplicates dropped, {labels['usable']} usable"
    )
    for reason, count in sorted(labels["by_reason"].items(), key=lambda item: -item[1]):
        print(f"  {count:8d}  {reason}")
    for note in labels["notes"]:
        print(f"  note: {note}")


def _print_job(job: Any) -> None:
    accounting = job.accounting
    print(f"in {accounting.rows_in} = out {accounting.rows_out} + rejected {accounting.rejected.total()}", end="")
    print(f" ({job.resumed_rows} were done before)" if job.resumed_rows else "")
    for reason, count in accounting.rejected.most_common():
        print(f"  {count:8d}  {reason}")


def _print_end(out: str, seconds: dict[str, float]) -> None:
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    print(f"written: {out}")
