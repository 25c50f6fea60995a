"""Who trains, who validates, who tests: by star, so that no star is on two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from raystellar.errors import LabelTableError
from raystellar.labels.stars import FIBRES_PER_KEY
from raystellar.labels.table import LabelTable, pack_key
from raystellar.schema import SPLITS

NOT_DRAWN = -1


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Sizes of the three sets: all of them fractions (at most 1), or all of them counts (more than 1).

    The paper has 30000, 5000 and 15000 (Source: Sec. 3).
    """

    train: float = 0.8
    """Spectra to learn from: a fraction, or an exact count."""

    validation: float = 0.1
    """Spectra to choose the best weights by: a fraction, or an exact count."""

    test: float = 0.1
    """Spectra to measure the errors on: a fraction, or an exact count."""

    seed: int = 0
    """Chooses the draw."""

    by: Literal["star", "spectrum"] = "star"
    """What is drawn: all spectra of a star together, or every spectrum for itself, as in the paper."""

    def __post_init__(self) -> None:
        for name, size in zip(SPLITS, self.sizes, strict=True):
            if not 0 <= size < 2**53:  # NaN too
                raise ValueError(f"{name} = {size:g} must be a fraction or a count")
            if size > 1 and size != int(size):
                raise ValueError(f"{name} = {size:g} must be a whole number, since it is more than 1")
        if self.train == 0:
            raise ValueError("train = 0 leaves nothing to learn from")
        if self.exact and any(0 < size <= 1 for size in self.sizes):
            raise ValueError(
                f"train, validation, test = {', '.join(f'{size:g}' for size in self.sizes)} "
                f"must be all fractions (at most 1) or all counts (more than 1)"
            )
        if not self.exact and sum(self.sizes) > 1 + 1e-9:
            raise ValueError(f"train + validation + test = {sum(self.sizes):g} must be at most 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed = {self.seed} must be from 0 to 2**63 - 1")

    @property
    def sizes(self) -> tuple[float, float, float]:
        """Sizes in the order of ``schema.SPLITS``."""
        return self.train, self.validation, self.test

    @property
    def exact(self) -> bool:
        """The sizes are counts."""
        return max(self.sizes) > 1


def assign_splits(star_id: ArrayLike, keys: ArrayLike, config: SplitConfig) -> NDArray[np.int8]:
    """Return, for every spectrum, its position in ``schema.SPLITS``, or -1 where it is not drawn.

    Nothing but the seed and the sets of stars and spectra matters, the order of the rows does not. Every
    star has a place on [0, 1), hashed from the seed and its identity.

    With fractions, the place alone decides: more stars in the table move none of the others, and the sizes
    are right but for chance. (A new spectrum with the smallest key of its star renames the star.)
    With counts, stars are taken by rising place, first for training, until each set has exactly its number of
    spectra; a star with more spectra than still fit is passed over, and is left to the next set.

    Parameters
    ----------
    star_id : (n,), the same for all spectra of a star
    keys : (n,), unique; these are drawn where ``config.by`` is "spectrum"

    Raises
    ------
    LabelTableError : there are too few spectra for the counts, or no stars to fill them exactly
    """
    identity = np.asarray(star_id if config.by == "star" else keys, np.int64)
    groups, group, sizes = np.unique(identity, return_inverse=True, return_counts=True)
    place = hash_place(groups, config.seed)
    chosen = _by_count(place, sizes, config) if config.exact else _by_fraction(place, config)
    return chosen[group.ravel()]


