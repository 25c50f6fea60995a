import numpy as np
import pyarrow as pa
import pytest
from catalog_rows import N, catalogue

from raystellar.quality import Flag
from raystellar.report.catalog.census import (
    LEAST_ERROR,
    LOG_SN_BINS,
    LOGG_BINS,
    SHOWN,
    TEFF_BINS,
    Bins,
    Magnitudes,
    count_rejects,
    take,
)
from raystellar.report.catalog.figures import error_quantiles
from raystellar.targets import TARGET_NAMES


def pieces(table, size):
    return [table.slice(start, size) for start in range(0, len(table), size)]


@pytest.fixture(scope="module")
def table():
    return catalogue()


def column(table, name):
    return table[name].to_numpy()


def test_counts_are_those_of_all_rows_at_once(table):
    census = take(pieces(table, 333))
    bad, warn, flags = (column(table, name) for name in ("flag_bad", "flag_warn", "flags"))
    assert (census.rows, census.bad, census.warn) == (N, bad.sum(), (warn & ~bad).sum())
    assert census.good == (~warn & ~bad).sum()
    assert census.bits.tolist() == [((flags >> bit) & 1).sum() for bit in range(32)]
    assert census.stars == column(table, "is_primary").sum()
    good = ~warn & ~bad
    for kind, chosen in (("good", good), ("flagged", ~good)):
        x, y, z = (column(table, name)[chosen].astype(float) for name in ("teff", "logg", "feh"))
        counts = np.histogram2d(y, x, (LOGG_BINS.edges(), TEFF_BINS.edges()))[0]
        sums = np.histogram2d(y, x, (LOGG_BINS.edges(), TEFF_BINS.edges()), weights=z)[0]
        np.testing.assert_array_equal(census.kiel[kind].counts, counts)
        np.testing.assert_allclose(census.kiel[kind].sums, sums, atol=1e-9)
        assert census.kiel[kind].outside == chosen.sum() - counts.sum() > 0
    assert census.outside["rv"] == (~(np.abs(column(table, "rv")) <= 600)).sum()
    for name, counts in census.measures.items():
        assert counts.sum() == N - census.outside[name]
        assert counts[0].sum() <= census.good


def test_nothing_depends_on_how_rows_are_spread_over_parts(table):
    one, many = take([table]), take(pieces(table, 61))
    for a, b in ((one.sky, many.sky), *((one.errors[name], many.errors[name]) for name in TARGET_NAMES)):
        np.testing.assert_array_equal(a.counts, b.counts)
    for k in range(2):
        np.testing.assert_array_equal(one.ood[k].counts, many.ood[k].counts)
    names = [
        {kind: [pick.row["spec_id"] for pick in picks.rows] for kind, picks in census.picks.items()}
        for census in (one, many)
    ]
    assert names[0] == names[1]


def test_the_rows_of_the_gallery_are_those_of_a_sort(table):
    picks = take(pieces(table, 97)).picks
    rows = table.to_pylist()
    good = [row for row in rows if not row["flag_warn"] and not row["flag_bad"]]
    usable = [row for row in rows if not row["flag_bad"]]
    stars = [row for row in rows if not row["flags"] & (Flag.SKY | Flag.NOT_STAR)]
    expected = {
        "best": sorted(good, key=lambda row: -row["sn"]),
        "worst": sorted(usable, key=lambda row: -(row["e_teff"] * row["e_feh"] * row["e_logg"])),
        "ood": sorted(stars, key=lambda row: -row["ood_score"]),
    }
    for kind, picked in picks.items():
        assert [pick.row["spec_id"] for pick in picked.rows] == [row["spec_id"] for row in expected[kind][:SHOWN]]
        assert all(pieces(table, 97)[pick.shard]["path"].to_pylist().count(pick.row["path"]) for pick in picked.rows)


def test_of_equal_rows_the_first_are_in_the_gallery():
    same = catalogue(n=50)
    same = same.set_column(same.schema.get_field_index("sn"), "sn", pa.array(np.full(50, 30, np.float32)))
    good = [row["path"] for row in same.to_pylist() if not row["flag_warn"] and not row["flag_bad"]]
    for size in (50, 7):
        assert [pick.row["path"] for pick in take(pieces(same, size)).picks["best"].rows] == good[:SHOWN]


def test_median_errors_are_right_to_a_bin(table):
    census, usable = take([table]), ~column(table, "flag_bad")
    index = LOG_SN_BINS.index(np.log10(column(table, "sn").astype(float)))
    for name in TARGET_NAMES:
        low, middle, high = 10.0 ** error_quantiles(census.errors[name], (0.1587, 0.5, 0.8413)) * LEAST_ERROR[name]
        for bin in np.flatnonzero(np.bincount(index[usable & (index >= 0)], minlength=LOG_SN_BINS.count) > 50):
            errors = column(table, f"e_{name}")[usable & (index == bin)]
            expected = np.quantile(errors, (0.1587, 0.5, 0.8413))
            np.testing.assert_allclose((low[bin], middle[bin], high[bin]), expected, rtol=0.06)


def test_magnitudes_of_any_scale_have_right_quantiles():
    rng = np.random.default_rng(1)
    for values in (rng.lognormal(0, 3, 5000), -rng.lognormal(8, 1, 999), rng.normal(0, 1e-6, 1000), np.zeros(7)):
        tally = Magnitudes()
        tally.add(np.append(values, [np.nan, np.inf]).astype(np.float32))
        assert tally.counts.sum() == len(values)
        shares = (0.01, 0.3, 0.5, 0.99)
        expected = np.quantile(values, shares, method="inverted_cdf")
        np.testing.assert_allclose(tally.quantiles(shares), expected, rtol=0.009, atol=1e-38)
        room = 0.01 * np.abs(values).max() + 1e-30
        edges = np.linspace(values.min() - room, values.max() + room, 7)
        np.testing.assert_allclose(tally.rebinned(edges).sum(), len(values))
    assert np.isnan(Magnitudes().quantiles((0.5,))).all()


def test_bins_take_both_their_ends():
    bins = Bins(-1.0, 1.0, 4)
    assert bins.index(np.array([-1.0, -0.6, 0.0, 1.0, 1.01, np.nan])).tolist() == [0, 0, 2, 3, -1, -1]


def test_rejects_are_counted_with_an_example():
    names = ("stage", "reason", "path")
    rows = [("read", "empty file", "a"), ("rv", "no radial velocity", "b"), ("read", "empty file", "c")]
    tables = [pa.table(dict(zip(names, ([value] for value in row), strict=True))) for row in rows]
    assert count_rejects(tables) == [("read", "empty file", 2, "a"), ("rv", "no radial velocity", 1, "b")]
    assert count_rejects([]) == []
