"""Identities: the names by which rows of a label table and spectra are joined.

Each row of a label table gets one key, from the first identity in ``IDENTITIES`` that the row has. A spectrum gets a
key from each identity that the table uses, and is joined to the row with one of these keys. Names of spectra are
compared in the form of ``Spectrum.spec_id``, so that a table with ``obsid`` 101001 and a table with ``spec_id``
lamost-101001 give the same key. Integers of 64 bits are exact: they never pass through floating-point numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raystellar.labels.keys import BOSS_PLATE, MAX_FIBRE, name_key, pack_key, packed, spec_id_key

Columns = Mapping[str, NDArray[Any]]
"""Values of some rows by the name of the quantity, as ``labels.readers.read_columns`` yields them."""

EXACT = 1 << 53
"""Bound below which all integers are exact in float64."""

_INTEGER = re.compile(rb"[+-]?\d{1,20}")
_NUMBER = re.compile(rb"[+-]?\d+\.?\d*(?:[eE][+-]?\d+)?")
_SPEC_STEM = re.compile(r"spec-(\d+-\d{5}-\d+)", re.ASCII)
_LAMOST_STEM = re.compile(r"spec-(\d+)-(.+)_sp(\d+)-(\d+)", re.ASCII)


class Observed(Protocol):
    """The names and the position of a spectrum, as in ``spectra.record.Spectrum``."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def spec_id(self) -> str: ...  # noqa: D102
    @property
    def plate(self) -> int: ...  # noqa: D102
    @property
    def mjd(self) -> int: ...  # noqa: D102
    @property
    def fiberid(self) -> int: ...  # noqa: D102
    @property
    def ra(self) -> float: ...  # noqa: D102
    @property
    def dec(self) -> float: ...  # noqa: D102
    @property
    def fieldid(self) -> int: ...  # noqa: D102
    @property
    def catalogid(self) -> int: ...  # noqa: D102
    @property
    def obs_id(self) -> int: ...  # noqa: D102
    @property
    def aliases(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Identity:
    """A way to name spectra."""

    name: str
    """Name in messages and summaries."""

    parts: tuple[str, ...]
    """Quantities of ``labels.columns.SPELLINGS`` that make up the name."""

    survey: str
    """Surveys whose tables use the identity."""

    of_rows: Callable[[Columns], NDArray[np.int64]]
    """Return the keys (n,) of rows of a table; -1 where a row lacks the name."""

    of_spectrum: Callable[[Observed], Iterable[int]]
    """Return the keys of a spectrum; -1 where it lacks the name."""


def key_rows(columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return the key (n,) of each row, and the position (n,) of its identity in ``IDENTITIES``; -1 for rows without."""
    count = len(next(iter(columns.values())))
    key, code = np.full(count, -1, np.int64), np.full(count, -1, np.int8)
    for position, identity in enumerate(IDENTITIES):
        left = key < 0
        if not left.any():
            break
        if columns.keys() >= set(identity.parts):
            key[left] = identity.of_rows({part: columns[part][left] for part in identity.parts})
            code[left & (key >= 0)] = position
    return key, code


def keys_of(spectrum: Observed, identities: Iterable[str]) -> set[int]:
    """Return the keys of a spectrum from the identities of these names."""
    wanted = set(identities)
    keys = {key for identity in IDENTITIES if identity.name in wanted for key in identity.of_spectrum(spectrum)}
    return keys - {-1}


def keys_shown(path: str) -> dict[str, int]:
    """Return the keys that the name of a file with one spectrum shows, by the name of the identity."""
    stem = file_stem(path)
    shown = {FILE: file_key(path)}
    if numbers := _SPEC_STEM.fullmatch(stem):
        key = spec_id_key(numbers[1])
        shown[PLATE if key == packed(*map(int, numbers[1].split("-"))) else FIELD] = key
    if (key := _lamost_key_of_file(path)) >= 0:
        shown[LAMOST_FIBRE] = key
    return shown


def file_stem(path: str) -> str:
    """Return the name of a file without its folders and without .fits, .gz and .bz2."""
    name = path.replace("\\", "/").rpartition("/")[2]
    for suffixes in (".gz", ".bz2"), (".fits", ".fit"):
        if name.lower().endswith(suffixes):
            name = name.rpartition(".")[0]
    return name


def file_key(path: str) -> int:
    """Return the key of the name of a file; -1 for an empty name."""
    stem = file_stem(path)
    return name_key(f"file {stem}") if stem else -1


def is_inexact(texts: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return for each text (n,) whether it is a floating-point number that cannot hold an integer exactly."""
    return np.array(
        [text != b"" and _whole(text) is None and _NUMBER.fullmatch(text) is not None for text in _stripped(texts)]
    )


# Rows of a table -------------------------------------------------------------------------------------------


def _by_plate(columns: Columns) -> NDArray[np.int64]:
    return pack_key(*(columns[part] for part in ("plate", "mjd", "fiberid")))


def _by_specobjid(columns: Columns) -> NDArray[np.int64]:
    return specobjid_keys([_whole(text) for text in _stripped(columns["specobjid"])])


def specobjid_keys(numbers: Sequence[int | None]) -> NDArray[np.int64]:
    """Return the packed plate, mjd and fiberid (n,) that specObjIDs contain; -1 for a number that is none.

    The bits of a specObjID are, from the highest: plate (14), fiberid (12), mjd - 50000 (14), run2d (14), zero (10).
    The run2d is not compared, as it is not for plate, mjd and fiberid. Bits that no spectrum has give no key, as those
    of specObjIDs of DR7 and earlier, which were packed in another way.

    Source: ``sdss_specobjid`` of idlutils and of pydl.
    """
    unsigned = np.array([0 if number is None or not -(1 << 63) <= number < 1 << 64 else number % (1 << 64)
                         for number in numbers], np.uint64)  # fmt: skip

    def bits(first: int, count: int) -> NDArray[np.int64]:
        return ((unsigned >> np.uint64(first)) & np.uint64((1 << count) - 1)).astype(np.int64)

    plate, fiberid = bits(50, 14), bits(38, 12)
    most = np.where(plate < BOSS_PLATE, MAX_FIBRE["sdss"], MAX_FIBRE["boss"])
    valid = (bits(0, 10) == 0) & (bits(10, 14) > 0) & (fiberid > 0) & (fiberid <= most)
    return np.where(valid, pack_key(plate, bits(24, 14) + 50000, fiberid), -1)


def field_names(columns: Columns) -> list[str]:
    """Return the names fieldid-mjd-catalogid (n,) of rows; an empty one where a row lacks one of the three."""
    fields, dates = _integers(columns["fieldid"]), _integers(columns["mjd"])
    return [
        f"{field}-{mjd}-{catalogid}" if field >= 0 < mjd and catalogid is not None and catalogid > 0 else ""
        for field, mjd, catalogid in zip(fields, dates, map(_whole, _stripped(columns["catalogid"])), strict=True)
    ]


def _by_field(columns: Columns) -> NDArray[np.int64]:
    return _named(field_names(columns))


def _by_number(part: str, survey: str) -> Callable[[Columns], NDArray[np.int64]]:
    """Return the function that makes keys of rows from one integer of 64 bits."""

    def keys(columns: Columns) -> NDArray[np.int64]:
        numbers = map(_whole, _stripped(columns[part]))
        return _named(f"{survey}-{number}" if number is not None and number > 0 else "" for number in numbers)

    return keys


def _by_lamost_fibre(columns: Columns) -> NDArray[np.int64]:
    days, spectrographs, fibres = (_integers(columns[part]) for part in ("lmjd", "spid", "fiberid"))
    plans = [plan.decode(errors="replace") for plan in _stripped(columns["planid"])]
    return _named(
        _lamost_name(day, plan, spectrograph, fibre) if day > 0 and plan and spectrograph > 0 and fibre > 0 else ""
        for day, plan, spectrograph, fibre in zip(days, plans, spectrographs, fibres, strict=True)
    )


def _by_spec_id(columns: Columns) -> NDArray[np.int64]:
    names = (text.decode(errors="replace") for text in _stripped(columns["spec_id"]))
    return np.array([spec_id_key(name) for name in names], np.int64)


def _by_file(columns: Columns) -> NDArray[np.int64]:
    names = (text.decode(errors="replace") for text in _stripped(columns["file"]))
    return np.array([file_key(name) for name in names], np.int64)


def _named(names: Iterable[str]) -> NDArray[np.int64]:
    """Return the keys of names; -1 for an empty name."""
    return np.array([name_key(name) if name else -1 for name in names], np.int64)


def _stripped(texts: NDArray[np.bytes_]) -> list[bytes]:
    return list(np.strings.strip(texts).tolist())


def _whole(text: bytes) -> int | None:
    """Return the integer that a text holds exactly; None for any other text."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(number) if abs(number) < EXACT and number == int(number) else None


def _integers(numbers: NDArray[np.float64]) -> list[int]:
    """Return numbers as integers; -1 where a number is not whole or is negative."""
    whole = (numbers >= 0) & (numbers < EXACT) & (numbers == np.floor(numbers))
    return list(np.where(whole, numbers, -1).astype(np.int64).tolist())


# Spectra ---------------------------------------------------------------------------------------------------


def _plate_of(spectrum: Observed) -> Iterable[int]:
    return (packed(spectrum.plate, spectrum.mjd, spectrum.fiberid),)


def _specobjid_of(spectrum: Observed) -> Iterable[int]:
    """Return the key by plate, mjd and fiberid, or by the number that names a spectrum of a table without these."""
    names = [name.encode() for name in (spectrum.spec_id, *spectrum.aliases)]
    return (*_plate_of(spectrum), *specobjid_keys([_whole(name) for name in names]).tolist())


def _field_of(spectrum: Observed) -> Iterable[int]:
    known = spectrum.fieldid >= 0 and spectrum.catalogid >= 0
    name = f"{spectrum.fieldid}-{spectrum.mjd}-{spectrum.catalogid}"
    return (name_key(name) if known else -1, *_spec_id_of(spectrum))


def _spec_id_of(spectrum: Observed) -> Iterable[int]:
    return (spec_id_key(name) for name in (spectrum.spec_id, *spectrum.aliases))


def _lamost_obsid_of(spectrum: Observed) -> Iterable[int]:
    return (name_key(f"lamost-{spectrum.obs_id}") if spectrum.obs_id >= 0 else -1, *_spec_id_of(spectrum))


def _lamost_fibre_of(spectrum: Observed) -> Iterable[int]:
    return (_lamost_key_of_file(spectrum.path), *_spec_id_of(spectrum))


def _lamost_key_of_file(path: str) -> int:
    """Return the key of the fibre that the name of a LAMOST file shows: spec-LMJD-PLANID_spSPID-FIBERID."""
    parts = _LAMOST_STEM.fullmatch(file_stem(path))
    return name_key(_lamost_name(int(parts[1]), parts[2], int(parts[3]), int(parts[4]))) if parts else -1


def _lamost_name(lmjd: int, planid: str, spid: int, fiberid: int) -> str:
    return f"lamost-{lmjd}-{planid}-{spid}-{fiberid}"


def _target_of(spectrum: Observed) -> Iterable[int]:
    known = spectrum.fieldid < 0 <= spectrum.catalogid
    return (name_key(f"desi-{spectrum.catalogid}") if known else -1, *_spec_id_of(spectrum))


def _file_of(spectrum: Observed) -> Iterable[int]:
    return (file_key(spectrum.path),)


PLATE, FIELD, LAMOST_FIBRE, FILE = "plate-mjd-fiberid", "fieldid-mjd-catalogid", "lmjd-planid-spid-fiberid", "file name"
POSITION = "position"
"""Name of the join by position, which uses no names."""

IDENTITIES = (
    # tables of SDSS-V may have a plate, too, which does not name their spectra
    Identity(FIELD, ("fieldid", "mjd", "catalogid"), "SDSS-V", _by_field, _field_of),
    Identity(PLATE, ("plate", "mjd", "fiberid"), "SDSS-I to SDSS-IV", _by_plate, _plate_of),
    Identity("specObjID", ("specobjid",), "SDSS since DR8, without SDSS-V", _by_specobjid, _specobjid_of),
    Identity("sdss_id", ("sdss_id",), "mwmStar files of SDSS-V", _by_number("sdss_id", "mwmStar"), _spec_id_of),
    Identity("obsid", ("obsid",), "LAMOST", _by_number("obsid", "lamost"), _lamost_obsid_of),
    Identity(LAMOST_FIBRE, ("lmjd", "planid", "spid", "fiberid"), "LAMOST", _by_lamost_fibre, _lamost_fibre_of),
    Identity("targetid", ("targetid",), "DESI", _by_number("targetid", "desi"), _target_of),
    Identity("spec_id", ("spec_id",), "all", _by_spec_id, _spec_id_of),
    Identity(FILE, ("file",), "all", _by_file, _file_of),
)
"""Identities, the preferred one first."""
