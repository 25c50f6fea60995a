import numpy as np
import pytest

from raystellar.evaluation.metrics import EXPECTED_STD
from raystellar.report.residual_figures import expected_density
from raystellar.report.residuals import Residuals, quantiles


def test_residuals_are_those_of_all_rows_at_once():
    rng = np.random.default_rng(3)
    n, width = 3001, np.array([80.0, 0.1, 0.2])
    reference = np.column_stack([rng.uniform(4000, 8000, n), rng.uniform(-2.5, 0.5, n), rng.uniform(1, 5, n)])
    errors = width * rng.lognormal(0, 0.3, (n, 3))
    predicted = reference + 0.2 * width + errors * rng.standard_normal((n, 3))
    sn = 10 ** rng.uniform(1, 2, n)
    residuals = Residuals()
    for start in range(0, n, 400):
        here = slice(start, start + 400)
        residuals.add(predicted[here], reference[here], errors[here], sn[here])
    z, difference = (predicted - reference) / errors, predicted - reference
    assert residuals.count == residuals.scored == n
    for t, shares in enumerate(residuals.calibration().values()):
        assert shares["stars"] == n
        assert shares["std"] == pytest.approx(np.sqrt((z[:, t] ** 2).mean()))
        assert shares["within68"] == pytest.approx((np.abs(z[:, t]) < 1).mean())
        assert shares["within95"] == pytest.approx((np.abs(z[:, t]) < 2.09).mean())
        assert sum(quarter["stars"] for quarter in shares["quartiles"]) == n
        for quarter in shares["quartiles"]:
            inside = (sn >= quarter["sn"][0]) & (sn < quarter["sn"][1])
            assert inside.sum() == quarter["stars"] == pytest.approx(n / 4, abs=0.02 * n)
            assert quarter["std"] == pytest.approx(np.sqrt((z[inside, t] ** 2).mean()))
        table = residuals.errors(t)
        assert table["mae"] == pytest.approx(np.abs(difference[:, t]).mean())
        assert table["bias"] == pytest.approx(difference[:, t].mean())
        assert table["rmse"] == pytest.approx(np.sqrt((difference[:, t] ** 2).mean()))
        low, high = np.quantile(difference[:, t], (0.1587, 0.8413))
        assert table["scatter"] == pytest.approx((high - low) / 2, rel=0.03)


def test_rows_without_errors_have_residuals_and_no_scores():
    residuals = Residuals()
    residuals.add(np.ones((5, 3)), np.zeros((5, 3)), np.zeros((5, 3)), np.full(5, 20.0))
    assert (residuals.count, residuals.scored) == (5, 0)
    assert residuals.errors(0)["mae"] == 1.0
    assert residuals.calibration()["teff"]["std"] is None


def test_quantiles_of_a_histogram():
    counts, edges = np.array([0, 2, 0, 2, 0]), np.arange(6.0)
    assert quantiles(counts, edges, (0.25, 0.5, 0.75, 1.0)).tolist() == [1.5, 2.0, 3.5, 4.0]
    assert np.isnan(quantiles(np.zeros(5), edges, (0.5,))).all()


def test_rows_beyond_the_histograms_are_counted():
    residuals = Residuals()
    predicted = np.array([[5000.0, -1.0, 4.0], [9000.0, -1.0, 4.0], [5000.0, 1.0, 4.0]])
    residuals.add(predicted, np.tile([5000.0, -1.0, 4.0], (3, 1)), np.ones((3, 3)), np.full(3, 20.0))
    assert residuals.beyond == [1, 1, 0]


def test_the_expected_distribution_of_z_has_the_shares_that_errors_promise():
    z = np.linspace(-60, 60, 240_001)
    density, step = expected_density(z), z[1] - z[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-4)
    assert np.sqrt((density * z**2).sum() * step) == pytest.approx(EXPECTED_STD, rel=2e-3)
    assert density[np.abs(z) < 1].sum() * step == pytest.approx(0.683, abs=2e-3)
    assert density[np.abs(z) < 2.09].sum() * step == pytest.approx(0.95, abs=2e-3)
