"""Addresses of the spectra of a label table in the SDSS archive, as a list for ``raystellar preprocess``.

An address contains the version of the reduction, RUN2D. For plates it is a property of a plate. It is read from the
column of that name, which tables of the SSPP have. Tables of the CAS may lack it; then RUN2D follows from plate and
date:

======  ===========================================================  ==================================================
RUN2D   plates                                                       rule
======  ===========================================================  ==================================================
26      SDSS-I and SDSS-II, with SEGUE-1                             all other plates of the SDSS spectrograph
103     fields of star clusters, plates 1960 to 2912                 ``CLUSTER_PLATES``
104     SEGUE-2, plates 2640 to 3480, August 2008 to July 2009       dates from ``SEGUE2_MJD``
v5_*    BOSS and eBOSS, plates from 3510                             plates from ``BOSS_PLATE``; version of the release
======  ===========================================================  ==================================================

The spectra of SDSS-V, in the releases since DR18, are named by field, date and CATALOGID. Their RUN2D is that of the
release. ``RELEASES`` has the folders and the last date of each release; a spectrum that was taken later is refused.

Sources: SDSS DR10 and DR12 data access, and the list of SEGUE-2 plates of the SSPP. Folders since DR13 by
``astroquery.sdss``; those of SDSS-V by the files dr18.cfg, dr19.cfg and dr20.cfg of the product ``tree`` and by
``sdss_access``. Last dates: DR12 to DR15 by the papers of the releases (data through July of 2014, 2015 and 2016; DR15
has no new optical spectra), DR16 by the end of eBOSS, DR17 by the end of SDSS-IV in August 2020, DR18 by the table of
releases of ``sdssdb``, DR19 by ``astra``. The last date of DR20 was found nowhere; the day of the release, 30 July
2026, stands in for it. Where a paper gives a month, the last day of that month is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raystellar.errors import ConfigError, LabelTableError
from raystellar.files import places
from raystellar.labels.columns import SPELLINGS, fold
from raystellar.labels.config import LabelsConfig
from raystellar.labels.identity import field_names
from raystellar.labels.keys import BOSS_PLATE, NAMELESS, name_key, pack_key, unpack_key
from raystellar.labels.readers import column_names, read_columns
from raystellar.labels.table import LabelTable, read_labels
from raystellar.targets import TARGET_NAMES

BASE = "https://data.sdss.org/sas"
"""Address of the Science Archive Server (SAS) of the SDSS."""

CLUSTER_PLATES = (1960, 1961, 1962, 1963, 2078, 2079, 2174, 2185, 2247, 2255, 2256, 2333, 2338, 2377, 2475, 2476, 2667,
                  2671, 2675, 2800, 2821, 2887, 2912)  # fmt: skip
"""Plates on star clusters, which were reduced on their own (RUN2D 103)."""

SEGUE2_MJD = 54663
"""First date of SEGUE-2 (RUN2D 104): the day after the end of SDSS-II."""

RUN2D_COLUMNS = {"plate": SPELLINGS["plate"], "mjd": SPELLINGS["mjd"], "run2d": ("run2d",)}
"""Accepted names of the columns that give the RUN2D of each plate."""


SDSS4_END = 59092
"""Last date of SDSS-IV. Later plates belong to SDSS-V, whose files are not named by plate and fibre."""

FIELD_COLUMNS = {part: SPELLINGS[part] for part in ("fieldid", "mjd", "catalogid", "spec_id")}
"""Accepted names of the columns that name spectra of SDSS-V."""


class FieldName(NamedTuple):
    """Name of a spectrum of SDSS-V."""

    fieldid: int
    mjd: int
    catalogid: int


@dataclass(frozen=True)
class Release:
    """Folders and dates of a data release."""

    boss: str
    """Folder of the reductions of the BOSS spectrograph until SDSS-IV."""
    run2d: tuple[str, ...]
    """Versions of these reductions in the release, the main version first."""
    full: str
    """Folder of the full files of these reductions; the folder of the lite files is ``lite/``."""
    last_mjd: int
    """Last date on which a spectrum of the release was taken."""
    sdss: str = "sdss/spectro/redux"
    """Folder of the reductions of the SDSS spectrograph."""
    fields: str = ""
    """Version of the reduction of SDSS-V; empty where the release has no such spectra."""


_PLATES = "spectro/sdss/redux"  # since DR18, of all plates
RELEASES = {
    "dr12": Release("boss/spectro/redux", ("v5_7_0", "v5_7_2"), "", 56869),
    "dr13": Release("eboss/spectro/redux", ("v5_9_0",), "", 57234),
    "dr14": Release("eboss/spectro/redux", ("v5_10_0",), "", 57600),
    "dr15": Release("eboss/spectro/redux", ("v5_10_0",), "", 57600),
    "dr16": Release("eboss/spectro/redux", ("v5_13_0",), "full/", 58543),
    "dr17": Release("eboss/spectro/redux", ("v5_13_2",), "full/", SDSS4_END),
    "dr18": Release(_PLATES, ("v5_13_2",), "full/", 59392, _PLATES, "v6_0_4"),
    "dr19": Release(_PLATES, ("v5_13_2",), "full/", 60130, _PLATES, "v6_1_3"),
    "dr20": Release(_PLATES, ("v5_13_2",), "full/", 61251, _PLATES, "v6_2_1"),
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
    """Number of plates and fields."""
    by_run2d: dict[str, int]
    """Number of addresses by RUN2D."""
    from_table: bool
    """Whether RUN2D of plates was read from the label table."""
    elsewhere: int
    """Number of spectra of other surveys, which have no address."""
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
    LabelTableError : the table cannot be read, has no usable row, or has a spectrum that is not in the release
    OutputError : the list cannot be written
    """
    if release not in RELEASES:
        raise ConfigError(f"no addresses are known for release {release}; known are {', '.join(RELEASES)}")
    config = labels_config or LabelsConfig()
    table = read_labels(labels, config, required=() if every else TARGET_NAMES)
    key = table.key if every else table.key[table.usable]
    if not len(key):
        raise LabelTableError(f"label table {labels} has no usable row: {_most_frequent_reason(table)}")
    known = {} if run2d else read_run2d(labels)
    place = {"release": release, "full": full, "base": base}
    entries = [*_of_plates(key[key < NAMELESS], run2d, known, place), *_of_fields(labels, key, run2d, place)]
    if not entries:
        raise LabelTableError(
            f"label table {labels} names its rows by {', '.join(table.identities)}; only spectra of the SDSS have "
            f"addresses, by plate, mjd and fiberid or by fieldid, mjd and catalogid"
        )
    places.write_bytes(out, ("\n".join(line for _, _, line in entries) + "\n").encode())
    counts = Counter(version for version, _, _ in entries)
    plates = len({plate for _, plate, _ in entries})
    elsewhere = len(key) - len(entries)
    return AddressSummary(out, len(entries), plates, dict(counts), bool(known), elsewhere, table.summary())


