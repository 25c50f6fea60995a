"""The section ``simulate`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from raystellar.simulator.instrument import FIBRES
from raystellar.simulator.population import MAX_SEED, Population

N_PLATES = 3215
"""Count of the plates of SSPP, 266 to 3480; a survey has no more."""


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """Settings of a simulated survey."""

    stars: int = 4000
    """Number of spectra of stars."""

    seed: int = 1
    """Seed of all random numbers, 0 to 2**63 - 1."""

    stars_per_plate: int = 160
    """Stars on a plate, 1 to 640. A plate is the unit of work."""

    labelled_fraction: float = 0.8
    """Share of the plates whose stars are in ssppOut.fits, 0 to 1. A share above 0 includes the first plate."""

    sky_fibres: int = 0
    """Fibres on empty sky per plate, which a catalogue must not contain as stars. A real plate has 32."""

    repeat_fraction: float = 0.02
    """Share of the spectra that repeat a star of the plate before with another S/N, 0 to 0.5."""

    spplate: bool = False
    """Whether to write spPlate and spZbest files too, about 60 MB a plate."""

    population: Population = field(default_factory=Population)
    """Population of the stars."""

    def __post_init__(self) -> None:
        limits = (
            ("seed", 0, MAX_SEED),
            ("stars_per_plate", 1, FIBRES),
            ("labelled_fraction", 0.0, 1.0),
            ("sky_fibres", 0, FIBRES - self.stars_per_plate),
            ("repeat_fraction", 0.0, 0.5),
            ("stars", 1, N_PLATES * self.stars_per_plate),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                hint = " with these stars_per_plate" if name in ("stars", "sky_fibres") else ""
                raise ValueError(f"{name} = {getattr(self, name)} must lie between {low} and {high}{hint}")
