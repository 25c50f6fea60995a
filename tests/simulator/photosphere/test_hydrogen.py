import pytest

from raystellar.simulator.photosphere.hydrogen import line_wavelength, oscillator_strength


@pytest.mark.parametrize(
    ("upper", "wave", "f"),  # NIST: vacuum wavelength of the centroid, absorption oscillator strength
    [(3, 6564.61, 0.64108), (4, 4862.68, 0.11938), (5, 4341.68, 0.044694), (6, 4102.89, 0.022105)],
)
def test_balmer_lines_have_the_wavelengths_and_strengths_of_nist(upper, wave, f):
    assert line_wavelength(2, upper) == pytest.approx(wave, abs=0.01)
    assert oscillator_strength(2, upper) == pytest.approx(f, rel=1e-3)