def _of_plates(
    keys: NDArray[np.int64], run2d: str, known: Mapping[tuple[int, int], str], place: Mapping[str, Any]
) -> Iterator[tuple[str, int, str]]:
    """Yield RUN2D, plate and address of spectra with packed keys; ``place`` holds release, full and base."""
    release = place["release"]
    facts = RELEASES[release]
    for plate, mjd, fiberid in zip(*(part.tolist() for part in unpack_key(keys)), strict=True):
        if mjd > SDSS4_END and facts.fields:
            raise LabelTableError(
                f"spectrum {plate}-{mjd}-{fiberid} belongs to SDSS-V, whose files are not named by plate and fibre; "
                f"give the columns fieldid, mjd and catalogid"
            )
        if mjd > facts.last_mjd:
            raise _too_late(f"{plate}-{mjd}-{fiberid}", release)
        version = run2d or _of_release(known.get((plate, mjd)) or run2d_of_plate(plate, mjd, release), release)
        yield version, plate, address(plate, mjd, fiberid, version, **place)


def _of_fields(
    labels: str, keys: NDArray[np.int64], run2d: str, place: Mapping[str, Any]
) -> Iterator[tuple[str, int, str]]:
    """Yield RUN2D, field and address of the spectra of SDSS-V among these keys; parameters as in ``_of_plates``."""
    release = place["release"]
    for name in _field_names(labels, keys[keys >= NAMELESS]):
        text = "-".join(map(str, name))
        if not RELEASES[release].fields:
            raise LabelTableError(f"spectrum {text} belongs to SDSS-V, which {release} lacks; choose dr18 or later")
        if name.mjd > RELEASES[release].last_mjd:
            raise _too_late(text, release)
        version = run2d or RELEASES[release].fields
        yield version, name.fieldid, field_address(name, version, **place)


