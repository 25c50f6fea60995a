"""The simulated star obeys the physics it claims, and looks like the sky where that can be checked."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from raystellar.bench.sky import BANDS_AIR, air_to_vacuum, equivalent_width
from raystellar.simulate.photosphere import lattice
from raystellar.simulate.photosphere.atmosphere import TAU_ROSS, structure
from raystellar.simulate.photosphere.atoms import INDEX, IONISATION_EV, SYMBOLS, TERMS, abundances
from raystellar.simulate.photosphere.hydrogen import line_wavelength, oscillator_strength
from raystellar.simulate.photosphere.ionisation import gas_state, stage_fractions
from raystellar.simulate.photosphere.lines import ATOMIC_LINES, voigt
from raystellar.simulate.photosphere.opacity import depth_factors, h_minus_table, occupation
from raystellar.simulate.photosphere.radiation import e4
from raystellar.simulate.photosphere.synthesis import SYNTHESIS_LOGLAM, _emergent, microturbulence, synthesize

WAVE = 10.0**SYNTHESIS_LOGLAM
DATA = Path(os.environ.get("RAYSTELLAR_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
SUN = (5777.0, 4.44, 0.0)


def width(name, *label, **more):
    return equivalent_width(WAVE, synthesize(*label, **more), BANDS_AIR[name])


def naive_fractions(symbol, temperature, ne):
    """Saha's equation in plain Python with the constants spelled out."""
    kt_ev = 8.617333262e-5 * temperature
    u = [sum(g * math.exp(-e / kt_ev) for g, e in stage) for stage in TERMS[symbol]]
    front = 2.0 * (2 * math.pi * 9.1093837e-28 * 1.380649e-16 * temperature / 6.62607015e-27**2) ** 1.5
    ratios = [front * u[i + 1] / u[i] * math.exp(-IONISATION_EV[INDEX[symbol], i] / kt_ev) / ne for i in range(2)]
    stages = np.array([1.0, ratios[0], ratios[0] * ratios[1]])
    return stages / stages.sum()


@pytest.mark.parametrize(("temperature", "pressure"), [(3500.0, 1e3), (5777.0, 1e5), (9500.0, 1e3)])
def test_saha_and_charge_conservation(temperature, pressure):
    abundance = abundances(-0.5, 0.2)
    ne, nuclei, neutral, _, saha = gas_state(temperature, pressure, abundance)
    fractions = stage_fractions(saha, ne)
    for symbol in ("Na", "Ca", "Fe", "Mg"):
        np.testing.assert_allclose(fractions[INDEX[symbol]], naive_fractions(symbol, temperature, ne), rtol=1e-6)
    protons = neutral * saha[0, 0] / ne
    metals = nuclei * np.sum(abundance[1:] * (fractions[1:, 1] + 2.0 * fractions[1:, 2]))
    assert protons + metals == pytest.approx(ne, rel=1e-8)
    molecular = nuclei - neutral - protons
    particles = ne + neutral + protons + 0.5 * molecular + nuclei * abundance[1:].sum()
    assert particles * 1.380649e-16 * temperature == pytest.approx(pressure, rel=1e-6)


def test_metals_feed_the_electrons_of_cool_stars():
    rich, poor = (gas_state(4500.0, 1e4, abundances(feh))[0] for feh in (0.0, -2.0))
    assert rich > 10 * poor


def test_exponential_integral_and_voigt_profile():
    special = pytest.importorskip("scipy.special")
    for tau in (0.0, 0.013, 0.7, 3.3, 12.0):
        assert e4(tau) == pytest.approx(special.expn(4, tau), rel=1e-3, abs=1e-9)
    for a in (1e-3, 0.05, 0.3, 2.0):
        for v in (0.0, 0.8, 2.5, 7.0, 40.0):
            assert voigt(a, v) == pytest.approx(special.wofz(v + 1j * a).real, rel=3e-3)


def test_solar_pressure_and_temperature():
    model = structure(*SUN, abundances(0.0))
    at_one = np.interp(0.0, np.log(TAU_ROSS), model[0])
    pressure = np.exp(np.interp(0.0, np.log(TAU_ROSS), np.log(model[1])))
    assert 6000 < at_one < 6700
    assert 0.8e5 < pressure < 2e5  # standard models: 1.2e5 dyn/cm2
    assert np.all(np.diff(model[:2], axis=1) > 0)


