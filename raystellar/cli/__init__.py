"""The program ``raystellar``."""

from raystellar.cli.parser import main

__all__ = ["main"]
