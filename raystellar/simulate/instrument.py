"""The spectrograph of SDSS-I/II: from the spectrum of a star to pixels with noise, masks and a calibration.

All arrays have the pixels of one lattice, log10(vacuum wavelength) = k * 1e-4, k from ``K_FIRST`` on; each
fibre keeps its own part of it. Units of flux: 1e-17 erg/s/cm2/A. The inverse variance is honest: what is
added to a good pixel has this variance, but for the rare cosmic rays which a pipeline does not find either.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from importlib import resources

import numpy as np
from astropy import units

from raystellar.simulate.optics import add_sky_lines, shift_and_blur
from raystellar.simulate.photosphere.constants import SPEED_OF_LIGHT_CM_S
from raystellar.simulate.population import STREAM_PLATE, Star, generator
from raystellar.spectra.bitmasks import (
    BADFLUXFACTOR,
    BADSKYCHI,
    BRIGHTSKY,
    COMBINEREJ,
    FULLREJECT,
    LOWFLAT,
    MANYBADCOLUMNS,
    NEARBADPIXEL,
    PARTIALREJECT,
    SCATTEREDLIGHT,
    WHOPPER,
)
from raystellar.spectra.record import LATTICE_STEP, SPEED_OF_LIGHT_KM_S

K_FIRST, N_LATTICE = 35780, 3881
"""First pixel and number of pixels of the lattice on which every fibre is computed."""

SDSS_LOGLAM = np.arange(K_FIRST, K_FIRST + N_LATTICE) * LATTICE_STEP
"""log10 of the vacuum wavelengths [A] of the pixels, (N_LATTICE,)."""

SDSS_WAVE = 10.0**SDSS_LOGLAM
"""Vacuum wavelengths [A] of the pixels, (N_LATTICE,)."""

READ_NOISE_ELECTRONS = 20.0
"""Read noise of a coadded pixel [photo-electrons]; ``sky.json`` was measured with it."""

FLUX_FLOOR = 0.008
"""Error which grows with the flux (flat field), as a fraction: bright real stars hardly exceed S/N 120."""

SKY_LINE_AMPLITUDE, SKY_LINE_SHIFT_PIXELS = 0.008, 0.015
"""Scatter of strength (fraction) and place of each sky line that stays after its subtraction."""

N_RIPPLES = 8
PLATE_RIPPLE, FIBRE_RIPPLE = 0.02, 0.012
"""Scatter of the smooth errors of flux calibration, per plate and per fibre, as fractions."""

MEAN_R_V = 3.1
"""Ratio A(V) / E(B-V) of the mean reddening law."""

BAD_COLUMNS_SHARE, COSMIC_RAYS = 0.02, 1.9
"""Share of fibres with a block of dead columns; mean number of cosmic rays left in one spectrum."""

CAUGHT_SHARE = 0.65
"""Share of the cosmic rays which carry ivar = 0."""

LSF_WAVE = np.array(
    [3830, 4200, 4600, 5000, 5400, 5700, 5800, 5900, 6100, 6300, 6600, 7000, 7500, 8000, 8500, 9000, 9200],
    dtype=np.float64,
)
LSF_SIGMA = np.array(
    [
        [1.25, 1.15, 1.06, 0.97, 0.89, 0.84, 0.83, 0.89, 0.94, 0.92, 0.88, 0.82, 0.755, 0.715, 0.695, 0.71, 0.725],
        [1.04, 0.95, 0.88, 0.82, 0.79, 0.77, 0.765, 0.87, 0.95, 0.925, 0.87, 0.80, 0.715, 0.66, 0.65, 0.67, 0.69],
    ]
)
"""Sigma of the line spread function [pixels of 69 km/s] of the two spectrographs; the arms meet near 5900 A."""

ARM_BORDER = int(np.searchsorted(SDSS_WAVE, 5800.0))

G_BAND = ((3780, 4080, 4380, 4680, 4980, 5280, 5380, 5480, 5580), (0.0, 0.19, 0.33, 0.37, 0.39, 0.40, 0.25, 0.03, 0.0))
"""Wavelength [A] and throughput of SDSS g, coarsely. Source: Doi et al. 2010, AJ 139, 1628."""


@dataclass(frozen=True)
class SimulatedSpectrum:
    """One fibre on its part of the lattice."""

    k0: int
    """Lattice number of the first pixel."""
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    """Sigma of the line spread function [pixels]."""
    sky: np.ndarray
    model: np.ndarray
    """What the pipeline's best template would look like: the noise-free spectrum, smoothed."""
    clean: np.ndarray
    """The flux without noise; not written to files."""

    @property
    def loglam(self) -> np.ndarray:
        """log10 of the vacuum wavelength [A], float32 as in every SDSS file."""
        return np.asarray(np.arange(self.k0, self.k0 + len(self.flux)) * 1e-4, dtype=np.float32)

    @property
    def sn_median(self) -> float:
        """Median of |flux| sqrt(ivar) over pixels with ivar > 0, as SDSS has it: 0.6 for empty sky; 0 for none."""
        good = self.ivar > 0
        return float(np.median(np.abs(self.flux[good]) * np.sqrt(self.ivar[good]))) if good.any() else 0.0


