"""The job that made an output folder, recorded in ``_run.json``; a folder of another job is refused."""

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
"""Entries of ``_run.json`` that do not identify the job."""

GROWING = ("rows", "inputs")
"""Entries of ``_run.json`` that change when input files are added to the folder."""


def begin_run(
    folder: str,
    kind: str,
    identity: Mapping[str, Any],
    prepare: Callable[[], None] = lambda: None,
    grow: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Open ``folder`` for a new or resumed job ``identity``.

    Parameters
    ----------
    folder : path or URL of the folder; it is made where it does not exist
    kind : kind of the content, such as ``dataset``
    identity : settings and inputs that determine the result
    prepare : called for a new folder before ``_run.json`` is written; from then on the folder belongs to the job
    grow : called for a folder of the same job, with the same or other input files; adds the new input files and returns
        the entries ``GROWING`` that are valid from then on. None: a folder with other input files is refused

    Raises
    ------
    OutputError : the folder cannot be written, or holds the result of another job or something else
    """
    places.make_folder(folder)
    run = {"format": FORMAT_VERSION, "raystellar": raystellar.__version__, "kind": kind, **to_plain(identity)}
    run["digest"] = digest(run)
    if places.exists(places.join(folder, RUN_NAME)):
        held = read_run(folder) or {}
        _refuse_other_job(folder, held, run, () if grow is None else GROWING)
        if grow is not None:
            _update(folder, held, grow())
        return
    _refuse_foreign_files(folder)
    prepare()
    made = {"created": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions()}
    places.write_bytes(places.join(folder, RUN_NAME), json.dumps(run | made, indent=2).encode())


def versions() -> dict[str, str]:
    """Return the versions of the software that may influence a result."""
    return {"raystellar": raystellar.__version__, "python": platform.python_version(), "numpy": np.__version__,
            "pyarrow": pa.__version__}  # fmt: skip


def _refuse_foreign_files(folder: str) -> None:
    ours = (MANIFEST_NAME, places.TEMPORARY)  # a job that was killed before it wrote _run.json leaves these
    foreign = sorted(name for name in places.names(folder) if not name.startswith(ours))
    if foreign:
        raise OutputError(f"{folder} already holds something else, such as {foreign[0]}; name a new folder")


def _update(folder: str, run: Mapping[str, Any], grown: Mapping[str, Any]) -> None:
    """Replace ``_run.json`` if the input files of the folder are no longer those of ``run``."""
    updated = {**run, **grown}
    updated["digest"] = digest({key: value for key, value in updated.items() if key not in NOT_OF_THE_JOB})
    if updated != run:
        places.write_bytes(places.join(folder, RUN_NAME), json.dumps(updated, indent=2).encode())


def _refuse_other_job(
    folder: str, held: Mapping[str, Any], wanted: Mapping[str, Any], may_differ: tuple[str, ...]
) -> None:
    """Raise OutputError, with the names of the entries that differ, unless only entries of ``may_differ`` do."""
    if held.get("digest") == wanted["digest"]:
        return
    decide = {*held, *wanted}.difference(NOT_OF_THE_JOB, may_differ)
    different = sorted(key for key in decide if held.get(key) != wanted.get(key))
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
    raise OutputError(f"{folder} holds the result of another job (different: {named}); name a new folder or remove it")
