"""Addresses of the spectra of a label table in the SDSS archive, as a list for ``raystellar preprocess``.

An address contains the version of the reduction, RUN2D, which is a property of a plate. RUN2D is read from the column
of that name, which tables of the SSPP have. Tables of the CAS may lack it; then RUN2D follows from plate and date:

======  ===========================================================  ==================================================
RUN2D   plates                                                       rule
======  ===========================================================  ==================================================
26      SDSS-I and SDSS-II, with SEGUE-1                             all other plates of the SDSS spectrograph
103     fields of star clusters, plates 1960 to 2912                 ``CLUSTER_PLATES``
104     SEGUE-2, plates 2640 to 3480, August 2008 to July 2009       dates from ``SEGUE2_MJD``
v5_*    BOSS and eBOSS, plates from 3510                             plates from ``BOSS_PLATE``; version of the release
======  ===========================================================  ==================================================

Source: SDSS DR10 and DR12 data access; the list of SEGUE-2 plates of the SSPP.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from raystellar.errors import ConfigError, LabelTableError
from raystellar.files import places
from raystellar.labels.columns import SPELLINGS, fold
from raystellar.labels.keys import pack_key, unpack_key
from raystellar.labels.readers import column_names, read_columns
from raystellar.labels.table import LabelsConfig, LabelTable, read_labels
from raystellar.targets import TARGET_NAMES

BASE = "https://data.sdss.org/sas"
"""Address of the Science Archive Server (SAS) of the SDSS."""

CLUSTER_PLATES = (1960, 1961, 1962, 1963, 2078, 2079, 2174, 2185, 2247, 2255, 2256, 2333, 2338, 2377, 2475, 2476, 2667,
                  2671, 2675, 2800, 2821, 2887, 2912)  # fmt: skip
"""Plates on star clusters, which were reduced on their own (RUN2D 103)."""

SEGUE2_MJD = 54663
"""First date of SEGUE-2 (RUN2D 104): the day after the end of SDSS-II."""

BOSS_PLATE = 3510
"""First plate of the BOSS spectrograph. The last plate of the SDSS spectrograph is 3480."""

RUN2D_COLUMNS = {"plate": SPELLINGS["plate"], "mjd": SPELLINGS["mjd"], "run2d": ("run2d",)}
"""Accepted names of the columns that give the RUN2D of each plate."""


@dataclass(frozen=True)
class Release:
    """Folders of the BOSS spectra in a data release. The folders of older spectra are the same in all releases."""

    tree: str
    """Folder of the survey."""
    run2d: tuple[str, ...]
    """Versions of the reduction in the release, the main version first."""
    full: str
    """Folder of the full files; the folder of the lite files is ``lite/``."""


RELEASES = {
    "dr12": Release("boss", ("v5_7_0", "v5_7_2"), ""),
    "dr17": Release("eboss", ("v5_13_2",), "full/"),
}
"""Known data releases."""


@dataclass(frozen=True)
class AddressSummary:
    """Content of a list of addresses."""

    out: str
    """Path of the list."""
    spectra: int
    """Number of addresses."""
    plates: int
    """Number of plates."""
    by_run2d: dict[str, int]
    """Number of addresses by RUN2D."""
    from_table: bool
    """Whether RUN2D was read from the label table."""
    labels: dict[str, Any]
    """Summary of the label table, see ``LabelTable.summary``."""


def write_addresses(
    labels: str,
    out: str,
    *,
    labels_config: LabelsConfig | None = None,
    release: str = "dr12",
    full: bool = False,
    base: str = BASE,
    run2d: str = "",
    every: bool = False,
) -> AddressSummary:
    """Write the addresses of the spectra of a label table to a text file, one on each line, sorted by plate.

    The file is written as a whole or not at all.

    Parameters
    ----------
    labels : path of the label table, see ``labels.table.read_labels``
    out : path or URL of the file to write; ``raystellar preprocess @OUT`` reads it
    labels_config : rules by which rows are usable
    release : name of a data release, see ``RELEASES``
    full : whether to list the full files, which have the single exposures, in place of the lite files; raystellar reads
        the same data from both
    base : folder or URL that contains the folders dr12 and dr17 of the archive, such as a mirror, a bucket or a disk
    run2d : RUN2D of all spectra, in place of the column of the table and the rules of this module
    every : whether to list the spectra of all rows, also of rows that are not usable

    Raises
    ------
    ConfigError : the release is not known
    LabelTableError : the table cannot be read, or has no usable row
    OutputError : the list cannot be written
    """
    if release not in RELEASES:
        raise ConfigError(f"no addresses are known for release {release}; known are {', '.join(RELEASES)}")
    table = read_labels(labels, labels_config or LabelsConfig(), required=("rv",) if every else TARGET_NAMES)
    key = table.key if every else table.key[table.usable]
    if not len(key):
        raise LabelTableError(f"label table {labels} has no usable row: {_most_frequent_reason(table)}")
    known = {} if run2d else read_run2d(labels)
    lines, counts = [], Counter[str]()
    for plate, mjd, fiberid in zip(*(part.tolist() for part in unpack_key(key)), strict=True):
        version = run2d or _of_release(known.get((plate, mjd)) or run2d_of_plate(plate, mjd, release), release)
        lines.append(address(plate, mjd, fiberid, version, release=release, full=full, base=base))
        counts[version] += 1
    places.write_bytes(out, ("\n".join(lines) + "\n").encode())
    plates = len(set(unpack_key(key)[0].tolist()))
    return AddressSummary(out, len(lines), plates, dict(counts), bool(known), table.summary())


def address(
    plate: int, mjd: int, fiberid: int, run2d: str, *, release: str = "dr12", full: bool = False, base: str = BASE
) -> str:
    """Return the address of the spec file of a spectrum; parameters as in ``write_addresses``."""
    boss = run2d.startswith("v")
    tree = RELEASES[release].tree if boss else "sdss"
    kind = "lite/" if not full else RELEASES[release].full if boss else ""
    folder = f"{base.rstrip('/')}/{release}/{tree}/spectro/redux/{run2d}/spectra/{kind}{plate:04d}"
    return f"{folder}/spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


def run2d_of_plate(plate: int, mjd: int, release: str = "dr12") -> str:
    """Return the RUN2D of a plate by the rules of this module."""
    if plate >= BOSS_PLATE:
        return RELEASES[release].run2d[0]
    if plate in CLUSTER_PLATES:
        return "103"
    return "104" if mjd >= SEGUE2_MJD else "26"


def read_run2d(path: str) -> dict[tuple[int, int], str]:
    """Return RUN2D by plate and mjd from the column RUN2D of a label table; empty where the table has no such column.

    Rows without a plate or RUN2D are left out. Where the rows of a plate differ, the first one counts.

    Raises
    ------
    LabelTableError : the table cannot be read
    """
    run2d: dict[tuple[int, int], str] = {}
    if "run2d" not in map(fold, column_names(path)):
        return run2d
    for piece in read_columns(path, RUN2D_COLUMNS, required=("plate", "mjd"), text=("run2d",)):
        if "run2d" not in piece:  # one file of a folder may lack the column
            continue
        key = pack_key(piece["plate"], piece["mjd"], 0)
        text = np.strings.strip(piece["run2d"])
        known = (key >= 0) & (text != b"")
        keys, first = np.unique(key[known], return_index=True)
        plates, dates, _ = unpack_key(keys)
        for plate, mjd, version in zip(plates.tolist(), dates.tolist(), text[known][first].tolist(), strict=True):
            run2d.setdefault((plate, mjd), version.decode(errors="replace").removesuffix(".0"))
    return run2d


def _of_release(run2d: str, release: str) -> str:
    """Return the RUN2D that a plate has in the release, given its RUN2D in any release."""
    versions = RELEASES[release].run2d
    return run2d if not run2d.startswith("v") or run2d in versions else versions[0]


def _most_frequent_reason(table: LabelTable) -> str:
    reasons = table.summary()["by_reason"]
    return max(reasons, key=reasons.get) if reasons else "it is empty"
