import numpy as np
import pytest
from scipy.special import wofz

from raystellar.simulator.photosphere.atoms import SYMBOLS
from raystellar.simulator.photosphere.lines import ATOMIC_LINES, voigt


@pytest.mark.parametrize("a", [1e-3, 0.05, 0.3, 2.0])
@pytest.mark.parametrize("v", [0.0, 0.8, 2.5, 7.0, 40.0])
def test_the_voigt_function_is_that_of_scipy(a, v):
    assert voigt(a, v) == pytest.approx(wofz(v + 1j * a).real, rel=3e-3)


def test_the_table_of_lines_is_sorted_and_has_known_elements():
    assert np.all(np.diff(ATOMIC_LINES[:, 0]) >= 0)
    assert set(ATOMIC_LINES[:, 1].astype(int)) <= set(range(len(SYMBOLS)))
    assert np.isfinite(ATOMIC_LINES).all()
