import numpy as np
import pytest

from raystellar.simulator.photosphere import lattice
from raystellar.simulator.photosphere.hydrogen import line_wavelength
from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, _emergent, microturbulence

WAVE = 10.0**SYNTHESIS_LOGLAM


def test_every_edge_of_a_pixel_is_a_point_of_the_fine_lattice():
    edges = lattice.FINE_WAVE[lattice.PIXEL_EDGE]
    assert len(edges) == len(WAVE) + 1
    assert np.all(np.diff(lattice.FINE_WAVE) > 0)
    assert np.allclose(np.sqrt(edges[:-1] * edges[1:]), WAVE, rtol=1e-12)


def test_interpolation_is_exact_for_a_straight_line():
    coarse, points = np.array([1.0, 2.0, 4.0, 7.0]), np.array([1.0, 1.5, 3.0, 6.9, 7.0])
    index, fraction = lattice.interpolation(coarse, points)
    assert coarse[index] + fraction * np.diff(coarse)[index] == pytest.approx(points)


def test_the_fine_lattice_resolves_the_hydrogen_cores_of_a_cool_giant(spectrum):
    label = (4300.0, 1.5, -0.5)
    parts = [abs(lattice.FINE_WAVE[:-1] - line_wavelength(2, upper)) < 2.0 for upper in (3, 4)]
    base, step = (
        np.concatenate([x[part] for part in parts]) for x in (lattice.FINE_WAVE[:-1], np.diff(lattice.FINE_WAVE))
    )
    wave = np.sort(np.concatenate([base + k / 8 * step for k in range(8)]))
    flux = _emergent(*label, 0.0, microturbulence(*label[:2]), wave, *lattice.interpolation(lattice.COARSE_WAVE, wave))
    for upper in (3, 4):
        inside, pixels = [abs(w - line_wavelength(2, upper)) < 1.5 for w in (wave, WAVE)]
        mean = np.trapezoid(flux[inside], wave[inside]) / np.ptp(wave[inside])
        assert spectrum(*label)[pixels].mean() == pytest.approx(mean, rel=0.025)
