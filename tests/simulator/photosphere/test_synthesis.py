"""The synthetic spectrum obeys the physics that it claims, and looks like real stars where that can be checked."""

import numpy as np
import pytest

from raystellar.bench.sky import BANDS_AIR, air_to_vacuum, equivalent_width
from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, microturbulence, synthesize

WAVE = 10.0**SYNTHESIS_LOGLAM
SUN = (5777.0, 4.44, 0.0)


@pytest.mark.parametrize(
    ("label", "within"),
    [(SUN, 0.15), ((4500.0, 2.0, -1.0), 0.25), ((6500.0, 4.2, -2.0), 0.15), ((9500.0, 4.0, 0.0), 0.15)],
)
def test_flux_is_near_a_black_body_in_the_window(spectrum, label, within):
    # the window is not the whole spectrum: the Balmer jump moves flux into it, and in cool stars the
    # minimum of H- at 1.6 micron lets flux out in the infrared instead
    flux = spectrum(*label)
    black = np.pi * 1.191043e27 / WAVE**5 / np.expm1(1.438777e8 / (WAVE * label[0]))
    assert flux.shape == SYNTHESIS_LOGLAM.shape
    assert np.all(np.isfinite(flux))
    assert np.all(flux > 0)
    assert np.trapezoid(flux, WAVE) == pytest.approx(np.trapezoid(black, WAVE), rel=within)


def test_the_sun_has_its_continuum_flux(spectrum):
    # Neckel & Labs 1984: 1.9 W/m2/nm at 1 au at 5500 A is 8.7e6 erg/s/cm2/A at the surface
    flux = spectrum(*SUN)
    top = np.percentile(flux[(WAVE > 5450) & (WAVE < 5550)], 95)
    assert top == pytest.approx(8.7e6, rel=0.12)


def test_balmer_lines_are_strongest_in_a_stars(width):
    widths = [width("H-delta", teff, 4.0, 0.0) for teff in (5000, 6500, 9000)]
    assert widths[0] < widths[1] < widths[2]
    assert width("H-delta", 9000, 4.2, 0.0) > width("H-delta", 9000, 2.5, 0.0) + 2.0  # Stark wings


def test_an_a_star_has_a_balmer_jump(spectrum):
    flux = spectrum(9000.0, 4.0, 0.0)
    jump = flux[(WAVE > 4000) & (WAVE < 4050)].mean() / flux[(WAVE > 3580) & (WAVE < 3640)].mean()
    assert 1.8 < jump < 3.5


@pytest.mark.parametrize(("name", "teff"), [("Fe 5270", 5000), ("Ca II K", 6500), ("Mg b", 5000)])
def test_metal_lines_grow_with_metallicity(width, name, teff):
    widths = [width(name, teff, 4.0, feh) for feh in (-2.0, -1.0, 0.0)]
    assert widths[0] < widths[1] < widths[2]


def test_magnesium_tells_dwarfs_from_giants_and_alpha(width):
    assert width("Mg b", 4700, 4.6, 0.0) > 1.3 * width("Mg b", 4700, 2.0, 0.0)
    assert width("Mg b", 5000, 4.0, -1.0, alpha=0.4) > width("Mg b", 5000, 4.0, -1.0)


def test_strong_lines_are_at_their_vacuum_wavelengths(spectrum):
    flux = spectrum(6500.0, 4.0, 0.0)
    for wave in (3934.777, 3969.591, 5891.583, 8544.438, 6564.61):
        near = np.flatnonzero(abs(WAVE - wave) < 3.0)
        assert WAVE[near[np.argmin(flux[near])]] == pytest.approx(wave, abs=0.4)
    assert abs(air_to_vacuum(5889.951) - 5891.583) < 0.01


@pytest.mark.parametrize("base", [(5000.0, 3.0, -1.0), (8000.0, 4.0, 0.0)])
@pytest.mark.parametrize("step", [(4.0, 0, 0), (0, 0.02, 0), (0, 0, 0.02)])
def test_spectra_are_smooth_in_every_parameter(spectrum, base, step):
    # third differences of a smooth function are tiny; noise of a grid or a threshold would show
    f = [np.log(spectrum(*(b + i * s for b, s in zip(base, step, strict=True)))) for i in range(4)]
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


def test_lines_of_real_stars_have_the_widths_of_their_simulated_twins(real_data):
    path = real_data / "libraries" / "miles.npz"
    if not path.exists():
        pytest.skip(f"no MILES library at {path}")
    library = np.load(path)
    wave, names = air_to_vacuum(library["wave_air"]), list(library["miles_id"])
    for star in ("0734", "0009", "0461"):  # a solar twin, a K giant, an A star
        i = names.index(star)
        flux = library["flux"][i].astype(float)
        twin = synthesize(library["teff"][i], library["logg"][i], library["feh"][i])
        for name in ("H-beta", "Mg b"):
            real = equivalent_width(wave, flux, BANDS_AIR[name])
            assert equivalent_width(WAVE, twin, BANDS_AIR[name]) == pytest.approx(real, abs=1.5)