def hash_place(identity: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a place from 0 to 2**64 - 1 for every identity: splitmix64 of identity and hashed seed.

    Source: Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195.
    """
    salt = _mix(np.array([seed], np.uint64))
    return _mix(identity.astype(np.uint64) ^ salt)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _by_fraction(place: NDArray[np.uint64], config: SplitConfig) -> NDArray[np.int8]:
    edges = np.cumsum(config.sizes)
    if edges[-1] > 1 - 1e-9:  # 0.8 + 0.1 + 0.1 falls short of 1 by rounding
        edges[edges > 1 - 1e-9] = 2.0
    chosen = np.searchsorted(edges, place / 2.0**64, side="right")
    return np.where(chosen < len(SPLITS), chosen, NOT_DRAWN).astype(np.int8)


def _by_count(place: NDArray[np.uint64], sizes: NDArray[np.intp], config: SplitConfig) -> NDArray[np.int8]:
    total = int(sum(config.sizes))
    if total > sizes.sum():
        raise LabelTableError(
            f"train + validation + test = {total} spectra are asked for and {sizes.sum()} "
            f"are usable; ask for fewer, or for fractions"
        )
    chosen = np.full(len(place), NOT_DRAWN, np.int8)
    left = np.argsort(place, kind="stable")  # equal places: by identity
    for split, wanted in enumerate(config.sizes):
        taken = _fill(sizes[left], int(wanted))
        missing = int(wanted) - int(sizes[left][taken].sum())
        if missing:
            raise LabelTableError(
                f"{SPLITS[split]} = {int(wanted)} spectra cannot be had in whole stars, "
                f"none that is left fits the last {missing}; ask for fewer, or set by = "
                f"'spectrum'"
            )
        chosen[left[taken]] = split
        left = left[~taken]
    return chosen


def _fill(sizes: NDArray[np.intp], wanted: int) -> NDArray[np.bool_]:
    """Take groups in their order, passing over what does not fit any more."""
    total = np.cumsum(sizes)
    whole = int(np.searchsorted(total, wanted, side="right"))
    taken = np.arange(len(sizes)) < whole
    room = wanted - (int(total[whole - 1]) if whole else 0)
    for index in range(whole, len(sizes)):
        if not room:
            break
        if sizes[index] <= room:
            taken[index] = True
            room -= int(sizes[index])
    return taken


SPEC_NAME = r"spec-(?P<plate>\d{3,6})-(?P<mjd>\d{5})-(?P<fiberid>\d{1,4})\.fits?(?:\.gz)?$"
"""Name of an SDSS spec file, which says whose spectrum it is."""


PLATE_NAME = r"spPlate-(?P<plate>\d{3,6})-(?P<mjd>\d{5})\.fits?(?:\.gz)?$"
"""Name of an SDSS plate file."""


def draw_splits(table: LabelTable, paths: pa.ChunkedArray, config: SplitConfig) -> np.ndarray:
    """Return the split (len(table),) int8 of every spectrum in the table; -1 where it is not to be used.

    Exact counts are drawn among the usable spectra whose files are there, by the names of the files. With fractions
    a star's split depends on nothing but itself and the seed.
    """
    drawn_from = table.usable.copy()
    if config.exact:
        drawn_from &= _has_file(table, paths.combine_chunks())
    split = np.full(len(table), NOT_DRAWN, dtype=np.int8)
    split[drawn_from] = assign_splits(table.star_id[drawn_from], table.key[drawn_from], config)
    return split


def _has_file(table: LabelTable, paths: pa.StringArray) -> np.ndarray:
    """Return for each row (n,) bool whether the names of the files say that its spectrum is there.

    A plate file has all spectra of its plate; a file whose name says nothing, such as a Parquet table, may have any.
    """
    fibre = pc.extract_regex(paths, SPEC_NAME)
    plate = pc.extract_regex(paths, PLATE_NAME)
    if (fibre.is_null().to_numpy(False) & plate.is_null().to_numpy(False)).any():
        return np.ones(len(table), dtype=bool)
    plates = pack_key(_numbers(plate, "plate"), _numbers(plate, "mjd"), 0) // FIBRES_PER_KEY
    present = np.isin(table.key // FIBRES_PER_KEY, plates)
    found = table.find(*(_numbers(fibre, part) for part in ("plate", "mjd", "fiberid")))
    present[found[found >= 0]] = True
    return present


def _numbers(names: pa.StructArray, part: str) -> np.ndarray:
    return names.drop_null().field(part).cast(pa.int64()).to_numpy()
