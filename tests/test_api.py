"""The model in a notebook gives the rows of the job."""

import itertools
import subprocess
import sys

import bundles
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.nddata import InverseVariance
from astropy.table import QTable, Table

import raystellar
from raystellar import api
from raystellar.errors import BundleError, ConfigError, InputError, RaystellarError
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle_files import save_bundle
from raystellar.quality import Flag
from raystellar.schema import OPTIONAL_IDS
from raystellar.spectra import read_spectra

LABELS = ("teff", "feh", "logg")
FLAM = units.Unit("1e-17 erg / (s cm2 AA)")


@pytest.fixture(scope="module")
def loaded(model):
    return raystellar.load(model)


@pytest.fixture(scope="module")
def paths(survey):
    return sorted(str(path) for path in (survey / "spectra").rglob("spec-*.fits"))


@pytest.fixture(scope="module")
def records(paths):
    return [next(read_spectra(path)) for path in paths[:5]]


@pytest.fixture(scope="module")
def arrays(records):
    return [
        {"loglam": one.loglam, "flux": one.flux, "ivar": one.ivar, "rv": 299792.458 * one.z, "spec_id": one.spec_id}
        for one in records
    ]


def test_it_gives_the_rows_of_the_job(loaded, survey, labelled):
    table = loaded.label([f"{survey}/spectra", labelled.parent / "bad"])
    parts = sorted(labelled.glob("part-*.parquet"))
    job = pa.concat_tables(pq.read_table(part) for part in parts)
    assert table.colnames == job.column_names
    for name in job.column_names:
        if name in OPTIONAL_IDS:
            assert table[name].tolist() == job[name].to_pylist()  # masked where the job has null
            continue
        values = job[name].to_numpy()
        exact = values.astype(str) if values.dtype == object else values
        assert table[name].dtype.kind == exact.dtype.kind
        np.testing.assert_array_equal(np.asarray(table[name]), exact, name)
    rejected = pa.concat_tables(pq.read_table(part) for part in sorted((labelled / "_rejects").iterdir()))
    assert {name: list(table.rejects[name]) for name in table.rejects.colnames} == rejected.to_pydict()


def test_the_table_has_units_and_can_be_written(loaded, paths, tmp_path):
    table = loaded.label(paths[0])
    assert len(table) == 1
    assert len(table.rejects) == 0
    assert [str(table[name].unit) for name in ("ra", "rv", *LABELS)] == ["deg", "km / s", "K", "dex", "dex"]
    assert table["teff"].description == "effective temperature"
    with pytest.warns(match="dex"):  # which FITS does not know
        table.write(tmp_path / "stars.fits")
    table[table["teff"] > 0]["spec_id", "teff"].write(tmp_path / "stars.ecsv")


