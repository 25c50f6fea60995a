"""The page of the label tables lists what the code accepts."""

from pathlib import Path

import raystellar.labels
from raystellar.labels.columns import ERROR_FORMS, SPELLINGS, UNITS
from raystellar.labels.identity import IDENTITIES
from raystellar.labels.readers import FORMATS
from raystellar.labels.whole_table import MAX_BYTES
from raystellar.targets import TARGET_NAMES

PAGE = (Path(raystellar.labels.__file__).parent / "README.md").read_text()


def names(quantity):
    return " or ".join(f"`{name}`" for name in SPELLINGS[quantity])


def table(title):
    """Return the rows of the table below a title, without its head."""
    lines = [line for line in PAGE.split(f"## {title}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return lines[2:]


def test_identities():
    assert table("Joining spectra and rows") == [
        f"| {identity.name} | {', '.join(names(part) for part in identity.parts)} | {identity.survey} |"
        for identity in IDENTITIES
    ]


def test_columns():
    quantities = (*TARGET_NAMES, "rv", "sn", "ra", "dec", "flag")
    assert table("Columns") == [f"| {name} | {names(name)} | {UNITS.get(name, '')} |" for name in quantities]
    forms = ", ".join(f"`{form.format('teff')}`" for form in ERROR_FORMS)
    assert forms in " ".join(PAGE.split())


def test_formats():
    assert table("Formats") == [f"| {name} | {what} |" for name, what in FORMATS.items()]
    assert all(f"at most {MAX_BYTES >> 20} MB" in FORMATS[name] for name in ("ECSV", "VOTable"))
