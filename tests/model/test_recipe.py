"""The description of an exported model is enough to make its input, with SciPy and without raystellar."""

import dataclasses
import json

import numpy as np
import pytest
from astropy.io import fits
from scipy.interpolate import CubicSpline

import raystellar
from raystellar.model.bundle_files import load_bundle
from raystellar.model.recipe import describe, readable
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.schema import N_NOISE, N_PIXELS


def rebuild(about, x, y, ivar, rv):
    """Follow the steps of ``about`` for one spectrum, as a user who has only the file."""
    recipe = about["preprocess"]
    grid = np.linspace(recipe["grid"]["loglam_start"], recipe["grid"]["loglam_stop"], recipe["grid"]["n"])
    b = rv / recipe["speed_of_light_km_s"]
    shift = np.log10(np.sqrt((1 + b) / (1 - b)))
    x, y = x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)
    least, most = 2.0**-63, 2.0**64
    kept = np.abs(y) < most
    if recipe["repair_bad_pixels"]:
        kept &= (ivar > least) & (ivar < most) & ((np.abs(y) > least) | (y == 0))
        kept &= ~spikes(y, ivar, kept)
    pixel = np.arange(len(y))
    y = np.interp(pixel, pixel[kept], y[kept])
    spline = CubicSpline(x, y, bc_type="not-a-knot")
    if recipe["passes"] == "one":
        values = spline(np.clip(grid + shift, x[0], x[-1]))
    else:
        values = spline(np.clip(grid, x[0], x[-1]))
        values = CubicSpline(grid, values, bc_type="not-a-knot")(np.clip(grid + shift, grid[0], grid[-1]))
    want = recipe["standardise"]
    values = (values - values.mean()) / values.std(ddof=want["ddof"]) * want["std"] + want["mean"]
    return values.astype(np.float32)


def spikes(y, ivar, good):
    """Return which pixels are spikes, as the description says."""
    found = np.zeros(len(y), bool)
    for i in np.flatnonzero(good):
        near = y[max(i - 5, 0) : i + 6][good[max(i - 5, 0) : i + 6]]
        below = near < min(y[i] / 1.5, y[i] - 6 / np.sqrt(ivar[i]))
        found[i] = below.mean() > 0.5 if y[i] > 0 else y[i] ** 2 * ivar[i] > 36
    return found


def arrays(path):
    """Return loglam, flux, ivar and the velocity [km/s] of a spec file."""
    with fits.open(path) as file:
        columns = [np.asarray(file[1].data[name], float) for name in ("loglam", "flux", "ivar")]
        return (*columns, 299792.458 * float(file[2].data["Z"][0]))


@pytest.fixture(scope="module")
def bundle(model):
    return load_bundle(model)


def with_settings(bundle, **settings):
    return dataclasses.replace(bundle, preprocess=dataclasses.replace(bundle.preprocess, **settings))


def test_scipy_by_the_description_gives_the_labels_of_the_job(bundle, model, survey):
    paths = sorted(str(path) for path in (survey / "spectra").rglob("spec-*.fits"))[:8]
    about = json.loads(json.dumps(describe(bundle)))
    table = raystellar.load(model).label(paths)
    pixels = [(*arrays(path)[:3], rv) for path, rv in zip(paths, np.nan_to_num(table["rv"].astype(float)), strict=True)]
    assert len(set(table["rv"])) > 1
    flux = np.stack([rebuild(about, *star) for star in pixels])
    expected = np.column_stack([table[column["name"]] for column in about["output"]["columns"]])
    np.testing.assert_allclose(bundle.predict(flux), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.realdata
def test_scipy_by_the_description_gives_the_labels_of_a_real_star(bundle, model, real_data):
    path = str(real_data / "sdss_stars" / "spec-2942-54521-0124.fits")
    table = raystellar.load(model).label(path)
    labels = bundle.predict(rebuild(describe(bundle), *arrays(path))[None])[0]
    np.testing.assert_allclose(labels, [table[name][0] for name in ("teff", "feh", "logg")], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize(("first", "last", "rv"), [(0, None, -80.0), (900, 3000, 900.0)])
def test_every_setting_is_described(bundle, survey, passes, repair, first, last, rv):
    x, y, ivar, _ = (some[first:last] if np.ndim(some) else some for some in arrays(next(survey.rglob("spec-*.fits"))))
    ivar[300:340] = 0.0
    ivar[-5:] = np.nan
    y[500:503], y[700], y[800:802], y[850] = np.nan, 1e30, 1e4, -1e4
    settings = {"passes": passes, "repair_bad_pixels": repair, "loglam_stop": 3.95}
    expected = np.empty(N_PIXELS, np.float32)
    pixels = [some.astype(np.float32) for some in (x, y, ivar)]
    Preprocessor(PreprocessConfig(**settings))(*pixels, rv, expected, np.empty(N_NOISE, np.float32))
    flux = rebuild(describe(with_settings(bundle, **settings)), x, y, ivar, rv)
    np.testing.assert_allclose(flux, expected, rtol=0, atol=2e-4)


def test_the_text_says_what_the_mapping_says(bundle):
    about = describe(bundle)
    text = " ".join(readable(about).split())
    for part in (about["model_id"], about["preprocess"]["shift"], *about["preprocess"]["steps"]):
        assert " ".join(part.split()) in text
    for column in about["output"]["columns"]:
        assert f"{column['name']} [{column['unit']}]" in text
        assert (column["trained_from"], column["trained_to"]) == bundle.label_ranges[column["name"]]
