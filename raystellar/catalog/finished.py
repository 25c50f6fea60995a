"""Open the folder of a finished catalogue and read its rows."""

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
    """A finished catalogue on disk, and the selection of its rows."""

    run: dict[str, Any]
    """Content of ``_run.json``."""

    output: ShardedOutput
    """Folder of the catalogue."""

    accounting: Accounting
    """Numbers of input rows, catalogue rows and rejects."""

    good: bool
    """Whether rows with a flag are left out."""

    primary: bool
    """Whether all but the primary row of each star are left out."""

    def rows(self) -> Iterator[pa.Table]:
        """Yield the selected rows, one table a part."""
        for table in self.output.parts():
            if self.good:
                table = table.filter(pc.invert(pc.or_(table["flag_warn"], table["flag_bad"])))
            yield table.filter(table["is_primary"]) if self.primary else table


def open_catalog(path: str, good: bool = False, primary: bool = False) -> Catalog:
    """Open a catalogue and check that it is finished.

    A catalogue is finished when each input row is a catalogue row or a reject, and when the primary row of each star
    is chosen.

    Parameters
    ----------
    path : folder written by ``raystellar label``, a path or URL
    good : leave out rows with ``flag_warn`` or ``flag_bad``
    primary : leave out all but the primary row of each star

    Raises
    ------
    InputError : ``path`` does not exist or is not a catalogue
    IncompleteError : the catalogue is not finished
    """
    run = read_run(path)
    if run is None:
        raise InputError(f"{path} is not a catalogue; give a folder written by raystellar label")
    if run.get("kind") != "catalog":
        raise InputError(f"{path} is a {run.get('kind')}, not a catalogue; give a folder written by raystellar label")
    output = ShardedOutput(path, described_schema(CATALOG, "catalog"))
    accounting = output.account()
    done = accounting.rows_out + accounting.rejected.total()
    if done != accounting.rows_in:
        raise IncompleteError(
            f"{path} is not finished: {done} of {accounting.rows_in} input rows are done; "
            "run the same raystellar label command again to finish it"
        )
    if "is_primary" in run.get("columns", ()) and output.summary() is None:
        raise IncompleteError(
            f"{path} is not finished: all rows are there, but the primary row of each star is not chosen; "
            "run the same raystellar label command again to finish it"
        )
    if primary and "is_primary" not in run.get("columns", ()):
        raise InputError(f"{path} has no column is_primary (an older version made it); label the spectra again")
    return Catalog(run, output, accounting, good, primary)
