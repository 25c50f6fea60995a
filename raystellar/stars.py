"""Which spectra are of one star: friends of friends on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from raystellar.errors import LabelTableError


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
    # Equal positions are joined first: else n repeats of one position would make n**2 pairs
    places, place = np.unique(np.column_stack([ra[known], dec[known]]), axis=0, return_inverse=True)
    place = place.ravel()
    _check_positions(key[known], place, name)
    pairs = cKDTree(_unit_vectors(places)).query_pairs(_chord(radius_arcsec), output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
    groups, group_of_place = connected_components(links, directed=False)
    group = group_of_place[place]
    smallest = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, key[known])
    star[known] = smallest[group]
    return star


def _check_positions(key: NDArray[np.int64], place: NDArray[np.intp], name: str) -> None:
    """Refuse plate centres, which primary headers of spectra give as RA and DEC."""
    observation = np.column_stack([key // 10**4, place])
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
