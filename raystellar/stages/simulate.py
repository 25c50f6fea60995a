"""Stage: a simulated survey, written as the files SDSS would have written.

One input row of the Ray job is one plate. Every star is a function of the seed and its number, so the survey is the
same on any number of workers; plates that are there are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raystellar.engine.progress import Progress, Stopwatch
from raystellar.engine.session import Resources, session
from raystellar.engine.shards import run_shards
from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.simulate.survey import SimulateConfig, SurveySummary, finish, pending_plates, write_plate


@dataclass(frozen=True)
class SimulateSummary:
    """What came of a simulation."""

    out: str
    survey: SurveySummary
    resumed_plates: int
    """Plates that an earlier run had written."""
    seconds: dict[str, float]


def simulate(out: str, config: SimulateConfig, resources: Resources | None = None) -> SimulateSummary:
    """Simulate a survey into the folder ``out``; resumes what was interrupted.

    Raises
    ------
    RaystellarError : ``out`` cannot be written, or holds another survey
    """
    resources = resources or Resources()
    if not places.is_local(out):
        raise OutputError(f"{out} is not a folder on a disk; simulate there and copy the files")
    watch = Stopwatch()
    with watch.part("simulate"), Progress("simulate", config.stars, "stars") as progress:
        places.make_folder(out)
        pending = pending_plates(config, out)
        progress.skip(config.stars - sum(pending.values()))
        if pending:
            with session(resources):
                for figures in run_shards(PlateWriter, (config, out), list(pending), resources):
                    progress.add(figures["rows"])
    with watch.part("label table"):
        survey = finish(config, out)
    return SimulateSummary(out, survey, survey.plates - len(pending), watch.seconds)


class PlateWriter:
    """Simulate and write one plate."""

    def __init__(self, config: SimulateConfig, out: str) -> None:
        self._config, self._out = config, out

    def __call__(self, plate: int) -> dict[str, Any]:
        """Do the plate of this index."""
        return {"rows": write_plate(self._config, self._out, plate).stars, "rejected": 0}