@pytest.mark.parametrize(
    ("upper", "wave", "f"),  # NIST: vacuum wavelength of the centroid, absorption oscillator strength
    [(3, 6564.61, 0.64108), (4, 4862.68, 0.11938), (5, 4341.68, 0.044694), (6, 4102.89, 0.022105)],
)
def test_balmer_lines_are_those_of_nature(upper, wave, f):
    assert line_wavelength(2, upper) == pytest.approx(wave, abs=0.01)
    assert oscillator_strength(2, upper) == pytest.approx(f, rel=1e-3)


def test_the_negative_ion_of_hydrogen_absorbs_most_at_8500_angstrom():
    wave = np.arange(3000.0, 16400.0, 10.0)
    bound_free = h_minus_table(wave)[:, 0]
    assert wave[np.argmax(bound_free)] == pytest.approx(8500.0, abs=100.0)
    assert bound_free.max() == pytest.approx(3.99e-17, rel=0.01)
    # free-free, Bell & Berrington 1987: 1e-26 cm4/dyn at 5040 K and 5063, 9113, 15189 angstrom
    for free_wave, expected in ((5063.0, 0.195), (9113.0, 0.576), (15189.0, 1.49)):
        row, factors = h_minus_table(np.array([free_wave]))[0], depth_factors(5040.0, 1.0)
        found = row[1:] @ factors[1:7] / (1.380649e-16 * 5040.0)
        assert found == pytest.approx(1e-26 * expected, rel=0.03)


def test_high_levels_dissolve_with_density():
    assert occupation(5.0, 1e13, 1e16) > 0.95
    assert occupation(25.0, 1e15, 1e16) < 0.05


@pytest.mark.parametrize(
    ("label", "within"),
    [(SUN, 0.15), ((4500.0, 2.0, -1.0), 0.25), ((6500.0, 4.2, -2.0), 0.15), ((9500.0, 4.0, 0.0), 0.15)],
)
def test_flux_is_near_a_black_body_in_the_window(label, within):
    # a window, not the whole spectrum: the Balmer jump moves flux into it, and in cool stars the
    # minimum of H- at 1.6 micron lets flux out in the infrared instead
    flux = synthesize(*label)
    black = np.pi * 1.191043e27 / WAVE**5 / np.expm1(1.438777e8 / (WAVE * label[0]))
    assert flux.shape == SYNTHESIS_LOGLAM.shape
    assert np.all(np.isfinite(flux))
    assert np.all(flux > 0)
    assert np.trapezoid(flux, WAVE) == pytest.approx(np.trapezoid(black, WAVE), rel=within)


def test_solar_continuum_flux():
    # Neckel & Labs 1984: 1.9 W/m2/nm at 1 au at 5500 A is 8.7e6 erg/s/cm2/A at the surface
    flux = synthesize(*SUN)
    top = np.percentile(flux[(WAVE > 5450) & (WAVE < 5550)], 95)
    assert top == pytest.approx(8.7e6, rel=0.12)


def test_balmer_lines_peak_in_a_stars():
    widths = [width("H-delta", teff, 4.0, 0.0) for teff in (5000, 6500, 9000)]
    assert widths[0] < widths[1] < widths[2]
    assert width("H-delta", 9000, 4.2, 0.0) > width("H-delta", 9000, 2.5, 0.0) + 2.0  # Stark wings


def test_the_lattice_resolves_the_hydrogen_cores_of_a_cool_giant():
    label = (4300.0, 1.5, -0.5)
    wave = np.sort(np.concatenate([lattice.FINE_WAVE[:-1] + k / 8 * np.diff(lattice.FINE_WAVE) for k in range(8)]))
    flux = _emergent(*label, 0.0, microturbulence(*label[:2]), wave, *lattice.interpolation(lattice.COARSE_WAVE, wave))
    for upper in (3, 4):
        inside, pixels = [abs(w - line_wavelength(2, upper)) < 1.5 for w in (wave, WAVE)]
        mean = np.trapezoid(flux[inside], wave[inside]) / np.ptp(wave[inside])
        assert synthesize(*label)[pixels].mean() == pytest.approx(mean, rel=0.025)


