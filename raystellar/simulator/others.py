"""Simulate spectra that differ from the training stars: galaxies, quasars, dwarfs, sky, noise, wrong velocities.

The spectra pass through the spectrograph of the stars (``instrument``) at the S/N of the survey; sky and noise have no
signal. The OOD score is measured on these spectra.

    galaxies        sums of synthetic stars, old or old and young, broadened by 100 to 300 km/s, redshift 0.02 to 0.6;
                    emission lines with case B ratios and those of star-forming galaxies
    quasars         power laws and lines of the SDSS composite (Vanden Berk et al. 2001, AJ 122, 549), redshift 0.3 to
                    4, with the Lyman alpha forest (mean opacity: Madau 1995, ApJ 441, 18)
    white dwarfs    DA: the synthesis at log g 8 without metals; DB: a black body with lines of He I; DC: a black body
    M dwarfs        the coolest synthesis on a colder black body, with deeper TiO, and CaH, VO and alkali lines
    sky, noise      residuals of the sky in an empty fibre; photon noise alone
    shifted stars   ordinary stars whose velocity is wrong by 1,000 to 3,000 km/s
    blends          two stars in one fibre that differ by 1,500 K or more
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from raystellar.simulator.instrument import FIBRES, Conditions, SimulatedSpectrum, draw_conditions, observe
from raystellar.simulator.photosphere.constants import HC_OVER_K_ANGSTROM_K
from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, synthesize, white_dwarf
from raystellar.simulator.population import Population, Star, draw_sn, draw_star, generator
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

STREAM_OTHER = 64
"""Stream of random numbers of the first kind of spectra; each kind has its own. The survey uses lower streams."""

OBSERVED_WAVE = 10.0**SYNTHESIS_LOGLAM
"""Observed vacuum wavelengths [A] of every spectrum before it enters the spectrograph."""

STEP_KM_S = SPEED_OF_LIGHT_KM_S * math.log(10.0) * float(SYNTHESIS_LOGLAM[1] - SYNTHESIS_LOGLAM[0])
"""Width of a pixel of the synthesis."""

PIVOT_ANGSTROM = 5500.0
"""Wavelength at which the parts of a sum are normalised."""

QUASAR_LINES = (
    ("Ly alpha", 1215.67, 92.91, 19.46), ("N V", 1240.14, 1.11, 2.71), ("Si IV", 1396.8, 8.13, 14.13),
    ("C IV", 1549.06, 23.78, 14.33), ("He II", 1640.42, 0.51, 3.94), ("O III]", 1663.5, 0.43, 6.94),
    ("Al III", 1857.4, 0.49, 4.95), ("C III]", 1908.73, 21.19, 23.58), ("Mg II", 2798.75, 32.28, 34.95),
    ("[O II]", 3728.48, 1.56, 3.32), ("[Ne III]", 3869.85, 1.38, 5.31), ("H delta", 4102.89, 5.05, 18.62),
    ("H gamma", 4341.68, 12.62, 20.32), ("H beta", 4862.68, 46.21, 40.44), ("[O III]", 4960.3, 3.50, 3.85),
    ("[O III]", 5008.24, 13.23, 6.04), ("He I", 5877.29, 4.94, 23.45), ("H alpha", 6564.61, 194.52, 47.39),
    ("[S II]", 6725.0, 2.9, 5.0),
)  # fmt: skip
"""Name, vacuum wavelength, equivalent width and sigma [A] of lines. Source: Vanden Berk et al. 2001, table 2."""

IRON_BUMPS = (
    (2480.0, 20.0, 60.0), (2970.0, 8.0, 60.0), (3498.0, 3.0, 60.0), (4564.7, 16.0, 61.7), (5305.9, 21.9, 54.8),
)  # fmt: skip
"""Centre, equivalent width and sigma [A] of blends of Fe II. Source: Vanden Berk et al. 2001, table 2."""

HELIUM_LINES = (
    (3820.7, 0.5), (3889.7, 0.9), (4027.3, 0.8), (4121.9, 0.15), (4145.0, 0.25), (4389.2, 0.35), (4472.8, 1.0),
    (4714.5, 0.25), (4923.3, 0.5), (5017.1, 0.45), (5877.2, 0.9), (6680.0, 0.5), (7067.1, 0.5),
)  # fmt: skip
"""Vacuum wavelength [A] of lines of He I, and strength relative to 4472 A, after spectra of DB stars near 16,000 K."""

M_DWARF_BANDS = (
    (4586.0, 60.0, 0.25), (4762.0, 70.0, 0.45), (4956.0, 90.0, 0.55), (5168.5, 90.0, 0.55), (5450.0, 120.0, 0.45),
    (5849.0, 110.0, 0.40), (6160.0, 130.0, 0.50), (6653.0, 120.0, 0.45), (7055.5, 160.0, 0.60), (7591.0, 130.0, 0.45),
    (8207.0, 80.0, 0.20), (8434.0, 110.0, 0.35), (8861.0, 110.0, 0.35),
    (6347.0, 35.0, 0.20), (6386.0, 35.0, 0.25), (6752.0, 190.0, 0.25),  # CaH
    (7336.0, 170.0, 0.15), (7853.0, 110.0, 0.15),  # VO
)  # fmt: skip
"""Head [A in vacuum], tail to the red [A] and depth at 3,000 K of bands of M dwarfs, most of them TiO.

