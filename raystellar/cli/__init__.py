"""The program ``raystellar``.

parser      all commands, and ``main``
command     a command: its options, the settings it reads, and its action
commands/   the commands, one module each
settings    all sections of the settings, composed from presets, files and options
presets/    settings that come with raystellar
logs        messages on the console and in a file
summaries   the lines that commands print at their end
demo        the whole job on a simulated survey
"""

from raystellar.cli.parser import main

__all__ = ["main"]
