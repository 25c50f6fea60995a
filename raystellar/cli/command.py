"""A command of the program: its name, its help, its options, the settings it reads, and its action, in one place.

Exit codes: 0 success; 1 failure, with its reason in one sentence on standard error; 2 wrong command line;
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raystellar.config import to_plain
from raystellar.errors import ConfigError

if TYPE_CHECKING:
    from raystellar.cli.settings import Settings

SPECTRA_HELP = "spec files, folders, globs, or lists of them (@FILE or *.txt, one a line); paths or URLs"
NO_REPORT_HELP = "write no _report.html into the folder"
RETRY_HELP = "repeat the shards in which a file could not be fetched"
LABELS_HELP = "label table: FITS, CSV, Parquet (also a folder or glob), ECSV or VOTable"
MATCH_HELP = "join spectra and rows of the label table by position within this distance, not by names"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, or one benchmark below the command ``bench``."""

    name: str
    """Name on the command line."""

    summary: str
    """One line of help."""

    add_options: Callable[[argparse.ArgumentParser], None]
    """Add the options that belong to this command alone."""

    run: Callable[[argparse.Namespace, Any], int]
    """Do the work with the options and the settings; return the exit code."""

    examples: Sequence[str] = ()
    """Command lines shown below the help."""

    sections: tuple[str, ...] = ()
    """Sections of the settings that the command reads; a command without sections has no options for settings."""

    where: tuple[str, ...] = ()
    """Options among ``local``, ``address`` and ``actors`` that the command accepts."""

    preset: str | None = None
    """Default preset."""

    own_settings: Callable[[argparse.Namespace], dict[str, dict[str, Any]]] = lambda options: {}
    """Return the settings that options of this command set, by section; None for an option that the user left out."""

    def add_to(self, commands: Any) -> None:
        """Add the command to the sub-commands of a parser of argparse."""
        parser = commands.add_parser(
            self.name,
            help=self.summary,
            description=f"{self.summary[0].upper()}{self.summary[1:]}.",
            epilog="\n".join(["examples:", *(f"  {line}" for line in self.examples)]) if self.examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(action=self)
        self.add_options(parser)
        if self.sections:
            _add_settings(parser, self.sections)
        if self.where:
            _add_where(parser, self.where)
        _add_log(parser)

    def start(self, options: argparse.Namespace) -> int:
        """Compose the settings and run the command, or show its settings; return the exit code."""
        if not self.sections:
            return self.run(options, None)
        settings = self._settings(options)
        if options.show_settings:
            print(json.dumps({name: to_plain(getattr(settings, name)) for name in self.sections}, indent=2))
            return 0
        return self.run(options, settings)

    def _settings(self, options: argparse.Namespace) -> Settings:
        from raystellar.cli.settings import compose

        for text in options.assignments:
            self._check_section(text.partition(".")[0].strip())
        own = self.own_settings(options)
        if self.where:
            resources = {"address": None, "actors": None} | {name: getattr(options, name) for name in self.where}
            own["resources"] = {**resources, "local": getattr(options, "local", None) or None}
        own = {name: {k: v for k, v in values.items() if v is not None} for name, values in own.items()}
        return compose(options.preset or self.preset, options.config, options.assignments, own)

    def _check_section(self, section: str) -> None:
        """Refuse a setting of another command; ``settings.compose`` refuses an unknown section."""
        from dataclasses import fields

        from raystellar.cli.settings import Settings

        if section not in self.sections and section in {field.name for field in fields(Settings)}:
            used = ", ".join(f"[{name}]" for name in self.sections)
            raise ConfigError(f"{self.name} does not read the settings [{section}]; it reads {used}")


def _add_settings(parser: argparse.ArgumentParser, sections: Sequence[str]) -> None:
    names = ", ".join(sections)
    group = parser.add_argument_group("settings", f"Sections that this command reads: {names}.")
    group.add_argument("--preset", metavar="NAME", help="settings that come with raystellar, e.g. paper")
    group.add_argument("--config", metavar="FILE", help="TOML file of settings")
    group.add_argument(
        "--set", action="append", default=[], dest="assignments", metavar="SECTION.KEY=VALUE", help="one setting"
    )
    group.add_argument("--show-settings", action="store_true", help="print the settings as JSON and do nothing")


def _add_where(parser: argparse.ArgumentParser, where: Sequence[str]) -> None:
    group = parser.add_argument_group("where it runs")
    if "local" in where:
        group.add_argument("--local", action="store_true", help="in this process, without Ray")
    if "address" in where:
        group.add_argument("--address", metavar="ADDRESS", help="Ray cluster (default: RAY_ADDRESS, else this machine)")
    if "actors" in where:
        group.add_argument("--actors", type=int, metavar="N", help="parallel actors (default: one for each CPU)")


def _add_log(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="store_true", help="also show debugging messages")
    loud.add_argument("-q", "--quiet", action="store_true", help="show only warnings and errors on the console")
    group.add_argument("--log-file", metavar="FILE", help="append all messages to this file, with time stamps")
