"""Tables of labels: which spectra have which stellar parameters, which of these can be used, and why not.

Source: SSPP flag page of DR10; Sec. 2 (S/N >= 10, 4000-10000 K).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raystellar.errors import LabelTableError
from raystellar.labels.keys import pack_key
from raystellar.labels.readers import Columns, read_columns
from raystellar.labels.sspp import FLAG_LENGTH, KEY, SPELLINGS, flag_letters, flag_raised
from raystellar.labels.stars import group_stars
from raystellar.targets import TARGET_NAMES

FLOAT64 = ("ra", "dec")  # float32 would be right to 0.1 arcsec only
NO_VELOCITY = "V"  # first letter of an SSPP flag


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """Which rows of a label table are fit to learn from."""

    teff_range: tuple[float, float] = (4000.0, 10000.0)
    """Least and largest effective temperature, K. Source: Sec. 2, the range of the SSPP."""

    logg_range: tuple[float, float] = (0.0, 5.0)
    """Least and largest log10 of the surface gravity in cm/s2. Source: the grid of the SSPP."""

    feh_range: tuple[float, float] = (-4.5, 1.0)
    """Least and largest [Fe/H], dex. Source: Table 1."""

    min_sn: float = 10.0
    """Least median signal-to-noise ratio per pixel, where the table has one. Source: Sec. 2."""

    critical_flags: tuple[str, ...] = ("DdHhESV", "", "", "", "BRX")
    """Letters that forbid use at each of the five positions of the SSPP flag. Source: SSPP flag page."""

    require_normal: bool = False
    """Use only rows with the flag ``nnnnn``: drops also what is merely cautioned against."""

    min_estimates: int = 1
    """Least number of SSPP estimates averaged into each label, where the table has them."""

    max_rv_error: float = 100.0
    """A velocity with a larger error counts as missing, km/s; 100 km/s are 1.4 pixels."""

    max_abs_rv: float = 1000.0
    """A larger velocity counts as missing, km/s: the SSPP has up to 1449 km/s, on rows that are no stars."""

    require_rv: bool = True
    """Use no row without velocity, where the table has velocities: its spectrum has no sure rest frame."""

    repeats: Literal["keep", "best"] = "keep"
    """Use all spectra of a star, or only the one of the highest S/N."""

    match_radius_arcsec: float = 2.0
    """Spectra nearer than this on the sky are of one star, arcsec; an SDSS fibre is 3 arcsec wide."""

    def __post_init__(self) -> None:
        for target in TARGET_NAMES:
            low, high = self.range_of(target)
            if not low < high:
                raise ValueError(f"{target}_range = [{low:g}, {high:g}] must rise")
        for name in ("min_sn", "min_estimates", "match_radius_arcsec"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name):g} must not be negative")
        for name in ("max_rv_error", "max_abs_rv"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name):g} km/s must be positive")
        if self.match_radius_arcsec > 60:
            raise ValueError(f"match_radius_arcsec = {self.match_radius_arcsec:g} must be at most 60")
        letters = f"n{''.join(self.critical_flags)}"  # there may be none at all
        if len(self.critical_flags) != FLAG_LENGTH or not (letters.isascii() and letters.isalpha()):
            raise ValueError(f"critical_flags = {list(self.critical_flags)} must be five texts of letters")

    def range_of(self, target: str) -> tuple[float, float]:
        """Return the least and the largest value of ``target``."""
        return {"teff": self.teff_range, "logg": self.logg_range, "feh": self.feh_range}[target]


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labels of spectra, one row a spectrum, in the order of ``key``; arrays only, so cheap to share.

    Velocities are kept on rows whose labels cannot be used: a spectrum can be labelled without them.
    """

    key: NDArray[np.int64]
    """Packed plate, mjd, fiberid, rising and unique: see ``pack_key``."""
    teff: NDArray[np.float32]
    """Effective temperature, K; this and all below: NaN where missing."""
    logg: NDArray[np.float32]
    """log10 of the surface gravity in cm/s2."""
    feh: NDArray[np.float32]
    """[Fe/H], dex."""
    e_teff: NDArray[np.float32]
    """Uncertainty of teff, K."""
    e_logg: NDArray[np.float32]
    """Uncertainty of logg, dex."""
    e_feh: NDArray[np.float32]
    """Uncertainty of feh, dex."""
    rv: NDArray[np.float32]
    """Heliocentric radial velocity, km/s."""
    e_rv: NDArray[np.float32]
    """Uncertainty of rv, km/s."""
    sn: NDArray[np.float32]
    """Median signal-to-noise ratio per pixel."""
    ra: NDArray[np.float64]
    """Right ascension, degrees, 0 to 360."""
    dec: NDArray[np.float64]
    """Declination, degrees."""
    star_id: NDArray[np.int64]
    """The smallest key among the spectra of the star: the same in whatever order the table was written."""
    usable: NDArray[np.bool_]
    """The labels can be learned from."""
    reason: NDArray[np.int8]
    """Why not: a position in ``reasons``."""
    reasons: tuple[str, ...]
    """Texts of the reasons; the first is that of usable rows."""
    rows: int
    """Rows that were read."""
    duplicates: int
    """Rows dropped because another row of the same spectrum is better."""
    notes: tuple[str, ...]
    """What a reader should know about this table."""

    def __len__(self) -> int:
        return len(self.key)

    def find(self, plate: ArrayLike, mjd: ArrayLike, fiberid: ArrayLike) -> NDArray[np.int64]:
        """Return the positions of spectra in this table; -1 where it has none."""
        wanted = pack_key(plate, mjd, fiberid)
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return np.where(self.key[place] == wanted, place, -1).astype(np.int64)

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify the content of the arrays."""
        state = hashlib.sha256("\n".join(self.reasons).encode())
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                state.update(f"{field.name} {values.dtype.str} {values.shape}".encode())
                state.update(np.ascontiguousarray(values).data)
        return state.hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """Count rows, spectra, stars, duplicates, usable rows, and the others by reason."""
        counts = np.bincount(self.reason, minlength=len(self.reasons))
        return {
            "rows": self.rows,
            "spectra": len(self),
            "stars": len(np.unique(self.star_id)),
            "duplicates": self.duplicates,
            "usable": int(self.usable.sum()),
            "by_reason": {self.reasons[code]: int(counts[code]) for code in np.flatnonzero(counts) if code},
            "notes": list(self.notes),
        }


def read_labels(path: str, config: LabelsConfig, *, required: Sequence[str] = TARGET_NAMES) -> LabelTable:
    """Read the labels at ``path`` (ssppOut FITS, CAS CSV, or CSV or Parquet of our own; a file or a URL).

    ``required`` names the quantities without whose column the table is refused; to label, ``rv`` is enough.

    Raises
    ------
    LabelTableError : the table cannot be read, lacks a needed column, or has no row that names a spectrum
    """
    columns, present, rows = _load(path, required)
    notes = _judge_columns(columns, present)
    lost = rows - len(columns["key"])
    if lost:
        notes.append(f"{lost} rows name no spectrum (plate, mjd, fiberid) and were left out")
    if not len(columns["key"]):
        raise LabelTableError(f"label table {path}: none of {rows} rows names a spectrum by {', '.join(KEY)}")
    _clean(columns, present, config)
    reasons, reason = _judge(columns, present, config)
    kept = _one_row_a_spectrum(columns, reason)
    columns = {name: values[kept] for name, values in columns.items()}
    reason = reason[kept]
    star_id = group_stars(columns["key"], columns["ra"], columns["dec"], config.match_radius_arcsec, path)
    if config.repeats == "best":
        reasons = (*reasons, "repeat of a better spectrum")
        reason[_worse_repeats(columns, star_id, reason == 0)] = len(reasons) - 1
    arrays = {name: columns[name] for name in LabelTable.__dataclass_fields__ if name in columns}
    return LabelTable(
        **arrays,
        star_id=star_id,
        usable=reason == 0,
        reason=reason,
        reasons=reasons,
        rows=rows,
        duplicates=rows - lost - len(kept),
        notes=tuple(notes),
    )


def _load(path: str, required: Sequence[str]) -> tuple[Columns, set[str], int]:
    """Read all pieces into one array a quantity, NaN where the table has no such column."""
    pieces: list[Columns] = []
    present: set[str] = set()
    rows = 0
    for piece in read_columns(path, SPELLINGS, required=(*KEY, *required), text=("flag",)):
        rows += len(piece["plate"])
        if present and present != set(piece):
            odd = ", ".join(sorted(present ^ set(piece)))
            raise LabelTableError(f"label table {path}: not all of its files have a column for {odd}")
        present = set(piece)
        pieces.append(_compact(piece))
    if not rows:
        raise LabelTableError(f"label table {path} holds no rows")
    columns = {name: np.concatenate([piece.pop(name) for piece in pieces]) for name in list(pieces[0])}
    return columns, present, rows


def _compact(piece: Columns) -> Columns:
    """Keep what is needed of the rows that name a spectrum, in the types of the table."""
    key = pack_key(*(piece[part] for part in KEY))
    good = key >= 0
    absent = np.full(len(key), np.nan)
    compact: Columns = {"key": key[good]}
    for name in SPELLINGS:
        values = piece.get(name, absent)[good]
        if name != "flag":
            compact[name] = values.astype(np.float64 if name in FLOAT64 else np.float32)
        elif name in piece:
            compact[name] = flag_letters(values)
    return {name: values for name, values in compact.items() if name not in KEY}


def _judge_columns(columns: Columns, present: set[str]) -> list[str]:
    """Say which filters cannot work for want of a column; a column of other flags is taken out."""
    notes = []
    if "flag" in present and not columns["flag"].any():
        present.discard("flag")
        notes.append("the column FLAG holds no SSPP flags (five letters) and was ignored")
    elif "flag" not in present:
        notes.append("the table has no SSPP flags, so none are asked for")
    if "sn" not in present:
        notes.append("the table has no S/N, so no least S/N is asked for")
    if "rv" not in present:
        notes.append("the table has no radial velocities")
    if not {"ra", "dec"} <= present:
        notes.append("the table has no positions, so every spectrum counts as a star of its own")
    return notes


def _clean(columns: Columns, present: set[str], config: LabelsConfig) -> None:
    """Set missing and impossible values to NaN, in place."""
    for name, values in columns.items():
        if values.dtype.kind == "f":
            values[~np.isfinite(values) | (values < -9990)] = np.nan  # -9999 in every table of the SSPP
            if name in (*TARGET_NAMES, "e_rv"):
                values[values == np.float32(-9.999)] = np.nan  # in tables of the CAS
    rv, e_rv = columns["rv"], columns["e_rv"]
    # -9.999 km/s may be true, and then has an error; an error of -1 is how the ELODIE fit says that it failed
    bad = (rv == np.float32(-9.999)) & ~(e_rv >= 0)
    bad |= (e_rv < 0) | (e_rv > config.max_rv_error) | (np.abs(rv) > config.max_abs_rv)
    if "flag" in present:
        bad |= columns["flag"][:, 0] == ord(NO_VELOCITY)
    rv[bad] = np.nan
    e_rv[np.isnan(rv)] = np.nan
    for name in ("e_teff", "e_logg", "e_feh", "sn"):
        columns[name][columns[name] < 0] = np.nan
    nowhere = ~((np.abs(columns["dec"]) <= 90) & (np.abs(columns["ra"]) <= 720))
    columns["ra"] %= 360
    columns["ra"][nowhere] = columns["dec"][nowhere] = np.nan


def _judge(columns: Columns, present: set[str], config: LabelsConfig) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Return the reasons and, for every row, the code of the first that holds; 0 is none."""
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
    """Return the rows to keep, by rising key: of every spectrum the usable row with the highest S/N."""
    # what follows S/N only makes the choice between equals independent of the order of the rows
    last = [values for values in columns.values() if values.dtype.kind == "f"]
    order = np.lexsort((*last, reason, -columns["sn"], reason != 0, columns["key"]))  # NaN sorts last
    key = columns["key"][order]
    return order[np.concatenate([[True], key[1:] != key[:-1]])]


def _worse_repeats(columns: Columns, star_id: NDArray[np.int64], usable: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the usable rows of stars that have a usable row of higher S/N, or equal S/N and smaller key."""
    order = np.lexsort((columns["key"], -columns["sn"], star_id))
    order = order[usable[order]]
    return order[1:][star_id[order][1:] == star_id[order][:-1]]
