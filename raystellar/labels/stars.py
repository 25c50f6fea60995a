"""Grouping of spectra into stars: friends of friends on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from raystellar.errors import LabelTableError
from raystellar.labels.keys import FIBRES_PER_KEY, NAMELESS

ZONE = 1 << 18
"""Number of positions that are searched for neighbours at a time; the search takes 30 MB."""


def group_stars(
    key: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float, name: str
) -> NDArray[np.int64]:
    """Return for each spectrum the smallest key among the spectra of its star.

    Two spectra within ``radius_arcsec`` belong to one star, and so do friends of friends. A spectrum without a position
    (NaN) is a star of its own. The result does not depend on the order of the rows.

    Parameters
    ----------
    key : (n,) unique
    ra, dec : (n,) degrees
    name : name of the label table, for the message

    Raises
    ------
    LabelTableError : the positions are those of plates, not of stars
    """
    star = key.copy()
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return star
    positions, index = _distinct(ra[known], dec[known])
    _check_positions(key[known], index, name)
    group = _groups(_near(positions, radius_arcsec), len(positions))[index]
    star[known] = _smallest(key[known], group)
    return star


def group_rows(
    key: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float
) -> tuple[NDArray[np.int64], int]:
    """Return for each row of a catalogue the smallest key among the rows of its star.

    The rule is that of ``group_stars``, with two additions. Rows of the same key are rows of one spectrum, so they
    belong to one star, wherever their positions are. A position that several fibres of a plate share is the centre of
    the plate, so it counts as no position.

    Parameters
    ----------
    key : (n,) the same for rows of one spectrum; from ``labels.keys.pack_key``, or at least ``NAMELESS`` where the
        spectrum has no plate, mjd and fiberid
    ra, dec : (n,) degrees, NaN where unknown

    Returns
    -------
    The smallest keys (n,), and the number of rows whose position is the centre of a plate.
    """
    keys, spectrum = np.unique(key, return_inverse=True)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    positions, index = _distinct(ra[known], dec[known])
    is_centre = _plate_centres(key[known], index, len(positions))
    centres = int(is_centre[index].sum())
    if centres:
        known, index = known[~is_centre[index]], (np.cumsum(~is_centre) - 1)[index[~is_centre[index]]]
        positions = positions[~is_centre]
    first = np.empty(len(positions), dtype=np.intp)
    first[index] = spectrum[known]  # any spectrum at the position; few other spectra are there and are linked to it
    others = spectrum[known] != first[index]
    same_position = np.column_stack([spectrum[known], first[index]])[others]
    links = np.concatenate([same_position, first[_near(positions, radius_arcsec)]])
    return _smallest(keys, _groups(links, len(keys)))[spectrum], centres


def close_pairs(
    ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of different positions that lie within the radius of each other, as two arrays (k,).

    Parameters
    ----------
    ra, dec : (n,) degrees, finite; of rows at one position only the first is compared
    """
    positions, index = _distinct(ra, dec)
    first = np.full(len(positions), len(ra), dtype=np.intp)
    np.minimum.at(first, index, np.arange(len(ra)))
    pairs = first[_near(positions, radius_arcsec)]
    return pairs[:, 0], pairs[:, 1]


def _distinct(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the distinct positions (m, 2), sorted by declination, and the index (n,) of the position of each row.

    Without this step, n repeats of one position would make n**2 pairs.
    """
    order = np.lexsort((ra, dec))
    ra, dec = ra[order], dec[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ra[1:] != ra[:-1]) | (dec[1:] != dec[:-1])
    index = np.empty(len(order), dtype=np.intp)
    index[order] = np.cumsum(new) - 1
    return np.column_stack([ra[new], dec[new]]), index


def _near(positions: NDArray[np.float64], radius_arcsec: float) -> NDArray[np.intp]:
    """Return the pairs (k, 2) of positions within the radius, searched in one zone of declination after the other."""
    dec = positions[:, 1]
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(positions), ZONE):
        last = dec[min(start + ZONE, len(positions)) - 1]
        zone = positions[start : np.searchsorted(dec, last + 1.01 * radius_arcsec / 3600, side="right")]
        in_zone = cKDTree(unit_vectors(*zone.T)).query_pairs(chord(radius_arcsec), output_type="ndarray")
        pairs.append(start + in_zone[in_zone[:, 0] < ZONE])
    return np.concatenate(pairs)


def _groups(links: NDArray[np.intp], count: int) -> NDArray[np.int32]:
    """Return the connected component (count,) of each of ``count`` nodes; ``links`` (k, 2) are the linked pairs."""
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count,) * 2)
    return connected_components(graph, directed=False)[1]


def _smallest(key: NDArray[np.int64], group: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return for each row (n,) the smallest key of its group."""
    smallest = np.full(group.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, key)
    return smallest[group]


def _plate_centres(key: NDArray[np.int64], index: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Return for each of ``count`` positions whether different fibres of one plate and date have that position."""
    shared = np.flatnonzero((np.bincount(index, minlength=count)[index] > 1) & (key < NAMELESS))
    shared = shared[np.lexsort((key[shared], index[shared]))]
    key, index = key[shared], index[shared]
    plate = key // FIBRES_PER_KEY
    twice = (index[1:] == index[:-1]) & (plate[1:] == plate[:-1]) & (key[1:] != key[:-1])
    is_centre = np.zeros(count, dtype=bool)
    is_centre[index[1:][twice]] = True
    return is_centre


def _check_positions(key: NDArray[np.int64], index: NDArray[np.intp], name: str) -> None:
    """Refuse the centres of plates, which are RA and DEC in the primary headers of spectra."""
    observation = np.column_stack([key // FIBRES_PER_KEY, index])
    repeated = len(key) - len(np.unique(observation, axis=0))
    if repeated > len(key) / 2:
        raise LabelTableError(
            f"label table {name} has the same ra, dec for most fibres of a plate: the plate's centre; "
            f"give PLUG_RA and PLUG_DEC, or no positions"
        )


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vectors (n, 3) of length 1 to positions (n,) [degrees]."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def chord(radius_arcsec: float) -> float:
    """Return the length of the chord of an angle on the unit sphere."""
    return float(2 * np.sin(np.radians(radius_arcsec / 3600) / 2))
