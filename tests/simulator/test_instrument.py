from dataclasses import replace

import numpy as np
import pytest

from raystellar.simulator import instrument
from raystellar.simulator.instrument import Conditions, draw_conditions, line_spread, observe
from raystellar.simulator.population import Star
from raystellar.simulator.starlight import SDSS_WAVE

LOGLAM = np.arange(142000, 159400) * 2.5e-5
WAVE = 10.0**LOGLAM
STAR = Star(index=0, teff=5800.0, logg=4.4, feh=-0.5, alpha=0.1, vmicro=1.0, rv=0.0, ebv=0.05, g=17.0, sn=40.0)
STILL = Conditions(
    exposure=1.0, sky_level=1.0, sky_lines=1.0, lsf=1.0, k_shift=1, ripple=np.zeros(instrument.N_RIPPLES)
)


def continuum():
    x = 1.438776877e8 / (WAVE * 5800.0)
    return WAVE**-5.0 / np.expm1(x)


def with_line(wave, depth=0.5, width=0.3):
    return continuum() * (1.0 - depth * np.exp(-0.5 * ((WAVE - wave) / width) ** 2))


def expose(rest=None, star=STAR, seed=0, fibre=100, conditions=STILL):
    return observe(LOGLAM, continuum() if rest is None else rest, star, conditions, fibre, np.random.default_rng(seed))


def absorbed(wave, fibre=100, star=STAR, **line):
    """Return the relative depth of a line at rest at ``wave``, without its change of the g magnitude."""
    ratio = expose(with_line(wave, **line), star, fibre=fibre).clean / expose(star=star, fibre=fibre).clean
    return 1.0 - ratio / np.median(ratio)


def pulls(spectrum):
    good = spectrum.ivar > 0
    return ((spectrum.flux - spectrum.clean) * np.sqrt(spectrum.ivar))[good]


@pytest.mark.parametrize("sn", [10.0, 35.0, 100.0])
def test_the_noise_has_the_stated_variance(sn):
    values = np.concatenate([pulls(expose(star=replace(STAR, sn=sn), seed=seed)) for seed in range(12)])
    assert np.mean(np.abs(values) > 4.5) < 1e-3  # cosmic rays that the pipeline misses
    values = values[np.abs(values) < 4.5]
    assert abs(np.mean(values)) < 0.02
    assert np.mean(values**2) == pytest.approx(1.0, abs=0.02)


def test_the_noise_in_sky_lines_has_the_stated_variance_too():
    values = []
    for seed in range(40):
        spectrum = expose(seed=seed)
        bright = (np.abs(10.0 ** spectrum.loglam.astype(float) - 5579.0) < 4.0) & (spectrum.ivar > 0)
        values.append(((spectrum.flux - spectrum.clean) * np.sqrt(spectrum.ivar))[bright])
    values = np.concatenate(values)
    assert np.mean(values[np.abs(values) < 5] ** 2) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("sn", [11.0, 35.0, 110.0])
def test_the_spectrum_has_the_expected_sn(sn):
    assert expose(star=replace(STAR, sn=sn)).sn_median == pytest.approx(sn, rel=0.04)


@pytest.mark.parametrize("rv", [-550.0, 0.0, 317.3])
def test_a_line_lands_at_its_doppler_shifted_wavelength(rv):
    beta = rv / 299792.458
    expected = np.log10(6000.0 * np.sqrt((1 + beta) / (1 - beta)))
    star = replace(STAR, rv=rv)
    line = absorbed(6000.0, star=star)
    pixels = np.abs(np.asarray(expose().loglam, dtype=float) - expected) < 12e-4
    centre = np.average((expose().k0 + np.flatnonzero(pixels)) * 1e-4, weights=line[pixels])
    assert abs(centre - expected) < 0.01e-4  # a hundredth of a pixel, 0.7 km/s


