"""What each sub-command does: compose the settings, call a stage, print its summary."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from raystellar.config import to_plain
from raystellar.errors import ConfigError


def _settings(options: argparse.Namespace, **sections: dict[str, Any]) -> Any:
    """Compose the settings from the options of the command line; None where they were only to be shown."""
    from raystellar.cli.settings import compose

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
    from raystellar.stages.simulate import simulate

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
    return _train(options, options.out, settings, options.overwrite)


def _train(options: argparse.Namespace, out: str, settings: Any, overwrite: bool = False) -> int:
    from raystellar.engine.session import session
    from raystellar.stages.train import train

    with session(replace(settings.resources, local=settings.training.workers == 0)):
        summary = train(
            options.dataset,
            out,
            network=settings.network,
            fit=settings.fit,
            resources=settings.training,
            provenance=to_plain(settings),
            overwrite=overwrite,
        )
    print(summary)
    _page_at_end(options, out, not summary.reused, dataset=options.dataset)
    return 0


def run_tune(options: argparse.Namespace) -> int:
    """Run ``raystellar tune``."""
    settings = _settings(options, tune={"trials": options.trials, "sampler": options.sampler})
    if settings is None:
        return 0
    from raystellar.stages.tune import tune

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
        return _train(options, options.then_train, replace(settings, **summary.settings))
    return 0


def run_label(options: argparse.Namespace) -> int:
    """Run ``raystellar label``."""
    settings = _settings(options)
    if settings is None:
        return 0
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
    _print_job(summary.job)
    print("flags: " + ", ".join(f"{name} {count}" for name, count in summary.flagged.items()))
    _print_repeats(summary.repeats)
    for note in summary.notes:
        print(f"note: {note}")
    print(f"model: {summary.model_id}")
    something_done = summary.job.accounting.rows_in > summary.job.resumed_rows
    _page_at_end(options, summary.out, something_done, fetch=settings.fetch)
    _print_end(summary.out, summary.seconds)
    return 0


def _page_at_end(options: argparse.Namespace, out: str, something_done: bool, **known: Any) -> None:
    """Write the page of a folder, unless it is not wanted, or is there and nothing was done."""
    from raystellar.files import places
    from raystellar.report.write import try_page
    from raystellar.schema import REPORT_NAME

    if not options.no_report and (something_done or not places.exists(places.join(out, REPORT_NAME))):
        _print_page(try_page(out, **known))


def run_report(options: argparse.Namespace) -> int:
    """Run ``raystellar report``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.report.write import write_page

    summary = write_page(
        options.folder,
        options.out,
        truth=options.truth,
        model=options.model,
        dataset=options.dataset,
        labels_config=settings.labels,
        fetch=settings.fetch,
    )
    _print_page(summary)
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Run ``raystellar export``."""
    if _settings(options) is None:
        return 0
    from raystellar.model.bundle_files import is_bundle

    if is_bundle(options.folder):
        return _export_model(options)
    from raystellar.catalog.export import export

    summary = export(options.folder, options.out, good=options.good, primary=options.primary)
    print(f"{summary.rows} of {summary.accounting.rows_out} rows, {summary.accounting.rejected.total()} rejects")
    _print_end(summary.out, summary.seconds)
    return 0


def _export_model(options: argparse.Namespace) -> int:
    from raystellar.model.exchange import export_model
    from raystellar.targets import TARGETS

    if options.good or options.primary:
        name = "--good" if options.good else "--primary"
        raise ConfigError(f"{name} is for the rows of a catalogue, and {options.folder} is a model")
    summary = export_model(options.folder, options.out)
    found = ", ".join(f"{target.name} {summary.difference[target.name]:.2g} {target.unit}" for target in TARGETS)
    print(f"model: {summary.model_id}")
    print(f"run on {summary.spectra} spectra, largest difference from the model: {found}")
    print(f"written: {summary.out}, {summary.text}")
    return 0


def run_fetch_list(options: argparse.Namespace) -> int:
    """Run ``raystellar fetch-list``."""
    settings = _settings(options)
    if settings is None:
        return 0
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
    _print_labels(summary.labels)
    print(f"{summary.spectra} addresses of {summary.plates} plates, by run2d: {summary.by_run2d}")
    print(f"written: {summary.out}")
    return 0


def run_plan(options: argparse.Namespace) -> int:
    """Run ``raystellar plan``."""
    settings = _settings(options)
    if settings is None:
        return 0
    from raystellar.stages.plan import plan, plan_table

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
    from raystellar.cli.demo import demo, error_table

    summary = demo(options.out, settings, report=not options.no_report)
    print(f"\n{summary.spectra} held-out stars:")
    print(error_table(summary))
    print(f"picture: {summary.picture}")
    for page in summary.pages:
        _print_page(page)
    _print_end(options.out, summary.seconds)
    return 0


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


def _print_page(page: Any) -> None:
    """Say where a page is; where there is none, standard error has said why."""
    if page:
        print(f"page: {page.out} ({page.bytes / 1e6:.1f} MB, {page.seconds:.1f} s)")


def _print_repeats(found: dict[str, Any]) -> None:
    repeats = found["repeats"]
    print(f"stars: {found['stars']}; {repeats['stars']} of them have {repeats['rows']} spectra that are not bad")
    labels = {name: one for name, one in repeats.items() if isinstance(one, dict) and one["scatter"] is not None}
    if not labels:
        return
    scatter = ", ".join(f"{name} {one['scatter']:.3g} {one['unit']}" for name, one in labels.items())
    pull = ", ".join(f"{name} {one['pull']:.2f} ({one['pull_robust']:.2f})" for name, one in labels.items())
    print(f"scatter of a spectrum: {scatter}")
    print(f"their differences in errors, rms (by the median): {pull}")


def _print_end(out: str, seconds: dict[str, float]) -> None:
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    print(f"written: {out}")
