"""Label tables: the stellar parameters of spectra, which rows can be learned from, and why the others cannot.

Source: SSPP flag page of DR10; Sec. 2 (S/N >= 10, 4000-10000 K).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raystellar.errors import LabelTableError
from raystellar.labels.cells import Columns
from raystellar.labels.columns import INTEGERS, KEPT, SPELLINGS, TEXTS, choose, listed, unused
from raystellar.labels.config import LabelsConfig
from raystellar.labels.identity import FILE, IDENTITIES, POSITION, is_inexact, key_rows
from raystellar.labels.keys import name_key
from raystellar.labels.readers import column_names, read_columns
from raystellar.labels.sspp import flag_letters, flag_raised
from raystellar.labels.stars import close_pairs, group_stars
from raystellar.targets import TARGET_NAMES

FLOAT64 = ("ra", "dec")
"""Quantities that are kept in float64; float32 resolves positions to 0.1 arcsec only."""

CODES = (*(identity.name for identity in IDENTITIES), POSITION)
"""Names of the identities of rows."""

EXAMPLES = 3
"""Number of examples in a message."""

NO_VELOCITY = "V"
"""First letter of the SSPP flag of a spectrum whose velocity is not to be used."""


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labels of spectra, one row for each spectrum, sorted by ``key``.

    All columns are arrays, so that processes can share the table without copies. Unusable rows keep their velocities,
    because a spectrum needs a velocity but no labels to be labelled by the network. Missing values are NaN.
    """

    key: NDArray[np.int64]
    """Packed plate, mjd and fiberid, or the hash of a name, rising and unique; see ``labels.keys``."""
    teff: NDArray[np.float32]
    """Effective temperature [K]."""
    logg: NDArray[np.float32]
    """log10 of the surface gravity [cm/s2]."""
    feh: NDArray[np.float32]
    """Metallicity [Fe/H] [dex]."""
    e_teff: NDArray[np.float32]
    """Uncertainty of teff [K]."""
    e_logg: NDArray[np.float32]
    """Uncertainty of logg [dex]."""
    e_feh: NDArray[np.float32]
    """Uncertainty of feh [dex]."""
    rv: NDArray[np.float32]
    """Heliocentric radial velocity [km/s]."""
    e_rv: NDArray[np.float32]
    """Uncertainty of rv [km/s]."""
    sn: NDArray[np.float32]
    """Median S/N per pixel."""
    ra: NDArray[np.float64]
    """Right ascension, 0 to 360 [degrees]."""
    dec: NDArray[np.float64]
    """Declination [degrees]."""
    star_id: NDArray[np.int64]
    """Smallest key among the spectra of the star, which does not depend on the order of the table."""
    usable: NDArray[np.bool_]
    """Whether the labels can be learned from."""
    reason: NDArray[np.int8]
    """Reason why a row is not usable: a position in ``reasons``."""
    reasons: tuple[str, ...]
    """Texts of the reasons; the first one is the text of usable rows."""
    rows: int
    """Number of rows that were read."""
    duplicates: int
    """Number of rows that were dropped because another row of the same spectrum is better."""
    notes: tuple[str, ...]
    """Remarks for the user, such as missing columns."""
    identities: Mapping[str, int]
    """Number of rows that are joined by each identity, by its name, see ``labels.identity.IDENTITIES``."""
    match_radius_arcsec: float = 0.0
    """Distance on the sky within which spectra are joined to rows [arcsec]; 0 where they are joined by names."""

    def __len__(self) -> int:
        return len(self.key)

    def find(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows with these keys; -1 for a key that the table does not have."""
        row = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[row] == key, row, -1).astype(np.int64)

    def digest(self) -> str:
        """Return 16 hexadecimal digits of a hash of the arrays, the reasons and the radius of the join."""
        joined = [f"joined within {self.match_radius_arcsec!r} arcsec"] if self.match_radius_arcsec else []
        state = hashlib.sha256("\n".join([*self.reasons, *joined]).encode())
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                state.update(f"{field.name} {values.dtype.str} {values.shape}".encode())
                state.update(np.ascontiguousarray(values).data)
        return state.hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """Return counts of rows, spectra, stars, duplicates, usable rows, and rows by reason and by identity; notes."""
        counts = np.bincount(self.reason, minlength=len(self.reasons))
        return {
            "rows": self.rows,
            "spectra": len(self),
            "stars": len(np.unique(self.star_id)),
            "duplicates": self.duplicates,
            "usable": int(self.usable.sum()),
            "by_reason": {self.reasons[code]: int(counts[code]) for code in np.flatnonzero(counts) if code},
            "by_identity": dict(self.identities),
            "notes": list(self.notes),
        }


def read_labels(path: str, config: LabelsConfig, *, required: Sequence[str] = TARGET_NAMES) -> LabelTable:
    """Read a label table and judge its rows.

    Parameters
    ----------
    path : file, folder, glob or URL, such as ssppOut (FITS), a table of the CAS (CSV), or a table of raystellar, see
        ``labels.readers.read_columns``
    config : rules by which rows are usable, and the radius of a join by position
    required : quantities that the table must have a column of; none where only velocities or names are wanted

    Raises
    ------
    LabelTableError : the table cannot be read, lacks a required column, has no row that names a spectrum, or has rows
        of different labels under one file name or closer than the radius of the join
    """
    names = column_names(path)
    by_position = config.match_radius_arcsec > 0
    _require(names, path, required, by_position)
    columns, present, rows, notes = _load(path, required, by_position)
    rules = _judge_columns(columns, present)
    notes += rules if required else []
    if "rv" not in present:
        notes.append("the table has no radial velocities")
    if ignored := unused(names, choose(names, path, ())):
        notes.append(f"columns that look like labels, velocities or errors and were not used: {listed(ignored)}")
    lost = rows - len(columns["key"])
    _clean(columns, present, config)
    _refuse_conflicts(columns, path)
    reasons, reason = _judge(columns, present, config)
    kept = _one_row_a_spectrum(columns, reason)
    columns = {name: values[kept] for name, values in columns.items()}
    reason = reason[kept]
    if by_position:
        _refuse_neighbours(columns, config.match_radius_arcsec, path)
    star_id = group_stars(columns["key"], columns["ra"], columns["dec"], config.star_radius_arcsec, path)
    if config.repeats == "best":
        reasons = (*reasons, "repeat of a better spectrum")
        reason[_worse_repeats(columns, star_id, reason == 0)] = len(reasons) - 1
    arrays = {name: columns[name] for name in LabelTable.__dataclass_fields__ if name in columns}
    identities = Counter(columns["code"].tolist())
    return LabelTable(
        **arrays,
        star_id=star_id,
        usable=reason == 0,
        reason=reason,
        reasons=reasons,
        rows=rows,
        duplicates=rows - lost - len(kept),
        notes=tuple(notes),
        identities={CODES[code]: identities[code] for code in sorted(identities)},
        match_radius_arcsec=config.match_radius_arcsec,
    )


def _require(names: Sequence[str], path: str, required: Sequence[str], by_position: bool) -> None:
    """Refuse a table that lacks columns for a required quantity, or for a name or position of its spectra."""
    chosen = choose(names, path, (*required, "ra", "dec") if by_position else required)
    if by_position or any(chosen.keys() >= set(identity.parts) for identity in IDENTITIES):
        return
    ways = "; ".join(", ".join(SPELLINGS[part][0] for part in identity.parts) for identity in IDENTITIES)
    raise LabelTableError(
        f"label table {path} does not name its spectra: it has {listed(names)}; "
        f"it needs the columns of one of: {ways}; or ra, dec and a match radius"
    )


def _load(path: str, required: Sequence[str], by_position: bool) -> tuple[Columns, set[str], int, list[str]]:
    """Return the columns of all rows that have a key, the quantities that have a column, the number of rows; and notes.

    A quantity without a column is NaN.
    """
    pieces: list[Columns] = []
    present: set[str] = set()
    rows, inexact = 0, Counter[str]()
    needed = (*required, "ra", "dec") if by_position else required
    for piece in read_columns(path, SPELLINGS, required=needed, text=TEXTS):
        count = len(next(iter(piece.values())))
        rows += count
        had, present = present, set(KEPT) & set(piece)
        if had and had != present:
            odd = ", ".join(sorted(had ^ present))
            raise LabelTableError(f"label table {path}: not all of its files have a column for {odd}")
        key, code = _position_keys(piece) if by_position else key_rows(piece)
        for part in INTEGERS:
            if part in piece and (key < 0).any():
                inexact[SPELLINGS[part][0]] += int(is_inexact(piece[part][key < 0]).sum())
        pieces.append(_compact(piece, key, code))
    if not rows:
        raise LabelTableError(f"label table {path} holds no rows")
    columns = {name: np.concatenate([piece.pop(name) for piece in pieces]) for name in list(pieces[0])}
    notes = _lost_rows(path, rows, len(columns["key"]), inexact, by_position)
    return columns, present, rows, notes


def _position_keys(piece: Columns) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return a key (n,) for each position, and the position of ``POSITION`` in ``CODES``; -1 for rows without."""
    ra, dec = _positions(piece["ra"], piece["dec"])
    texts = [f"position {a!r} {d!r}" if d == d else "" for a, d in zip(ra.tolist(), dec.tolist(), strict=True)]
    key = np.array([name_key(text) if text else -1 for text in texts], np.int64)
    return key, np.where(key < 0, -1, CODES.index(POSITION)).astype(np.int8)


def _positions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions with right ascensions from 0 to 360 degrees; NaN where a position is impossible."""
    known = (np.abs(dec) <= 90) & (np.abs(ra) <= 720)
    return np.where(known, ra % 360, np.nan), np.where(known, dec + 0.0, np.nan)  # adding 0.0 turns -0.0 into 0.0


def _lost_rows(path: str, rows: int, named: int, inexact: Counter[str], by_position: bool) -> list[str]:
    """Return notes on rows without a key; raise LabelTableError where no row has one."""
    verb, what = ("has", "a position") if by_position else ("names", "a spectrum")
    why = "".join(
        f", as {column} of {count} rows is a floating-point number that has lost digits (write it as text)"
        for column, count in inexact.items()
        if count
    )
    if not named:
        raise LabelTableError(f"label table {path}: none of {rows} rows {verb} {what}{why}")
    plural, no = ("have", "no position") if by_position else ("name", "no spectrum")
    return [f"{rows - named} rows {plural} {no}{why} and were left out"] if named < rows else []


def _compact(piece: Columns, key: NDArray[np.int64], code: NDArray[np.int8]) -> Columns:
    """Return the rows that have a key, with keys and codes of identities, in the types of ``LabelTable``."""
    named = key >= 0
    missing = np.full(len(key), np.nan)
    compact: Columns = {"key": key[named], "code": code[named]}
    for name in KEPT:
        values = piece.get(name, missing)[named]
        if name != "flag":
            compact[name] = values.astype(np.float64 if name in FLOAT64 else np.float32)
        elif name in piece:
            compact[name] = flag_letters(values)
    return compact


def _refuse_conflicts(columns: Columns, path: str) -> None:
    """Refuse rows with one file name or one position and with different labels, of which none is known to be right."""
    unsure = np.flatnonzero(np.isin(columns["code"], [CODES.index(FILE), CODES.index(POSITION)]))
    order = unsure[np.argsort(columns["key"][unsure], kind="stable")]
    left, right = order[:-1], order[1:]
    differ = np.zeros(len(left), bool)
    for name in (*TARGET_NAMES, "rv"):
        one, other = columns[name][left], columns[name][right]
        differ |= ~((one == other) | (np.isnan(one) & np.isnan(other)))
    differ &= columns["key"][left] == columns["key"][right]
    if not differ.any():
        return
    keys = np.unique(columns["key"][left[differ]])
    if columns["code"][left[differ]][0] == CODES.index(POSITION):
        rows = order[np.isin(columns["key"][order], keys[:EXAMPLES])]
        at = sorted({f"{columns['ra'][row]:.6f} {columns['dec'][row]:+.6f}" for row in rows})
        raise LabelTableError(
            f"label table {path} has rows with different labels at one position, such as {', '.join(at)}; "
            f"keep one row of each star, or join by names"
        )
    raise LabelTableError(
        f"label table {path} has rows with different labels under one file name, such as "
        f"{', '.join(_file_names(path, keys))}; give names that differ without their folders, or keep one row of each"
    )


def _file_names(path: str, keys: NDArray[np.int64]) -> list[str]:
    """Return some file names with these keys, which are read again."""
    names: set[str] = set()
    for piece in read_columns(path, {"file": SPELLINGS["file"]}, text=("file",)):
        key, _ = key_rows(piece)
        names |= {text.decode(errors="replace") for text in piece["file"][np.isin(key, keys[:EXAMPLES])].tolist()}
    return sorted(names)


def _refuse_neighbours(columns: Columns, radius_arcsec: float, path: str) -> None:
    """Refuse rows that lie closer than the radius of the join, as a spectrum could belong to either."""
    left, right = close_pairs(columns["ra"], columns["dec"], radius_arcsec)
    if not len(left):
        return
    pairs = sorted(zip(left.tolist(), right.tolist(), strict=True))[:EXAMPLES]
    at = [" and ".join(f"{columns['ra'][row]:.6f} {columns['dec'][row]:+.6f}" for row in pair) for pair in pairs]
    raise LabelTableError(
        f"label table {path} has {len(left)} pairs of rows within {radius_arcsec:g} arcsec of each other, such as "
        f"{', '.join(at)}; keep one row of each star, choose a smaller radius, or join by names"
    )


def _judge_columns(columns: Columns, present: set[str]) -> list[str]:
    """Return notes on the rules that cannot be applied because a column is missing.

    A column of flags that are not SSPP flags is removed from ``present``.
    """
    notes = []
    if "flag" in present and not columns["flag"].any():
        present.discard("flag")
        notes.append("the column FLAG holds no SSPP flags (five letters) and was ignored")
    elif "flag" not in present:
        notes.append("the table has no SSPP flags, so rows are not judged by flags")
    if "sn" not in present:
        notes.append("the table has no S/N, so no smallest S/N is asked for")
    if not {"ra", "dec"} <= present:
        notes.append("the table has no positions, so each spectrum counts as a star of its own")
    return notes


def _clean(columns: Columns, present: set[str], config: LabelsConfig) -> None:
    """Set missing and impossible values to NaN, in place."""
    for name, values in columns.items():
        if values.dtype.kind == "f":
            values[~np.isfinite(values) | (values < -9990)] = np.nan  # -9999 in every table of the SSPP
            if name in (*TARGET_NAMES, "e_rv"):
                values[values == np.float32(-9.999)] = np.nan  # in tables of the CAS
    rv, e_rv = columns["rv"], columns["e_rv"]
    # -9.999 km/s is a velocity if it has an error; an error of -1 means that the fit of ELODIE templates failed
    invalid = (rv == np.float32(-9.999)) & ~(e_rv >= 0)
    invalid |= (e_rv < 0) | (e_rv > config.max_rv_error) | (np.abs(rv) > config.max_abs_rv)
    if "flag" in present:
        invalid |= columns["flag"][:, 0] == ord(NO_VELOCITY)
    rv[invalid] = np.nan
    e_rv[np.isnan(rv)] = np.nan
    for name in ("e_teff", "e_logg", "e_feh", "sn"):
        columns[name][columns[name] < 0] = np.nan
    columns["ra"], columns["dec"] = _positions(columns["ra"], columns["dec"])


def _judge(columns: Columns, present: set[str], config: LabelsConfig) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Return the texts of the reasons, and for each row (n,) the code of its first reason; 0 for a usable row."""
    verdicts: list[tuple[str, NDArray[np.bool_]]] = []
    if "flag" in present:
        letters = columns["flag"]
        verdicts += [
            ("no SSPP flag of five letters", letters[:, 0] == 0),
            ("critical SSPP flag", flag_raised(letters, config.critical_flags)),
        ]
        if config.require_normal:
            verdicts.append(("SSPP flag is not nnnnn", (letters != ord("n")).any(axis=1)))
    verdicts += [(f"missing {target}", np.isnan(columns[target])) for target in TARGET_NAMES]
    for target in TARGET_NAMES:
        low, high = config.range_of(target)
        verdicts.append((f"{target} out of range", (columns[target] < low) | (columns[target] > high)))
    for target in TARGET_NAMES:
        if f"n_{target}" in present:
            few = ~(columns[f"n_{target}"] >= config.min_estimates)
            verdicts.append((f"fewer than {config.min_estimates} estimates of {target}", few))
    if "sn" in present:
        verdicts += [
            ("missing S/N", np.isnan(columns["sn"])),
            (f"S/N below {config.min_sn:g}", columns["sn"] < config.min_sn),
        ]
    if "rv" in present and config.require_rv:
        verdicts.append(("no radial velocity", np.isnan(columns["rv"])))
    reason = np.zeros(len(columns["key"]), np.int8)
    for code in range(len(verdicts), 0, -1):
        reason[verdicts[code - 1][1]] = code
    return ("usable", *(text for text, _ in verdicts)), reason


def _one_row_a_spectrum(columns: Columns, reason: NDArray[np.int8]) -> NDArray[np.intp]:
    """Return one row for each spectrum, sorted by key: the usable row with the highest S/N, if any row is usable."""
    # the reason and the values decide between rows of equal S/N, so that the order of the rows does not matter
    ties = [values for values in columns.values() if values.dtype.kind == "f"]
    order = np.lexsort((*ties, reason, -columns["sn"], reason != 0, columns["key"]))  # NaN sorts last
    key = columns["key"][order]
    return order[np.concatenate([[True], key[1:] != key[:-1]])]


def _worse_repeats(columns: Columns, star_id: NDArray[np.int64], usable: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the usable rows of each star except its best row: the highest S/N, then the smallest key."""
    order = np.lexsort((columns["key"], -columns["sn"], star_id))
    order = order[usable[order]]
    return order[1:][star_id[order][1:] == star_id[order][:-1]]
