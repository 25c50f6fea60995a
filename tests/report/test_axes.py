import numpy as np
import pytest
from matplotlib.figure import Figure

from raystellar.report.axes import density_map, density_norm, linear_axis, log_ticks, metallicity_map, used_range


@pytest.mark.parametrize("low", [1e-3, 0.25, 1.0, 7.3, 980.0])
@pytest.mark.parametrize("ratio", [1.05, 1.3, 2.0, 3.0, 9.0, 40.0, 1e3, 1e7])
def test_a_logarithmic_axis_has_three_round_ticks_or_more(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert 3 <= len(ticks) <= 12
    assert low <= min(ticks) * (1 + 1e-9)
    assert max(ticks) <= low * ratio * (1 + 1e-9)
    assert ticks == sorted(ticks)
    assert all(float(f"{tick:.3g}") == pytest.approx(tick) for tick in ticks)


def test_a_linear_axis_has_three_round_ticks_or_more():
    rng = np.random.default_rng(0)
    for ticks in (4, 5, 8):
        axis = Figure(figsize=(3, 3)).subplots()
        linear_axis(axis, "x", ticks)
        for low, width in zip(rng.normal(0, 100, 200), 10 ** rng.uniform(-2, 4, 200), strict=True):
            axis.set_xlim(low, low + width)
            shown = [tick for tick in axis.get_xticks() if low <= tick <= low + width]
            assert 3 <= len(shown) <= 12


def test_metallicities_grow_lighter_and_no_end_vanishes():
    luminance = metallicity_map()(np.linspace(0, 1, 50))[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()
    assert 0.3 < luminance[0] < luminance[-1] < 0.7


def test_denser_cells_are_more_opaque_in_one_colour():
    colours = density_map()(density_norm(np.array([[0, 1, 10, 100]]))([1, 10, 100]))
    assert (np.diff(colours[:, 3]) > 0).all()
    assert np.ptp(colours[:, :3], axis=0).max() < 1e-6


def test_the_used_range_holds_all_rows_but_a_few_in_a_thousand():
    counts = np.zeros(100)
    counts[[10, 40, 41, 42, 90]] = [1, 3000, 3000, 3000, 1]
    assert used_range(counts, np.arange(101.0), 2) == pytest.approx((38, 45), abs=0.1)
    assert used_range(np.zeros(100), np.arange(101.0), 2) == (0, 100)
