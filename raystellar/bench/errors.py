"""Benchmark the errors of a catalogue: compare its labels with true labels, in units of its own errors.

    raystellar simulate fresh --stars 4000 --seed 90210
    raystellar label fresh/spectra --model model --out catalog
    raystellar bench errors catalog fresh/truth.parquet

Simulate the survey with another seed than that of the training survey, so that the model has not seen its stars. Rows
with ``flag_bad`` are left out. No row is left out because its label is wrong.
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
from raystellar.labels.columns import KEY
from raystellar.model.errormodel import WITHIN
from raystellar.targets import TARGET_NAMES

CATALOG_COLUMNS = (*KEY, "sn", "flag_bad", *TARGET_NAMES, *(f"e_{name}" for name in TARGET_NAMES))
"""Columns read from the catalogue."""

STD_WANTED, STD_WANTED_BY_SN = (0.9, 1.1), (0.8, 1.2)
"""Limits of the standard deviation of z for all stars, and for each quarter of the stars by S/N."""

SHARES_WANTED = ((0.66, 0.70), (0.94, 0.96))
"""Limits of the shares of all stars within 1 and 2.09 errors; the ideal shares are 0.683 and 0.950."""

FEWEST = 20
"""Least number of stars for a table; the limits above need thousands of stars to be meaningful."""


class Bin(NamedTuple):
    """Distribution of z = (predicted - true) / error of one label in one group of stars."""

    target: str
    """Label of the z."""

    sorted_by: str
    """Column that divides the stars into groups: ``sn`` or a label; ``all`` for the group of all stars."""

    low: float
    """Least value of that column in the group; NaN for all stars."""

    high: float
    """Greatest value of that column in the group; NaN for all stars."""

    stars: int
    """Number of stars."""

    std: float
    """Standard deviation of z."""

    bias: float
    """Mean of z."""

    within: tuple[float, ...]
    """Shares of the stars with |z| below 1 and 2.09, see ``errormodel.WITHIN``."""

    @property
    def as_wanted(self) -> bool:
        """Whether the group meets the limits; only the group of all stars and the quarters by S/N have limits."""
        if self.sorted_by == "all":
            pairs = zip((self.std, *self.within), (STD_WANTED, *SHARES_WANTED), strict=True)
            return all(least <= value <= most for value, (least, most) in pairs)
        return self.sorted_by != "sn" or STD_WANTED_BY_SN[0] <= self.std <= STD_WANTED_BY_SN[1]


def errors_table(catalog: str, truth: str) -> list[Bin]:
    """Return the distribution of z of each label for all stars, for quarters by S/N and for thirds by each label.

    Parameters
    ----------
    catalog : folder written by ``raystellar label``
    truth : Parquet file with plate, mjd, fiberid and the true labels

    Raises
    ------
    InputError : a table cannot be read, or the tables have fewer than ``FEWEST`` stars in common
    """
    rows = pa.concat_tables(table.select(CATALOG_COLUMNS) for table in open_catalog(catalog).rows())
    rows = rows.filter(pc.invert(rows["flag_bad"]))
    try:
        true_labels = pq.read_table(truth, columns=[*KEY, *TARGET_NAMES])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{truth} cannot be read as a Parquet file of {', '.join(KEY)} and labels ({error})") from None
    both = rows.join(true_labels, keys=list(KEY), join_type="inner", right_suffix="_true")
    if len(both) < FEWEST:
        raise InputError(
            f"{catalog} and {truth} have {len(both)} stars in common, at least {FEWEST} are needed; "
            "give the truth of the same survey"
        )
    columns = {name: both[name].to_numpy().astype(np.float64) for name in both.column_names}
    return [bin_ for name in TARGET_NAMES for bin_ in bins(name, columns)]


def bins(target: str, columns: dict[str, np.ndarray]) -> Iterator[Bin]:
    """Yield the groups of one label.

    Parameters
    ----------
    target : name of the label
    columns : columns of a catalogue (n,), and the true labels with the suffix ``_true``
    """
    z = (columns[target] - columns[f"{target}_true"]) / columns[f"e_{target}"]
    yield _bin(target, "all", (np.nan, np.nan), z)
    for column, parts in (("sn", 4), *((name, 3) for name in TARGET_NAMES)):
        edges = np.quantile(columns[column], np.linspace(0.0, 1.0, parts + 1))
        group = np.searchsorted(edges[1:-1], columns[column], side="right")
        for k in range(parts):
            yield _bin(target, column, (edges[k], edges[k + 1]), z[group == k])


def _bin(target: str, sorted_by: str, ends: tuple[float, float], z: np.ndarray) -> Bin:
    """Return the distribution of z (n,) in a group that spans ``ends``."""
    within = tuple(float((np.abs(z) < limit).mean()) for limit in WITHIN.values())
    return Bin(target, sorted_by, *ends, len(z), float(z.std()), float(z.mean()), within)
