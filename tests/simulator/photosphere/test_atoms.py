import pytest

from raystellar.simulator.photosphere.atoms import ELEMENTS, INDEX, TERMS, abundances


def test_every_element_has_terms_in_three_stages():
    assert TERMS.keys() == ELEMENTS.keys()
    assert all(len(stages) == 3 and all(stages) for stages in TERMS.values())


def test_abundances_scale_with_metallicity_and_alpha():
    solar, poor = abundances(0.0), abundances(-1.0, 0.4)
    assert solar[INDEX["H"]] == poor[INDEX["H"]] == 1.0
    assert poor[INDEX["He"]] == solar[INDEX["He"]]
    assert poor[INDEX["Fe"]] / solar[INDEX["Fe"]] == pytest.approx(10.0**-1.0)
    assert poor[INDEX["Mg"]] / solar[INDEX["Mg"]] == pytest.approx(10.0**-0.6)
    assert solar[INDEX["Fe"]] == pytest.approx(10.0**-4.5)
