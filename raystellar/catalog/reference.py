"""The reference of a catalogue's columns, flags and files, made from ``schema`` and ``quality``.

Write the page again after a change of either::

    python -m raystellar.catalog.reference > raystellar/catalog/README.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from raystellar.catalog.repeats import RADIUS_ARCSEC
from raystellar.quality import BAD, MEANINGS, Flag, QualityConfig
from raystellar.schema import (
    CATALOG,
    JOB_NAME,
    MANIFEST_NAME,
    REJECTS,
    REJECTS_DIR,
    REPORT_NAME,
    RUN_NAME,
    SUMMARY_NAME,
    Column,
)

LIMITS_OF_FLAGS = {
    Flag.LOW_SN: ("min_sn", "below"),
    Flag.FEW_GOOD_PIXELS: ("min_good_fraction", "below"),
    Flag.OOD: ("max_ood_score", "above"),
    Flag.RV_UNCERTAIN: ("max_rv_error", "above"),
    Flag.BAD_PIXELS: ("least_good_fraction", "below"),
}
"""Setting of section ``quality`` that limits each flag, and the side of the limit on which the flag is set."""

WRITE_COMMAND = "python -m raystellar.catalog.reference > raystellar/catalog/README.md"

LABEL_COMMAND = "raystellar label SPECTRA --model MODEL --out CATALOG"

TEXT = """\
# The catalogue

`{command}` writes a folder.
This page describes its files, columns and flags. It is generated from [schema.py](../schema.py) and
[quality.py](../quality.py):

```sh
{write}
```

## Read it

```python
import pandas

stars = pandas.read_parquet("CATALOG")
good = stars[stars.is_primary & ~stars.flag_bad]
```

The call reads all parts, because the names of all other files and folders begin with an underscore.
Each part describes its columns (unit, UCD, text) as VOParquet 1.0, which TOPCAT and astropy read.
`raystellar export CATALOG --out stars.fits` writes one file (FITS, Parquet, CSV or HATS); `--good`
leaves out rows with a flag, and `--primary` keeps one row a star.

## Files

{files}

A part is written completely or not at all. A command that was interrupted continues with the
missing parts when it is run again.

## Columns

{columns}

## Flags

`flags` is the sum of the bits below. `flag_bad` is true if a bit of the kind *bad* is set: do not
use the row. `flag_warn` is true if a bit of the kind *warn* is set: use the row with care.

{flags}

The limits are defaults; `--set quality.NAME=VALUE` changes them.

## Errors of the labels

`e_teff`, `e_feh` and `e_logg` are errors against the true label, not against the label of another
pipeline. A label lies within one error of the truth for 68 % of the stars, and within 2.09 errors
for 95 %. The tails are longer than those of a normal distribution: 2.09 errors take the place of 2.

The error model is a product of powers. Its inputs are the variance of the prediction due to the
noise of the pixels, the variance that rests on single units of the networks, the S/N and the
predicted labels. The powers are fitted to stars that the predicting network has not seen: the
validation stars, and each training star with the network that was trained without its plate. The
errors of their own labels and the difference between the networks are subtracted.

An error that all training labels share cannot be seen on such stars. The catalogue's errors
therefore contain an allowance for it: 0.3 to 0.46 of the smallest label error, as simulated stars
need it. [bench/README.md](../bench/README.md) shows how well the errors hold.

## OOD score

`ood_score` says how unlike the training spectra a spectrum is (OOD: out of distribution). It is 0
for most stars. One ordinary star in a hundred scores above {ood_limit:g}, and such a row has the
flag OOD. The score uses neither the class nor the velocity nor the warnings of a pipeline. It is
learned from the training spectra alone, so train on spectra of the survey that you label: normal
stars of another survey may be flagged.

## Repeats and primary rows

`star_id` is the same for all spectra of one star in the catalogue: spectra within {radius:g}
arcsec, or of one `spec_id`. `is_primary` marks one row of each star. The primary row is a row
without `flag_bad`, then without `flag_warn`, then with the highest S/N. Ties go to the lowest
plate, MJD and fibre, then to the path that sorts first.

Both columns are null until all parts are written. They are computed again when spectra are added.
`{summary}` gives the scatter of repeated observations and their pull (difference in units of the
errors), which is 1 if the errors are right.

## Rejects

A spectrum that cannot be labelled is a row of `{rejects_dir}` instead. Input rows = catalogue rows
+ rejects.

{rejects}
"""


def reference_text() -> str:
    """Return the reference as Markdown."""
    return TEXT.format(
        command=LABEL_COMMAND,
        write=WRITE_COMMAND,
        files=_table(("file", "content"), _files()),
        columns=_columns(CATALOG),
        flags=_table(("bit", "value", "name", "meaning", "limit", "kind"), map(_flag, Flag)),
        ood_limit=QualityConfig().max_ood_score,
        radius=RADIUS_ARCSEC,
        summary=SUMMARY_NAME,
        rejects_dir=REJECTS_DIR,
        rejects=_columns(REJECTS),
    )


def _files() -> list[tuple[str, str]]:
    """Return name and content of each file of the folder."""
    return [
        ("`part-NNNNN.parquet`", "the rows, in parts of 256 to 2048 input spectra"),
        (f"`{REJECTS_DIR}/part-NNNNN.parquet`", "the spectra of a part that were rejected, with stage and reason"),
        (f"`{RUN_NAME}`", "settings, model, versions and digest of the input: everything that decides the rows"),
        (f"`{MANIFEST_NAME}`", "every input file and its spectra; row group N is part N"),
        (f"`{SUMMARY_NAME}`", "numbers of rows and stars, and the comparison of repeats"),
        (f"`{JOB_NAME}`", "path of the model and duration of the job; only the report reads it"),
        (f"`{REPORT_NAME}`", "the report: figures, tables and selected spectra on one page"),
    ]


def _columns(columns: Iterable[Column]) -> str:
    """Return the table of columns."""
    rows = ((f"`{column.name}`", str(column.type), column.unit, column.description, column.ucd) for column in columns)
    return _table(("column", "type", "unit", "description", "UCD"), rows)


def _flag(flag: Flag) -> tuple[str, ...]:
    """Return the row of a flag."""
    limit = ""
    if flag in LIMITS_OF_FLAGS:
        setting, side = LIMITS_OF_FLAGS[flag]
        limit = f"{side} `quality.{setting}` = {getattr(QualityConfig(), setting):g}"
    kind = "bad" if flag in BAD else "warn"
    return str(flag.value.bit_length() - 1), str(flag.value), flag.name or "", MEANINGS[flag], limit, kind


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(reference_text())
