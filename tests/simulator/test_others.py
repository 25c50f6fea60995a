"""Spectra of galaxies, quasars, white dwarfs and so on have the properties of their kind."""

import numpy as np
import pytest

from raystellar.simulator.others import OBSERVED_WAVE, SPECTRUM_KINDS, SYNTHESIS_LOGLAM, m_dwarf_flux, observe_kind
from raystellar.simulator.photosphere.synthesis import white_dwarf


@pytest.mark.parametrize("kind", SPECTRUM_KINDS)
def test_a_spectrum_is_a_function_of_kind_seed_and_index(kind):
    first, again, other = (observe_kind(kind, 5, index) for index in (7, 7, 8))
    assert np.array_equal(first.spectrum.flux, again.spectrum.flux)
    assert first.rv == again.rv
    assert not np.array_equal(first.spectrum.flux[:100], other.spectrum.flux[:100])
    assert np.isfinite(first.spectrum.flux).all()
    assert (first.spectrum.ivar >= 0).all()


@pytest.mark.parametrize("kind", [kind for kind in SPECTRUM_KINDS if kind not in ("sky", "noise")])
def test_odd_spectra_have_the_signal_to_noise_of_the_survey(kind):
    sn = [observe_kind(kind, 1, index).spectrum.sn_median for index in range(8)]
    assert min(sn) > 9.0
    assert 20.0 < np.median(sn) < 60.0


def test_sky_and_noise_have_no_signal():
    for kind in ("sky", "noise"):
        assert observe_kind(kind, 1, 0).spectrum.sn_median < 1.0


def test_only_spectra_with_a_stellar_velocity_are_shifted():
    assert all(observe_kind(kind, 1, 3).rv == 0.0 for kind in ("absorption galaxy", "emission galaxy", "quasar"))
    assert all(900.0 < abs(observe_kind("shifted star", 1, i).rv) < 3700.0 for i in range(5))


def width(flux, centre, half):
    """Return the equivalent width [A] of a line under a straight line through its surroundings."""
    inside = np.abs(OBSERVED_WAVE - centre) < half
    beside = (np.abs(OBSERVED_WAVE - centre) >= half) & (np.abs(OBSERVED_WAVE - centre) < 1.3 * half)
    continuum = np.polyval(np.polyfit(OBSERVED_WAVE[beside], flux[beside], 1), OBSERVED_WAVE[inside])
    return float(np.trapezoid(1.0 - flux[inside] / continuum, OBSERVED_WAVE[inside]))


def test_white_dwarfs_have_the_broad_lines_of_real_ones():
    assert 35.0 < width(white_dwarf(12000.0, 8.0), 4862.7, 120.0) < 65.0  # real: 40 to 60
    assert SYNTHESIS_LOGLAM.shape == white_dwarf(9000.0, 8.0).shape
    with pytest.raises(ValueError, match="8000 to 17000"):
        white_dwarf(30000.0, 8.0)


def test_m_dwarfs_have_the_bands_of_real_ones(real_data):
    from raystellar.bench.sky import air_to_vacuum

    miles = np.load(real_data / "libraries" / "miles.npz")
    wave, used = air_to_vacuum(miles["wave_air"]), (miles["teff"] < 3900.0) & (miles["logg"] > 4.5)
    part = (wave > 4500.0) & (wave < 7300.0)
    assert used.sum() >= 5
    for teff, flux in zip(miles["teff"][used], miles["flux"][used], strict=True):
        ours = np.interp(wave, OBSERVED_WAVE, m_dwarf_flux(float(teff)))
        assert np.corrcoef(ours[part], flux[part])[0, 1] > 0.75
