import numpy as np
import pyarrow as pa
import pytest

from raystellar.quality import Flag
from raystellar.report.catalog.census import (
    LEAST_ERROR,
    LOG_SN,
    LOGG,
    SHOWN,
    TEFF,
    Bins,
    Magnitudes,
    count_rejects,
    take,
)
from raystellar.report.catalog.figures import _from_mollweide, _to_mollweide, error_quantiles, ramp_colour
from raystellar.report.catalog.truth import read_given
from raystellar.report.residuals import Residuals, quantiles
from raystellar.targets import TARGET_NAMES

N = 4000


def catalogue(seed=0, n=N):
    """Return rows of a catalogue with all columns, also those of later versions."""
    rng = np.random.default_rng(seed)
    flags = rng.choice([0, 0, 0, 0, 1, 2, 8, 12, 64], n).astype(np.int32)
    sn = 10 ** rng.uniform(0.2, 2.2, n)
    columns = {
        "path": [f"spectra/{i}.fits" for i in range(n)],
        "spec_id": [f"{1 + i // 640}-53000-{i % 640}" for i in range(n)],
        "plate": 1 + np.arange(n) // 640,
        "mjd": np.full(n, 53000),
        "fiberid": np.arange(n) % 640,
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
        "object_class": ["STAR"] * n,
        "subclass": ["F9"] * n,
        "sn": sn.astype(np.float32),
        "rv": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 150, n)).astype(np.float32),
        "rv_source": ["pipeline"] * n,
        "good_fraction": rng.uniform(0.5, 1, n).astype(np.float32),
        "flags": flags,
        "flag_warn": (flags & 0b111111100) != 0,
        "flag_bad": (flags & 0b11) != 0,
        "teff": rng.uniform(1500, 9000, n).astype(np.float32),
        "feh": rng.uniform(-3, 0.5, n).astype(np.float32),
        "logg": rng.uniform(0, 5, n).astype(np.float32),
        "ood_score": rng.lognormal(0, 1, n).astype(np.float32),
        "is_primary": rng.random(n) < 0.8,
    }
    for name, size in (("teff", 300.0), ("feh", 0.4), ("logg", 0.6)):
        columns[f"e_{name}"] = (size / np.sqrt(sn) * rng.lognormal(0, 0.3, n)).astype(np.float32)
    return pa.table(columns)


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
        counts = np.histogram2d(y, x, (LOGG.edges(), TEFF.edges()))[0]
        sums = np.histogram2d(y, x, (LOGG.edges(), TEFF.edges()), weights=z)[0]
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


def test_the_rows_that_stand_out_are_those_of_a_sort(table):
    picks = take(pieces(table, 97)).picks
    rows = table.to_pylist()
    good = [row for row in rows if not row["flag_warn"] and not row["flag_bad"]]
    usable = [row for row in rows if not row["flag_bad"]]
    stars = [row for row in rows if not row["flags"] & (Flag.SKY | Flag.NOT_STAR)]
    expected = {
        "best": sorted(good, key=lambda row: -row["sn"]),
        "worst": sorted(usable, key=lambda row: -(row["e_teff"] * row["e_feh"] * row["e_logg"])),
        "oddest": sorted(stars, key=lambda row: -row["ood_score"]),
    }
    for kind, found in picks.items():
        assert [pick.row["spec_id"] for pick in found.rows] == [row["spec_id"] for row in expected[kind][:SHOWN]]
        assert all(pieces(table, 97)[pick.shard]["path"].to_pylist().count(pick.row["path"]) for pick in found.rows)


def test_of_equal_rows_the_first_stand_out():
    same = catalogue(n=50)
    same = same.set_column(same.schema.get_field_index("sn"), "sn", pa.array(np.full(50, 30, np.float32)))
    good = [row["path"] for row in same.to_pylist() if not row["flag_warn"] and not row["flag_bad"]]
    for size in (50, 7):
        assert [pick.row["path"] for pick in take(pieces(same, size)).picks["best"].rows] == good[:SHOWN]


def test_median_errors_are_right_to_a_bin(table):
    census, usable = take([table]), ~column(table, "flag_bad")
    place = LOG_SN.place(np.log10(column(table, "sn").astype(float)))
    for name in TARGET_NAMES:
        low, middle, high = 10.0 ** error_quantiles(census.errors[name], (0.1587, 0.5, 0.8413)) * LEAST_ERROR[name]
        for bin in np.flatnonzero(np.bincount(place[usable & (place >= 0)], minlength=LOG_SN.count) > 50):
            errors = column(table, f"e_{name}")[usable & (place == bin)]
            expected = np.quantile(errors, (0.1587, 0.5, 0.8413))
            np.testing.assert_allclose((low[bin], middle[bin], high[bin]), expected, rtol=0.06)


