"""Imports run one way: pure work knows neither Ray nor torch, the network no Ray, and nothing imports upwards."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "raystellar"

FLOORS = [
    {"errors", "config", "schema", "targets", "quality", "votable"},
    {"places", "listing", "growth", "runs", "remote", "fetched", "fetch", "progress", "stars", "sspp", "tables"},
    {"catalog", "repeats", "splits", "spectra", "simulate", "preprocess"},
    {
        "ingest",
        "manifest",
        "shards",
        "addresses",
        "fit.config",
        "fit.data",
        "fit.scaler",
        "fit.metrics",
        "fit.augment",
        "model.architecture",
    },
    {"model", "fit", "search", "report"},
    {"engine", "trialruns"},
    {"mocksurvey", "dataset", "train", "tune", "label"},
    {"plan", "export", "api"},
    {"pages"},
    {"settings"},
    {"demo", "bench"},
    {"commands"},
    {"cli"},
]
KNOW_RAY = {"engine", "train", "trialruns"}
KNOW_TORCH = {"model", "fit", "train", "trialruns", "bench"}


def modules():
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def imports(path, *, at_load):
    """Yield the modules that a file imports; ``at_load`` leaves out those inside functions and TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if not at_load else (node for part in tree.body for node in [part])
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module):
    found = [n for n, rooms in enumerate(FLOORS) if module in rooms]
    return found[0] if found else next(n for n, rooms in enumerate(FLOORS) if module.split(".")[0] in rooms)


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_has_a_floor_and_imports_downwards(module):
    here = floor(module)
    for name in imports(modules()[module], at_load=False):
        below = name.removeprefix("raystellar.")
        if name.startswith("raystellar.") and below in modules() and below.split(".")[0] != module.split(".")[0]:
            assert floor(below) <= here, f"{module} (floor {here}) imports {below} (floor {floor(below)})"


@pytest.mark.parametrize("module", sorted(modules()))
def test_ray_and_torch_stay_where_they_belong(module):
    names = {name.split(".")[0] for name in imports(modules()[module], at_load=False)}
    assert "ray" not in names or module.split(".")[0] in KNOW_RAY
    assert "torch" not in names or module.split(".")[0] in KNOW_TORCH


def test_ray_is_not_loaded_with_the_program():
    names = {name.split(".")[0] for path in modules().values() for name in imports(path, at_load=True)}
    assert "ray" not in names
