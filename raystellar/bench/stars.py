"""Benchmark the labels of real stars: compare the labels of a model with those of the literature.

    raystellar bench stars SPECTRA --labels TABLE --model MODEL     labels of a table, see labels/README.md
    raystellar bench stars SPECTRA --labels elodie --model MODEL    ELODIE labels in SDSS spec files
    raystellar bench stars miles.npz --model MODEL                  the MILES stars (see ``sky``) with their own labels

The spectra are labelled as the stage ``label`` does it. No star is left out because its labels differ. The labels
of the literature have errors of their own, which every figure includes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.stats import spearmanr

import raystellar
from raystellar.api import Labels, Model
from raystellar.bench.sky import air_to_vacuum
from raystellar.errors import InputError
from raystellar.fit.metrics import NORMAL_MAD
from raystellar.labels.config import LabelsConfig
from raystellar.labels.join import Join
from raystellar.labels.table import read_labels
from raystellar.targets import TARGET_NAMES

ELODIE = "elodie"
"""Word that stands for the ELODIE labels in spec files, instead of a table."""

LIBRARY_SUFFIX = ".npz"
"""End of the name of a file that holds a library of spectra."""

MILES_SN = 100.0
"""Assumed S/N per pixel of the MILES spectra; the library does not give it."""


@dataclass(frozen=True)
class Agreement:
    """Differences of one label in one group of stars: model minus literature, in the unit of the label."""

    group: str
    """Name of the group."""

    label: str
    """Name of the label."""

    n: int
    """Number of stars."""

    bias: float
    """Median difference."""

    scatter: float
    """Standard deviation of a normal distribution with the same median absolute deviation."""

    mae: float
    """Mean absolute difference."""

    z_std: float
    """Standard deviation of the difference in units of the model's error."""

    rank: float
    """Spearman rank correlation; NaN where a label does not vary."""


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison."""

    lines: list[Agreement]
    """One entry for each group and label."""

    stars: int
    """Number of labelled stars with labels in the literature."""

    unmatched: int
    """Number of labelled stars without labels in the literature."""

    rejected: int
    """Number of spectra that could not be labelled."""


def compare_stars(spectra: Sequence[str], table: str | None, model: str) -> Comparison:
    """Label ``spectra`` with a model and compare the labels with those of a table.

    Parameters
    ----------
    spectra : files, folders, globs or lists of them; or one library that ends in .npz
    table : label table with teff, feh and logg, see ``labels.table.read_labels``; ``elodie`` for the labels in the spec
        files; None for the labels of the library
    model : folder of the model

    Raises
    ------
    InputError : ``table`` is None for spectra outside a library, or no star has labels in the literature
    LabelTableError : the table cannot be read
    BundleError : the model is missing or damaged
    """
    loaded = raystellar.load(model)
    is_library = len(spectra) == 1 and spectra[0].endswith(LIBRARY_SUFFIX)
    if table is None and not is_library:
        raise InputError(f"no labels to compare {spectra[0]} with; add --labels with a table or {ELODIE}")
    join = Join(read_labels(table, LabelsConfig())) if table not in (None, ELODIE) else None
    stars, theirs = _miles(spectra[0], loaded) if is_library else (loaded.label(spectra), np.empty(0))
    if table == ELODIE:
        theirs = read_elodie(stars["path"])
    elif join:
        theirs = labels_of(stars, join)
    known = np.isfinite(theirs).any(axis=1) if len(stars) else np.zeros(0, bool)
    if not known.any():
        raise InputError(f"none of {len(stars)} spectra has labels in {table or spectra[0]}; check their names")
    ranges = np.array([loaded.bundle.label_ranges[name] for name in TARGET_NAMES])
    lines = list(comparison(stars[known], theirs[known], ranges))
    rejected = len(stars.rejects) if stars.rejects is not None else 0
    return Comparison(lines, int(known.sum()), int((~known).sum()), rejected)


def comparison(stars: Table, theirs: np.ndarray, ranges: np.ndarray) -> Iterator[Agreement]:
    """Yield the agreement of each label in each group of stars.

    The groups are all stars, stars in the range of the training labels, stars with ``flag_bad``, stars without
    (usable), and usable stars in range. A group is left out if it is empty or equals the wider group that contains it.

    Parameters
    ----------
    stars : n rows of a catalogue
    theirs : (n, 3) labels of the literature, NaN where a label is missing
    ranges : (3, 2) least and greatest label of the training stars
    """
    bad = np.asarray(stars["flag_bad"], bool)
    inside = ((theirs >= ranges[:, 0]) & (theirs <= ranges[:, 1])).all(axis=1)
    every = np.ones(len(bad), bool)
    groups = {"all": every, "in range": inside, "flag_bad": bad, "usable": ~bad, "usable, in range": ~bad & inside}
    wider = {"in range": "all", "usable": "all", "usable, in range": "usable"}
    for group, chosen in groups.items():
        if group in wider and (chosen == groups[wider[group]]).all():
            continue
        for t, name in enumerate(TARGET_NAMES):
            rows = chosen & np.isfinite(theirs[:, t])
            if rows.any():
                ours, error = (np.asarray(stars[column], float)[rows] for column in (name, f"e_{name}"))
                yield _agreement(group, name, ours, theirs[rows, t], error)


def _agreement(group: str, label: str, ours: np.ndarray, theirs: np.ndarray, error: np.ndarray) -> Agreement:
    """Return the agreement of labels ``ours`` (n,) with ``theirs`` (n,); ``error`` (n,) is that of ``ours``."""
    difference = ours - theirs
    bias = float(np.median(difference))
    scatter = float(NORMAL_MAD * np.median(np.abs(difference - bias)))
    varied = len(np.unique(ours)) > 1 and len(np.unique(theirs)) > 1
    rank = float(spearmanr(ours, theirs).statistic) if varied else float("nan")
    return Agreement(
        group,
        label,
        len(ours),
        bias,
        scatter,
        float(np.abs(difference).mean()),
        float(np.std(difference / error)),
        rank,
    )


# Labels of the literature ----------------------------------------------------------------------------------


def labels_of(stars: Table, join: Join) -> np.ndarray:
    """Return the labels (n, 3) of stars in a label table, usable or not; NaN where a label is missing."""
    row = join.rows({name: stars[name] for name in join.needed if name in stars.colnames})
    labels = np.stack([getattr(join.table, name)[row] for name in TARGET_NAMES], axis=1).astype(float)
    labels[row < 0] = np.nan
    return labels


def read_elodie(paths: Sequence[str]) -> np.ndarray:
    """Return the labels (n, 3) of the best ELODIE star in SDSS spec files; NaN for a file without.

    The SDSS pipeline compares a spectrum with some 900 stars of known labels (Prugniel & Soubiran 2001, A&A 369, 1048).
    The labels are those of the most similar of these stars, not of the observed star. Where the pipeline made no
    comparison, as for all BOSS spectra, the columns hold the first star of its list, and ELODIE_DOF is 0; such files
    have no labels here. Source: SDSS data model of spec files, HDU 2.
    """
    labels = np.full((len(paths), len(TARGET_NAMES)), np.nan)
    for star, path in enumerate(paths):
        try:
            with fits.open(path) as file:
                row = file[2].data[0]
                if row["ELODIE_DOF"] > 0:
                    labels[star] = [row[f"ELODIE_{name}"] for name in TARGET_NAMES]
        except (OSError, LookupError, TypeError, ValueError):  # not a spec file
            continue
    return labels


def _miles(path: str, model: Model) -> tuple[Labels, np.ndarray]:
    """Return the stars of a library as labelled by the model, and the labels (n, 3) of the library."""
    with np.load(path) as library:
        names = [str(name) for name in library["miles_id"]]
        flux = library["flux"].astype(float)
        wavelength = air_to_vacuum(library["wave_air"])
        labels = np.column_stack([library[name] for name in TARGET_NAMES]).astype(float)
    ivar = np.repeat((MILES_SN / np.median(flux, axis=1, keepdims=True)) ** 2, flux.shape[1], axis=1)
    stars = model.label({"wavelength": wavelength, "flux": flux, "ivar": ivar, "rv": 0.0, "spec_id": names})
    of_star = dict(zip(names, labels, strict=True))
    return stars, np.array([of_star[name] for name in stars["spec_id"]])
