"""Which spectra are of one star: friends of friends on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from raystellar.errors import LabelTableError
from raystellar.labels.keys import FIBRES_PER_KEY, NAMELESS

ZONE = 1 << 18
"""Positions searched for neighbours at a time: 30 MB."""


def group_stars(
    key: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float, name: str
) -> NDArray[np.int64]:
    """Return, for every spectrum, the smallest key among the spectra of its star.

    Two spectra within ``radius_arcsec`` are of one star, and so are the friends of friends. A spectrum
    without position (NaN) is a star of its own. The result does not depend on the order of the rows.

    Parameters
    ----------
    key : (n,), unique
    ra, dec : (n,), degrees
    name : of the table, for the message

    Raises
    ------
    LabelTableError : the positions are of plates, not of stars
    """
    star = key.copy()
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return star
    places, place = _distinct(ra[known], dec[known])
    _check_positions(key[known], place, name)
    group = _groups(_near(places, radius_arcsec), len(places))[place]
    star[known] = _smallest(key[known], group)
    return star


def group_rows(
    key: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float
) -> tuple[NDArray[np.int64], int]:
    """Return, for every row of a catalogue, the smallest key among the rows of its star.

    As ``group_stars``, but rows of one key, which are of one spectrum, are of one star as well, wherever they are said
    to be; and a position that several fibres of a plate have in common, which is the plate's centre, counts as none.

    Parameters
    ----------
    key : (n,), the same for rows of one spectrum; ``labels.table.pack_key`` where it has plate, mjd and fibre, else at
        least 2**62
    ra, dec : (n,), degrees, NaN where they are unknown

    Returns
    -------
    The smallest keys (n,), and the number of rows whose position is the centre of a plate.
    """
    keys, number = np.unique(key, return_inverse=True)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    places, place = _distinct(ra[known], dec[known])
    centre = _plate_centres(key[known], place, len(places))
    centres = int(centre[place].sum())
    if centres:
        known, place = known[~centre[place]], (np.cumsum(~centre) - 1)[place[~centre[place]]]
        places = places[~centre]
    one = np.empty(len(places), dtype=np.intp)
    one[place] = number[known]  # a spectrum at each place, whichever: few others are linked to it
    others = number[known] != one[place]
    links = np.concatenate([np.column_stack([number[known], one[place]])[others], one[_near(places, radius_arcsec)]])
    return _smallest(keys, _groups(links, len(keys)))[number], centres


def _distinct(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the distinct positions (m, 2) in the order of declination, and which of them each row has, (n,).

    Equal positions are joined first: else n repeats of one position would make n**2 pairs.
    """
    order = np.lexsort((ra, dec))
    ra, dec = ra[order], dec[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ra[1:] != ra[:-1]) | (dec[1:] != dec[:-1])
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.cumsum(new) - 1
    return np.column_stack([ra[new], dec[new]]), place


def _near(places: NDArray[np.float64], radius_arcsec: float) -> NDArray[np.intp]:
    """Return the pairs (k, 2) of positions within the radius, found in one zone of declination after the other."""
    dec = places[:, 1]
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(places), ZONE):
        last = dec[min(start + ZONE, len(places)) - 1]
        zone = places[start : np.searchsorted(dec, last + 1.01 * radius_arcsec / 3600, side="right")]
        found = cKDTree(_unit_vectors(zone)).query_pairs(_chord(radius_arcsec), output_type="ndarray")
        pairs.append(start + found[found[:, 0] < ZONE])
    return np.concatenate(pairs)


def _groups(links: NDArray[np.intp], count: int) -> NDArray[np.int32]:
    """Return the group (count,) of each of ``count`` things of which pairs are linked."""
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count,) * 2)
    return connected_components(graph, directed=False)[1]


def _smallest(key: NDArray[np.int64], group: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the smallest key (n,) of the group of each row."""
    smallest = np.full(group.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, key)
    return smallest[group]


def _plate_centres(key: NDArray[np.int64], place: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Return for each of ``count`` places whether different fibres of one observation are said to be there."""
    many = np.flatnonzero((np.bincount(place, minlength=count)[place] > 1) & (key < NAMELESS))
    many = many[np.lexsort((key[many], place[many]))]
    key, place = key[many], place[many]
    plate = key // FIBRES_PER_KEY
    twice = (place[1:] == place[:-1]) & (plate[1:] == plate[:-1]) & (key[1:] != key[:-1])
    centre = np.zeros(count, dtype=bool)
    centre[place[1:][twice]] = True
    return centre


def _check_positions(key: NDArray[np.int64], place: NDArray[np.intp], name: str) -> None:
    """Refuse plate centres, which primary headers of spectra give as RA and DEC."""
    observation = np.column_stack([key // FIBRES_PER_KEY, place])
    fibres = len(key) - len(np.unique(observation, axis=0))
    if fibres > len(key) / 2:
        raise LabelTableError(
            f"label table {name} has one ra, dec for most fibres of a plate: the plate's "
            f"centre; give PLUG_RA and PLUG_DEC, or no positions"
        )


def _unit_vectors(places: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(places).T
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _chord(radius_arcsec: float) -> float:
    return float(2 * np.sin(np.radians(radius_arcsec / 3600) / 2))