def test_arrays_give_the_labels_of_their_files(loaded, paths, records, arrays):
    files, found = loaded.label(paths[:5]), loaded.label(arrays)
    for name in ("spec_id", "rv", *LABELS, "good_fraction"):
        np.testing.assert_array_equal(found[name], files[name], name)
    np.testing.assert_allclose(found["sn"], files["sn"], rtol=1e-3)
    assert set(found["rv_source"]) == {"given"}
    assert list(loaded.label(records)["teff"]) == list(files["teff"])
    assert loaded.label(arrays[0])["teff"][0] == files["teff"][0]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A model that has learnt nothing, for what does not depend on the labels."""
    network = NetworkConfig(n_pixels=4000, stem=16, blocks=(8,))
    folder = tmp_path_factory.mktemp("quick") / "model"
    save_bundle(folder, bundles.make(network=network, weights=bundles.random_weights(network, (0, 1))))
    return raystellar.load(folder)


@pytest.fixture(scope="module")
def star():
    """Arrays of one spectrum with masked pixels."""
    loglam = np.arange(35800, 39650) * 1e-4
    rng = np.random.default_rng(3)
    flux = 30.0 + 10.0 * np.sin(300.0 * loglam) + rng.normal(size=loglam.size)
    mask = rng.random(loglam.size) < 0.02
    names = {"rv": 12.5, "spec_id": "a", "ra": 10.0, "dec": 20.0}
    return {"wavelength": 10.0**loglam, "flux": flux, "ivar": rng.uniform(0.5, 2.0, loglam.size), "mask": mask} | names


def pixels(star):
    return {name: value for name, value in star.items() if np.ndim(value)}


def single(star):
    return {name: value for name, value in star.items() if not np.ndim(value)}


def as_frame(star):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: [value] for name, value in star.items()})


def as_frame_of_pixels(star):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(pixels(star)).assign(**single(star))


def as_dataset(star):
    xarray = pytest.importorskip("xarray")
    arrays = {name: ("pixel", value) for name, value in pixels(star).items()}
    return xarray.Dataset(arrays, attrs=single(star))


def as_spectrum(star):
    specutils = pytest.importorskip("specutils")
    kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    return kind(
        flux=star["flux"] * FLAM, spectral_axis=star["wavelength"] * units.AA, mask=star["mask"], meta=single(star),
        uncertainty=InverseVariance(star["ivar"]), radial_velocity=star["rv"] * units.km / units.s,
    )  # fmt: skip


def as_list(star):
    specutils = pytest.importorskip("specutils")
    return specutils.SpectrumList([as_spectrum(star)])


KINDS = {
    "descending": lambda star: {name: np.flip(value) if np.ndim(value) else value for name, value in star.items()},
    "masked array": lambda star: {**star, "flux": np.ma.array(star["flux"], mask=star["mask"]), "mask": None},
    "list": lambda star: [star],
    "generator": lambda star: (one for one in [star]),
    "Table": lambda star: Table({name: [value] for name, value in star.items()}),
    "row of a table": lambda star: Table({name: [value, value] for name, value in star.items()})[1],
    "QTable of pixels": lambda star: QTable({**pixels(star), "flux": star["flux"] * FLAM}, meta=single(star)),
    "DataFrame": as_frame,
    "DataFrame of pixels": as_frame_of_pixels,
    "Dataset": as_dataset,
    "Spectrum": as_spectrum,
    "SpectrumList": as_list,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_row_of_the_plain_mapping(kind, star, quick):
    plain, table = quick.label(star), quick.label(KINDS[kind](star))
    assert len(table) == len(plain) == 1
    assert plain["rv_source"][0] == "given"
    for name in plain.colnames:
        np.testing.assert_array_equal(np.asarray(table[name]), np.asarray(plain[name]), name)


def test_units_change_nothing(star, quick):
    expected = quick.label(star)
    wavelength, flux, sigma = star["wavelength"] * units.AA, star["flux"] * FLAM, star["ivar"] ** -0.5 * FLAM
    density = units.spectral_density(wavelength)
    for changes in (
        {"wavelength": wavelength.to("nm")},
        {"wavelength": wavelength.to("eV", units.spectral())},
        {"flux": flux.to("Jy", density), "sigma": sigma.to("Jy", density), "ivar": None},
        {"flux": flux.to("erg / (s cm2 Hz)", density), "sigma": sigma, "ivar": None},
        {"flux": star["flux"] * 1e-17, "ivar": star["ivar"] * 1e34},
        {"rv": 12500 * units.m / units.s},
    ):
        table = quick.label({**star, **changes})
        for name, rtol in ((name, 1e-4 if name == "e_teff" else 2e-6) for name in (*LABELS, "e_teff", "sn", "rv")):
            np.testing.assert_allclose(table[name], expected[name], rtol=rtol, atol=2e-6, err_msg=f"{name} {changes}")
        assert table["flags"][0] == expected["flags"][0]


def test_what_a_mask_hides_decides_nothing(star, quick):
    expected = quick.label(star)
    table = quick.label({**star, "flux": np.where(star["mask"], 1e4, star["flux"])})
    for name in (*LABELS, "good_fraction", "sn"):
        np.testing.assert_array_equal(table[name], expected[name], name)
    assert quick.label({**star, "mask": None})["good_fraction"][0] > expected["good_fraction"][0]
    hidden = quick.label({**star, "mask": np.ones_like(star["mask"])})
    assert (len(hidden), list(hidden.rejects["reason"])) == (0, ["no good pixels"])


@pytest.mark.parametrize("rv", [None, np.nan, np.ma.masked, 1e5, 0 * units.km / units.s])
def test_an_unknown_velocity_is_flagged(rv, star, quick):
    known = isinstance(rv, units.Quantity)
    table = quick.label({**star, "rv": rv})
    assert table["rv_source"][0] == ("given" if known else "none")
    assert bool(table["flags"][0] & Flag.NO_RV) is not known
    np.testing.assert_array_equal(table["teff"], quick.label({**star, "rv": 0.0})["teff"])


def test_more_spectra_than_a_batch(star, quick, monkeypatch):
    monkeypatch.setattr(api, "BATCH_ROWS", 2)
    short = {**star, "ivar": star["ivar"][1:]}
    table = quick.label({**one, "spec_id": None} for one in (star, short, star, star, short))
    assert list(table["spec_id"]) == ["0", "2", "3"]
    assert list(table.rejects["spec_id"]) == ["1", "4"]
    assert set(table.rejects["reason"]) == {"arrays do not have one length"}


def test_a_matrix_of_flux(loaded, arrays):
    one = arrays[0]
    flux, ivar = np.stack([one["flux"]] * 3), one["ivar"]
    table = loaded.label({"loglam": one["loglam"], "flux": flux, "ivar": ivar, "rv": one["rv"]})
    assert list(table["teff"]) == [loaded.label(one)["teff"][0]] * 3
    assert list(table["spec_id"]) == ["0", "1", "2"]
    with pytest.raises(InputError, match="spectrum 0: the numbers of spectra differ"):
        loaded.label({"loglam": one["loglam"], "flux": flux, "ivar": ivar, "rv": [0.0, 1.0]})


class Endless:
    """An object like a spectrum of specutils: it has an index and no end."""

    def __getitem__(self, index):
        return Endless()


NO_SPECTRUM = r"an object of type {} is no spectrum; give paths, mappings of arrays, tables of astropy or pandas"


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        ([], "there are no spectra to label"),
        (Table(names=["flux"], dtype=[(float, 4)]), "there are no spectra to label"),
        ("absent", "no such file or folder: absent"),
        ({"flux": [1.0], "ivar": [1.0]}, "spectrum 0: there is no wavelength, and it is not guessed"),
        ({"loglam": [3.6], "flux": [1.0], "ivar": [1.0], "rv": 0.0, "spec": "a"}, "no values are called spec, rename"),
        (["absent.fits", {"flux": [1.0]}], "files and arrays cannot be labelled in one call"),
        ([{"flux": [1.0]}, "absent.fits"], "spectrum 0: there is no wavelength"),
        (5, NO_SPECTRUM.format("int")),
        (None, NO_SPECTRUM.format("NoneType")),
        ([3], NO_SPECTRUM.format("int")),
        (b"absent", NO_SPECTRUM.format("int")),
        (np.ones((2, 4000)), NO_SPECTRUM.format("ndarray")),
        (np.array(3.0), NO_SPECTRUM.format("ndarray")),
        (Table({"flux": [1.0]})["flux"], NO_SPECTRUM.format("float64")),
        (Endless(), NO_SPECTRUM.format("Endless")),
        (itertools.repeat(object()), NO_SPECTRUM.format("object")),
        (itertools.repeat(Endless()), NO_SPECTRUM.format("Endless")),
        (itertools.repeat({"flux": [1.0]}), "spectrum 0: there is no wavelength"),
        (itertools.chain(["absent.fits"], itertools.repeat(1)), NO_SPECTRUM.format("int")),
    ],
    ids=itertools.count(),
)
def test_what_is_no_spectrum_is_said(spectra, message, quick):
    with pytest.raises(InputError, match=message):
        quick.label(spectra)


def test_the_number_of_a_refused_spectrum_is_said(star, quick):
    with pytest.raises(InputError, match="spectrum 2: flux has the unit ct, which is no flux per wavelength"):
        quick.label([star, star, {**star, "flux": star["flux"] * units.ct}])


PATH_NEEDED = "a path or URL is needed, as text or pathlib.Path, but this is of type {}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: raystellar.load(3), PATH_NEEDED.format("int")),
        (lambda path: raystellar.load(b"model"), PATH_NEEDED.format("bytes")),
        (lambda path: raystellar.label(3, path / "model", path / "out"), "model"),
        (lambda path: raystellar.label("spectra", 3, path / "out"), PATH_NEEDED.format("int")),
        (lambda path: raystellar.label("spectra", path / "model", None), PATH_NEEDED.format("NoneType")),
        (lambda path: raystellar.preprocess(3, "labels.csv", path / "out"), PATH_NEEDED.format("int")),
        (lambda path: raystellar.preprocess([3], "labels.csv", path / "out"), PATH_NEEDED.format("int")),
        (lambda path: raystellar.preprocess("spectra", Table(), path / "out"), PATH_NEEDED.format("Table")),
        (lambda path: raystellar.preprocess(itertools.repeat(3), "labels.csv", path), PATH_NEEDED.format("int")),
        (lambda path: raystellar.train(3, path / "model"), PATH_NEEDED.format("int")),
        (lambda path: raystellar.train(path / "dataset", 3.0), PATH_NEEDED.format("float")),
        (lambda path: raystellar.tune(3, path / "search"), PATH_NEEDED.format("int")),
        (lambda path: raystellar.simulate(3), PATH_NEEDED.format("int")),
    ],
    ids=itertools.count(),
)
def test_what_is_no_path_is_said(call, message, tmp_path):
    with pytest.raises(RaystellarError, match=message):
        call(tmp_path)


def test_spectra_that_are_no_paths_are_said_by_the_stage(quick, tmp_path, model):
    with pytest.raises(InputError, match=PATH_NEEDED.format("int")):
        raystellar.label(3, model, tmp_path / "out")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda path, model: raystellar.load(model, quality=3), "raystellar.quality.QualityConfig"),
        (lambda path, model: raystellar.load(model, {"max_ood_score": 2}), "raystellar.quality.QualityConfig"),
        (lambda path, model: raystellar.label("a", model, path, resources=4), "raystellar.engine.session.Resources"),
        (
            lambda path, model: raystellar.preprocess("a", "b", path, config="two"),
            "raystellar.preprocessing.pixels.PreprocessConfig",
        ),
        (lambda path, model: raystellar.simulate(path, 5), "raystellar.simulator.config.SimulateConfig"),
        (
            lambda path, model: raystellar.train(model.parent / "dataset", path, fit=3),
            "raystellar.fit.config.FitConfig",
        ),
        (lambda path, model: raystellar.tune("a", path, config=3), "raystellar.search.config.TuneConfig"),
    ],
    ids=itertools.count(),
)
def test_what_are_no_settings_is_said(call, name, model, tmp_path):
    with pytest.raises(ConfigError, match=f"settings of the class {name} are needed, but these are of type"):
        call(tmp_path / "out", model)


def test_a_missing_bundle_is_said(tmp_path):
    with pytest.raises(BundleError, match="is missing"):
        raystellar.load(tmp_path / "absent")


def test_the_package_is_light():
    code = "import sys, raystellar; print({'torch', 'astropy', 'ray', 'pyarrow', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
