"""All sections of the settings, and how they are composed.

Each section is a dataclass of the module that uses it. Settings come from five sources, of which each overrides the
ones before: the defaults, a preset, a TOML file, ``--set section.key=value``, options of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources as package
from typing import Any, get_type_hints

from raystellar.config import build, merge, nearest, parse_setting, read_toml
from raystellar.engine.session import Resources
from raystellar.engine.training import TrainResources
from raystellar.engine.trials import TuneResources
from raystellar.errors import ConfigError
from raystellar.files.fetcher import FetchConfig
from raystellar.fit.config import FitConfig
from raystellar.labels.config import LabelsConfig
from raystellar.labels.splits import SplitConfig
from raystellar.model.architecture import NetworkConfig
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.quality import QualityConfig
from raystellar.search.config import SpaceConfig, TuneConfig
from raystellar.simulator.config import SimulateConfig

RENAMED = {"catalog": "labels"}
"""Present names of sections, by their names in older versions."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, one field a section."""

    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    resources: Resources = field(default_factory=Resources)
    training: TrainResources = field(default_factory=TrainResources)
    tuning: TuneResources = field(default_factory=TuneResources)


def presets() -> list[str]:
    """Return the names of the presets that come with raystellar."""
    folder = package.files("raystellar.cli") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def compose(
    preset: str | None = None,
    config: str | None = None,
    assignments: Iterable[str] = (),
    options: dict[str, Any] | None = None,
) -> Settings:
    """Compose the settings.

    Parameters
    ----------
    preset : name of one of ``presets()``
    config : TOML file
    assignments : texts ``section.key=value``
    options : settings that options of the command line set, by section

    Raises
    ------
    ConfigError : a preset, section or key is unknown, or a value has the wrong type or is out of bounds
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in presets():
            raise ConfigError(f"unknown preset {preset}{nearest(preset, presets())}")
        with package.as_file(package.files("raystellar.cli") / "presets" / f"{preset}.toml") as path:
            values = read_toml(path)
    if config is not None:
        values = merge(values, read_toml(config))
    for text in assignments:
        values = merge(values, parse_setting(text))
    known = {entry.name for entry in fields(Settings)}
    for name, section in values.items():
        if name not in known:
            now = f"; it is now [{RENAMED[name]}]" if name in RENAMED else nearest(name, known)
            raise ConfigError(f"unknown section [{name}]{now}")
        if not isinstance(section, Mapping):  # options would replace the section without a message
            raise ConfigError(f"[{name}] must be a table of keys, not {section!r}")
    values = merge(values, options or {})
    owners = get_type_hints(Settings)
    return Settings(**{name: build(owners[name], section, name) for name, section in values.items()})
