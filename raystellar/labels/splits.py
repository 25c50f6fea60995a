"""Training, validation and test splits, drawn by star, so that no star is in two splits.

``draw_splits`` is called by the preprocessing stage. It selects the spectra to draw from, and ``assign_splits`` draws.
Each star has a pseudo-random number, a hash of the seed and of the star. The split of a star depends on this number,
never on the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from raystellar.errors import LabelTableError
from raystellar.labels.identity import keys_shown
from raystellar.labels.keys import FIBRES_PER_KEY, NAMELESS, pack_key
from raystellar.labels.table import LabelTable
from raystellar.schema import SPLITS

NOT_DRAWN = -1
"""Code of a spectrum that is in no split."""

SPEC_NAME = r"spec-(?P<plate>\d{3,6})-(?P<mjd>\d{5})-(?P<fiberid>\d{1,4})\.fits?(?:\.gz)?$"
"""Pattern of the name of an SDSS spec file, which holds one spectrum."""

PLATE_NAME = r"spPlate-(?P<plate>\d{3,6})-(?P<mjd>\d{5})\.fits?(?:\.gz)?$"
"""Pattern of the name of an SDSS plate file, which holds all spectra of a plate."""

SPLITMIX64_STEP = 0x9E3779B97F4A7C15
"""Increment of the state of splitmix64: 2**64 divided by the golden ratio."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Sizes of the three splits: either all fractions (at most 1), or all counts (more than 1).

    The paper uses 30000, 5000 and 15000 spectra (Source: Sec. 3).
    """

    train: float = 0.8
    """Size of the training split: a fraction of all spectra, or an exact count."""

    validation: float = 0.1
    """Size of the validation split, which decides which weights are kept: a fraction, or an exact count."""

    test: float = 0.1
    """Size of the test split, which the errors are measured on: a fraction, or an exact count."""

    seed: int = 0
    """Seed of the draw."""

    by: Literal["star", "spectrum"] = "star"
    """Unit of the draw: all spectra of a star together, or each spectrum on its own, as in the paper."""

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
        """Whether the sizes are counts."""
        return max(self.sizes) > 1


def draw_splits(table: LabelTable, paths: pa.ChunkedArray, config: SplitConfig) -> NDArray[np.int8]:
    """Return the split of each spectrum in the label table: a position in ``schema.SPLITS``, or -1 for none.

    Only usable spectra are drawn. Counts are drawn from the spectra that the names of the files show to be present.
    Fractions are drawn from all usable spectra, so that the split of a star depends on the star and the seed alone.

    Parameters
    ----------
    paths : paths of the files of spectra
    """
    drawn_from = table.usable.copy()
    if config.exact:
        drawn_from &= _has_file(table, paths.combine_chunks())
    split = np.full(len(table), NOT_DRAWN, dtype=np.int8)
    split[drawn_from] = assign_splits(table.star_id[drawn_from], table.key[drawn_from], config)
    return split


def _has_file(table: LabelTable, paths: pa.StringArray) -> NDArray[np.bool_]:
    """Return for each row of the label table whether the names of the files show that its spectrum is present.

    A plate file holds all spectra of its plate. A file of a name that does not show the identity of its spectra, such
    as a Parquet table, may hold any spectrum, so then all rows count as present.
    """
    every = np.ones(len(table), dtype=bool)
    if table.match_radius_arcsec:
        return every
    fibre = pc.extract_regex(paths, SPEC_NAME)
    plate = pc.extract_regex(paths, PLATE_NAME)
    plates = pack_key(_numbers(plate, "plate"), _numbers(plate, "mjd"), 0) // FIBRES_PER_KEY
    present = np.isin(table.key // FIBRES_PER_KEY, plates)
    other = fibre.is_null().to_numpy(False) & plate.is_null().to_numpy(False)
    if table.key[-1] < NAMELESS:
        keys = pack_key(*(_numbers(fibre, part) for part in ("plate", "mjd", "fiberid")))
        return every if other.any() else _add_rows(present, table, keys)
    single = paths.filter(plate.is_null()).to_pylist()
    shown = [keys_shown(path) for path in single]
    if len(single) < len(paths) or not all(table.identities.keys() <= keys.keys() for keys in shown):
        return every
    return _add_rows(present, table, np.array([key for keys in shown for key in keys.values()], np.int64))


def _add_rows(present: NDArray[np.bool_], table: LabelTable, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return ``present`` with the rows of these keys."""
    rows = table.find(keys)
    present[rows[rows >= 0]] = True
    return present