def test_the_tally_of_magnitudes_knows_any_scale():
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
    assert bins.place(np.array([-1.0, -0.6, 0.0, 1.0, 1.01, np.nan])).tolist() == [0, 0, 2, 3, -1, -1]


def test_residuals_are_those_of_all_rows_at_once():
    rng = np.random.default_rng(3)
    n, width = 3001, np.array([80.0, 0.1, 0.2])
    given = np.column_stack([rng.uniform(4000, 8000, n), rng.uniform(-2.5, 0.5, n), rng.uniform(1, 5, n)])
    errors = width * rng.lognormal(0, 0.3, (n, 3))
    predicted = given + 0.2 * width + errors * rng.standard_normal((n, 3))
    sn = 10 ** rng.uniform(1, 2, n)
    residuals = Residuals()
    for start in range(0, n, 400):
        here = slice(start, start + 400)
        residuals.add(predicted[here], given[here], errors[here], sn[here])
    z, difference = (predicted - given) / errors, predicted - given
    assert residuals.count == residuals.scored == n
    for t, found in enumerate(residuals.calibration().values()):
        assert found["stars"] == n
        assert found["std"] == pytest.approx(np.sqrt((z[:, t] ** 2).mean()))
        assert found["within68"] == pytest.approx((np.abs(z[:, t]) < 1).mean())
        assert found["within95"] == pytest.approx((np.abs(z[:, t]) < 2.09).mean())
        assert sum(quarter["stars"] for quarter in found["quartiles"]) == n
        for quarter in found["quartiles"]:
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


def test_the_map_of_the_sky_can_be_turned_back_and_keeps_areas():
    ra, dec = (grid.ravel() for grid in np.meshgrid(np.linspace(1, 359, 40), np.linspace(-88, 88, 37)))
    x, y = _to_mollweide(ra, dec)
    back = _from_mollweide(x, y)
    np.testing.assert_allclose(back[0], ra, atol=1e-3)
    np.testing.assert_allclose(back[1], dec, atol=1e-3)
    assert x[ra > 180].min() > 0  # drawn on an axis that is turned around
    x, y = np.random.default_rng(0).uniform([[-2], [-1]], [[2], [1]], (2, 200_000))
    inside = (x / 2) ** 2 + y**2 < 1
    height = np.sin(np.radians(_from_mollweide(x[inside], y[inside])[1]))
    assert np.histogram(height, 10, (-1, 1))[0] == pytest.approx(np.full(10, inside.sum() / 10), rel=0.03)


def test_the_ramp_grows_lighter():
    luminance = ramp_colour(np.linspace(0, 1, 50)) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()
    assert 0.3 < luminance[0] < luminance[-1] < 0.7


def test_rejects_are_counted_with_an_example():
    names = ("stage", "reason", "path")
    rows = [("read", "empty file", "a"), ("rv", "no radial velocity", "b"), ("read", "empty file", "c")]
    tables = [pa.table(dict(zip(names, ([value] for value in row), strict=True))) for row in rows]
    assert count_rejects(tables) == [("read", "empty file", 2, "a"), ("rv", "no radial velocity", 1, "b")]
    assert count_rejects([]) == []


@pytest.mark.parametrize("kind", ["key", "parquet", "fits"])
def test_given_labels_are_found_by_key_or_by_name(kind, table, tmp_path):
    import pyarrow.parquet as pq
    from astropy.table import Table

    from raystellar.labels.table import LabelsConfig

    usable = np.column_stack([np.linspace(4500, 9000, N), np.linspace(-2, 0, N), np.linspace(1, 5, N)])
    columns = {name: usable[:, t] for t, name in enumerate(TARGET_NAMES)} | {"e_feh": np.full(N, 0.1)}
    by = ("plate", "mjd", "fiberid") if kind == "key" else ("spec_id",)
    order = np.random.default_rng(2).permutation(N)[: N // 2]
    truth = pa.table({name: table[name] for name in by} | columns).take(pa.array(order))
    path = str(tmp_path / ("truth.fits" if kind == "fits" else "truth.parquet"))
    if kind == "fits":
        Table(
            {name: truth[name].to_numpy().astype("U20" if name in by else float) for name in truth.column_names}
        ).write(path)
    else:
        pq.write_table(truth, path)
    labels, errors = read_given(path, LabelsConfig())(table)
    known = np.zeros(N, dtype=bool)
    known[order] = True
    np.testing.assert_allclose(labels[known], usable[known], rtol=1e-6)
    assert np.isnan(labels[~known]).all()
    np.testing.assert_allclose(errors[known, 1], 0.1, rtol=1e-6)
    assert np.isnan(errors[:, 0]).all()
