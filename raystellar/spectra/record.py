"""The one record that every reader of a survey format returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LATTICE_STEP = 1e-4
"""Pixel of the SDSS lattice [dex of wavelength]: loglam = k * 1e-4 with integer k in every SDSS file."""


@dataclass(slots=True)
class Spectrum:
    """One spectrum as observed: vacuum wavelengths, heliocentric, nothing masked or corrected.

    Attributes
    ----------
    path : where it was read from, as the user gave it
    plate, mjd, fiberid : SDSS identity
    run2d : version of the reduction, e.g. ``26``, ``v5_7_0``
    ra, dec : position of the target [deg]; NaN where unknown (the plate centre is not the target)
    object_class, subclass : the pipeline's classification, e.g. ``STAR`` and ``F9``
    is_sky : the fibre looked at the sky (ZWARNING bit 0, or SOURCETYPE/OBJTYPE SKY)
    z, z_err : the pipeline's redshift and error; NaN where there is none
    zwarning : the pipeline's warning bits
    sn : median signal-to-noise ratio per pixel, SN_MEDIAN_ALL; computed from flux and ivar where absent
    loglam : (n,) float32, log10 of the vacuum wavelength [angstrom], strictly increasing
    flux : (n,) float32 [1e-17 erg/s/cm2/angstrom]
    ivar : (n,) float32, inverse variance of flux; <= 0 where the pixel is bad
    and_mask : (n,) int32 mask bits
    """

    path: str
    plate: int
    mjd: int
    fiberid: int
    run2d: str
    ra: float
    dec: float
    object_class: str
    subclass: str
    is_sky: bool
    z: float
    z_err: float
    zwarning: int
    sn: float
    loglam: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray

    @property
    def is_star(self) -> bool:
        """Whether the pipeline takes it for a star and the fibre was not on the sky."""
        return self.object_class == "STAR" and not self.is_sky