@dataclass(frozen=True)
class Conditions:
    """What all fibres of one plate share."""

    exposure: float
    """Depth, relative to 5200 s in a normal night."""
    sky_level: float
    """Continuum of the sky, relative to ``sky.json``."""
    sky_lines: float
    """Lines of the sky, relative to ``sky.json``."""
    lsf: float
    """Factor of the width of the line spread function."""
    k_shift: int
    """Shift of the trimmed ends [pixels]."""
    ripple: np.ndarray
    """Amplitudes (N_RIPPLES,) of the errors of flux calibration."""


@dataclass(frozen=True)
class _Sky:
    continuum: np.ndarray
    conversion: np.ndarray
    line_pixel: np.ndarray
    line_flux: np.ndarray


def draw_conditions(seed: int, plate_index: int) -> Conditions:
    """Draw the night of plate number ``plate_index`` of the survey with this ``seed``."""
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
    """Expose one fibre.

    Parameters
    ----------
    loglam, rest : evenly spaced log10 vacuum wavelength [A] and flux F_lambda at rest (any scale); the range must
        exceed the lattice by 700 km/s. ``rest`` None is a sky fibre
    star : its velocity, reddening, magnitude and S/N; None for a sky fibre
    conditions : of the plate
    fibre : 1 to 640
    rng : all that is random in this spectrum
    """
    sigma = line_spread(fiberid, conditions)
    clean = np.zeros(N_LATTICE)
    if rest is not None and star is not None:
        clean = _star_light(loglam, rest, star, sigma)
    clean *= 1.0 + _ripple_shapes() @ (conditions.ripple + FIBRE_RIPPLE * _ripple_amplitudes(rng))
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
    and_mask, or_mask = _sky_masks(flux, sky, variance, conditions, rng)
    if star is not None and star.sn > 85.0:
        _arm(and_mask, rng)[:] |= WHOPPER
    _cosmic_rays(flux, ivar, or_mask, variance, rng)
    _bad_columns(flux, ivar, sigma, and_mask, rng)
    or_mask |= and_mask
    model = np.convolve(clean, _SMOOTHING, mode="same")
    cut = slice(first, last)
    single = {"flux": flux, "ivar": ivar, "wdisp": sigma, "sky": sky, "model": model}
    return SimulatedSpectrum(
        k0=K_FIRST + first,
        and_mask=and_mask[cut],
        or_mask=or_mask[cut],
        clean=clean[cut],
        **{name: np.asarray(column[cut], dtype=np.float32) for name, column in single.items()},
    )


def line_spread(fiberid: int, conditions: Conditions) -> np.ndarray:
    """Sigma of the line spread function (N_LATTICE,) [pixels] of one fibre; it is wider off the slit's middle."""
    blue, red = _lsf(0 if fiberid <= 320 else 1)
    off_middle = ((fiberid - 1) % 320 - 159.5) / 159.5
    return np.asarray((blue + red * 0.06 * off_middle * off_middle) * conditions.lsf)


