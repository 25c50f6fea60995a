"""Small JSON files in an output folder: ``_run.json`` about the job of the folder, and facts for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raystellar.errors import InputError
from raystellar.files import places
from raystellar.schema import FORMAT_VERSION, RUN_NAME


def read_run(folder: str) -> dict[str, Any] | None:
    """Return the content of ``_run.json`` in ``folder``, or None where there is no such file.

    Raises
    ------
    InputError : the file is damaged, or the folder has the format of another version of raystellar
    """
    path = places.join(folder, RUN_NAME)
    if not places.exists(path):
        return None
    try:
        run = json.loads(places.read_bytes(path))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; remove the folder and run its command again") from None
    if not isinstance(run, dict) or run.get("format") != FORMAT_VERSION:
        made = run.get("raystellar", "?") if isinstance(run, dict) else "?"
        raise InputError(
            f"{folder} has the format of raystellar {made} and this version needs format {FORMAT_VERSION} (settings "
            "[catalog] are now [labels], rejects lie in _rejects); make the folder anew or use that raystellar"
        )
    return run


def read_facts(folder: str, name: str) -> dict[str, Any]:
    """Return the content of the JSON file ``name`` in ``folder``, or {} where the file is absent or damaged.

    Use this function for files whose absence does no harm.
    """
    path = places.join(folder, name)
    if not places.exists(path):
        return {}
    try:
        facts = json.loads(places.read_bytes(path))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def write_facts(folder: str, name: str, facts: Mapping[str, Any]) -> None:
    """Write ``facts`` to the JSON file ``name`` in ``folder``."""
    places.write_bytes(places.join(folder, name), json.dumps(facts, indent=2).encode())