@pytest.mark.parametrize("wave", [4100.0, 5500.0, 6500.0, 8900.0])
@pytest.mark.parametrize("fibre", [3, 160, 500])
def test_the_line_spread_is_that_of_wdisp(wave, fibre):
    line = absorbed(wave, fibre, depth=0.9, width=0.1)
    spectrum = expose(fibre=fibre)
    k = spectrum.k0 + np.arange(len(line)) - 1e4 * np.log10(wave)
    near = np.abs(k) < 9
    sigma = np.sqrt(np.average(k[near] ** 2, weights=line[near]))
    assert sigma == pytest.approx(line_spread(fibre, STILL)[SDSS_WAVE.searchsorted(wave)], rel=0.02)
    assert spectrum.wdisp[near].mean() == pytest.approx(sigma, rel=0.02)
    assert 0.6 < sigma < 1.4


def test_flux_is_conserved():
    step = 1e-4 * np.log(10.0)
    wave = 10.0 ** expose().loglam.astype(float)
    width = np.sum(absorbed(5000.0) * wave) * step
    assert width == pytest.approx(0.5 * 0.3 * np.sqrt(2 * np.pi), rel=0.01)


def test_the_flux_has_the_expected_magnitude():
    spectrum = expose(star=replace(STAR, g=18.2))
    wave = 10.0 ** spectrum.loglam.astype(float)
    band = (wave > 4300) & (wave < 5250)
    f_nu = np.median(spectrum.clean[band] * wave[band] ** 2) * 1e-17 / 2.99792458e18
    assert -2.5 * np.log10(f_nu) - 48.6 == pytest.approx(18.2, abs=0.08)


def test_reddening_follows_the_mean_law():
    clear, red = (expose(star=replace(STAR, ebv=ebv)) for ebv in (0.0, 0.5))
    wave = 10.0 ** clear.loglam.astype(float)
    # A(lambda) / E(B-V) up to a constant, because both spectra have the same g magnitude
    curve = -2.5 * np.log10(red.clean / clear.clean) / 0.5
    at = dict(zip(("B", "V", "I"), np.interp((4405.0, 5495.0, 8060.0), wave, curve), strict=True))
    assert at["B"] - at["V"] == pytest.approx(1.0, abs=0.02)  # the definition of E(B-V)
    assert at["V"] - at["I"] == pytest.approx(3.1 - 1.86, abs=0.02)  # O'Donnell 1994: A(I) = 0.60 A(V)
    assert np.all(np.diff(curve) < 0)


@pytest.mark.parametrize("fibre", [1, 77, 320, 321, 500, 640])
def test_fibres_are_trimmed_within_the_bounds_of_real_ones(fibre):
    spectrum = expose(fibre=fibre, seed=fibre, conditions=draw_conditions(5, fibre))
    assert 35784 <= spectrum.k0 <= 35830
    assert 3769 <= len(spectrum.flux) <= 3850
    k = np.arange(spectrum.k0, spectrum.k0 + len(spectrum.flux))
    assert np.array_equal(spectrum.loglam, (k * 1e-4).astype(np.float32))
    assert np.array_equal(np.rint(1e4 * spectrum.loglam).astype(int), k)


def test_most_pixels_with_mask_bits_are_good():
    spectra = [expose(seed=seed, fibre=1 + seed, star=replace(STAR, g=19.0, sn=20.0)) for seed in range(200)]
    dead = np.concatenate([spectrum.ivar <= 0 for spectrum in spectra])
    masked = np.concatenate([spectrum.and_mask != 0 for spectrum in spectra])
    assert 0.0003 < dead.mean() < 0.004
    assert 0.03 < masked.mean() < 0.2
    assert np.mean(~dead[masked]) > 0.95
    assert all(np.all(s.or_mask & s.and_mask == s.and_mask) for s in spectra)


def test_a_sky_fibre_has_noise_and_no_star():
    spectrum = observe(np.zeros(0), None, None, STILL, 12, np.random.default_rng(1))
    assert not spectrum.clean.any()
    assert spectrum.sn_median == pytest.approx(0.67, abs=0.06)
    assert np.mean(np.clip(pulls(spectrum), -4.5, 4.5) ** 2) == pytest.approx(1.0, abs=0.08)


def test_a_spectrum_is_a_function_of_its_generator():
    a, b = expose(seed=3), expose(seed=3)
    assert np.array_equal(a.flux, b.flux)
    assert np.array_equal(a.or_mask, b.or_mask)
    assert not np.array_equal(a.flux, expose(seed=4).flux)
