"""README.md of the folder is the generated reference."""

from pathlib import Path

import pyarrow.parquet as pq

import raystellar.catalog.reference
from raystellar.catalog.reference import LIMITS_OF_FLAGS, WRITE_COMMAND, reference_text
from raystellar.quality import Flag, QualityConfig
from raystellar.schema import CATALOG

README = Path(raystellar.catalog.reference.__file__).with_name("README.md")


def test_the_file_in_the_repository_is_what_the_function_writes():
    assert README.read_text() == reference_text(), f"write the page again: {WRITE_COMMAND}"


def test_every_column_and_flag_has_a_line():
    lines = reference_text().splitlines()
    assert [sum(line.startswith(f"| `{column.name}` |") for line in lines) >= 1 for column in CATALOG] == [True] * len(
        CATALOG
    )
    for flag in Flag:
        assert sum(f"| {flag.value} | {flag.name} |" in line for line in lines) == 1


def test_every_limit_of_a_flag_is_a_setting():
    assert {setting for setting, _ in LIMITS_OF_FLAGS.values()} == set(vars(QualityConfig()))


def test_every_file_of_a_catalogue_is_described(labelled):
    text = reference_text()
    for entry in labelled.iterdir():
        name = "part-NNNNN.parquet" if entry.name.startswith("part-") else entry.name
        assert f"`{name}" in text, name
    assert pq.read_schema(next(labelled.glob("part-*"))).names == [column.name for column in CATALOG]
