"""Every command in README.md of the benchmarks is one that the program accepts."""

import re
import shlex
from pathlib import Path

import pytest

import raystellar.bench
from raystellar.cli.parser import parser

TEXT = Path(raystellar.bench.__file__).with_name("README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_accepted(command):
    program, *words = shlex.split(command)
    assert program == "raystellar"
    parser().parse_args(words)


def test_every_benchmark_has_a_command():
    modules = {path.stem for path in Path(raystellar.bench.__file__).parent.glob("*.py")} - {"__init__"}
    assert modules == set(re.findall(r"raystellar bench (\w+)", TEXT))
