import dataclasses

import numpy as np
import pytest

from raystellar.simulator.spectro1d import Fibre, classify_sky, classify_star, specobj_id


def test_identifiers_are_the_bit_fields_of_sdss():
    fibre = Fibre(plate=266, mjd=51602, fiberid=31, ra=0.0, dec=0.0, plate_ra=0.0, plate_dec=0.0)
    assert specobj_id(fibre) == 299497923312379904
    assert specobj_id(fibre, with_fibre=False) == 299489402097264640


def test_many_sky_fibres_have_the_class_of_a_star():
    classes = [classify_sky(np.random.default_rng(seed))["object_class"] for seed in range(300)]
    assert 0.3 < classes.count("STAR") / 300 < 0.55


def test_velocities_are_too_low_by_the_offset_of_the_pipeline(sunlike):
    rng = np.random.default_rng(0)
    star = dataclasses.replace(sunlike, rv=100.0, sn=35.0)
    rv = 299792.458 * np.array([classify_star(star, rng)["z"] for _ in range(2000)])
    assert rv.mean() == pytest.approx(100.0 - 7.3, abs=1.0)
    assert rv.std() == pytest.approx(10.0, rel=0.08)


@pytest.mark.parametrize(("teff", "letter"), [(4200.0, "K"), (5400.0, "G"), (6600.0, "F"), (9000.0, "A")])
def test_subclasses_follow_the_temperature(sunlike, teff, letter):
    star = dataclasses.replace(sunlike, teff=teff, sn=100.0)
    assert classify_star(star, np.random.default_rng(1))["subclass"][0] == letter
