"""The figures of a catalogue: ticks, colour bars, and the positions of what they show."""

from functools import partial

import numpy as np
import pytest
from catalog_rows import catalogue
from drawing import draw, shown_labels

from raystellar.report.catalog.census import RIGHT_ASCENSION_BINS, SINE_DECLINATION_BINS, Density, take
from raystellar.report.catalog.figures import draw_distributions, draw_errors, draw_kiel, draw_sky, ood_edges
from raystellar.report.residual_figures import draw_residuals, draw_scores
from raystellar.report.residuals import Residuals
from raystellar.report.spectral_figures import draw_spectrum

LOGLAM = np.linspace(3.5754, 3.967, 4000)


def residuals_of(rows):
    rng, residuals = np.random.default_rng(1), Residuals()
    reference = rng.uniform((4500, -2, 1.5), (7500, 0.4, 4.8), (rows, 3))
    errors = np.tile([120.0, 0.1, 0.2], (rows, 1))
    residuals.add(reference + errors * rng.normal(size=(rows, 3)), reference, errors, 10 ** rng.uniform(1, 2, rows))
    return residuals


def figures(rows):
    census, residuals = take([catalogue(n=rows)]), residuals_of(rows)
    flux = np.random.default_rng(2).normal(size=4000)
    return {
        "kiel": partial(draw_kiel, kiel=census.kiel),
        "errors": partial(draw_errors, errors=census.errors),
        "distributions": partial(draw_distributions, census=census),
        "z": partial(draw_scores, residuals=residuals),
        "by label": partial(draw_residuals, residuals=residuals, by="label"),
        "by sn": partial(draw_residuals, residuals=residuals, by="sn"),
        "spectrum": partial(draw_spectrum, loglam=LOGLAM, flux=flux, response=np.ones((3, 4000))),
    }


@pytest.mark.parametrize("rows", [30, 4000])
@pytest.mark.parametrize("name", figures(30))
def test_every_axis_has_three_tick_labels_or_more(name, rows):
    for axis in draw(figures(rows)[name]).axes:
        for labels in shown_labels(axis):
            assert len(labels) >= 3, (axis.get_xlabel(), axis.get_ylabel())


@pytest.mark.parametrize(
    ("name", "bars"),
    [
        ("kiel", ["rows per cell", "mean [Fe/H] [dex]"]),
        ("by label", ["rows per cell"]),
        ("by sn", ["rows per cell"]),
    ],
)
def test_every_colour_has_a_bar_with_its_unit(name, bars):
    axes = draw(figures(500)[name]).axes
    assert [axis.get_ylabel() for axis in axes if axis.get_label() == "<colorbar>"] == bars


@pytest.mark.parametrize(("ra", "dec", "nearest"), [(61.0, 35.0, "60°"), (299.0, -10.0, "300°"), (181.0, 0.0, "180°")])
def test_a_plate_lies_at_its_right_ascension_on_the_map(ra, dec, nearest):
    sky = Density(RIGHT_ASCENSION_BINS, SINE_DECLINATION_BINS)
    sky.add(np.array([ra]), np.sin(np.radians([dec])))
    axis = draw(partial(draw_sky, sky=sky)).axes[0]
    (mesh,) = axis.collections[:1]
    row, column = np.argwhere(~np.ma.getmaskarray(mesh.get_array()))[0]
    longitude, latitude = mesh.get_coordinates()[row : row + 2, column : column + 2].mean(axis=(0, 1))
    labels = {tick: label.get_text() for tick, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)}
    assert labels[min(labels, key=lambda tick: abs(tick - longitude))] == nearest
    assert np.degrees(latitude) == pytest.approx(dec, abs=1.3)
    order = [tick for tick, text in sorted(labels.items()) if text]
    assert [labels[tick] for tick in order] == ["300°", "240°", "180°", "120°", "60°"]  # increases to the left


def test_bins_of_ood_scores_hold_almost_all_rows():
    tallies = take([catalogue()]).ood
    edges = ood_edges(tallies)
    assert (np.diff(edges) > 0).all()
    assert 1.0 in edges
    shown = sum(tally.rebinned(edges).sum() for tally in tallies)
    assert shown >= 0.998 * sum(tally.counts.sum() for tally in tallies)
