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
from raystellar import places
from raystellar.config import digest, to_plain
from raystellar.errors import InputError, OutputError
from raystellar.schema import MANIFEST_NAME, RUN_NAME

FORMAT_VERSION = 1
"""Of an output folder; raised when older folders can no longer be resumed or read."""


def begin_run(place: str, kind: str, identity: Mapping[str, Any], prepare: Callable[[], None] = lambda: None) -> None:
    """Take the folder ``place`` for the job ``identity``, new or to be resumed.

    Parameters
    ----------
    place : the folder; made where it is not there
    kind : what it is to hold, e.g. ``dataset``
    identity : all that decides the result
    prepare : called for a new folder before ``_run.json`` is written, which makes it the job's

    Raises
    ------
    OutputError : the folder cannot be written, or holds the result of another job or something else
    """
    places.make_folder(place)
    run = {"format": FORMAT_VERSION, "raystellar": raystellar.__version__, "kind": kind, **to_plain(identity)}
    run["digest"] = digest(run)
    if places.exists(places.join(place, RUN_NAME)):
        _refuse_other_job(place, read_run(place) or {}, run)
        return
    _refuse_foreign_files(place)
    prepare()
    made = {"created": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions()}
    places.write_bytes(places.join(place, RUN_NAME), json.dumps(run | made, indent=2).encode())


def read_run(place: str) -> dict[str, Any] | None:
    """Return what ``_run.json`` in the folder ``place`` says, or None where there is none."""
    run_place = places.join(place, RUN_NAME)
    if not places.exists(run_place):
        return None
    try:
        return json.loads(places.read_bytes(run_place))
    except ValueError as error:
        raise InputError(f"{run_place} is damaged: {error}; remove the folder and begin anew") from None


def read_facts(place: str, name: str) -> dict[str, Any]:
    """Return what the JSON file ``name`` in the folder ``place`` says; nothing where it cannot be read.

    For files that a job can be done without.
    """
    file = places.join(place, name)
    if not places.exists(file):
        return {}
    try:
        found = json.loads(places.read_bytes(file))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def write_facts(place: str, name: str, facts: Mapping[str, Any]) -> None:
    """Write the JSON file ``name`` into the folder ``place``."""
    places.write_bytes(places.join(place, name), json.dumps(facts, indent=2).encode())


def versions() -> dict[str, str]:
    """Return the versions that matter to a result."""
    return {"raystellar": raystellar.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "pyarrow": pa.__version__}  # fmt: skip


def _refuse_foreign_files(place: str) -> None:
    ours = (MANIFEST_NAME, places.TEMPORARY)  # of a job that was killed before it had said what it is
    foreign = sorted(name for name in places.names(place) if not name.startswith(ours))
    if foreign:
        raise OutputError(f"{place} already holds something else, such as {foreign[0]}; name a new folder")


def _refuse_other_job(place: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise OutputError unless the folder was begun by the same job; name what differs."""
    if found.get("digest") == wanted["digest"]:
        return
    different = sorted(key for key in wanted if key != "digest" and found.get(key) != wanted[key])
    words = {
        "inputs": "the list of input files",
        "rows": "their number",
        "labels": "the label table",
        "data": "the dataset",
        "raystellar": "the version of raystellar",
    }
    named = ", ".join(words.get(key, key) for key in different) or "its format"
    raise OutputError(f"{place} holds the result of another job (different: {named}); name a new folder or remove it")
