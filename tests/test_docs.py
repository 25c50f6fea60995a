"""The pages beside the code tell the truth about names, commands, snippets and links."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas
import pytest

import raystellar
from raystellar.cli import main
from raystellar.cli.parser import COMMANDS, parser
from raystellar.cli.settings import Settings, compose
from raystellar.config import read_toml
from raystellar.fit.data import read_dataset

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


def test_the_snippet_runs_an_exported_model(model, tmp_path, monkeypatch, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed; pip install 'raystellar[onnx]'")
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), "--out", "model.onnx"]) == 0
    flux = np.random.default_rng(0).normal(size=(5, 4000)).astype(np.float32)
    exec(snippet("raystellar/model/README.md", "onnxruntime"), names := {"flux": flux})
    assert names["teff"].shape == (5,)
    assert "standard deviation" in capsys.readouterr().out


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
    assert raystellar.__all__ == ["Model", "label", "load", "preprocess", "simulate", "train", "tune"]
    for name in raystellar.__all__:
        assert callable(getattr(raystellar, name)), name
    with pytest.raises(AttributeError, match="no attribute 'labell'"):
        raystellar.labell  # noqa: B018
    assert set(raystellar.__all__) <= set(dir(raystellar))


def test_the_version_stands_in_the_changelog_and_in_no_second_place():
    project = read_toml(ROOT / "pyproject.toml")["project"]
    assert "version" not in project
    assert f"## {raystellar.__version__}" in text_of("CHANGELOG.md")