def trim(fiberid: int, conditions: Conditions, rng: np.random.Generator) -> tuple[int, int]:
    """Return first and one past the last pixel which a fibre keeps: k0 35784..35830, 3769..3850 pixels."""
    start = 35784 + 30 * ((fiberid - 150) / 150) ** 2 if fiberid <= 320 else 35803 + 25 * ((fiberid - 500) / 140) ** 2
    first = int(np.clip(np.rint(start) + conditions.k_shift, 35784, 35830))
    last = 39636 + int(rng.integers(0, 7)) + conditions.k_shift
    if rng.random() < 0.02:
        last -= int(rng.integers(0, 50))
    count = int(np.clip(last - first, 3769, 3850))
    return first - K_FIRST, first - K_FIRST + count


def noise_variance(flux: np.ndarray, sky: np.ndarray, exposure: float, conversion: np.ndarray) -> np.ndarray:
    """Variance of photons, read-out and flat field.

    With c the flux of one photo-electron and t the relative exposure it is
    c (flux + sky) / t + (20 c / t)^2 + (0.008 flux)^2.
    """
    read = READ_NOISE_ELECTRONS * conversion / exposure
    return np.asarray(conversion * (np.maximum(flux, 0.0) + sky) / exposure + read * read + (FLUX_FLOOR * flux) ** 2)


def _star_light(loglam: np.ndarray, rest: np.ndarray, star: Star, sigma: np.ndarray) -> np.ndarray:
    """Shift, blur, redden and scale the spectrum of one star to its magnitude."""
    beta = star.rv / SPEED_OF_LIGHT_KM_S
    log_doppler = 0.5 * math.log10((1.0 + beta) / (1.0 - beta))
    step = (loglam[-1] - loglam[0]) / (len(loglam) - 1)
    start = (SDSS_LOGLAM[0] - log_doppler - loglam[0]) / step
    seen = shift_and_blur(np.asarray(rest, dtype=np.float64), float(start), float(1e-4 / step), sigma)
    seen *= np.exp(-0.4 * math.log(10.0) * star.ebv * _extinction())
    weight = _g_weight()
    # AB magnitude: the mean over photons of F_nu, with F_nu = F_lambda * wave^2 / c
    wanted = 10.0 ** (-0.4 * (star.g + 48.6)) * (SPEED_OF_LIGHT_CM_S * 1e8) / 1e-17
    return np.asarray(seen * (wanted / np.dot(weight, seen)))


