"""TODO."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raystellar.errors import InputError
from raystellar.files import places
from raystellar.schema import RUN_NAME


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