def test_balmer_jump_of_an_a_star():
    flux = synthesize(9000, 4.0, 0.0)
    jump = flux[(WAVE > 4000) & (WAVE < 4050)].mean() / flux[(WAVE > 3580) & (WAVE < 3640)].mean()
    assert 1.8 < jump < 3.5


@pytest.mark.parametrize(("name", "teff"), [("Fe 5270", 5000), ("Ca II K", 6500), ("Mg b", 5000)])
def test_metal_lines_grow_with_metallicity(name, teff):
    widths = [width(name, teff, 4.0, feh) for feh in (-2.0, -1.0, 0.0)]
    assert widths[0] < widths[1] < widths[2]


def test_magnesium_tells_dwarfs_from_giants_and_alpha():
    assert width("Mg b", 4700, 4.6, 0.0) > 1.3 * width("Mg b", 4700, 2.0, 0.0)
    assert width("Mg b", 5000, 4.0, -1.0, alpha=0.4) > width("Mg b", 5000, 4.0, -1.0)


def test_strong_lines_stand_at_their_vacuum_wavelengths():
    flux = synthesize(6000, 4.0, 0.0)
    for wave in (3934.777, 3969.591, 5891.583, 8544.438, 6564.61):
        near = np.flatnonzero(abs(WAVE - wave) < 3.0)
        assert WAVE[near[np.argmin(flux[near])]] == pytest.approx(wave, abs=0.4)
    assert abs(air_to_vacuum(5889.951) - 5891.583) < 0.01
    assert np.all(np.diff(ATOMIC_LINES[:, 0]) >= 0)
    assert set(ATOMIC_LINES[:, 1].astype(int)) <= set(range(len(SYMBOLS)))


@pytest.mark.parametrize("base", [(5000.0, 3.0, -1.0), (8000.0, 4.0, 0.0)])
@pytest.mark.parametrize("step", [(4.0, 0, 0), (0, 0.02, 0), (0, 0, 0.02)])
def test_smooth_in_every_parameter(base, step):
    # third differences of a smooth function are tiny; grid noise or a threshold would show
    f = [np.log(synthesize(*(b + i * s for b, s in zip(base, step, strict=True)))) for i in range(4)]
    third = f[3] - 3 * f[2] + 3 * f[1] - f[0]
    assert np.abs(third).max() < 2e-4


def test_refusals_name_value_and_bound():
    with pytest.raises(ValueError, match=r"teff = 3000.0 is outside \[3900.0, 11000.0\] K"):
        synthesize(3000, 4.0, 0.0)
    with pytest.raises(ValueError, match=r"feh = nan"):
        synthesize(5000, 4.0, float("nan"))
    with pytest.raises(ValueError, match=r"alpha = 0.9"):
        synthesize(5000, 4.0, 0.0, alpha=0.9)
    with pytest.raises(ValueError, match=r"vmicro = 0.0"):
        synthesize(5000, 4.0, 0.0, vmicro=0.0)


def test_microturbulence_is_that_of_real_stars():
    assert 0.9 < microturbulence(5777, 4.44) < 1.4
    assert 1.5 < microturbulence(4500, 1.5) < 2.2
    assert 1.8 < microturbulence(7800, 4.0) < 3.0


def test_a_few_real_stars():
    path = DATA / "libraries" / "miles.npz"
    if not path.exists():
        pytest.skip(f"no MILES library at {path}: set RAYSTELLAR_TEST_DATA")
    library = np.load(path)
    wave, names = air_to_vacuum(library["wave_air"]), list(library["miles_id"])
    for star in ("0734", "0009", "0461"):  # a solar twin, a K giant, an A star
        i = names.index(star)
        flux = library["flux"][i].astype(float)
        twin = synthesize(library["teff"][i], library["logg"][i], library["feh"][i])
        for name in ("H-beta", "Mg b"):
            real = equivalent_width(wave, flux, BANDS_AIR[name])
            assert equivalent_width(WAVE, twin, BANDS_AIR[name]) == pytest.approx(real, abs=1.5)
