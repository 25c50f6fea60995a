"""Are the errors of a catalogue true? Its labels against true ones, in units of its own errors.

    raystellar simulate fresh --stars 4000 --seed 90210
    raystellar label fresh/spectra --model model --out catalog
    raystellar bench errors catalog fresh/truth.parquet

The stars must be others than those the model was trained on: of a survey simulated with another seed. Rows that are not
to be used are left out; a star that is off by however much is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystellar.catalog.finished import open_catalog
from raystellar.errors import InputError
from raystellar.model.errormodel import WITHIN
from raystellar.targets import TARGET_NAMES

KEYS = ("plate", "mjd", "fiberid")
"""What names a spectrum in both tables."""

CATALOG_COLUMNS = (*KEYS, "sn", "flag_bad", *TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))

STD_WANTED, STD_WANTED_BY_SN = (0.9, 1.1), (0.8, 1.2)
"""Least and greatest standard deviation of z of all stars, and of each quarter of them by S/N."""

SHARES_WANTED = ((0.66, 0.70), (0.94, 0.96))
"""Least and greatest shares of all stars within 1 and 2.09 errors, which should be 0.683 and 0.950."""

FEWEST = 20
"""Stars that say anything; figures as good as what is wanted need thousands."""


class Bin(NamedTuple):
    """What z = (predicted - true) / error is for one label of some stars."""

    target: str
    what: str
    """By which the stars were sorted: ``all``, ``sn`` or a label of the catalogue."""
    low: float
    """Least of it; NaN for all stars."""
    high: float
    stars: int
    std: float
    """Of z about its mean."""
    bias: float
    """Mean of z."""
    within: tuple[float, ...]
    """Shares of the stars with |z| below 1 and 2.09, see ``errormodel.WITHIN``."""

    @property
    def as_wanted(self) -> bool:
        """Whether it meets what is wanted of all stars and of quarters by S/N; of others nothing is."""
        if self.what == "all":
            pairs = zip((self.std, *self.within), (STD_WANTED, *SHARES_WANTED), strict=True)
            return all(least <= value <= most for value, (least, most) in pairs)
        return self.what != "sn" or STD_WANTED_BY_SN[0] <= self.std <= STD_WANTED_BY_SN[1]


def errors_table(catalog: str, truth: str) -> list[Bin]:
    """Return the figures of each label: of all stars, of quarters by S/N, and of thirds by each label.

    Parameters
    ----------
    catalog : folder written by the stage label
    truth : Parquet file with plate, mjd, fiberid and the true labels

    Raises
    ------
    InputError : one of them cannot be read, or they have fewer than ``FEWEST`` stars in common
    """
    found = pa.concat_tables(table.select(CATALOG_COLUMNS) for table in open_catalog(catalog).rows())
    found = found.filter(pc.invert(found["flag_bad"]))
    try:
        wanted = pq.read_table(truth, columns=[*KEYS, *TARGET_NAMES])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{truth} cannot be read as a Parquet file of {', '.join(KEYS)} and labels ({error})"
        ) from None
    both = found.join(wanted, keys=list(KEYS), join_type="inner", right_suffix="_true")
    if len(both) < FEWEST:
        raise InputError(f"{catalog} and {truth} have {len(both)} of {FEWEST} stars in common; take one survey's")
    columns = {name: both[name].to_numpy().astype(np.float64) for name in both.column_names}
    return [line for name in TARGET_NAMES for line in bins(name, columns)]


def bins(target: str, columns: dict[str, np.ndarray]) -> Iterator[Bin]:
    """Yield the figures of one label; ``columns`` (n,) are those of a catalogue, and true labels with ``_true``."""
    z = (columns[target] - columns[f"{target}_true"]) / columns[f"e_{target}"]
    yield _bin(target, "all", (np.nan, np.nan), z)
    for what, parts in (("sn", 4), *((name, 3) for name in TARGET_NAMES)):
        edges = np.quantile(columns[what], np.linspace(0.0, 1.0, parts + 1))
        part = np.searchsorted(edges[1:-1], columns[what], side="right")
        for k in range(parts):
            yield _bin(target, what, (edges[k], edges[k + 1]), z[part == k])


def _bin(target: str, what: str, ends: tuple[float, float], z: np.ndarray) -> Bin:
    within = tuple(float((np.abs(z) < limit).mean()) for limit in WITHIN.values())
    return Bin(target, what, *ends, len(z), float(z.std()), float(z.mean()), within)
