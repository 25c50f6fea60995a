"""Settings: TOML files and texts ``section.key=value`` -> frozen dataclasses.

A section is a frozen keyword-only dataclass beside the code that it configures; ``cli/settings.py`` lists all sections.
An unknown section or key is refused with the nearest known name. Values are checked against the annotated types, and
limits by the ``__post_init__`` of the section. This module reads files and writes none.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from raystellar.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

S = TypeVar("S")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError : the file is missing or is not TOML
    """
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} cannot be read as TOML: {error}") from None


def parse_setting(text: str) -> dict[str, Any]:
    """Turn ``section.key=value`` into a nested mapping; the value is TOML, or else a plain string.

    Raises
    ------
    ConfigError : the text does not begin with ``section.key=``
    """
    name, separator, value = text.partition("=")
    parts = name.strip().split(".")
    if not separator or len(parts) < 2 or not all(parts):
        raise ConfigError(f"setting {text!r} is not of the form section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return parsed


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated by ``over``: nested tables are merged, other values are replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def build(section: type[S], values: Mapping[str, Any], name: str) -> S:
    """Build the dataclass ``section`` from plain ``values``; messages call the section ``name``.

    An integer is accepted for a float, and a list for a tuple. Nothing else is converted.

    Raises
    ------
    ConfigError : a key is unknown (the message names the nearest known key), or a value has the wrong type or is out of
        bounds
    """
    _check_keys(section, values, name)
    try:
        return msgspec.convert(values, section)
    except msgspec.ValidationError as error:
        raise ConfigError(_sentence(str(error), section, values, name)) from None


def _check_keys(section: type, values: Any, name: str) -> None:
    """Raise ConfigError for a key that ``section`` or a section nested in it does not have."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"[{name}] must be a table of keys, not {values!r}")
    hints = typing.get_type_hints(section)
    known = {field.name: hints[field.name] for field in dataclasses.fields(section)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {name}.{key}{nearest(key, known)}")
        if dataclasses.is_dataclass(known[key]) and not dataclasses.is_dataclass(value):
            _check_keys(typing.cast(type, known[key]), value, f"{name}.{key}")


def _sentence(message: str, section: type, values: Mapping[str, Any], name: str) -> str:
    """Turn a message of msgspec into a sentence that names the key and its value."""
    cause, at, address = message.rpartition(" - at `$")
    if not at:  # raised by the limits of the section itself
        return f"[{name}] {message}"
    address = address.rstrip("`")
    key = address.lstrip(".").partition(".")[0].partition("[")[0]
    if key not in values:
        return f"[{name}] {cause}"
    choices = typing.get_args(typing.get_type_hints(section)[key])
    if cause.startswith("Invalid enum value"):
        cause = f"must be one of {', '.join(map(repr, choices))}"
    else:
        cause = cause[0].lower() + cause[1:]
        cause = cause.replace("expected `array`", "must be a list").replace("expected", "must be of type")
    return f"{name}{address} = {values[key]!r} {cause.replace('`', '')}"


def or_default(value: S | None, section: type[S]) -> S:
    """Return settings that a user passed to a function; the default settings where ``value`` is None.

    Raises
    ------
    ConfigError : ``value`` is of another class than ``section``
    """
    if value is None:
        return section()
    if not isinstance(value, section):
        name = f"{section.__module__}.{section.__qualname__}"
        raise ConfigError(f"settings of the class {name} are needed, but these are of type {type(value).__name__}")
    return value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for a message: the nearest known word, or all known words where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def to_plain(value: Any) -> Any:
    """Turn sections into plain dicts, lists and scalars, for JSON and TOML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """Return sections or plain values as JSON. A number that JSON cannot write, such as an infinite loss, is null."""
    return json.dumps(_finite(to_plain(value)), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return plain values with None in the place of each number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def toml_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return sections of plain scalars and lists as TOML text, which ``read_toml`` can read."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that identify ``value`` (sections, plain values): its SHA-256, shortened."""
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
