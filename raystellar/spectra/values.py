"""Single values of a header or of a table row, checked for their type.

Each function takes a mapping from names to values, and raises SpectrumError where the value has another type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from raystellar.errors import SpectrumError

INT32_END = 2**31
"""Bound of the integers of 32 bits, which are at least -INT32_END and less than INT32_END."""

INT64_END = 2**63
"""Bound of the integers of 64 bits."""

DOUBLE_END = 2.0**53
"""Bound of the integers that a floating point number of 64 bits holds exactly."""


def integer(row: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return an integer of 32 bits; ``default`` where the value is missing.

    Raises
    ------
    SpectrumError : the value is not an integer of 32 bits, or is missing and has no default
    """
    value = row.get(name)
    value = default if value is None else value
    if value is None:
        raise SpectrumError("read", f"missing {name}", "the file has no such value")
    if type(value) not in (int, float) or not -INT32_END <= value < INT32_END or value != int(value):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return int(value)


def real(row: Mapping[str, Any], name: str) -> float:
    """Return a number; NaN where it is missing."""
    value = row.get(name)
    if value is None:
        return math.nan
    if type(value) not in (int, float):  # isinstance would let a bool pass as an int
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return float(value)


def string(row: Mapping[str, Any], name: str) -> str:
    """Return a text; an empty one where it is missing."""
    value = row.get(name)
    if not isinstance(value, (str, type(None))):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return value or ""


def identifier(row: Mapping[str, Any], name: str) -> str:
    """Return a text or an integer as a text; an empty one where it is missing."""
    value = row.get(name)
    return str(value) if type(value) is int else string(row, name)


def number(row: Mapping[str, Any], name: str) -> int:
    """Return an integer of 64 bits that names an object or a field, also where it is written as a text.

    Returns
    -------
    The integer; -1 where the value is missing, an empty text or not a number.

    Raises
    ------
    SpectrumError : the value is not an integer of 64 bits
    """
    value = row.get(name)
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r" *\d{1,18} *", value, re.ASCII) else None
    if value is None:
        return -1
    end = INT64_END if type(value) is int else DOUBLE_END
    if type(value) not in (int, float) or not -end <= value < end or value != int(value):
        raise SpectrumError("read", f"bad value {name}", repr(value))
    return int(value)
