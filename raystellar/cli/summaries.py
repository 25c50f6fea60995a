"""The lines that commands print at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raystellar.cli.logs import say
from raystellar.files import places
from raystellar.schema import REPORT_NAME

if TYPE_CHECKING:
    from raystellar.engine.shards import JobResult
    from raystellar.report.write import PageSummary


def say_labels(labels: dict[str, Any]) -> None:
    """Print the counts of a label table, see ``LabelTable.summary``."""
    say(
        f"labels: {labels['rows']} rows, {labels['spectra']} spectra of {labels['stars']} stars, "
        f"{labels['duplicates']} duplicates dropped, {labels['usable']} usable"
    )
    say("joined by " + ", ".join(f"{name} ({count} rows)" for name, count in labels["by_identity"].items()))
    for reason, count in sorted(labels["by_reason"].items(), key=lambda item: -item[1]):
        say(f"  {count:8d}  {reason}")
    for note in labels["notes"]:
        say(f"  note: {note}")


def say_job(job: JobResult) -> None:
    """Print the account of a job: rows in = rows out + rejected, and the reasons of the rejects."""
    accounting = job.accounting
    before = f" ({job.resumed_rows} were done before)" if job.resumed_rows else ""
    say(f"in {accounting.rows_in} = out {accounting.rows_out} + rejected {accounting.rejected.total()}{before}")
    for reason, count in accounting.rejected.most_common():
        say(f"  {count:8d}  {reason}")


def say_repeats(summary: dict[str, Any]) -> None:
    """Print the number of stars, and the agreement of spectra of one star, see ``repeats.Stars.summary``."""
    repeats = summary["repeats"]
    if not repeats["stars"]:
        say(f"{summary['stars']} stars, none with two spectra that are not bad")
        return
    say(f"{summary['stars']} stars, {repeats['stars']} of them with {repeats['rows']} spectra that are not bad")
    labels = {name: one for name, one in repeats.items() if isinstance(one, dict) and one["scatter"] is not None}
    if not labels:
        return
    scatter = ", ".join(f"{name} {one['scatter']:.3g} {one['unit']}" for name, one in labels.items())
    pull = ", ".join(f"{name} {one['pull']:.2f} ({one['pull_robust']:.2f})" for name, one in labels.items())
    say(f"scatter of repeat spectra: {scatter}")
    say(f"pull of repeat pairs, rms (robust): {pull}")


def page_at_end(folder: str, *, wanted: bool, changed: bool, **known: Any) -> None:
    """Write the page of a folder if the user wants pages, and the folder has changed or has no page yet."""
    from raystellar.report.write import try_page

    if wanted and (changed or not places.exists(places.join(folder, REPORT_NAME))):
        say_page(try_page(folder, **known))


def say_page(page: PageSummary | None) -> None:
    """Print the path of a page; print nothing for None, as ``try_page`` has warned."""
    if page:
        say(f"page: {page.out} ({page.bytes / 1e6:.1f} MB, {page.seconds:.1f} s)")


def say_end(out: str, seconds: dict[str, float]) -> None:
    """Print the time of each part of a job, and the path of the output."""
    say("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    say(f"written: {out}")
