"""README.md of the benchmarks names each of them."""

import re
from pathlib import Path

import raystellar.bench


def test_every_benchmark_has_a_command():
    folder = Path(raystellar.bench.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == set(re.findall(r"raystellar bench (\w+)", (folder / "README.md").read_text()))
