import itertools

import numpy as np
import pytest

from raystellar.simulator.population import (
    SSPP_FEH_RANGE,
    SSPP_LOGG_RANGE,
    SSPP_TEFF_RANGE_K,
    Population,
    draw_star,
    generator,
    label_score,
)


@pytest.fixture(scope="module")
def stars():
    return [draw_star(Population(), 1, index) for index in range(5000)]


def values(stars, name):
    return np.array([getattr(star, name) for star in stars])


def test_a_star_depends_on_seed_and_index_alone(stars):
    again = [draw_star(Population(), 1, index) for index in (4999, 7, 7, 0)]
    assert again == [stars[4999], stars[7], stars[7], stars[0]]
    assert draw_star(Population(), 2, 7) != stars[7]


def test_streams_of_one_seed_are_independent():
    a, b = (generator(1, stream, 5).standard_normal(2000) for stream in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("name", "quantiles", "tolerance"),
    [
        # 5, 25, 50, 75, 95 per cent of the SSPP stars to which the mixture was fitted
        ("teff", (4493, 5153, 5503, 6068, 6988), 90.0),
        ("logg", (2.47, 3.98, 4.31, 4.49, 4.65), 0.12),
        ("feh", (-2.07, -1.07, -0.60, -0.36, -0.05), 0.06),
        ("sn", (12.7, 23.5, 35.0, 48.0, 74.0), 1.5),
    ],
)
def test_the_stars_are_distributed_as_those_of_sspp(stars, name, quantiles, tolerance):
    drawn = np.percentile(values(stars, name), (5, 25, 50, 75, 95))
    assert np.abs(drawn - quantiles).max() < tolerance


def test_the_stars_are_in_the_ranges_of_sspp(stars):
    for name, (low, high) in (
        ("teff", SSPP_TEFF_RANGE_K),
        ("logg", SSPP_LOGG_RANGE),
        ("feh", SSPP_FEH_RANGE),
        ("sn", (10, 120)),
        ("rv", (-600, 600)),
        ("alpha", (-0.2, 0.6)),
        ("vmicro", (0.5, 3.5)),
        ("g", (13, 21.5)),
    ):
        drawn = values(stars, name)
        assert low <= drawn.min() < drawn.max() <= high, name


def test_hot_stars_and_giants_have_their_shares(stars):
    assert 0.03 < np.mean(values(stars, "teff") > 7000) < 0.07
    assert 0.07 < np.mean(values(stars, "logg") < 3.5) < 0.16


def test_the_halo_is_faster_and_richer_in_alpha_than_the_disc(stars):
    feh = values(stars, "feh")
    halo, disc = feh < -1.7, feh > -0.5
    assert values(stars, "rv")[halo].std() > 2.0 * values(stars, "rv")[disc].std()
    assert values(stars, "alpha")[halo].mean() > values(stars, "alpha")[disc].mean() + 0.15


@pytest.mark.parametrize("median", [20.0, 60.0])
def test_the_median_of_sn_can_be_chosen(median):
    drawn = [draw_star(Population(sn_median=median), 1, index).sn for index in range(1000)]
    assert abs(np.median(drawn) / median - 1.0) < 0.08
    assert min(drawn) >= 10.0


def test_a_median_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match="sn_median = 5"):
        Population(sn_median=5.0)


def test_the_score_of_the_labels_has_mean_zero_and_more_information_than_a_normal_population(stars):
    labels = np.stack([values(stars, name) for name in ("teff", "logg", "feh")], axis=1)
    score = label_score(*labels.T)
    assert (np.abs(score.mean(axis=0)) < 4.0 * score.std(axis=0) / np.sqrt(len(score))).all()
    # of any density, the information is at least that of a normal density of the same covariance (Stam 1959)
    excess = score.T @ score / len(score) - np.linalg.inv(np.cov(labels, rowvar=False))
    assert (np.linalg.eigvalsh(excess * labels.std(axis=0) * labels.std(axis=0)[:, None]) > 0.0).all()


def test_the_score_is_the_gradient_of_a_function(stars):
    labels = np.stack([values(stars, name) for name in ("teff", "logg", "feh")], axis=1)[:50]
    unit = np.array([100.0, 0.1, 0.1])
    uphill = labels + 1e-3 * unit * (unit * label_score(*labels.T))
    aside = np.array([50.0, 0.0, 0.0])
    closed = [labels, uphill, uphill + aside, labels + aside, labels]
    work = 0.0
    for start, end in itertools.pairwise(closed):
        middles = [start + share * (end - start) for share in (np.arange(200) + 0.5) / 200]
        work += sum(np.sum(label_score(*middle.T) * (end - start), axis=1) / 200 for middle in middles)
    assert np.abs(work).max() < 1e-4  # a gradient does no work along a closed path
