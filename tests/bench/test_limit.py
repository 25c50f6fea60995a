"""The information limit: rules that any such limit obeys, fits of noisy spectra that reach it, and its command."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.optimize import least_squares

from raystellar.bench.limit import REGIONS, STAR_COLUMNS, groups, limit_table, read_exposure, read_true_stars
from raystellar.cli import main
from raystellar.errors import InputError
from raystellar.simulator.config import SimulateConfig
from raystellar.simulator.derivatives import PARAMETERS, STEPS, derivatives
from raystellar.simulator.information import (
    MEAN_OF_NORMAL,
    N_LABELS,
    N_UNKNOWN,
    POPULATION,
    Exposure,
    Limits,
    design,
    label_covariance,
    nuisance_information,
    population_prior,
    posterior_errors,
    spectrum_information,
    star_limits,
)
from raystellar.simulator.instrument import draw_conditions, line_spread, ripple_shapes
from raystellar.simulator.plates import plate_number
from raystellar.simulator.population import Population, Star, draw_star
from raystellar.simulator.spectro1d import velocity_error
from raystellar.simulator.starlight import N_LATTICE, rest_spectrum, star_light
from raystellar.spectra.spec import read_spec

STAR = Star(index=0, teff=5400.0, logg=4.3, feh=-0.5, alpha=0.15, vmicro=1.0, rv=40.0, ebv=0.05, g=17.0, sn=40.0)
SIGMA = line_spread(200, draw_conditions(1, 0))


@pytest.fixture(scope="module")
def truth():
    """True parameters of 3,000 stars."""
    stars = [draw_star(Population(), 1, index) for index in range(3000)]
    names = {"star": "index"} | {name: name for name in STAR_COLUMNS[1:]}
    return pa.table({column: [getattr(star, name) for star in stars] for column, name in names.items()})


@pytest.fixture(scope="module")
def prior(truth):
    return population_prior({name: truth[name].to_numpy() for name in POPULATION})


def label_errors(information):
    """Return the expected absolute errors of the labels (3,)."""
    return MEAN_OF_NORMAL * np.sqrt(np.diag(label_covariance(information)))


@pytest.fixture(scope="module")
def spectrum():
    """Flux, derivatives and exposure of a star with a dead block of pixels."""
    flux, slopes = derivatives(STAR, SIGMA)
    ivar = (STAR.sn / flux) ** 2
    ivar[1500:1600] = 0.0
    return flux, design(flux, slopes), Exposure(SIGMA, ivar)


@pytest.fixture(scope="module")
def information(spectrum):
    return spectrum_information(STAR, spectrum[2])


# Rules --------------------------------------------------------------------------------------------------------


def test_half_the_steps_give_the_same_limit(spectrum, information):
    fine = spectrum_information(STAR, spectrum[2], factor=0.5)
    assert label_errors(fine) == pytest.approx(label_errors(information), rel=0.02)


def test_twice_the_noise_is_twice_the_limit(spectrum, information):
    noisy = spectrum_information(STAR, Exposure(SIGMA, spectrum[2].ivar / 4.0))
    assert label_errors(noisy) == pytest.approx(2.0 * label_errors(information), rel=1e-6)


def test_more_nuisances_never_lower_the_limit(information):
    limits = [label_errors(information[:n, :n]) for n in range(N_LABELS, N_UNKNOWN + 1)]
    assert (np.diff(limits, axis=0) >= -1e-9 * np.array(limits[:-1])).all()
    assert (limits[-1] > 1.2 * limits[0]).all()


def test_more_knowledge_never_raises_the_limit(spectrum, information, prior):
    known = information + nuisance_information(prior, velocity_error(STAR.sn))
    limits = star_limits(STAR, spectrum[2], prior)
    assert (label_errors(known) <= label_errors(information)).all()
    assert limits.unbiased == pytest.approx(label_errors(known))
    assert (limits.van_trees < limits.unbiased).all()


def test_the_bayesian_error_lies_between_the_bounds_in_the_mean_over_the_population(truth, prior):
    covariance = np.diag([60.0, 0.15, 0.3]) ** 2
    columns = np.stack([truth[name].to_numpy() for name in POPULATION[:N_LABELS]], axis=1)[:200]
    bayesian = np.mean([posterior_errors(labels, covariance) for labels in columns], axis=0)
    unit = np.array([np.log(10.0) * columns[:, 0].mean(), 1.0, 1.0])
    information = np.linalg.inv(covariance) + prior.labels / unit / unit[:, None]
    assert (bayesian < 0.99 * MEAN_OF_NORMAL * np.sqrt(np.diag(covariance))).all()
    assert (bayesian > 0.95 * label_errors(information)).all()


def test_with_little_noise_the_population_adds_nothing():
    labels, covariance = np.array([5400.0, -0.5, 4.3]), np.diag([1.0, 1e-3, 1e-3]) ** 2
    assert posterior_errors(labels, covariance) == pytest.approx(
        MEAN_OF_NORMAL * np.sqrt(np.diag(covariance)), rel=0.08
    )


def test_the_scale_of_the_flux_does_not_matter(spectrum, information):
    brighter = dataclasses.replace(STAR, g=STAR.g - 2.5)
    same = spectrum_information(brighter, Exposure(SIGMA, spectrum[2].ivar / 100.0))
    assert label_errors(same) == pytest.approx(label_errors(information), rel=1e-6)


def test_with_a_spectrum_of_noise_the_population_is_all_that_is_known(spectrum, truth, prior):
    blind = star_limits(STAR, Exposure(SIGMA, 1e-8 * spectrum[2].ivar), prior)
    scatter = np.array([np.std(truth[name].to_numpy()) for name in POPULATION[:N_LABELS]])
    known = np.sqrt(np.diag(np.linalg.inv(prior.labels))) * (np.log(10.0) * STAR.teff, 1.0, 1.0)
    assert blind.van_trees == pytest.approx(MEAN_OF_NORMAL * known, rel=0.01)
    assert (blind.van_trees < scatter).all()
    assert (blind.bayesian < 2.0 * scatter).all()
    assert (blind.unbiased > 5.0 * scatter).all()


def test_nuisances_follow_the_labels_as_they_do_among_the_stars():
    rng = np.random.default_rng(0)
    labels = rng.normal((5500.0, -0.7, 3.9), (700.0, 0.6, 0.7), (4000, 3))
    slopes = np.array([[0.0, 2e-4, 0.0], [-0.15, 0.0, 0.0], [0.0, -0.3, 0.0]])
    nuisances = labels @ slopes + rng.normal(0.0, (0.05, 0.15, 0.04), (4000, 3))
    columns = np.hstack([labels, nuisances]).T
    known = population_prior(dict(zip(POPULATION, columns, strict=True))).nuisances
    assert 1.0 / np.sqrt(np.diag(known)[N_LABELS:]) == pytest.approx((0.05, 0.15, 0.04), rel=0.05)
    step = np.array([100.0, 0.1, 0.1])
    along = np.concatenate([step, step @ slopes])
    assert along @ known @ along < 0.05 * step @ known[:N_LABELS, :N_LABELS] @ step


# Fits of spectra with noise -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weighted(spectrum, prior):
    """Derivatives of the weighted residuals: of the pixels, then of what is known of the nuisances."""
    _, slopes, exposure = spectrum
    known = nuisance_information(prior, velocity_error(STAR.sn))
    values, vectors = np.linalg.eigh(known * (unit := units(known)) * unit[:, None])
    root = (np.sqrt(np.clip(values, 0.0, None)) * vectors).T / unit
    assert root.T @ root * unit * unit[:, None] == pytest.approx(known * unit * unit[:, None], abs=1e-9)
    return np.vstack([np.sqrt(exposure.ivar)[:, None] * slopes, root])


def units(known):
    diagonal = np.diag(known)
    return 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))


def test_the_scatter_of_weighted_fits_is_the_limit(spectrum, prior, weighted):
    noise = np.random.default_rng(1).standard_normal((len(weighted), 2000))
    unit = 1.0 / np.linalg.norm(weighted, axis=0)
    fitted = unit[:, None] * np.linalg.lstsq(weighted * unit, noise, rcond=None)[0]
    limit = star_limits(STAR, spectrum[2], prior).unbiased
    assert np.abs(fitted[:N_LABELS]).mean(axis=1) == pytest.approx(limit, rel=0.06)


def test_a_fit_of_the_real_simulator_to_a_noisy_spectrum_reaches_the_linear_solution(spectrum, prior, weighted):
    flux, _, exposure = spectrum
    noise = np.random.default_rng(3).standard_normal(len(weighted))
    root = np.sqrt(exposure.ivar)
    unit = 1.0 / np.linalg.norm(weighted, axis=0)

    def residuals(x):
        moves = unit * x
        values = {name: getattr(STAR, name) + move for name, move in zip(PARAMETERS, moves, strict=False)}
        star = Star(index=0, g=STAR.g, sn=STAR.sn, **values)
        ripples, scale = moves[len(PARAMETERS) : -1], 1.0 + moves[-1]
        seen = star_light(*rest_spectrum(star), star, SIGMA) * (scale + ripple_shapes() @ ripples)
        return np.concatenate([root * (seen - flux), weighted[N_LATTICE:] @ moves]) - noise

    fit = least_squares(residuals, np.zeros(N_UNKNOWN), jac=lambda _: weighted * unit, xtol=1e-3, ftol=1e-6, max_nfev=8)
    linear = unit * np.linalg.lstsq(weighted * unit, noise, rcond=None)[0]
    limit = star_limits(STAR, exposure, prior).unbiased
    assert (unit * fit.x - linear)[:N_LABELS] / limit == pytest.approx(np.zeros(N_LABELS), abs=0.15)
    assert np.abs(linear[:N_LABELS] / limit).max() > 0.3  # the noise did move the labels


# A survey on disk ---------------------------------------------------------------------------------------------


def test_resolution_and_noise_of_a_spectrum_are_those_of_its_file(survey):
    row = read_true_stars(str(survey)).to_pylist()[0]
    exposure, spectrum = read_exposure(f"{survey}/{row['path']}"), read_spec(f"{survey}/{row['path']}")
    assert row["plate"] == plate_number(0)
    inside = exposure.ivar > 0.0
    assert exposure.ivar[inside] == pytest.approx(spectrum.ivar[spectrum.ivar > 0.0])
    sigma = line_spread(row["fiberid"], draw_conditions(SimulateConfig().seed, 0))
    assert exposure.sigma[inside] == pytest.approx(sigma[inside], rel=1e-5)
    assert (exposure.sigma > 0.3).all()


def test_true_parameters_give_the_spectrum_up_to_noise_and_calibration(survey):
    for row in read_true_stars(str(survey)).to_pylist()[4:7]:
        exposure, spectrum = read_exposure(f"{survey}/{row['path']}"), read_spec(f"{survey}/{row['path']}")
        star = Star(index=0, **{name: row[name] for name in (*PARAMETERS, "g", "sn")})
        clean = star_light(*rest_spectrum(star), star, exposure.sigma)
        seen = np.zeros(N_LATTICE)
        first = int(np.rint(float(spectrum.loglam[0]) * 1e4)) - 35780
        seen[first : first + len(spectrum.flux)] = spectrum.flux
        weight = np.sqrt(exposure.ivar)
        shapes = clean[:, None] * np.hstack([ripple_shapes(), np.ones((N_LATTICE, 1))])
        amplitudes = np.linalg.lstsq(weight[:, None] * shapes, weight * seen, rcond=None)[0]
        pulls = (weight * (seen - shapes @ amplitudes))[weight > 0.0]
        assert np.std(pulls[np.abs(pulls) < 5.0]) == pytest.approx(1.0, abs=0.06)
        assert np.abs(amplitudes[:-1]).max() < 0.15
        assert amplitudes[-1] == pytest.approx(1.0, abs=0.15)


def test_groups_hold_each_star_once_and_average_its_limit_and_error(truth):
    n = 600
    some = truth.slice(0, n)
    unbiased = np.outer(1.0 + np.arange(n) % 2, (10.0, 0.02, 0.03))
    true = np.stack([some[name].to_numpy() for name in POPULATION[:N_LABELS]], axis=1)
    predicted = np.stack([true + np.array([5.0, -0.01, 0.02]), true - unbiased])
    whole, *parts = groups(some, Limits(unbiased, 0.4 * unbiased, 0.5 * unbiased), predicted)
    assert (whole.name, whole.stars) == ("all", n)
    assert [part.stars for part in parts[:4]] == [n // 4] * 4
    assert sum(part.stars for part in parts[4:]) == n
    assert {part.name for part in parts[4:]} == set(REGIONS)
    assert whole.limits.unbiased == pytest.approx([15.0, 0.03, 0.045])
    assert whole.limits.van_trees == pytest.approx(0.4 * whole.limits.unbiased)
    assert whole.errors[0] == pytest.approx([5.0, 0.01, 0.02])
    assert whole.ratios[1] == pytest.approx(np.full(3, 2.0))
    assert ((whole.label_bias > 0.0) & (whole.label_bias < (45.0, 0.07, 0.09))).all()


def test_held_out_stars_of_a_survey_are_compared_with_their_catalogue(survey, labelled, capsys):
    table = limit_table(str(survey), [str(labelled)], stars=2)
    assert (table.chosen, table.available) == (2, 10)
    whole = table.groups[0]
    assert all(((error > (1.0, 0.003, 0.005)) & (error < (200.0, 0.5, 1.0))).all() for error in whole.limits)
    assert (whole.ratios > 1.0).all()
    assert main(["bench", "limit", str(survey), "--catalog", str(labelled), "--stars", "1", "--all"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "mean absolute errors of 1 of 40 stars"
    assert said[3] == f"catalogue 1: {labelled}"
    assert [line.split()[-7] for line in said[6:8]] == ["[dex]"] * 2


def test_the_labels_of_a_catalogue_are_those_of_the_same_stars(survey, labelled):
    table = limit_table(str(survey), [str(labelled)], stars=1)
    truth = read_true_stars(str(survey))
    held_out = truth.filter(pc.invert(truth["labelled"])).to_pylist()[0]
    rows = pq.ParquetDataset(sorted(labelled.glob("part-*.parquet"))).read().to_pylist()
    key = ("plate", "mjd", "fiberid")
    row = next(row for row in rows if all(row[name] == held_out[name] for name in key))
    wanted = [abs(row[name] - held_out[name]) for name in POPULATION[:N_LABELS]]
    assert table.groups[0].errors[0] == pytest.approx(wanted)


def test_folders_that_cannot_be_compared_are_refused(survey, labelled, tmp_path, capsys):
    assert main(["bench", "limit", str(tmp_path)]) == 1
    assert "is not a simulated survey, since it has no truth.parquet; give a folder" in capsys.readouterr().err
    whole = pq.read_table(survey / "truth.parquet")
    for name, table, message in (
        ("few", whole.slice(0, 7), "has 7 stars, at least 20 are needed"),
        ("old", whole.drop_columns(["vmicro"]), "has no column vmicro; give a folder"),
        ("full", whole.filter(whole["labelled"]), "no star is held out; add --all"),
        ("other", whole.set_column(2, "mjd", pa.array([1] * 40, pa.int32())), "has none of the 10 stars"),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "truth.parquet")
        with pytest.raises(InputError, match=message):
            limit_table(str(tmp_path / name), [str(labelled)])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "truth.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        limit_table(str(tmp_path / "bad"))
    with pytest.raises(InputError, match="is not a catalogue"):
        limit_table(str(survey), [str(survey)])
    with pytest.raises(InputError, match="must be at least 1"):
        limit_table(str(survey), stars=0)
    pq.write_table(whole, tmp_path / "truth.parquet")
    with pytest.raises(InputError, match="cannot be read as a simulated spectrum"):
        limit_table(str(tmp_path), stars=1)


def test_the_steps_are_those_of_the_parameters_of_a_star():
    assert tuple(STEPS) == PARAMETERS
    assert PARAMETERS[:N_LABELS] == ("teff", "feh", "logg")
