"""Single values of a spectrum, from a header or a table row, checked for their type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from raystellar.errors import SpectrumError

INT32_END = 2**31
"""Whole numbers of 32 bits are at least -INT32_END and below INT32_END."""


def integer(row: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a whole number of 32 bits."""
    value = row.get(name)
    value = default if value is None else value
    if value is None:
        raise SpectrumError("read", f"missing {name}", "it stands nowhere in the file")
    if type(value) not in (int, float) or not -INT32_END <= value < INT32_END or value != int(value):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return int(value)


def real(row: Mapping[str, Any], name: str) -> float:
    """Return a number, NaN where there is none."""
    value = row.get(name)
    if value is None:
        return math.nan
    if type(value) not in (int, float):  # bool is an int to isinstance
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return float(value)


def string(row: Mapping[str, Any], name: str) -> str:
    """Return a text, empty where there is none."""
    value = row.get(name)
    if not isinstance(value, (str, type(None))):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return value or ""
