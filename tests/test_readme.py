"""The README tells the truth about names."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from raystellar.cli.parser import main, parser
from raystellar.cli.settings import Settings
from raystellar.quality import BAD, Flag
from raystellar.schema import CATALOG

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_flags():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \| .* \| (bad|warn) \|$", README, re.MULTILINE)
    expected = [
        (str(flag.bit_length() - 1), str(flag.value), flag.name, "bad" if flag & BAD else "warn") for flag in Flag
    ]
    assert rows == expected


def test_the_sections_of_the_settings():
    table = README.split("| section | what |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {field.name for field in fields(Settings)}


def test_the_annotated_tree_names_what_is_there():
    tree = README.split("## What is where")[1].split("```")[1]
    here = {
        path.name for path in (ROOT / "raystellar").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    for name in here - {"__init__.py"}:
        assert re.search(rf"(^|\s){re.escape(name)}(/|\s)", tree), f"{name} is not in the annotated tree"


@pytest.mark.parametrize("line", re.findall(r"^raystellar (.*)$", README, re.MULTILINE))
def test_its_commands_parse(line):
    words = line.split()
    assert parser().parse_args(words).command == words[0]


def snippet_with(words):
    return next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if words in block)


def test_the_table_of_columns():
    table = README.split("| column | unit | what |\n|---|---|---|\n")[1].split("\n\n")[0]
    rows = [f"| `{column.name}` | {column.unit} | {column.description} |" for column in CATALOG]
    assert table.splitlines() == [row.replace("|  |", "| |") for row in rows]


def test_its_snippet_labels_spectra(survey, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "survey").symlink_to(survey)
    (tmp_path / "model").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    exec(snippet_with("raystellar.load"), found := {})
    assert len(found["stars"]) == len(list((survey / "spectra").rglob("spec-*.fits")))
    assert "teff" in capsys.readouterr().out


def test_its_snippet_runs_an_exported_model(model, tmp_path, monkeypatch, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed; pip install 'raystellar[onnx]'")
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), "--out", "model.onnx"]) == 0
    flux = np.random.default_rng(0).normal(size=(5, 4000)).astype(np.float32)
    exec(snippet_with("onnxruntime"), found := {"flux": flux})
    assert found["teff"].shape == (5,)
    assert "standard deviation" in capsys.readouterr().out


def test_its_snippet_reads_the_catalogue(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "catalog").mkdir()
    for name in ("_manifest", "part-00000", "part-00001"):
        table = pa.table({"path" if name[0] == "_" else "teff": [name]})
        pq.write_table(table, tmp_path / "catalog" / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    exec(snippet_with("catalog ="), found := {})
    assert found["catalog"]["teff"].to_pylist() == ["part-00000", "part-00001"]
