"""The spectrograph of SDSS-I/II: turn the spectrum of a star into pixels with noise, masks and errors of calibration.

All arrays have the pixels of the lattice of ``starlight``. Each fibre keeps its own part of the lattice. The unit of
flux is 1e-17 erg/s/cm2/A. The inverse variance is honest: the noise of a good pixel has this variance. The exceptions
are rare cosmic rays that the pipeline of a real survey misses too.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from importlib import resources

import numpy as np

from raystellar.simulator.defects import add_bad_columns, add_cosmic_rays, arm, sky_masks
from raystellar.simulator.optics import add_sky_lines
from raystellar.simulator.population import STREAM_PLATE, Star, generator
from raystellar.simulator.starlight import K_FIRST, N_LATTICE, SDSS_WAVE, star_light
from raystellar.spectra.bitmasks import WHOPPER
from raystellar.spectra.record import LATTICE_STEP

FIBRES = 640
"""Fibres of a plate; the first half feeds spectrograph 1, the second half spectrograph 2."""

READ_NOISE_ELECTRONS = 20.0
"""Read noise of a coadded pixel [photo-electrons], which the measurement of ``sky.json`` assumed."""

FLUX_FLOOR = 0.008
"""Error of the flat field, as a fraction of the flux: real bright stars hardly exceed S/N 120."""

SKY_LINE_AMPLITUDE, SKY_LINE_SHIFT_PIXELS = 0.008, 0.015
"""Errors of the subtraction of a sky line: scatter of its strength (fraction) and of its position [pixels]."""

N_RIPPLES = 8
"""Number of cosines in the smooth errors of flux calibration."""

PLATE_RIPPLE, FIBRE_RIPPLE = 0.02, 0.012
"""Scatter of the smooth errors of flux calibration of a plate and of a fibre, as fractions."""

LSF_WAVE = np.array(
    [3830, 4200, 4600, 5000, 5400, 5700, 5800, 5900, 6100, 6300, 6600, 7000, 7500, 8000, 8500, 9000, 9200],
    dtype=np.float64,
)
"""Wavelengths [A] of ``LSF_SIGMA``."""

LSF_SIGMA = np.array(
    [
        [1.25, 1.15, 1.06, 0.97, 0.89, 0.84, 0.83, 0.89, 0.94, 0.92, 0.88, 0.82, 0.755, 0.715, 0.695, 0.71, 0.725],
        [1.04, 0.95, 0.88, 0.82, 0.79, 0.77, 0.765, 0.87, 0.95, 0.925, 0.87, 0.80, 0.715, 0.66, 0.65, 0.67, 0.69],
    ]
)
"""Sigma of the line spread function of spectrographs 1 and 2 [pixels of 69 km/s]; their arms meet near 5900 A."""


@dataclass(frozen=True)
class SimulatedSpectrum:
    """A simulated spectrum on the part of the lattice that its fibre keeps."""

    k0: int
    """Number k of the first pixel."""

    flux: np.ndarray
    """Flux with noise (n,) [1e-17 erg/s/cm2/A]."""

    ivar: np.ndarray
    """Inverse variance of the flux (n,); 0 where a pixel is bad."""

    and_mask: np.ndarray
    """SPPIXMASK bits that all exposures of a pixel have (n,)."""

    or_mask: np.ndarray
    """SPPIXMASK bits that any exposure of a pixel has (n,)."""

    wdisp: np.ndarray
    """Sigma of the line spread function (n,) [pixels]."""

    sky: np.ndarray
    """Flux of the sky that was subtracted (n,) [1e-17 erg/s/cm2/A]."""

    model: np.ndarray
    """Substitute for the best template of the pipeline: the flux without noise, smoothed (n,)."""

    clean: np.ndarray
    """Flux without noise (n,); files do not contain it."""

    @property
    def loglam(self) -> np.ndarray:
        """log10 of the vacuum wavelengths [A] (n,), float32 as in every SDSS file."""
        return np.asarray(np.arange(self.k0, self.k0 + len(self.flux)) * LATTICE_STEP, dtype=np.float32)

    @property
    def sn_median(self) -> float:
        """Median of |flux| sqrt(ivar) over pixels with ivar > 0, as in SDSS files; 0 without good pixels.

        Empty sky has about 0.67 because of the absolute value.
        """
        good = self.ivar > 0
        return float(np.median(np.abs(self.flux[good]) * np.sqrt(self.ivar[good]))) if good.any() else 0.0


@dataclass(frozen=True)
class Conditions:
    """Conditions of the exposure that all fibres of a plate share."""

    exposure: float
    """Depth of the exposure, relative to 5200 s in a normal night."""

    sky_level: float
    """Continuum of the sky, relative to ``sky.json``."""

    sky_lines: float
    """Lines of the sky, relative to ``sky.json``."""

    lsf: float
    """Factor of the width of the line spread function."""

    k_shift: int
    """Shift of the first and last pixel [pixels]."""

    ripple: np.ndarray
    """Amplitudes (N_RIPPLES,) of the errors of flux calibration."""


@dataclass(frozen=True)
class _Sky:
    """Sky and sensitivity of the spectrograph, from ``sky.json``."""

    continuum: np.ndarray
    """Continuum of the sky (N_LATTICE,) [1e-17 erg/s/cm2/A]."""

    conversion: np.ndarray
    """Flux of one photo-electron per pixel (N_LATTICE,) [1e-17 erg/s/cm2/A]."""

    line_pixel: np.ndarray
    """Positions of the emission lines (lines,) [pixels]."""

    line_flux: np.ndarray
    """Flux of the emission lines, summed over pixels (lines,)."""


def draw_conditions(seed: int, plate_index: int) -> Conditions:
    """Draw the conditions of plate ``plate_index`` of the survey with this ``seed``."""
    rng = generator(seed, STREAM_PLATE, plate_index)
    return Conditions(
        exposure=float(np.exp(rng.normal(0.0, 0.25))),
        sky_level=float(np.exp(rng.normal(-0.05, 0.2))),
        sky_lines=float(np.exp(rng.normal(-0.15, 0.3))),
        lsf=float(rng.normal(1.0, 0.015)),
        k_shift=int(np.clip(np.rint(rng.normal(1.5, 1.5)), 0, 4)),
        ripple=PLATE_RIPPLE * _ripple_amplitudes(rng),
    )


def observe(
    loglam: np.ndarray,
    rest: np.ndarray | None,
    star: Star | None,
    conditions: Conditions,
    fiberid: int,
    rng: np.random.Generator,
) -> SimulatedSpectrum:
    """Return the spectrum of one fibre.

    Parameters
    ----------
    loglam : log10 of evenly spaced vacuum wavelengths [A]; they must exceed the lattice by 700 km/s at both ends
    rest : flux F_lambda at rest at these wavelengths, on any scale; None for a sky fibre
    star : star that gives velocity, reddening, magnitude and S/N; None for a sky fibre
    conditions : conditions of the plate
    fiberid : number of the fibre, 1 to 640
    rng : generator of all random numbers of this spectrum
    """
    sigma = line_spread(fiberid, conditions)
    clean = np.zeros(N_LATTICE)
    if rest is not None and star is not None:
        clean = star_light(loglam, rest, star, sigma)
    clean *= 1.0 + ripple_shapes() @ (conditions.ripple + FIBRE_RIPPLE * _ripple_amplitudes(rng))
    sky, residual, residual_variance = _sky_light(sigma, conditions, rng)
    first, last = trim(fiberid, conditions, rng)
    exposure = conditions.exposure
    if star is not None:
        exposure = _exposure_for(
            star.sn,
            clean[first:last:7],
            sky[first:last:7],
            residual_variance[first:last:7],
            _sky().conversion[first:last:7],
        )
    variance = noise_variance(clean, sky, exposure, _sky().conversion) + residual_variance
    flux = clean + residual + rng.standard_normal(N_LATTICE) * np.sqrt(variance - residual_variance)
    ivar = 1.0 / variance
    and_mask, or_mask = sky_masks(flux, sky, variance, _sky().continuum * conditions.sky_level, rng)
    if star is not None and star.sn > 85.0:
        arm(and_mask, rng)[:] |= WHOPPER
    add_cosmic_rays(flux, ivar, or_mask, variance, rng)
    add_bad_columns(flux, ivar, sigma, and_mask, rng)
    or_mask |= and_mask
    model = np.convolve(clean, _SMOOTHING, mode="same")
    kept = slice(first, last)
    float32 = {"flux": flux, "ivar": ivar, "wdisp": sigma, "sky": sky, "model": model}
    return SimulatedSpectrum(
        k0=K_FIRST + first,
        and_mask=and_mask[kept],
        or_mask=or_mask[kept],
        clean=clean[kept],
        **{name: np.asarray(column[kept], dtype=np.float32) for name, column in float32.items()},
    )


def line_spread(fiberid: int, conditions: Conditions) -> np.ndarray:
    """Return sigma of the line spread function of a fibre (N_LATTICE,) [pixels]; it grows to the ends of the slit."""
    middle, growth = _lsf(spectrograph(fiberid))
    off_middle = ((fiberid - 1) % (FIBRES // 2) - 159.5) / 159.5
    return np.asarray((middle + growth * 0.06 * off_middle * off_middle) * conditions.lsf)


def spectrograph(fiberid: int) -> int:
    """Return the number of the spectrograph, 1 or 2, that a fibre feeds."""
    return 1 if fiberid <= FIBRES // 2 else 2


def trim(fiberid: int, conditions: Conditions, rng: np.random.Generator) -> tuple[int, int]:
    """Return the first and one past the last pixel that a fibre keeps: k0 35784 to 35830, 3769 to 3850 pixels."""
    start = (
        35784 + 30 * ((fiberid - 150) / 150) ** 2
        if spectrograph(fiberid) == 1
        else 35803 + 25 * ((fiberid - 500) / 140) ** 2
    )
    first = int(np.clip(np.rint(start) + conditions.k_shift, 35784, 35830))
    last = 39636 + int(rng.integers(0, 7)) + conditions.k_shift
    if rng.random() < 0.02:
        last -= int(rng.integers(0, 50))
    count = int(np.clip(last - first, 3769, 3850))
    return first - K_FIRST, first - K_FIRST + count


@functools.lru_cache(maxsize=1)
def ripple_shapes() -> np.ndarray:
    """Return the shapes of the errors of flux calibration: cosines (N_LATTICE, N_RIPPLES) of 1/2, 2/2, ... waves."""
    return np.cos(np.pi * np.outer(np.linspace(0.0, 1.0, N_LATTICE), np.arange(1, N_RIPPLES + 1)))


def ripple_scatter() -> np.ndarray:
    """Return the standard deviations (N_RIPPLES,) of the amplitudes of the errors of flux calibration, as fractions.

    They combine the errors of the plate and of the fibre.
    """
    return math.hypot(PLATE_RIPPLE, FIBRE_RIPPLE) * _smaller_on_short_scales(np.ones(N_RIPPLES))


def noise_variance(flux: np.ndarray, sky: np.ndarray, exposure: float, conversion: np.ndarray) -> np.ndarray:
    """Return the variance of photons, read-out and flat field, c (flux + sky) / t + (20 c / t)^2 + (0.008 flux)^2.

    Parameters
    ----------
    flux, sky : flux of the star and of the sky (n,)
    exposure : t, relative to 5200 s
    conversion : c, flux of one photo-electron (n,)
    """
    read = READ_NOISE_ELECTRONS * conversion / exposure
    return np.asarray(conversion * (np.maximum(flux, 0.0) + sky) / exposure + read * read + (FLUX_FLOOR * flux) ** 2)


def _sky_light(
    sigma: np.ndarray, conditions: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sky of a fibre, the residual of its lines after subtraction, and the variance of the residual."""
    data = _sky()
    sky = data.continuum * (conditions.sky_level * rng.normal(1.0, 0.02))
    errors = rng.standard_normal((2, len(data.line_flux)))
    errors[0] *= SKY_LINE_AMPLITUDE
    errors[1] *= SKY_LINE_SHIFT_PIXELS
    residual, variance = np.zeros(N_LATTICE), np.zeros(N_LATTICE)
    add_sky_lines(
        data.line_pixel,
        data.line_flux * conditions.sky_lines,
        sigma,
        errors,
        SKY_LINE_AMPLITUDE,
        SKY_LINE_SHIFT_PIXELS,
        sky,
        residual,
        variance,
    )
    return sky, residual, variance


