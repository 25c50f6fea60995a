"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raystellar.errors import IncompleteError, InputError
from raystellar.files.facts import read_run
from raystellar.output.folder import Accounting, ShardedOutput
from raystellar.schema import CATALOG, described_schema


@dataclass(frozen=True)
class Catalog:
    """A finished catalogue on disk."""

    run: dict[str, Any]
    """What its ``_run.json`` says."""
    output: ShardedOutput
    accounting: Accounting
    good: bool
    """Only rows without a flag are wanted."""
    primary: bool
    """Only the best row of each star is wanted."""

    def rows(self) -> Iterator[pa.Table]:
        """Yield the rows that are wanted, part by part."""
        for table in self.output.parts():
            if self.good:
                table = table.filter(pc.invert(pc.or_(table["flag_warn"], table["flag_bad"])))
            yield table.filter(table["is_primary"]) if self.primary else table


def open_catalog(place: str, good: bool = False, primary: bool = False) -> Catalog:
    """Open a catalogue and check that every row of its input is accounted for, and the best of each star decided.

    Raises
    ------
    InputError : it is not there, or is something else
    IncompleteError : it is not finished
    """
    run = read_run(place)
    if run is None:
        raise InputError(f"{place} is no catalogue; name a folder written by raystellar label")
    if run.get("kind") != "catalog":
        raise InputError(f"{place} is a {run.get('kind')} and no catalogue; name a folder written by raystellar label")
    output = ShardedOutput(place, described_schema(CATALOG, "catalog"))
    accounting = output.account()
    done = accounting.rows_out + accounting.rejected.total()
    if done != accounting.rows_in:
        raise IncompleteError(
            f"{place} is not finished: {done} of {accounting.rows_in} input rows are there; "
            "give its command (raystellar label) again and it goes on where it was"
        )
    if "is_primary" in run.get("columns", ()) and output.summary() is None:
        raise IncompleteError(
            f"{place} is not finished: all rows are there, but not which of them is the best of each star; "
            "give its command (raystellar label) again"
        )
    if primary and "is_primary" not in run.get("columns", ()):
        raise InputError(f"{place} was made before there was a column is_primary; label the spectra again")
    return Catalog(run, output, accounting, good, primary)
