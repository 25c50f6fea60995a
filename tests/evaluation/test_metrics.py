"""Statistics of predictions, compared with plain loops and SciPy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from raystellar.evaluation.metrics import (
    CELL_COLUMNS,
    LABEL_EDGES,
    bins,
    cells,
    label_ranges,
    largest_deviation,
    statistics,
)
from raystellar.evaluation.predictions import Predictions
from raystellar.evaluation.result import Evaluation, Item, evaluate_item
from raystellar.model.errormodel import DEGREES_OF_FREEDOM as NU
from raystellar.model.errormodel import HALF_68
from raystellar.targets import TARGET_NAMES

N = 4000
TRUE = np.sqrt((NU - 2) / NU) / HALF_68 * np.random.default_rng(0).standard_t(NU, (N, 3))
"""Values of z (n, 3) of errors that are right."""


def stars(z=TRUE, sn=None, label_errors=0.0):
    """Return predictions whose difference from the labels is ``z`` times the error of the difference."""
    rng, n = np.random.default_rng(1), len(z)
    labels = np.column_stack([rng.uniform(4500, 8000, n), rng.uniform(-2.5, 0.3, n), rng.uniform(1.5, 5, n)])
    errors = np.array([60.0, 0.1, 0.2]) * rng.uniform(0.7, 1.3, (n, 3))
    of_labels = label_errors * np.array([30.0, 0.05, 0.1]) * np.ones((n, 3))
    predicted = labels + z * np.sqrt(errors**2 + of_labels**2)
    sn = 10.0 ** rng.uniform(1, 2, n) if sn is None else sn
    return Predictions(np.arange(n), sn, predicted, errors, labels, of_labels)


def plain(predicted, label, error, span):
    """Return the statistics of one label from a loop over stars."""
    d = [p - q for p, q in zip(predicted, label, strict=True)]
    z = [one / e for one, e in zip(d, error, strict=True)]
    n = len(d)
    return {
        "stars": n,
        "mae": sum(abs(one) for one in d) / n,
        "bias": sum(d) / n,
        "median": sorted(d)[n // 2] if n % 2 else sum(sorted(d)[n // 2 - 1 : n // 2 + 1]) / 2,
        "scatter": median_abs_deviation(d, scale="normal"),
        "rms": (sum(one * one for one in d) / n) ** 0.5,
        "mae_of_range": sum(abs(one) for one in d) / n / span,
        "z_mean": sum(z) / n,
        "z_std": (sum((one - sum(z) / n) ** 2 for one in z) / n) ** 0.5,
        "within68": sum(abs(one) < 1 for one in z) / n,
        "within95": sum(abs(one) < 2.09 for one in z) / n,
        "outliers": sum(abs(one) > 3 for one in z) / n,
    }


@pytest.mark.parametrize("label_errors", [0.0, 2.0])
@pytest.mark.parametrize("n", [1, 2, 501])
def test_statistics_are_those_of_a_loop(n, label_errors):
    some = stars(1.1 * TRUE[:n] - 0.2, label_errors=label_errors)
    total = [
        [(e**2 + f**2) ** 0.5 for e, f in zip(*rows, strict=True)]
        for rows in zip(some.predicted_errors, some.label_errors, strict=True)
    ]
    assert label_ranges(some.labels) == tuple(max(column) - min(column) for column in some.labels.T)
    for t, (name, found) in enumerate(statistics(some, (3000.0, 2.0, 3.0)).items()):
        expected = plain(some.predicted[:, t], some.labels[:, t], [row[t] for row in total], (3000.0, 2.0, 3.0)[t])
        assert name == TARGET_NAMES[t]
        assert vars(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_stars_without_an_error_count_in_the_differences_alone():
    errors = stars(TRUE[:50]).predicted_errors
    errors[::2] = 0.0
    errors[1] = np.nan
    some = replace(stars(TRUE[:50]), predicted_errors=errors)
    found = statistics(some, (1.0, 1.0, 1.0))["feh"]
    assert found.stars == 50
    assert found.z_std == pytest.approx(np.std(TRUE[3:50:2, 1]))
    some = replace(some, predicted_errors=np.full((50, 3), np.nan))
    found = statistics(some, (0.0, 1.0, 1.0))
    assert np.isnan([found["teff"].z_std, found["teff"].within68, found["teff"].mae_of_range]).all()
    assert found["teff"].mae > 0


def test_every_star_is_in_one_group_of_each_quantity():
    some = stars(TRUE[:700])
    ends = {"sn": [-np.inf, *np.quantile(some.sn, (0.25, 0.5, 0.75)), np.inf]}
    ends |= {name: [-np.inf, *edges, np.inf] for name, edges in LABEL_EDGES.items()}
    for t, name in enumerate(TARGET_NAMES):
        found = iter(bins(some)[name])
        for by, edges in ends.items():
            values = some.sn if by == "sn" else some.labels[:, TARGET_NAMES.index(by)]
            for low, high in pairwise(edges):
                inside = [low <= value < high for value in values]
                if not any(inside):
                    continue
                one = next(found)
                assert one.by == by
                assert [one.low, one.high] == [None if np.isinf(end) else end for end in (low, high)]
                assert one.statistics.stars == sum(inside)
                assert one.statistics.mae == pytest.approx(np.abs(some.predicted - some.labels)[inside, t].mean())
                assert one.statistics.mae_of_range == pytest.approx(one.statistics.mae / np.ptp(some.labels[:, t]))
        assert next(found, None) is None


def test_stars_without_sn_are_in_no_group_by_sn():
    some = stars(TRUE[:100], sn=np.where(np.arange(100) < 40, np.nan, 20.0 + np.arange(100)))
    groups = [one for one in bins(some)["teff"] if one.by == "sn"]
    assert sum(one.statistics.stars for one in groups) == 60
    nothing = stars(TRUE[:100], sn=np.full(100, np.nan))
    assert not [one for one in bins(nothing)["teff"] if one.by == "sn"]
    assert cells(nothing, least=1) == []


def test_cells_hold_the_shares_of_their_stars():
    some = stars()
    found = cells(some, least=140)
    assert 20 < len(found) < 27
    values = dict(zip(CELL_COLUMNS, (some.sn, some.predicted[:, 0], some.predicted[:, 1]), strict=True))
    for cell in found:
        inside = np.ones(N, bool)
        for name, (low, high) in cell.ends.items():
            inside &= (values[name] >= low) & ((values[name] < high) | (high == values[name].max()))
        assert cell.stars == inside.sum() >= 140
        for t, name in enumerate(TARGET_NAMES):
            z = ((some.predicted - some.labels) / some.predicted_errors)[inside, t]
            assert cell.shares[name]["within68"] == pytest.approx(np.mean(np.abs(z) < 1))
            assert cell.shares[name]["within95"] == pytest.approx(np.mean(np.abs(z) < 2.09))
    narrow = [abs(shares["within68"] - 0.683) for cell in found for shares in cell.shares.values()]
    broad = [abs(shares["within95"] - 0.95) for cell in found for shares in cell.shares.values()]
    assert largest_deviation(found) == pytest.approx({"within68": 100 * max(narrow), "within95": 100 * max(broad)})
    assert largest_deviation([]) == {}
    assert sum(cell.stars for cell in cells(some, least=1)) == N


@pytest.mark.parametrize(
    ("factor", "bad"),
    [
        (1.0, set()),
        (0.8, {"all stars"}),
        (1.25, {"all stars", "S/N"}),
        (1 / np.linspace(0.75, 1.4, N), {"S/N"}),
    ],
)
def test_errors_outside_the_limits_are_named(factor, bad):
    z = TRUE * np.reshape(np.broadcast_to(factor, N), (N, 1))
    some = stars(z, sn=np.linspace(10.0, 100.0, N))
    item = Item("catalog", "catalog", "catalogue", "", None, N, *evaluate_item(some, some), {})
    wrong = Evaluation([item], "labels", (), True, ()).wrong_errors()
    assert {word for word in ("all stars", "S/N") if any(f", {word}" in sentence for sentence in wrong)} >= bad
    assert bool(wrong) == bool(bad)
    assert all(sentence.startswith("catalog, ") and ", wanted " in sentence for sentence in wrong)
