"""The error model, against its equation."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm, t

from raystellar.model.errormodel import DEGREES_OF_FREEDOM, HALF_68, N_LOGARITHMS, N_TERMS, WITHIN, ErrorModel

RNG = np.random.default_rng(0)


@pytest.fixture
def model():
    weights = RNG.normal(0.0, 0.3, (3, N_TERMS + N_LOGARITHMS))
    low, high = (1.0, -1.0, -2.0, -2.0, *(-6.0,) * 6), (2.0, 2.0, 1.0, 1.0, *(-2.0,) * 6)
    return ErrorModel(low, high, tuple(map(tuple, weights)))


def test_errors_are_those_of_the_equation(model):
    variances, targets, sn = np.exp(RNG.uniform(-6, -2, (9, 6))), RNG.uniform(-1, 1, (9, 3)), RNG.uniform(10, 100, 9)
    for row, errors in enumerate(model(variances, targets, sn)):
        star = np.array([np.log10(sn[row]), *targets[row]])
        u = 2 * (star - model.low[:4]) / np.subtract(model.high[:4], model.low[:4]) - 1
        columns = [1, *u, *(u[i] * u[j] for i in range(4) for j in range(i, 4)), *np.log(variances[row])]
        np.testing.assert_allclose(errors, HALF_68 * np.exp(0.5 * np.array(model.weights) @ columns), rtol=1e-6)


def test_errors_of_a_row_do_not_depend_on_the_rows_with_it(model):
    variances, targets, sn = RNG.uniform(0, 0.5, (300, 6)), RNG.normal(0, 2, (300, 3)), RNG.uniform(1, 100, 300)
    whole = model(variances, targets, sn)
    for rows in ([5], [299, 3, 17], list(RNG.permutation(300))):
        assert np.array_equal(model(variances[rows], targets[rows], sn[rows]), whole[rows])


def test_a_star_outside_the_limits_has_the_errors_at_the_limits(model):
    variances, sn = np.zeros((4, 6)), np.array([10.0, 2.0, -3.0, np.nan])
    errors = model(variances, np.full((4, 3), -9.0), sn)
    assert np.array_equal(errors, np.broadcast_to(errors[0], (4, 3)))
    at_the_ends = np.full((1, 6), np.exp(-6.0))
    np.testing.assert_allclose(errors[:1], model(at_the_ends, np.array([[-1.0, -2.0, -2.0]]), sn[:1]), rtol=1e-12)


def test_errors_grow_with_the_noise_of_pixels_beyond_the_limits(model):
    variances = np.exp(np.full((2, 6), -2.0))
    variances[1, :3] *= 100.0
    errors = model(variances, np.zeros((2, 3)), np.array([50.0, 50.0]))
    np.testing.assert_allclose(errors[1], 10.0 * errors[0], rtol=1e-9)
    variances[1, 3:] *= 100.0  # the variances by units are clipped
    np.testing.assert_allclose(
        model(variances, np.zeros((2, 3)), np.array([50.0, 50.0]))[1], 10.0 * errors[0], rtol=1e-9
    )


def test_the_floor_is_added_in_squares(model):
    variances, targets, sn = np.exp(RNG.uniform(-6, -2, (9, 6))), RNG.uniform(-1, 1, (9, 3)), RNG.uniform(10, 100, 9)
    whole = dataclasses.replace(model, floor=(0.1, 0.0, 3.0))
    assert np.array_equal(whole.scatter(variances, targets, sn), model.scatter(variances, targets, sn))
    expected = HALF_68 * np.hypot(model.scatter(variances, targets, sn), (0.1, 0.0, 3.0))
    np.testing.assert_allclose(whole(variances, targets, sn), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": (1.0,)}, "low has 1 values"),
        ({"weights": ((1.0,),)}, "3 rows of 21"),
        ({"floor": (1.0,)}, "floor has 1"),
    ],
)
def test_parameters_of_another_shape_are_refused(changes, message):
    good = {"low": (0.0,) * 10, "high": (1.0,) * 10, "weights": ((0.0,) * (N_TERMS + N_LOGARITHMS),) * 3}
    with pytest.raises(ValueError, match=message):
        ErrorModel(**{**good, **changes})


def test_half_68_is_half_of_the_central_interval_of_students_t():
    nu = DEGREES_OF_FREEDOM
    half, wide = (np.sqrt((nu - 2) / nu) * t.ppf(share, nu) for share in (norm.cdf(1.0), 0.975))
    assert pytest.approx(half, abs=1e-3) == HALF_68
    assert {"within68": 1.0, "within95": pytest.approx(wide / half, abs=0.005)} == WITHIN
