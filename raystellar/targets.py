"""The three stellar parameters, in the order of every array of targets.

Source: Sec. 1 and 2 of Barreto & Eisencraft (2026); SSPP's column names from its data model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One stellar parameter."""

    name: str
    """Name of the column."""

    unit: str
    """Unit in plain notation."""

    symbol: str
    """Symbol in figures and texts."""

    description: str
    """Meaning in words."""

    ucd: str
    """Name in the vocabulary of the IVOA (UCD1+)."""


TEFF = Target("teff", "K", "Teff", "effective temperature", "phys.temperature.effective")
FEH = Target("feh", "dex", "[Fe/H]", "metallicity, log10 of iron over hydrogen relative to the Sun", "phys.abund.Fe")
LOGG = Target("logg", "dex", "log g", "log10 of the surface gravity in cm/s2", "phys.gravity")

TARGETS: tuple[Target, ...] = (TEFF, FEH, LOGG)
"""The targets in the order of the network's outputs."""

TARGET_NAMES: tuple[str, ...] = tuple(target.name for target in TARGETS)