def _sky_light(
    sigma: np.ndarray, conditions: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sky of one fibre, what is left of its lines after subtraction, and the variance of that."""
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
    """Return the exposure at which the median S/N of these pixels is ``sn``."""
    exposure = 1.0
    for _ in range(12):
        now = float(np.median(flux / np.sqrt(noise_variance(flux, sky, exposure, conversion) + extra)))
        if abs(now / sn - 1.0) < 1e-3:
            break
        # S/N grows with a power 0.5 (photons) to 1 (read noise) of the exposure
        exposure = float(np.clip(exposure * (sn / max(now, 1e-3)) ** 1.5, 1e-3, 1e3))
    return exposure


def _sky_masks(
    flux: np.ndarray, sky: np.ndarray, variance: np.ndarray, conditions: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return and_mask and or_mask with the bits that follow from sky and chance; ivar stays as it is."""
    excess = sky - flux - 10.0 * np.sqrt(variance)
    continuum = _sky().continuum * conditions.sky_level
    and_mask = np.where((excess > 0) & (sky > 1.25 * continuum), BRIGHTSKY, 0).astype(np.int32)
    u = rng.random(N_LATTICE)
    or_mask = np.where((excess > -0.3 * sky) & (sky > 1.1 * continuum), BRIGHTSKY, 0).astype(np.int32)
    or_mask[u < 0.011] |= NEARBADPIXEL
    or_mask[(u > 0.02) & (u < 0.036)] |= COMBINEREJ
    or_mask[(u > 0.04) & (u < 0.043)] |= FULLREJECT | PARTIALREJECT
    or_mask[(u > 0.1) & (u < 0.5) & (SDSS_WAVE < 4600.0)] |= SCATTEREDLIGHT
    or_mask[(u < 0.5) & (sky > 5.0 * continuum)] |= BADSKYCHI
    or_mask[: int(rng.integers(5, 20))] |= BADFLUXFACTOR
    return and_mask, or_mask


def _cosmic_rays(
    flux: np.ndarray, ivar: np.ndarray, or_mask: np.ndarray, variance: np.ndarray, rng: np.random.Generator
) -> None:
    """Leave a few hits in the coadd: pixels with too much flux, most but not all of them with ivar = 0."""
    for _ in range(rng.poisson(COSMIC_RAYS)):
        where = int(rng.integers(0, N_LATTICE - 2))
        hit = slice(where, where + int(rng.integers(1, 3)))
        or_mask[hit] |= COMBINEREJ | PARTIALREJECT
        caught = rng.random() < CAUGHT_SHARE
        flux[hit] += np.sqrt(variance[hit]) * rng.uniform(5.0, 60.0 if caught else 20.0)  # the faint ones escape
        if caught:
            ivar[hit] = 0.0


def _bad_columns(
    flux: np.ndarray, ivar: np.ndarray, sigma: np.ndarray, and_mask: np.ndarray, rng: np.random.Generator
) -> None:
    """Kill a block of columns in a few fibres; the bit for it stands on the whole arm, as in real files."""
    if rng.random() >= BAD_COLUMNS_SHARE:
        return
    start, length = int(rng.integers(100, N_LATTICE - 500)), int(rng.integers(40, 360))
    block = slice(start, start + length)
    and_mask[:ARM_BORDER] |= MANYBADCOLUMNS
    and_mask[block] |= NEARBADPIXEL | LOWFLAT
    flux[block], ivar[block], sigma[block] = 0.0, 0.0, 0.0


def _arm(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the blue or the red part of ``values``, by chance."""
    return values[:ARM_BORDER] if rng.random() < 0.5 else values[ARM_BORDER:]


def _ripple_amplitudes(rng: np.random.Generator) -> np.ndarray:
    """Draw amplitudes of the cosines, fewer on short scales, for a scatter of one."""
    scale = 1.0 / np.arange(1, N_RIPPLES + 1)
    return np.asarray(rng.standard_normal(N_RIPPLES) * scale * math.sqrt(2.0 / np.sum(scale**2)))


_SMOOTHING = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
_SMOOTHING /= _SMOOTHING.sum()


@functools.lru_cache(maxsize=1)
def _ripple_shapes() -> np.ndarray:
    """Cosines (N_LATTICE, N_RIPPLES) of 1/2, 2/2, ... waves over the lattice."""
    return np.cos(np.pi * np.outer(np.linspace(0.0, 1.0, N_LATTICE), np.arange(1, N_RIPPLES + 1)))


@functools.lru_cache(maxsize=1)
def _extinction() -> np.ndarray:
    """Return A(lambda) / E(B-V) [mag] of every pixel (N_LATTICE,), by the mean law of the Milky Way.

    Source: O'Donnell 1994, ApJ 422, 158.
    """
    from dust_extinction.parameter_averages import O94  # its import takes 0.7 s, needed once a star is observed

    return np.asarray(MEAN_R_V * O94(Rv=MEAN_R_V)(1e4 / SDSS_WAVE / units.micron))


@functools.lru_cache(maxsize=1)
def _g_weight() -> np.ndarray:
    """Weights whose product with F_lambda is the mean F_nu of the g band times c [A/s]."""
    photons = np.interp(SDSS_WAVE, *G_BAND)  # d(log wave) is the same for all pixels: d(nu) / nu
    return np.asarray(photons * SDSS_WAVE**2 / photons.sum())


@functools.lru_cache(maxsize=2)
def _lsf(spectrograph: int) -> tuple[np.ndarray, np.ndarray]:
    """Sigma in the middle of the slit, and where (1 or less) its edge is wider."""
    return np.interp(SDSS_WAVE, LSF_WAVE, LSF_SIGMA[spectrograph]), np.interp(SDSS_WAVE, (3800, 9200), (1.3, 0.7))


@functools.lru_cache(maxsize=1)
def _sky() -> _Sky:
    """Read continuum, lines and conversion of ``sky.json`` on to the lattice."""
    text = resources.files("raystellar.simulate").joinpath("sky.json").read_text(encoding="utf-8")
    data = {name: np.array(value).T for name, value in json.loads(text).items() if name != "origin"}
    lines = data["lines"]
    return _Sky(
        np.interp(SDSS_WAVE, *data["continuum"]),
        np.interp(SDSS_WAVE, *data["conversion"]),
        1e4 * np.log10(lines[0]) - K_FIRST,
        np.ascontiguousarray(lines[1]),
    )
