"""Stage: a simulated survey, written as the files that SDSS would have written.

    plates -> [ draw stars -> synthesize -> observe -> files of one plate ] -> label table, truth

The brackets are one plate, done by one actor. Every star is a function of the seed and its number, so the survey is the
same on any number of workers; plates that exist are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raystellar.config import or_default
from raystellar.engine.progress import Progress, Stopwatch
from raystellar.engine.session import Resources, session
from raystellar.engine.shards import run_shards
from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.files.places import PathOrUrl, as_path
from raystellar.simulator.config import SimulateConfig
from raystellar.simulator.survey import SurveySummary, finish, pending_plates, write_plate


@dataclass(frozen=True)
class SimulateSummary:
    """The outcome of a simulation."""

    out: str
    """Folder of the survey."""

    survey: SurveySummary
    """Counts of plates and stars."""

    resumed_plates: int
    """Plates that an earlier run had written."""

    seconds: dict[str, float]
    """Time of each part of the job [s]."""


def simulate(
    out: PathOrUrl, config: SimulateConfig | None = None, resources: Resources | None = None
) -> SimulateSummary:
    """Simulate a survey into the folder ``out``, or resume an interrupted run.

    Parameters
    ----------
    out : folder to write, on a disk
    config : number of stars, seed and instrument
    resources : where the job runs

    Raises
    ------
    RaystellarError : ``out`` cannot be written, or holds another survey
    """
    out = as_path(out)
    config, resources = or_default(config, SimulateConfig), or_default(resources, Resources)
    if not places.is_local(out):
        raise OutputError(f"{out} is not a folder on a disk; simulate there and copy the files")
    watch = Stopwatch()
    with watch.part("simulate"), Progress("simulate", config.stars, "stars") as progress:
        places.make_folder(out)
        pending = pending_plates(config, out)
        progress.skip(config.stars - sum(pending.values()))
        if pending:
            with session(resources):
                for counts in run_shards(PlateWriter(config, out), list(pending), resources):
                    progress.add(counts["rows"])
    with watch.part("label table"):
        survey = finish(config, out)
    return SimulateSummary(out, survey, survey.plates - len(pending), watch.seconds)


@dataclass(frozen=True)
class PlateWriter:
    """Simulate one plate and write its files."""

    config: SimulateConfig
    """Settings of the survey."""

    out: str
    """Folder of the survey."""

    def __call__(self, plate: int) -> dict[str, Any]:
        """Simulate and write the plate of this index; return its number of stars."""
        return {"rows": write_plate(self.config, self.out, plate).stars, "rejected": 0}
