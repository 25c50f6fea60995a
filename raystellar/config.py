"""Configuration: TOML files and ``section.key=value`` settings into frozen dataclasses.

A section is a frozen keyword-only dataclass beside the code it configures; ``settings.py`` lists them all.
Unknown sections and keys are refused with the nearest name, values are checked against the annotated type,
and limits are checked by the section's own ``__post_init__``. Nothing here touches the disk but to read.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

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
    ConfigError : the text has no ``section.key=`` in front
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
    """Lay ``over`` on ``base``, table by table; a value replaces a value."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def build(section: type[S], values: Mapping[str, Any], name: str) -> S:
    """Build the dataclass ``section`` from ``values``; ``name`` is how the user calls it.

    Raises
    ------
    ConfigError : an unknown key (with the nearest known one), a value of the wrong type or out of bounds
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"[{name}] must be a table of keys, not {values!r}")
    hints = typing.get_type_hints(section)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(section)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {name}.{key}{nearest(key, fields)}")
    kwargs = {key: _convert(value, fields[key], f"{name}.{key}") for key, value in values.items()}
    try:
        return section(**kwargs)
    except ValueError as error:
        raise ConfigError(f"[{name}] {error}") from None


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest, or list them all where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def to_plain(value: Any) -> Any:
    """Turn sections into plain dicts, lists and scalars, as JSON and TOML want them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def toml_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the TOML of sections of plain scalars and lists, which ``read_toml`` reads."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that identify ``value`` (sections, plain values): its SHA-256, shortened."""
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _convert(value: Any, hint: Any, name: str) -> Any:
    """Check ``value`` against the annotation ``hint``; an int is welcome as float, a list as tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return _convert(value, inner[0], name)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{name} = {value!r} must be one of {', '.join(map(repr, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        section = typing.cast(type, hint)
        return value if isinstance(value, section) else build(section, value, name)
    if origin is tuple:
        return _convert_tuple(value, arguments, name)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} = {value!r} must be a table")
        return {key: _convert(item, arguments[1], f"{name}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} = {value!r} must be of type {hint.__name__}")
    return value


def _convert_tuple(value: Any, arguments: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} = {value!r} must be a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise ConfigError(f"{name} has {len(value)} values and needs {len(arguments)}")
    pairs = zip(value, arguments, strict=True)
    return tuple(_convert(item, hint, f"{name}[{i}]") for i, (item, hint) in enumerate(pairs))
