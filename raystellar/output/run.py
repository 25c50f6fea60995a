"""Whose output a folder holds: ``_run.json`` says what made it, and a folder of another job is refused."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

import raystellar
from raystellar.config import digest, to_plain
from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.files.facts import read_run
from raystellar.schema import FORMAT_VERSION, MANIFEST_NAME, RUN_NAME

NOT_OF_THE_JOB = ("digest", "created", "versions")
"""Entries of ``_run.json`` that decide nothing."""

GROWING = ("rows", "inputs")
"""Entries that change when a folder takes further inputs."""


def begin_run(
    place: str,
    kind: str,
    identity: Mapping[str, Any],
    prepare: Callable[[], None] = lambda: None,
    grow: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Take the folder ``place`` for the job ``identity``, new or to be resumed.

    Parameters
    ----------
    place : the folder; made where it is not there
    kind : what it is to hold, e.g. ``dataset``
    identity : all that decides the result
    prepare : called for a new folder before ``_run.json`` is written, which makes it the job's
    grow : where the folder may take further inputs: called for one of the same job, whatever its inputs; takes them,
        and returns the entries ``GROWING`` that hold from now on

    Raises
    ------
    OutputError : the folder cannot be written, or holds the result of another job or something else
    """
    places.make_folder(place)
    run = {"format": FORMAT_VERSION, "raystellar": raystellar.__version__, "kind": kind, **to_plain(identity)}
    run["digest"] = digest(run)
    if places.exists(places.join(place, RUN_NAME)):
        found = read_run(place) or {}
        _refuse_other_job(place, found, run, () if grow is None else GROWING)
        if grow is not None:
            _keep_up(place, found, grow())
        return
    _refuse_foreign_files(place)
    prepare()
    made = {"created": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions()}
    places.write_bytes(places.join(place, RUN_NAME), json.dumps(run | made, indent=2).encode())


def versions() -> dict[str, str]:
    """Return the versions that matter to a result."""
    return {"raystellar": raystellar.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "pyarrow": pa.__version__}  # fmt: skip


def _refuse_foreign_files(place: str) -> None:
    ours = (MANIFEST_NAME, places.TEMPORARY)  # of a job that was killed before it had said what it is
    foreign = sorted(name for name in places.names(place) if not name.startswith(ours))
    if foreign:
        raise OutputError(f"{place} already holds something else, such as {foreign[0]}; name a new folder")


def _keep_up(place: str, found: Mapping[str, Any], grown: Mapping[str, Any]) -> None:
    """Write ``_run.json`` anew where the inputs of the folder are others than it says."""
    run = {**found, **grown}
    run["digest"] = digest({key: value for key, value in run.items() if key not in NOT_OF_THE_JOB})
    if run != found:
        places.write_bytes(places.join(place, RUN_NAME), json.dumps(run, indent=2).encode())


def _refuse_other_job(
    place: str, found: Mapping[str, Any], wanted: Mapping[str, Any], may_differ: tuple[str, ...]
) -> None:
    """Raise OutputError unless the folder was begun by the same job, ``may_differ`` aside; name what differs."""
    if found.get("digest") == wanted["digest"]:
        return
    decide = {*found, *wanted}.difference(NOT_OF_THE_JOB, may_differ)
    different = sorted(key for key in decide if found.get(key) != wanted.get(key))
    if may_differ and not different:
        return
    words = {
        "inputs": "the list of input files",
        "rows": "their number",
        "labels": "the settings [labels]",
        "label_table": "the label table",
        "data": "the dataset",
        "columns": "the columns of a catalogue",
        "raystellar": "the version of raystellar",
    }
    named = ", ".join(words.get(key, key) for key in different)
    raise OutputError(f"{place} holds the result of another job (different: {named}); name a new folder or remove it")