def _too_late(name: str, release: str) -> LabelTableError:
    return LabelTableError(
        f"spectrum {name} was taken after the last date of {release}, MJD {RELEASES[release].last_mjd}; "
        f"choose a later release, or leave out such rows"
    )


def address(
    plate: int, mjd: int, fiberid: int, run2d: str, *, release: str = "dr12", full: bool = False, base: str = BASE
) -> str:
    """Return the address of the spec file of a spectrum; parameters as in ``write_addresses``."""
    boss = run2d.startswith("v")
    tree = RELEASES[release].boss if boss else RELEASES[release].sdss
    kind = "lite/" if not full else RELEASES[release].full if boss else ""
    folder = f"{base.rstrip('/')}/{release}/{tree}/{run2d}/spectra/{kind}{plate:04d}"
    return f"{folder}/spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


def field_address(name: FieldName, run2d: str, *, release: str, full: bool = False, base: str = BASE) -> str:
    """Return the address of the spec file of a spectrum of SDSS-V; parameters as in ``write_addresses``.

    Each version of the reduction has its own folders: v6_0 writes fields without leading zeros and with a p, and
    CATALOGIDs with eleven digits; v6_1 writes fields with six digits; v6_2 has a folder for each thousand fields.
    """
    kind = "full" if full else "lite"
    field, catalogid = f"{name.fieldid:06d}", f"{name.catalogid}"
    if run2d.startswith("v6_0_"):
        field, catalogid = f"{name.fieldid}", f"{name.catalogid:011d}"
        folder = f"{kind}/{field}p"
    elif run2d.startswith("v6_1_"):
        folder = f"{kind}/{field}"
    else:
        folder = f"daily/{kind}/{name.fieldid // 1000:03d}XXX/{field}"
    root = f"{base.rstrip('/')}/{release}/spectro/boss/redux/{run2d}/spectra"
    return f"{root}/{folder}/{name.mjd}/spec-{field}-{name.mjd}-{catalogid}.fits"


def _field_names(labels: str, keys: NDArray[np.int64]) -> Iterator[FieldName]:
    """Yield the names of the spectra of SDSS-V with these keys, sorted; they are read again from the label table."""
    names = set()
    for piece in read_columns(labels, FIELD_COLUMNS, text=("catalogid", "spec_id")) if len(keys) else ():
        texts = field_names(piece) if {"fieldid", "mjd", "catalogid"} <= piece.keys() else []
        texts += [text.decode(errors="replace") for text in piece.get("spec_id", np.zeros(0, "S1")).tolist()]
        for text in texts:
            numbers = text.strip().split("-")
            if len(numbers) == 3 and all(map(str.isdecimal, numbers)):
                names.add(FieldName(*map(int, numbers)))
    known = set(keys.tolist())
    yield from sorted(name for name in names if name_key("-".join(map(str, name))) in known)


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
