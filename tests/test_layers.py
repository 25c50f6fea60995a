"""Imports run one way: no circle, floors strictly descend, and Ray and torch stay in their folders."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "raystellar"

FLOORS = (
    "errors",
    "config targets",
    "quality",
    "schema",
    "files",
    "labels",
    "spectra",
    "output simulator",
    "preprocessing",
    "model",
    "fit",
    "search catalog",
    "evaluation",
    "report",
    "engine",
    "stages",
    "api",
    "bench",
    "cli",
    "__main__",
)
"""Folders and modules at the root of the package, from the ground up. A room imports from lower floors only."""

RAY = {"engine"}
"""Folders that import Ray."""

TORCH = {"model", "fit", "engine"}
"""Folders that import torch."""

PURE = {"spectra", "preprocessing"}
"""Folders that write nothing."""

WRITING = {
    "write_bytes",
    "write_table",
    "whole_file",
    "whole_folder",
    "make_folder",
    "remove",
    "remove_folder",
    "to_parquet",
    "mkdir",
}
"""Names of functions that write."""


def modules(package):
    """Return the files of a package by the names of their modules, without the name of the package."""
    files = {path.relative_to(package).with_suffix(""): path for path in package.rglob("*.py")}
    return {".".join(name.parts).removesuffix("__init__").rstrip("."): path for name, path in files.items()}


def imports(path, name="raystellar"):
    """Return (modules of the package, other packages) that a file imports anywhere, without TYPE_CHECKING blocks."""
    inside, outside = set(), set()
    tree = ast.parse(path.read_text())
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for full in names:
            top, _, rest = full.partition(".")
            (inside.add(rest) if top == name else outside.add(top))
    return inside, outside


def graph(package):
    """Return the modules that each module of a package imports."""
    files = modules(package)
    edges = {}
    for module, path in files.items():
        targets = set()
        for name in imports(path, package.name)[0]:
            target = name if name in files else name.rpartition(".")[0]
            targets |= {target} if target and target != module else set()
        edges[module] = targets
    return edges


def room(module):
    return module.partition(".")[0]


def floor(module):
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms.split())


def circle(edges):
    """Return modules that import each other in a circle, or nothing."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        for target in sorted(edges.get(module, ())):
            if found := visit(target):
                return found
        done.add(path.pop())
        return []

    return next((found for module in sorted(edges) if (found := visit(module))), [])


def wrongs(package):
    """Return every breach of the rules, as text."""
    found = []
    edges = graph(package)
    if ring := circle(edges):
        found.append(f"circle: {' -> '.join(ring)}")
    for module, targets in edges.items():
        if not module:  # the package itself opens its public names when they are asked for
            continue
        for target in targets:
            if room(target) != room(module) and floor(target) >= floor(module):
                found.append(f"floor: {module} imports {target}")
        outside = imports(modules(package)[module], package.name)[1]
        if "ray" in outside and room(module) not in RAY:
            found.append(f"ray: {module}")
        if "torch" in outside and room(module) not in TORCH:
            found.append(f"torch: {module}")
        if room(module) in PURE:
            calls = {
                node.func.attr
                for node in ast.walk(ast.parse(modules(package)[module].read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            found += [f"writes: {module} calls {name}" for name in sorted(calls & WRITING)]
    return found


def test_the_house_keeps_its_rules():
    assert wrongs(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"files/a": "import raystellar.files.b", "files/b": "import raystellar.files.a"},
            "circle: files.a -> files.b",
        ),
        ({"files/a": "from raystellar.labels import b", "labels/b": ""}, "floor: files.a imports labels.b"),
        ({"model/a": "from raystellar.fit.b import f", "fit/b": ""}, "floor: model.a imports fit.b"),
        (
            {"output/a": "from raystellar.simulator.b import f", "simulator/b": ""},
            "floor: output.a imports simulator.b",
        ),
        ({"stages/a": "import ray"}, "ray: stages.a"),
        ({"search/a": "def f():\n    from ray import tune"}, "ray: search.a"),
        ({"bench/a": "import torch.nn"}, "torch: bench.a"),
        ({"spectra/a": "places.write_bytes('x', b'')"}, "writes: spectra.a calls write_bytes"),
    ],
)
def test_each_breach_is_found(files, expected, tmp_path):
    package = tmp_path / "raystellar"
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    assert any(wrong.startswith(expected) for wrong in wrongs(package))


def test_neither_ray_nor_torch_is_loaded_with_the_program():
    loaded = set()
    for module, path in modules(PACKAGE).items():
        if room(module) in ("cli", "stages", "engine", "api", "bench", ""):
            loaded |= {
                name.split(".")[0]
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in (
                    [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                )
            }
    assert not loaded & {"ray"}


def test_the_root_of_the_package_is_a_handful_of_modules():
    assert (
        len([name for name in modules(PACKAGE) if name and "." not in name and (PACKAGE / f"{name}.py").exists()]) <= 10
    )