Source of the heads: Kirkpatrick et al. 1991, ApJS 77, 417.
"""

M_DWARF_LINES = (
    (4228.0, 12.0, 8.0), (5891.6, 9.0, 5.0), (5897.6, 9.0, 5.0), (7667.0, 4.0, 3.0), (7701.1, 4.0, 3.0),
    (8185.5, 2.5, 3.0), (8197.1, 3.5, 3.0),
)  # fmt: skip
"""Vacuum wavelength, equivalent width at 3,000 K and width [A] of alkali lines and Ca I of M dwarfs."""

OLD_STARS = (
    (5900.0, 4.2, 0.22), (5300.0, 4.5, 0.10), (4500.0, 4.7, 0.08), (4900.0, 2.8, 0.28), (4400.0, 2.0, 0.20),
    (4000.0, 1.2, 0.12),
)  # fmt: skip
"""teff [K], logg and share of the light at 5500 angstrom of the stars of an old galaxy."""

YOUNG_STARS = ((10800.0, 4.0, 0.6), (9000.0, 4.1, 0.25), (7500.0, 4.2, 0.15))
"""teff [K], logg and share of the light at 5500 angstrom of young stars."""


@dataclass(frozen=True)
class Observation:
    """A spectrum, and the velocity that preprocessing takes out of it."""

    spectrum: SimulatedSpectrum

    rv: float
    """Velocity of a star, right or wrong; 0 for spectra without a stellar velocity [km/s]."""


def observe_kind(kind: str, seed: int, index: int, population: Population | None = None) -> Observation:
    """Return spectrum ``index`` of a kind of ``SPECTRUM_KINDS``, a function of kind, seed and index alone.

    Raises
    ------
    KeyError : ``SPECTRUM_KINDS`` does not have the kind
    """
    rng = generator(seed, STREAM_OTHER + list(SPECTRUM_KINDS).index(kind), index)
    conditions = draw_conditions(seed, index)
    return SPECTRUM_KINDS[kind](
        _Draw(population or Population(), conditions, int(rng.integers(1, FIBRES + 1)), rng, seed, index)
    )


@dataclass(frozen=True)
class _Draw:
    """Random numbers and conditions of one spectrum."""

    population: Population
    conditions: Conditions
    fiberid: int
    rng: np.random.Generator
    seed: int
    index: int

    def expose(self, flux: np.ndarray, ebv: float | None = None, rv: float = 0.0) -> SimulatedSpectrum:
        """Return the spectrum of ``flux`` at ``OBSERVED_WAVE``, with the S/N and magnitude of a star of the survey.

        With ``ebv`` None the spectrum has the reddening of this star.
        """
        template = draw_star(self.population, self.seed, self.index)
        sn = draw_sn(self.population, self.rng)
        star = dataclasses.replace(template, rv=rv, ebv=template.ebv if ebv is None else ebv, sn=sn)
        return observe(SYNTHESIS_LOGLAM, flux, star, self.conditions, self.fiberid, self.rng)


def planck_shape(wavelength: np.ndarray, teff: float) -> np.ndarray:
    """Return the Planck function at wavelengths [A] and a temperature [K], without its constants."""
    return np.asarray(wavelength**-5.0 / np.expm1(HC_OVER_K_ANGSTROM_K / (wavelength * teff)))


def _star(draw: _Draw) -> Observation:
    """Draw the spectrum of an ordinary star."""
    star = dataclasses.replace(_other_star(draw), sn=draw_sn(draw.population, draw.rng))
    spectrum = observe(SYNTHESIS_LOGLAM, _rest(star), star, draw.conditions, draw.fiberid, draw.rng)
    return Observation(spectrum, star.rv + float(draw.rng.normal(0.0, 80.0 / star.sn)))


def _shifted_star(draw: _Draw) -> Observation:
    """Draw a star whose velocity is wrong by 1,000 to 3,000 km/s."""
    observation = _star(draw)
    error = float(draw.rng.uniform(1000.0, 3000.0)) * (1.0 if draw.rng.random() < 0.5 else -1.0)
    return Observation(observation.spectrum, observation.rv + error)


def _blend(draw: _Draw) -> Observation:
    """Draw two stars with one reddening and velocity, whose temperatures differ enough not to look like one star."""
    first = second = _other_star(draw)
    while abs(second.teff - first.teff) < 1500.0:
        second = draw_star(draw.population, draw.seed, int(draw.rng.integers(1 << 40)))
    share = draw.rng.uniform(0.25, 0.5)
    flux = (1.0 - share) * _at_pivot(_rest(first)) + share * _at_pivot(_rest(second))
    return Observation(draw.expose(flux, first.ebv, first.rv), first.rv)


def _other_star(draw: _Draw) -> Star:
    """Draw a star that a survey with the same seed does not contain."""
    return draw_star(draw.population, draw.seed, (1 << 41) + int(draw.rng.integers(1 << 40)))


def _rest(star: Star) -> np.ndarray:
    """Return the flux of a star at rest."""
    return synthesize(star.teff, star.logg, star.feh, alpha=star.alpha, vmicro=star.vmicro)


def _sky(draw: _Draw) -> Observation:
    """Draw the spectrum of an empty fibre."""
    return Observation(observe(np.zeros(0), None, None, draw.conditions, draw.fiberid, draw.rng), 0.0)


def _noise(draw: _Draw) -> Observation:
    """Draw noise with the variance of a sky fibre, without residuals of the sky."""
    sky = _sky(draw).spectrum
    good = sky.ivar > 0
    flux = np.zeros_like(sky.flux)
    flux[good] = draw.rng.standard_normal(int(good.sum())) / np.sqrt(sky.ivar[good])
    return Observation(dataclasses.replace(sky, flux=flux, model=np.zeros_like(flux)), 0.0)


def _absorption_galaxy(draw: _Draw) -> Observation:
    """Draw a galaxy of old stars without emission lines."""
    return _galaxy(draw, _starlight(OLD_STARS, draw.rng), 0.0)


def _emission_galaxy(draw: _Draw) -> Observation:
    """Draw a galaxy of old and young stars with emission lines."""
    young = draw.rng.uniform(0.15, 0.8)
    flux = young * _starlight(YOUNG_STARS, draw.rng) + (1.0 - young) * _starlight(OLD_STARS, draw.rng)
    return _galaxy(draw, flux, float(np.exp(draw.rng.uniform(np.log(10.0), np.log(150.0)))))


def _galaxy(draw: _Draw, flux: np.ndarray, halpha: float) -> Observation:
    """Return a galaxy: its starlight, broadened, with emission lines, redshifted and reddened.

    Parameters
    ----------
    draw : random numbers and conditions
    flux : starlight at rest at ``REST_WAVE``
    halpha : equivalent width of H alpha [A]; 0 for no emission lines
    """
    flux = gaussian_filter1d(flux, draw.rng.uniform(100.0, 300.0) / STEP_KM_S, mode="nearest")
    if halpha:
        flux = flux + _nebula(REST_WAVE, flux, halpha, draw.rng)
    redshift = draw.rng.uniform(0.02, 0.6)
    observed = np.interp(OBSERVED_WAVE / (1.0 + redshift), REST_WAVE, flux)
    return Observation(draw.expose(observed), 0.0)


def _nebula(wave: np.ndarray, flux: np.ndarray, halpha: float, rng: np.random.Generator) -> np.ndarray:
    """Return emission lines (n,) with the ratios of case B and of star-forming galaxies.

    ``halpha`` is the equivalent width of H alpha [A] on the continuum ``flux``.
    """
    total = halpha * float(np.interp(6564.6, wave, flux))
    dust = rng.uniform(0.0, 0.5)  # extinction of the lines at H beta [mag], relative to H alpha
    hbeta = total / 2.86 * 10.0 ** (-0.4 * dust)
    excitation = np.exp(rng.uniform(np.log(0.25), np.log(4.0)))
    lines = (
        (6564.61, total), (4862.68, hbeta), (4341.68, 0.468 * hbeta), (4102.89, 0.259 * hbeta), (3971.2, 0.159 * hbeta),
        (3728.48, rng.uniform(1.0, 3.5) * hbeta), (5008.24, excitation * hbeta), (4960.30, excitation / 2.98 * hbeta),
        (3869.85, 0.08 * excitation * hbeta), (5877.29, 0.11 * hbeta), (6585.27, 0.45 / (1.0 + excitation) * total),
        (6549.86, 0.15 / (1.0 + excitation) * total), (6718.29, 0.14 * total), (6732.67, 0.10 * total),
    )  # fmt: skip
    width = rng.uniform(60.0, 200.0) / SPEED_OF_LIGHT_KM_S
    return _gaussians(wave, [(centre, strength, centre * width) for centre, strength in lines])


def _gaussians(wave: np.ndarray, lines: list[tuple[float, float, float]]) -> np.ndarray:
    """Return the sum of Gaussians of (centre, area, sigma) at increasing wavelengths."""
    out = np.zeros_like(wave)
    for centre, area, sigma in lines:
        part = slice(*np.searchsorted(wave, [centre - 6.0 * sigma, centre + 6.0 * sigma]))
        out[part] += area * np.exp(-0.5 * ((wave[part] - centre) / sigma) ** 2) / (math.sqrt(2.0 * math.pi) * sigma)
    return out


FIRST_REST_ANGSTROM = 2100.0
"""Shortest wavelength of galaxies at rest; below 2225 angstrom nothing is observed at redshift 0.6."""

_BELOW = np.arange(
    SYNTHESIS_LOGLAM[0] - 1e-4, math.log10(FIRST_REST_ANGSTROM), -(SYNTHESIS_LOGLAM[1] - SYNTHESIS_LOGLAM[0])
)[::-1]
"""log10 of the wavelengths [A] of ``REST_WAVE`` below those of the synthesis."""

REST_WAVE = 10.0 ** np.concatenate([_BELOW, SYNTHESIS_LOGLAM])
"""Vacuum wavelengths [A] of galaxies at rest."""


@functools.lru_cache(maxsize=64)
def _starlight_part(teff: float, logg: float, feh: float) -> np.ndarray:
    """Return the flux of a star at rest at ``REST_WAVE``, 1 at ``PIVOT_ANGSTROM``.

    Below the wavelengths of the synthesis the flux is a black body under a forest of metal lines.
    """
    flux = _at_pivot(synthesize(teff, logg, feh))
    cold = 0.85 * teff
    edge = float(np.median(flux[:400]))
    near = planck_shape(REST_WAVE[: _BELOW.size], cold) / planck_shape(OBSERVED_WAVE[200:201], cold)
    forest = 0.35 * 10.0 ** (0.3 * feh) * float(np.clip((7500.0 - teff) / 2000.0, 0.0, 1.0))  # [mag]
    steps = (2640.0, 2850.0, 3100.0)  # edges of Fe, Mg and OH, each of which absorbs below it
    depth = sum(forest / (1.0 + np.exp((REST_WAVE[: _BELOW.size] - step) / 15.0)) for step in steps)
    return np.concatenate([edge * near * 10.0 ** (-0.4 * depth), flux])


def _starlight(stars: tuple[tuple[float, float, float], ...], rng: np.random.Generator) -> np.ndarray:
    """Return the light of ``OLD_STARS`` or ``YOUNG_STARS`` at ``REST_WAVE``.

    The shares of the stars scatter by 40 %. The metallicity is one of four.
    """
    feh = float(rng.choice((-0.6, -0.2, 0.1, 0.3)))
    shares = np.array([share for *_, share in stars]) * np.exp(rng.normal(0.0, 0.4, len(stars)))
    shares /= shares.sum()
    parts = [_starlight_part(teff, logg, feh) for teff, logg, _ in stars]
    return np.asarray(sum(share * part for share, part in zip(shares, parts, strict=True)))


def _at_pivot(flux: np.ndarray) -> np.ndarray:
    """Return ``flux``, normalised to 1 at ``PIVOT_ANGSTROM``."""
    return np.asarray(flux / np.interp(PIVOT_ANGSTROM, OBSERVED_WAVE, flux))


def _quasar(draw: _Draw) -> Observation:
    """Draw a quasar: a broken power law, emission lines, blends of Fe II and the Balmer continuum."""
    rng = draw.rng
    redshift = rng.uniform(0.3, 4.0)
    wave = OBSERVED_WAVE / (1.0 + redshift)
    slope = rng.normal(-1.56, 0.25)
    broken = np.where(wave < 4850.0, wave / 4850.0, 1.0) ** slope * np.where(wave > 4850.0, wave / 4850.0, 1.0) ** 0.2
    strength, width = np.exp(rng.normal(0.0, 0.35)), rng.uniform(0.7, 1.4)
    lines = [
        (centre, ew * strength * np.exp(rng.normal(0.0, 0.25)), sigma * (1.0 if name[0] == "[" else width))
        for name, centre, ew, sigma in QUASAR_LINES
    ]
    iron = np.exp(rng.normal(0.0, 0.5))
    bumps = [(centre, ew * iron, sigma) for centre, ew, sigma in IRON_BUMPS]
    balmer = rng.uniform(0.0, 0.3) * np.exp(-0.5 * ((wave - 3000.0) / 450.0) ** 2)  # the small blue bump
    flux = broken * (1.0 + _gaussians(wave, lines) + _gaussians(wave, bumps) + balmer)
    return Observation(draw.expose(flux * _forest(wave, redshift, rng)), 0.0)


def _forest(wave: np.ndarray, redshift: float, rng: np.random.Generator) -> np.ndarray:
    """Return the transmission of intergalactic gas: the Lyman alpha forest and the Lyman limit."""
    opacity = 0.0036 * (OBSERVED_WAVE / 1215.67) ** 3.46
    clouds = gaussian_filter1d(rng.standard_normal(wave.size), 60.0 / STEP_KM_S)
    clouds = np.exp(1.2 * clouds / clouds.std() - 0.72)
    transmission = np.where(wave < 1215.67, np.exp(-opacity * clouds), 1.0)
    limit = np.exp(-3.0 * np.clip(912.0 - wave, 0.0, None) / 60.0) if redshift > 3.0 else 1.0
    return np.asarray(transmission * limit)


def _dwarf_velocity(rng: np.random.Generator) -> float:
    """Draw the velocity of a nearby star [km/s]."""
    return float(rng.normal(20.0, 45.0))


def _white_dwarf(draw: _Draw) -> Observation:
    """Draw a white dwarf: a DA in two of three cases, else a DB or a DC."""
    rng = draw.rng
    u, rv = rng.random(), _dwarf_velocity(rng)
    if u < 0.67:
        flux = white_dwarf(rng.uniform(8000.0, 17000.0), rng.uniform(7.7, 8.3))
    elif u < 0.83:
        flux = planck_shape(OBSERVED_WAVE, rng.uniform(13000.0, 25000.0)) * _helium(rng)
    else:
        flux = planck_shape(OBSERVED_WAVE, rng.uniform(5000.0, 11000.0))
    return Observation(draw.expose(flux, ebv=0.01, rv=rv), rv)


def _helium(rng: np.random.Generator) -> np.ndarray:
    """Return the transmission of lines of He I that are broadened by pressure."""
    strength = rng.uniform(0.2, 0.55)
    optical = np.zeros_like(OBSERVED_WAVE)
    for centre, relative in HELIUM_LINES:
        half = rng.uniform(0.9, 1.1) * 12.0 * (0.6 + 0.4 * relative)  # [A], by collisions at log g 8
        optical += strength * 1.6 * relative / (1.0 + ((OBSERVED_WAVE - centre) / half) ** 2)
    return np.exp(-optical)


def _m_dwarf(draw: _Draw) -> Observation:
    """Draw an M dwarf; one in four has H alpha in emission."""
    rng = draw.rng
    rv = _dwarf_velocity(rng)
    flux = m_dwarf_flux(rng.uniform(2600.0, 3700.0), float(rng.choice((-0.4, 0.0, 0.2))))
    if rng.random() < 0.25:  # active
        flux = flux + _gaussians(
            OBSERVED_WAVE, [(6564.6, rng.uniform(1.0, 8.0) * np.interp(6600.0, OBSERVED_WAVE, flux), 1.5)]
        )
    return Observation(draw.expose(flux, ebv=0.01, rv=rv), rv)


def m_dwarf_flux(teff: float, feh: float = 0.0) -> np.ndarray:
    """Return the flux of an M dwarf of 2600 to 3800 K at ``OBSERVED_WAVE``, on any scale."""
    warm = 3950.0
    flux = synthesize(warm, 4.8, feh) * planck_shape(OBSERVED_WAVE, teff) / planck_shape(OBSERVED_WAVE, warm)
    growth = float(np.clip((3850.0 - teff) / 850.0, 0.0, 1.5))  # 1 at 3,000 K
    for head, tail, depth in M_DWARF_BANDS:
        offset = OBSERVED_WAVE - head
        flux *= 1.0 + np.where(offset > 0.0, np.expm1(growth * math.log1p(-depth) * np.exp(-offset / tail)), 0.0)
    for centre, width, sigma in M_DWARF_LINES:
        profile = growth * width / (math.pi * sigma) / (1.0 + ((OBSERVED_WAVE - centre) / sigma) ** 2)
        flux *= np.exp(-profile)
    return np.asarray(flux)


SPECTRUM_KINDS: dict[str, Callable[[_Draw], Observation]] = {
    "star": _star,
    "absorption galaxy": _absorption_galaxy,
    "emission galaxy": _emission_galaxy,
    "quasar": _quasar,
    "sky": _sky,
    "noise": _noise,
    "white dwarf": _white_dwarf,
    "M dwarf": _m_dwarf,
    "shifted star": _shifted_star,
    "blend": _blend,
}
"""Functions that draw a spectrum, by the name of its kind.

Random numbers depend on the order of the kinds, so a new kind comes last.
"""
