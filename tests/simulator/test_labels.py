import dataclasses

import numpy as np
import pytest

from raystellar.simulator.labels import SSPP_MISSING, label_row, label_sigma
from raystellar.simulator.population import Population, draw_star
from raystellar.simulator.spectro1d import Fibre

FIBRE = Fibre(plate=266, mjd=51602, fiberid=1, ra=1.0, dec=2.0, plate_ra=0.0, plate_dec=0.0)
NAMES = ("teff", "logg", "feh")


@pytest.fixture(scope="module")
def stars():
    return [draw_star(Population(), 1, index) for index in range(3000)]


def labelled(stars, sn):
    """Return the stars at this S/N with their rows."""
    rng = np.random.default_rng(int(sn))
    stars = [dataclasses.replace(star, sn=sn) for star in stars]
    return stars, [label_row(FIBRE, star, sn, rng) for star in stars]


def errors(stars, rows):
    """Return label minus truth of rows with labels, by name."""
    pairs = [(star, row) for star, row in zip(stars, rows, strict=True) if row["TEFF_ADOP"] != SSPP_MISSING]
    return {
        name: np.array([row[f"{name.upper()}_ADOP"] - getattr(star, name) for star, row in pairs]) for name in NAMES
    }


@pytest.mark.parametrize(
    ("sn", "bounds"),
    [
        (60.0, {"teff": (40, 75), "logg": (0.09, 0.17), "feh": (0.05, 0.11)}),
        (10.0, {"teff": (100, 170), "logg": (0.25, 0.4), "feh": (0.14, 0.24)}),
    ],
)
def test_label_errors_grow_at_low_sn(stars, sn, bounds):
    stars, rows = labelled(stars, sn)
    good = [(star, row) for star, row in zip(stars, rows, strict=True) if row["TEFF_ADOP"] != SSPP_MISSING]
    for name, values in errors(stars, rows).items():
        low, high = bounds[name]
        stated = np.array([row[f"{name.upper()}_ADOP_UNC"] for _, row in good])
        robust = 1.4826 * np.median(np.abs(values))
        assert low < robust < high, (name, robust)
        assert np.median(stated) == pytest.approx(robust, rel=0.35)
    velocity = np.array([row["RV_ADOP"] - star.rv for star, row in good])
    assert 1.5 < np.std(velocity) < 13.0


@pytest.mark.parametrize(
    ("truth", "bias"),
    # computed by hand from 25 tanh(w) - 15 sin(2 f), 0.05 sin(2.2 h) - 0.03 tanh(w), -0.04 tanh(f) + 0.02 cos(2 w)
    # with w = (teff - 5800) / 1200, h = (logg - 3.5) / 1.5, f = feh + 1
    [
        ((7000.0, 4.4, -1.8), (34.0, 0.026, 0.018)),
        ((4600.0, 2.5, -0.2), (-34.0, -0.027, -0.035)),
    ],
)
def test_labels_have_the_systematic_errors_of_sspp_with_their_sign(stars, truth, bias):
    teff, logg, feh = truth
    star = dataclasses.replace(stars[0], teff=teff, logg=logg, feh=feh)
    found = errors(*labelled([star] * 3000, 60.0))
    for name, expected, tolerance in zip(NAMES, bias, (5.0, 0.012, 0.007), strict=True):
        assert found[name].mean() == pytest.approx(expected, abs=tolerance), name


def test_flags_tell_which_rows_have_no_labels(stars):
    _, rows = labelled(stars, 30.0)
    critical = [row for row in rows if row["FLAG"][0] in "DdHhESV" or row["FLAG"][4] in "BRX"]
    assert 0.01 < len(critical) / len(rows) < 0.05
    assert all(row["TEFF_ADOP"] == row["FEH_ADOP"] == SSPP_MISSING for row in critical)
    normal = sum(row["FLAG"] == "nnnnn" for row in rows) / len(rows)
    assert 0.8 < normal < 0.96
    assert all(row["TEFF_ADOP"] > 0 for row in rows if row["FLAG"] == "nnnnn")


def test_hot_and_poor_stars_have_larger_errors(stars):
    normal, hot, poor = (
        dataclasses.replace(stars[3], teff=teff, feh=feh) for teff, feh in ((5500, -0.5), (8500, -0.5), (5500, -2.5))
    )
    assert all(a < b for a, b in zip(label_sigma(normal, 40.0), label_sigma(hot, 40.0), strict=True))
    assert all(a < b for a, b in zip(label_sigma(normal, 40.0)[1:], label_sigma(poor, 40.0)[1:], strict=True))