def _numbers(names: pa.StructArray, part: str) -> NDArray[np.int64]:
    """Return the number that stands for ``part`` in each name that matches the pattern."""
    return names.drop_null().field(part).cast(pa.int64()).to_numpy()


def assign_splits(star_id: ArrayLike, keys: ArrayLike, config: SplitConfig) -> NDArray[np.int8]:
    """Return the split of each spectrum: a position in ``schema.SPLITS``, or -1 where it is not drawn.

    The result depends on the seed and on which spectra belong to which star, not on the order of the rows. Each star
    has a pseudo-random number, see ``seeded_hash``.

    With fractions, the number of a star alone decides its split. Stars that are added to the table change the split of
    no other star, and the sizes are right except for chance. (A new spectrum with the smallest key of its star changes
    the identity of the star, and so may change its split.)

    With counts, stars are taken in the order of their numbers, first for training, until each split has exactly its
    count of spectra. A star with more spectra than still fit is left for the next split.

    Parameters
    ----------
    star_id : (n,) the same for all spectra of a star
    keys : (n,) unique; drawn in place of the stars where ``config.by`` is "spectrum"

    Raises
    ------
    LabelTableError : there are fewer spectra than the counts ask for, or no stars fill the counts exactly
    """
    identity = np.asarray(star_id if config.by == "star" else keys, np.int64)
    stars, star, sizes = np.unique(identity, return_inverse=True, return_counts=True)
    numbers = seeded_hash(stars, config.seed)
    split = _by_count(numbers, sizes, config) if config.exact else _by_fraction(numbers, config)
    return split[star.ravel()]


def _by_fraction(numbers: NDArray[np.uint64], config: SplitConfig) -> NDArray[np.int8]:
    """Return the split of each star by the cumulative fraction in which its number lies."""
    edges = np.cumsum(config.sizes)
    if edges[-1] > 1 - 1e-9:  # 0.8 + 0.1 + 0.1 is less than 1 by rounding
        edges[edges > 1 - 1e-9] = 2.0
    split = np.searchsorted(edges, numbers / 2.0**64, side="right")
    return np.where(split < len(SPLITS), split, NOT_DRAWN).astype(np.int8)


def _by_count(numbers: NDArray[np.uint64], sizes: NDArray[np.intp], config: SplitConfig) -> NDArray[np.int8]:
    """Return the split of each star (its number, and its size in spectra), so that each split has its exact count."""
    total = int(sum(config.sizes))
    if total > sizes.sum():
        raise LabelTableError(
            f"train + validation + test = {total} spectra are asked for and {sizes.sum()} "
            f"are usable; ask for fewer, or for fractions"
        )
    chosen = np.full(len(numbers), NOT_DRAWN, np.int8)
    left = np.argsort(numbers, kind="stable")  # stars with equal numbers stay in the order of their identity
    for split, count in enumerate(config.sizes):
        taken = _fill(sizes[left], int(count))
        missing = int(count) - int(sizes[left][taken].sum())
        if missing:
            raise LabelTableError(
                f"{SPLITS[split]} = {int(count)} spectra cannot be made up of whole stars: no star that is left "
                f"fits the last {missing}; ask for fewer, or set by = 'spectrum'"
            )
        chosen[left[taken]] = split
        left = left[~taken]
    return chosen


def _fill(sizes: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Return which stars, taken in their order, make up ``count`` spectra; a star that is too large is passed over."""
    total = np.cumsum(sizes)
    whole = int(np.searchsorted(total, count, side="right"))
    taken = np.arange(len(sizes)) < whole
    room = count - (int(total[whole - 1]) if whole else 0)
    for star in range(whole, len(sizes)):
        if not room:
            break
        if sizes[star] <= room:
            taken[star] = True
            room -= int(sizes[star])
    return taken


def seeded_hash(identity: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a pseudo-random number from 0 to 2**64 - 1 for each identity (of a star, a spectrum or a plate).

    number = splitmix64(identity ^ splitmix64(seed))
    """
    salt = splitmix64(np.array([seed], np.uint64))
    return splitmix64(identity.astype(np.uint64) ^ salt)


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output of the generator splitmix64 for each state; one bit of the state moves half of the output bits.

    Source: Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195.
    """
    state = state + np.uint64(SPLITMIX64_STEP)  # wraps around at 2**64, as the generator requires
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
