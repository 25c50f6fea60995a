"""Read redrock files: classes and redshifts of the targets of a DESI coadd file, which lies beside.

redrock gives redshifts to targets only, so that its rows are found by TARGETID. Its SPECTYPE is a class as in SDSS. The
low bits of ZWARN have the meanings of ZWARNING.

Data model: https://desidatamodel.readthedocs.io, ``redrock-SURVEY-PROGRAM-PIXNUM``
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra.content import Content
from raystellar.spectra.fits_tables import first_table, typed

REDROCK_BYTES = 1 << 20
"""Number of bytes of the redrock file requested before its size is known."""

_REDSHIFTS = ("targetid", "z", "zerr", "zwarn", "spectype", "subtype")


class Redshifts(NamedTuple):
    """The rows of the redrock file."""

    rows: dict[int, dict[str, Any]]
    """Values of each target, by TARGETID."""
    note: str
    """Reason why class and redshift are unknown of a target without a row."""


def redrock_paths(path: str) -> list[str]:
    """Return the paths at which the redrock file may be; none where the file is not named as coadd files are."""
    folder, name = os.path.split(path)
    if not name.startswith("coadd-"):
        return []
    name = name.replace("coadd-", "redrock-", 1)
    plain = re.sub(r"\.(?:gz|bz2)$", "", name)
    return [os.path.join(folder, other) for other in dict.fromkeys((plain, f"{plain}.gz", name))]


def read_redshifts(content: Content | None, max_targets: int) -> Redshifts:
    """Return the rows of the redrock file; none, and the reason in the note, where it cannot be used.

    Raises
    ------
    SpectrumError : stage fetch, where the file exists but cannot be read now
    """
    if content is None:
        return Redshifts({}, "no redrock file beside the coadd file: class and redshift are unknown")
    name = os.path.basename(content.path)
    try:
        columns = _columns(content, max_targets)
    except SpectrumError as error:
        if error.stage == "fetch":
            raise
        return Redshifts({}, f"{name} cannot be used ({error.reason}): class and redshift are unknown")
    lists = {key: values.tolist() for key, values in columns.items()}
    rows = (dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True))
    return Redshifts(
        {row["targetid"]: row for row in rows}, f"the target is not in {name}: class and redshift are unknown"
    )


def _columns(content: Content, max_targets: int) -> dict[str, np.ndarray]:
    """Return columns of the redrock file, by lower-case name."""
    columns = first_table(content, _REDSHIFTS, max_targets)
    missing = [name for name in _REDSHIFTS if name not in columns]
    if missing:
        raise SpectrumError("read", f"missing column {missing[0]}", f"needed: {', '.join(_REDSHIFTS)}")
    return typed(columns, texts=("spectype", "subtype"), whole=("zwarn",), long=("targetid",))