def _exposure_for(sn: float, flux: np.ndarray, sky: np.ndarray, extra: np.ndarray, conversion: np.ndarray) -> float:
    """Return the exposure at which the median S/N of the pixels is ``sn``, to 0.1 % in at most 12 steps."""
    exposure = 1.0
    for _ in range(12):
        reached = float(np.median(flux / np.sqrt(noise_variance(flux, sky, exposure, conversion) + extra)))
        if abs(reached / sn - 1.0) < 1e-3:
            break
        # S/N grows as a power of the exposure between 0.5 (photons) and 1 (read noise)
        exposure = float(np.clip(exposure * (sn / max(reached, 1e-3)) ** 1.5, 1e-3, 1e3))
    return exposure


def _ripple_amplitudes(rng: np.random.Generator) -> np.ndarray:
    """Draw amplitudes (N_RIPPLES,) of the cosines, smaller on short scales, for a total scatter of one."""
    return _smaller_on_short_scales(rng.standard_normal(N_RIPPLES))


def _smaller_on_short_scales(amplitudes: np.ndarray) -> np.ndarray:
    """Return amplitudes (N_RIPPLES,) of unit scatter, scaled as one over the number of waves."""
    scale = 1.0 / np.arange(1, N_RIPPLES + 1)
    return np.asarray(amplitudes * scale * math.sqrt(2.0 / np.sum(scale**2)))


_SMOOTHING = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
_SMOOTHING /= _SMOOTHING.sum()
"""Gaussian with a sigma of 2 pixels, which smooths the flux without noise to the ``model``."""


@functools.lru_cache(maxsize=2)
def _lsf(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sigma of spectrograph 1 or 2 in the middle of the slit [pixels], and its relative growth to the ends."""
    return np.interp(SDSS_WAVE, LSF_WAVE, LSF_SIGMA[number - 1]), np.interp(SDSS_WAVE, (3800, 9200), (1.3, 0.7))


@functools.lru_cache(maxsize=1)
def _sky() -> _Sky:
    """Return continuum, lines and conversion of ``sky.json``, interpolated to the lattice."""
    text = resources.files("raystellar.simulator").joinpath("sky.json").read_text(encoding="utf-8")
    data = {name: np.array(value).T for name, value in json.loads(text).items() if name != "origin"}
    lines = data["lines"]
    return _Sky(
        np.interp(SDSS_WAVE, *data["continuum"]),
        np.interp(SDSS_WAVE, *data["conversion"]),
        1e4 * np.log10(lines[0]) - K_FIRST,
        np.ascontiguousarray(lines[1]),
    )
