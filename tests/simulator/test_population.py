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
    posterior_means,
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


@pytest.fixture(scope="module")
def labels(stars):
    """Labels as the population describes them, log10 teff, logg and feh (5000, 3)."""
    return np.stack([np.log10(values(stars, "teff")), values(stars, "logg"), values(stars, "feh")], axis=1)


def test_the_score_has_mean_zero_and_more_information_than_that_of_a_normal_population(labels):
    score = label_score(labels)
    assert (np.abs(score.mean(axis=0)) < 4.0 * score.std(axis=0) / np.sqrt(len(score))).all()
    # of any density, the information is at least that of a normal density of the same covariance (Stam 1959)
    excess = score.T @ score / len(score) - np.linalg.inv(np.cov(labels, rowvar=False))
    assert (np.linalg.eigvalsh(excess * labels.std(axis=0) * labels.std(axis=0)[:, None]) > 0.0).all()


def test_means_of_the_posterior_density_are_the_best_predictors_of_the_labels(labels):
    sigma = np.array([0.02, 0.4, 0.3])
    measured = labels + sigma * np.random.default_rng(0).standard_normal(labels.shape)
    means = posterior_means(measured, np.diag(sigma**2))
    errors = means - labels
    assert (errors.std(axis=0) < (0.9, 0.7, 0.9) * sigma).all()
    assert (np.abs(errors.mean(axis=0)) < 4.0 * errors.std(axis=0) / np.sqrt(len(errors))).all()
    for estimate in (means, measured):  # no part of the error can be predicted from what was measured
        slopes = np.linalg.lstsq(estimate - estimate.mean(axis=0), errors, rcond=None)[0]
        assert np.abs(slopes * estimate.std(axis=0)[:, None] / errors.std(axis=0)).max() < 0.05


def test_the_mean_of_the_posterior_density_follows_the_score(labels):
    sigma = 1e-3
    moved = posterior_means(labels[:200], np.eye(3) * sigma**2) - labels[:200]
    assert moved == pytest.approx(sigma**2 * label_score(labels[:200]), rel=0.05, abs=2e-6)  # Tweedie's formula
    blind = posterior_means(labels[:5], np.eye(3) * 1e6)
    assert blind == pytest.approx(np.tile(labels.mean(axis=0), (5, 1)), abs=0.05)
