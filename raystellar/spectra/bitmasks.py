"""Bits of ZWARNING and SPPIXMASK, the two bit masks of SDSS that the readers know and the simulator writes.

ZWARNING tells the doubts of the pipeline about a redshift, one value a spectrum. SPPIXMASK tells what happened to a
pixel. The bit MANY_OUTLIERS of ZWARNING is defined in ``raystellar.quality``, which does not count it as a doubt.

Source: https://www.sdss.org/dr16/algorithms/bitmasks/
"""

from __future__ import annotations

# ZWARNING

ZWARNING_SKY = 1 << 0
"""The fibre observed the sky."""

ZWARNING_SMALL_DELTA_CHI2 = 1 << 2
"""Another redshift fits about as well."""

ZWARNING_NEGATIVE_MODEL = 1 << 3
"""The model that fits best is negative."""

ZWARNING_UNPLUGGED = 1 << 7
"""The fibre was not plugged or is broken."""

# SPPIXMASK

NOPLUG = 1 << 0
"""The fibre has no target."""

MANYBADCOLUMNS = 1 << 4
"""More than 10 % of the fibre's pixels lie on bad columns of the detector."""

WHOPPER = 1 << 9
"""The fibre holds a very bright source."""

NEARBADPIXEL = 1 << 16
"""A bad pixel lies within 3 pixels of the trace."""

LOWFLAT = 1 << 17
"""The flat field is below 0.5."""

FULLREJECT = 1 << 18
"""The extraction rejected the whole pixel; its inverse variance is 0."""

PARTIALREJECT = 1 << 19
"""The extraction rejected a part of the pixel."""

SCATTEREDLIGHT = 1 << 20
"""The scattered light is significant."""

NOSKY = 1 << 22
"""The sky level is unknown; the inverse variance is 0."""

BRIGHTSKY = 1 << 23
"""The sky is much brighter than the object and than the sky nearby."""

NODATA = 1 << 24
"""No exposure has data; the inverse variance is 0."""

COMBINEREJ = 1 << 25
"""The combination of exposures rejected the pixel."""

BADFLUXFACTOR = 1 << 26
"""The factor of the flux calibration is low."""

BADSKYCHI = 1 << 27
"""The residuals of the sky are large, with a relative chi squared above 3."""
