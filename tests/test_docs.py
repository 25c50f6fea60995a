"""The pages beside the code tell the truth about names, commands, snippets and links."""

import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import bundles
import numpy as np
import pandas
import pytest

import raystellar
from raystellar.cli import main
from raystellar.cli.parser import COMMANDS, parser
from raystellar.cli.settings import Settings, compose
from raystellar.config import read_toml
from raystellar.fit.data import read_dataset
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle_files import save_bundle
from raystellar.model.recipe import describe
from raystellar.preprocessing.pixels import PreprocessConfig

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("", "raystellar", "raystellar/*", "jobs", "cluster", ".github")
PAGES = sorted({page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md".lstrip("/"))})


def text_of(page):
    return (ROOT / page).read_text()


def blocks(page, language):
    """Return the code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), re.DOTALL)


def snippet(page, words):
    return next(block for block in blocks(page, "python") if words in block)


def commands():
    """Yield (page, command line) of every line of a shell block that runs the program or a job."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.partition(" #")[0].strip()
                if line.startswith("raystellar "):
                    yield f"{page.relative_to(ROOT)}: {line}", line.split()[1:]
                elif job := re.search(r"python jobs/(\w+)\.py (.*)", line):
                    yield f"{page.relative_to(ROOT)}: {line}", [job[1], *job[2].split()]


def test_the_readme_is_short():
    assert len(text_of("README.md")) <= 9000


@pytest.mark.parametrize(("where", "words"), list(commands()), ids=[where for where, _ in commands()])
def test_its_commands_parse(where, words):
    assert parser().parse_args([word.strip("\"'") for word in words]).command == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}, (
                target
            )


def test_the_annotated_tree_names_every_folder_and_module():
    tree = blocks("raystellar/README.md", "")[0]
    package = ROOT / "raystellar"
    here = {path.name for path in package.iterdir() if path.suffix == ".py"}
    here |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert here <= set(tree.split())


def test_the_way_of_one_spectrum_names_modules_that_exist():
    table = text_of("raystellar/README.md").split("## The way of one spectrum")[1].split("## Rules")[0]
    names = re.findall(r"`([\w/]+\.py)`", table)
    assert len(names) > 15
    for name in names:
        assert list((ROOT / "raystellar").rglob(name)), name


def test_the_sections_of_the_settings():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .* \| (.*) \|$", text_of("raystellar/cli/README.md"), re.MULTILINE)
    readers = {section: by for sections, by in rows for section in re.findall(r"\w+", sections)}
    assert set(readers) == {field.name for field in fields(Settings)}
    for command in COMMANDS:
        for section in command.sections:
            if command.name != "demo" and readers[section] != "all stages":
                assert command.name in readers[section], f"{command.name} reads [{section}]"


def test_the_example_of_settings_composes(tmp_path):
    (tmp_path / "run.toml").write_text(blocks("raystellar/cli/README.md", "toml")[0])
    settings = compose(config=str(tmp_path / "run.toml"))
    assert (settings.labels.min_sn, settings.fit.seed, settings.quality.max_ood_score) == (20.0, 3, 1.5)


def test_the_notebook_snippet_labels_files_and_arrays(survey, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "survey").symlink_to(survey)
    (tmp_path / "model").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    wavelength = 10 ** np.arange(3.57, 3.97, 1e-4)
    names = {"wavelength": wavelength, "flux": np.sin(wavelength), "ivar": np.ones_like(wavelength)}
    exec(snippet("README.md", "raystellar.load"), names)
    assert len(names["stars"]) == len(list((survey / "spectra").rglob("spec-*.fits")))
    assert len(names["again"]) == 1
    assert "e_teff" in capsys.readouterr().out


def untrained(**settings):
    """Return a bundle of networks of full size that were never fitted."""
    network = NetworkConfig(n_pixels=4000, stem=16, blocks=(8,))
    weights = bundles.random_weights(network, (0, 1))
    return bundles.make(network=network, weights=weights, preprocess=PreprocessConfig(**settings))


def check_the_snippet(folder):
    """Run the snippet beside the model, and compare its labels of a spectrum with bad pixels with raystellar's."""
    rng = np.random.default_rng(0)
    loglam = np.arange(35700, 39600) * 1e-4
    flux = 40.0 + 15.0 * np.sin(200.0 * loglam) + 3.0 * rng.normal(size=loglam.size)
    ivar = rng.uniform(0.05, 0.2, loglam.size)
    ivar[rng.integers(0, loglam.size, 100)] = 0.0
    flux[[0, 700, 701, 702, 1500, 2500]] = np.nan, np.inf, 1e25, 0.0, 500.0, -200.0  # the last two are spikes
    ivar[[700, 2000, 3000]] = np.nan, np.inf, -1.0
    spectrum = {"loglam": loglam, "flux": flux, "ivar": ivar, "rv": -87.5}
    exec(snippet("raystellar/model/README.md", "onnxruntime"), names := dict(spectrum))
    expected = raystellar.load(folder).label(spectrum)
    for name, tolerance in (("teff", 0.1), ("feh", 1e-4), ("logg", 1e-4)):  # as the page states
        assert names[name] == pytest.approx(expected[name], abs=tolerance)


def test_the_snippet_labels_a_spectrum_with_an_exported_model(tmp_path, monkeypatch, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed; pip install 'raystellar[onnx]'")
    monkeypatch.chdir(tmp_path)
    save_bundle("model", untrained())
    assert main(["export", "model", "--out", "model.onnx"]) == 0
    check_the_snippet("model")
    assert "standard deviation" in capsys.readouterr().out


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("repair", [True, False])
def test_the_snippet_follows_the_settings_of_a_model(passes, repair, tmp_path, monkeypatch):
    bundle = untrained(passes=passes, repair_bad_pixels=repair)
    save_bundle(tmp_path / "model", bundle)
    meta = SimpleNamespace(custom_metadata_map={"raystellar": json.dumps(describe(bundle))})
    session = SimpleNamespace(get_modelmeta=lambda: meta, run=lambda outputs, inputs: [bundle.predict(inputs["flux"])])
    runtime = SimpleNamespace(InferenceSession=lambda path: session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)  # an export takes seconds
    check_the_snippet(tmp_path / "model")


def test_pandas_reads_a_catalogue_and_a_dataset_by_their_folders(labelled, model):
    rows = pandas.read_parquet(labelled)
    assert len(rows) == sum(len(pandas.read_parquet(part)) for part in labelled.glob("part-*.parquet"))
    assert {"teff", "flags", "is_primary"} <= set(rows.columns)
    assert (labelled / "_rejects").is_dir()
    dataset = model.parent / "dataset"
    assert len(pandas.read_parquet(dataset, columns=["split"])) == sum(
        len(read_dataset(dataset).split(name)) for name in ("train", "validation")
    )


def test_the_public_names():
    assert raystellar.__all__ == ["Model", "evaluate", "label", "load", "preprocess", "simulate", "train", "tune"]
    for name in raystellar.__all__:
        assert callable(getattr(raystellar, name)), name
    with pytest.raises(AttributeError, match="no attribute 'labell'"):
        raystellar.labell  # noqa: B018
    assert set(raystellar.__all__) <= set(dir(raystellar))


def test_the_version_stands_in_the_changelog_and_in_no_second_place():
    project = read_toml(ROOT / "pyproject.toml")["project"]
    assert "version" not in project
    assert f"## {raystellar.__version__}" in text_of("CHANGELOG.md")
