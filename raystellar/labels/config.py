"""The section ``labels`` of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raystellar.labels.sspp import FLAG_LENGTH
from raystellar.targets import TARGET_NAMES


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """Rules by which rows of a label table are usable, that is, can be learned from. Settings section ``[labels]``."""

    teff_range: tuple[float, float] = (4000.0, 10000.0)
    """Smallest and largest effective temperature [K]. Source: Sec. 2, the range of the SSPP."""

    logg_range: tuple[float, float] = (0.0, 5.0)
    """Smallest and largest log10 of the surface gravity [cm/s2]. Source: the grid of the SSPP."""

    feh_range: tuple[float, float] = (-4.5, 1.0)
    """Smallest and largest metallicity [Fe/H] [dex]. Source: Table 1."""

    min_sn: float = 10.0
    """Smallest median S/N per pixel; applied where the table has a column of S/N. Source: Sec. 2."""

    critical_flags: tuple[str, ...] = ("DdHhESV", "", "", "", "BRX")
    """Letters at each of the five positions of the SSPP flag that make a row unusable. Source: SSPP flag page."""

    require_normal: bool = False
    """Whether only rows with the flag ``nnnnn`` are usable, so that rows with a mere caution are left out, too."""

    min_estimates: int = 1
    """Smallest number of SSPP estimates averaged into each label; applied where the table has these numbers."""

    max_rv_error: float = 100.0
    """Largest error of a velocity; a velocity with a larger error counts as missing [km/s]. 100 km/s are 1.4 pixels."""

    max_abs_rv: float = 1000.0
    """Largest absolute velocity; a larger one counts as missing [km/s]. The SSPP has up to 1449 km/s, on rows
    that are not stars."""

    require_rv: bool = True
    """Whether a row without a velocity is unusable, where the table has velocities; its rest frame is not known."""

    repeats: Literal["keep", "best"] = "keep"
    """Usable spectra of a star that has several: all of them, or only the spectrum with the highest S/N."""

    star_radius_arcsec: float = 2.0
    """Distance on the sky below which two spectra belong to one star [arcsec]. An SDSS fibre is 3 arcsec wide."""

    match_radius_arcsec: float = 0.0
    """Distance on the sky within which a spectrum is joined to a row of the table, by position alone [arcsec]; 0 joins
    by names."""

    def __post_init__(self) -> None:
        for target in TARGET_NAMES:
            low, high = self.range_of(target)
            if not low < high:
                raise ValueError(f"{target}_range = [{low:g}, {high:g}] must rise")
        for name in ("min_sn", "min_estimates", "star_radius_arcsec", "match_radius_arcsec"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name):g} must not be negative")
        for name in ("max_rv_error", "max_abs_rv"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name):g} km/s must be positive")
        for name in ("star_radius_arcsec", "match_radius_arcsec"):
            if not getattr(self, name) <= 60:
                raise ValueError(f"{name} = {getattr(self, name):g} must be at most 60")
        letters = f"n{''.join(self.critical_flags)}"  # the n keeps the text from being empty
        if len(self.critical_flags) != FLAG_LENGTH or not (letters.isascii() and letters.isalpha()):
            raise ValueError(f"critical_flags = {list(self.critical_flags)} must be five texts of letters")

    def range_of(self, target: str) -> tuple[float, float]:
        """Return the smallest and the largest usable value of a label."""
        return {"teff": self.teff_range, "logg": self.logg_range, "feh": self.feh_range}[target]
