"""Benchmark the labels of real stars: compare the labels of a model with those of the literature.

    raystellar bench stars SPECTRA --labels TABLE --model MODEL     labels of a table: CSV, FITS or Parquet
    raystellar bench stars SPECTRA --labels elodie --model MODEL    ELODIE labels in SDSS spec files
    raystellar bench stars miles.npz --model MODEL                  the MILES stars (see ``sky``) with their own labels

The spectra are labelled as the stage ``label`` does it. No star is left out because its labels differ. The labels
of the literature have errors of their own, which every figure includes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table
from scipy.stats import spearmanr

import raystellar
from raystellar.api import Labels, Model
from raystellar.bench.sky import air_to_vacuum
from raystellar.errors import InputError, LabelTableError, first_line
from raystellar.fit.metrics import NORMAL_MAD
from raystellar.labels.sspp import KEY, choose
from raystellar.spectra.inputs import make_manifest
from raystellar.targets import TARGET_NAMES

ELODIE = "elodie"
"""Word that stands for the ELODIE labels in spec files, instead of a table."""

LIBRARY_SUFFIX = ".npz"
"""End of the name of a file that holds a library of spectra."""

NAME_COLUMNS = ("specid", "path", "file", "filename")
"""Accepted names of the column that names spectra or files; case and underscores do not matter."""

MILES_SN = 100.0
"""Assumed S/N per pixel of the MILES spectra; the library does not give it."""

Literature = Mapping[str, np.ndarray]
"""Labels (3,) float64 in the order of ``targets.TARGETS`` by name of spectrum or file; NaN where a label is missing."""


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
    table : file with teff, feh, logg and the name, file or plate, mjd and fiberid of each spectrum; ``elodie`` for the
        labels in the spec files; None for the labels of the library
    model : folder of the model

    Raises
    ------
    InputError : ``table`` is None for spectra outside a library, or no star has labels in the literature
    LabelTableError : the table cannot be read
    BundleError : the model is missing or damaged
    """
    loaded = raystellar.load(model)
    if len(spectra) == 1 and spectra[0].endswith(LIBRARY_SUFFIX):
        stars, literature = _miles(spectra[0], loaded, table)
    elif table is None:
        raise InputError(f"no labels to compare {spectra[0]} with; add --labels with a table or {ELODIE}")
    else:
        literature = read_elodie(spectra) if table == ELODIE else read_literature(table)
        stars = loaded.label(spectra)
    theirs = np.array([_labels_of(row, literature) for row in zip(stars["spec_id"], stars["path"], strict=True)])
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


def _labels_of(names: Iterable[str], literature: Literature) -> np.ndarray:
    """Return the labels (3,) of the first of ``names`` that the literature has; NaN if it has none."""
    for name in names:
        if (labels := literature.get(os.path.basename(name))) is not None:
            return labels
    return np.full(len(TARGET_NAMES), np.nan)


# Labels of the literature ----------------------------------------------------------------------------------


def read_literature(path: str) -> Literature:
    """Return the labels in a CSV, FITS or Parquet table by spec_id, by file name, or else by plate-mjd-fiberid.

    Raises
    ------
    LabelTableError : the table cannot be read, lacks a label, or does not name its spectra
    """
    table = _read_table(path)
    columns = choose(table.colnames, path, TARGET_NAMES)
    labels = np.column_stack([_numbers(table.columns[columns[name]]) for name in TARGET_NAMES])
    folded = {name.lower().replace("_", ""): name for name in reversed(table.colnames)}
    named = [folded[name] for name in NAME_COLUMNS if name in folded]
    if named:
        names = [os.path.basename(str(name)) for name in table[named[0]]]
    elif columns.keys() >= set(KEY):
        keys = np.column_stack([_numbers(table.columns[columns[name]]) for name in KEY]).astype(int)
        names = ["-".join(map(str, key)) for key in keys.tolist()]
    else:
        raise LabelTableError(f"label table {path} does not name its spectra; give spec_id, path, or {', '.join(KEY)}")
    return dict(zip(names, labels, strict=True))


def _read_table(path: str) -> Table:
    """Return a table with all its columns; names of spectra are among those that ``labels`` does not read."""
    try:
        if path.endswith(".parquet"):
            return Table(pq.read_table(path).to_pydict())
        return Table.read(path, format="ascii.csv" if path.endswith(".csv") else None)
    except FileNotFoundError:
        raise LabelTableError(f"label table {path} does not exist") from None
    except Exception as error:  # astropy, its readers and Arrow raise errors of many classes
        raise LabelTableError(f"label table {path} cannot be read: {first_line(error)}") from None


def _numbers(column: Sequence[float]) -> np.ndarray:
    """Return a column (n,) float64 with NaN where a value is missing."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def read_elodie(spectra: Sequence[str]) -> Literature:
    """Return the labels of the best ELODIE star in SDSS spec files, by file name.

    The SDSS pipeline compares a spectrum with some 900 stars of known labels (Prugniel & Soubiran 2001, A&A 369, 1048).
    The labels are those of the most similar of these stars, not of the observed star. Where the pipeline made no
    comparison, as for all BOSS spectra, the columns hold the first star of its list, and ELODIE_DOF is 0; such files
    are left out. Source: SDSS data model of spec files, HDU 2.
    """
    labels = {}
    for path in make_manifest(spectra)["path"].to_pylist():
        try:
            with fits.open(path) as file:
                row = file[2].data[0]
                if row["ELODIE_DOF"] > 0:
                    labels[os.path.basename(path)] = np.array([row[f"ELODIE_{name}"] for name in TARGET_NAMES], float)
        except (OSError, LookupError, TypeError):  # not a spec file
            continue
    return labels


def _miles(path: str, model: Model, table: str | None) -> tuple[Labels, Literature]:
    """Return the stars of a library as labelled by the model, and the labels of the library or the table by star."""
    with np.load(path) as library:
        names = [str(name) for name in library["miles_id"]]
        flux = library["flux"].astype(float)
        wavelength = air_to_vacuum(library["wave_air"])
        labels = np.column_stack([library[name] for name in TARGET_NAMES]).astype(float)
    ivar = np.repeat((MILES_SN / np.median(flux, axis=1, keepdims=True)) ** 2, flux.shape[1], axis=1)
    arrays = {"wavelength": wavelength, "flux": flux, "ivar": ivar, "rv": 0.0, "spec_id": names}
    return model.label(arrays), read_literature(table) if table else dict(zip(names, labels, strict=True))
