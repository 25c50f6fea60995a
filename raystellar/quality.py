"""Quality flags of a catalogue row: possible faults, one bit each, in one integer.

flags      sum of the bits below
flag_warn  a bit of WARN is set: use with care
flag_bad   a bit of BAD is set: do not use
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np


class Flag(IntFlag):
    """One bit for each possible fault of a row; the meaning of a bit never changes."""

    SKY = 1 << 0  # the fibre observed empty sky
    NOT_STAR = 1 << 1  # the pipeline's class is galaxy or quasar, or is missing
    ZWARNING = 1 << 2  # the pipeline doubts the redshift
    LOW_SN = 1 << 3  # median signal-to-noise below QualityConfig.min_sn
    FEW_GOOD_PIXELS = 1 << 4  # share of good grid pixels below QualityConfig.min_good_fraction
    NO_RV = 1 << 5  # no credible velocity: labelled as if at rest
    TEFF_RANGE = 1 << 6  # teff outside the labels the model was trained on
    FEH_RANGE = 1 << 7  # feh outside the labels the model was trained on
    LOGG_RANGE = 1 << 8  # logg outside the labels the model was trained on
    OOD = 1 << 9  # ood_score unknown or above QualityConfig.max_ood_score: unlike the training spectra
    RV_UNCERTAIN = 1 << 10  # error of the velocity above QualityConfig.max_rv_error, or unknown to the pipeline
    BAD_PIXELS = 1 << 11  # share of good grid pixels below QualityConfig.least_good_fraction


MEANINGS = {
    Flag.SKY: "the fibre observed empty sky",
    Flag.NOT_STAR: "the pipeline's class is galaxy or quasar, or is missing",
    Flag.ZWARNING: "the pipeline doubts the redshift",
    Flag.LOW_SN: "median S/N per pixel too low",
    Flag.FEW_GOOD_PIXELS: "too few good pixels on the grid",
    Flag.NO_RV: "no credible velocity: labelled as if at rest",
    Flag.TEFF_RANGE: "teff outside the labels the model was trained on",
    Flag.FEH_RANGE: "feh outside the labels the model was trained on",
    Flag.LOGG_RANGE: "logg outside the labels the model was trained on",
    Flag.OOD: "unlike the spectra the model was trained on, or not comparable with them",
    Flag.RV_UNCERTAIN: "the velocity has too large an error, or the pipeline gives no error",
    Flag.BAD_PIXELS: "most pixels on the grid are bad",
}
"""Meaning of each bit, for pages and the reference of the catalogue."""

BAD = Flag.SKY | Flag.NOT_STAR | Flag.NO_RV | Flag.OOD | Flag.BAD_PIXELS
"""Bits that forbid use."""

WARN = (
    Flag.ZWARNING
    | Flag.LOW_SN
    | Flag.FEW_GOOD_PIXELS
    | Flag.TEFF_RANGE
    | Flag.FEH_RANGE
    | Flag.LOGG_RANGE
    | Flag.RV_UNCERTAIN
)
"""Bits that ask for care."""

ZWARNING_MANY_OUTLIERS = 1 << 4
"""Bit that SDSS sets for many good bright stars; alone it does not count as a doubt of the redshift."""

RANGE_BITS = (Flag.TEFF_RANGE, Flag.FEH_RANGE, Flag.LOGG_RANGE)
"""The range bits in the order of ``targets.TARGETS``."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """Limits of the quality bits."""

    min_sn: float = 10.0
    """Median signal-to-noise per pixel below which LOW_SN is set; SSPP gives no labels below 10."""

    min_good_fraction: float = 0.7
    """Share of good grid pixels below which FEW_GOOD_PIXELS is set, which asks for care."""

    least_good_fraction: float = 0.5
    """Share of good grid pixels below which BAD_PIXELS is set, which forbids use."""

    max_ood_score: float = 1.0
    """``ood_score`` above which OOD is set; about one ordinary star in a hundred is above 1. A row without a score has
    the flag, too."""

    max_rv_error: float = 30.0
    """Error of a velocity [km/s] above which RV_UNCERTAIN is set: half a pixel of the spectrograph."""

    def __post_init__(self) -> None:
        for name in ("max_ood_score", "max_rv_error"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be above 0")
        for name in ("min_good_fraction", "least_good_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in 0 to 1")
        if not self.min_sn >= 0.0:
            raise ValueError(f"min_sn = {self.min_sn} must not be negative")


def flag_rows(
    config: QualityConfig,
    *,
    is_sky: np.ndarray,
    object_class: np.ndarray,
    zwarning: np.ndarray,
    sn: np.ndarray,
    good_fraction: np.ndarray,
    rv_source: np.ndarray,
    e_rv: np.ndarray,
    ood_score: np.ndarray,
    labels: np.ndarray,
    label_ranges: np.ndarray,
) -> np.ndarray:
    """Return the quality bits (n,) int32 of n rows.

    Parameters
    ----------
    is_sky : (n,) bool
    object_class, rv_source : (n,) str
    zwarning : (n,) int
    sn, good_fraction : (n,) float; a NaN counts as too low
    e_rv : (n,) error of the velocity [km/s]; a NaN counts as too large for a velocity of the pipeline, and as small for
        a velocity that the user gave
    ood_score : (n,) float; a NaN counts as too high
    labels : (n, 3) predicted, in the order of ``targets.TARGETS``
    label_ranges : (3, 2) smallest and largest label of the training set
    """
    bits = np.zeros(is_sky.size, dtype=np.int32)
    bits[is_sky] |= Flag.SKY
    bits[object_class != "STAR"] |= Flag.NOT_STAR
    bits[(zwarning & ~ZWARNING_MANY_OUTLIERS) != 0] |= Flag.ZWARNING
    bits[~(sn >= config.min_sn)] |= Flag.LOW_SN
    bits[~(good_fraction >= config.min_good_fraction)] |= Flag.FEW_GOOD_PIXELS
    bits[~(good_fraction >= config.least_good_fraction)] |= Flag.BAD_PIXELS
    bits[rv_source == "none"] |= Flag.NO_RV
    bits[~(ood_score <= config.max_ood_score)] |= Flag.OOD
    without_error = np.isnan(e_rv) & (rv_source != "pipeline")
    bits[~((e_rv <= config.max_rv_error) | without_error)] |= Flag.RV_UNCERTAIN
    inside = (labels >= label_ranges[:, 0]) & (labels <= label_ranges[:, 1])
    for k, bit in enumerate(RANGE_BITS):
        bits[~inside[:, k]] |= bit
    return bits
