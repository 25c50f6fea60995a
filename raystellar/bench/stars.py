"""How good are the labels of real stars? A model's labels beside those of the literature.

    raystellar bench stars SPECTRA --labels TABLE --model MODEL     labels of a table: CSV, FITS or Parquet
    raystellar bench stars SPECTRA --labels elodie --model MODEL    those which SDSS keeps in its spec files
    raystellar bench stars miles.npz --model MODEL                  the MILES stars (see ``sky``), with their own labels

The spectra are labelled as the stage label does it. No star is left out for being a bad match. The labels beside them
have errors of their own, which are in every figure.
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

ELODIE, MILES = "elodie", ".npz"
"""The word for the labels in spec files, and the end of the name of a library's file."""

NAMES = ("specid", "path", "file", "filename")
"""What a column with the names of spectra or of their files may be called, case and underscores apart."""

MILES_SN = 100.0
"""Signal-to-noise ratio per pixel that the MILES spectra are taken to have; the library gives none."""

Literature = Mapping[str, np.ndarray]
"""Labels (3,) float64 in the order of ``targets.TARGETS`` by name of spectrum or file; NaN where there is none."""


@dataclass(frozen=True)
class Line:
    """One label of one group of stars: ours minus the literature's, in the unit of the label."""

    group: str
    label: str
    n: int
    bias: float
    """Median."""
    scatter: float
    """Of a normal distribution with the same median absolute deviation."""
    mae: float
    z_std: float
    """Standard deviation of the difference in units of our error."""
    rank: float
    """Spearman's correlation."""


@dataclass(frozen=True)
class Comparison:
    """What was compared."""

    lines: list[Line]
    stars: int
    """Labelled, and with labels in the literature."""
    unmatched: int
    """Labelled, and without."""
    rejected: int


def compare_stars(spectra: Sequence[str], table: str | None, model: str) -> Comparison:
    """Label ``spectra`` with the bundle ``model`` and compare with the labels of ``table``.

    Parameters
    ----------
    spectra : files, folders, globs or lists of them; or one file of a library that ends in .npz
    table : file with teff, feh, logg and the name, file or plate, mjd and fiberid of each spectrum; or ``elodie``

    Raises
    ------
    InputError : no star has labels in the literature, or something needed is missing
    BundleError : the bundle is missing or damaged
    """
    loaded = raystellar.load(model)
    if len(spectra) == 1 and spectra[0].endswith(MILES):
        found, literature = _miles(spectra[0], loaded, table)
    elif table is None:
        raise InputError(f"there is nothing to compare {spectra[0]} with; name a table of labels, or {ELODIE}")
    else:
        literature = read_elodie(spectra) if table == ELODIE else read_literature(table)
        found = loaded.label(spectra)
    theirs = np.array([_of(row, literature) for row in zip(found["spec_id"], found["path"], strict=True)])
    known = np.isfinite(theirs).any(axis=1) if len(found) else np.zeros(0, bool)
    if not known.any():
        raise InputError(f"none of {len(found)} spectra has labels in {table or spectra[0]}; compare their names")
    ranges = np.array([loaded.bundle.label_ranges[name] for name in TARGET_NAMES])
    lines = list(comparison(found[known], theirs[known], ranges))
    rejected = len(found.rejects) if found.rejects is not None else 0
    return Comparison(lines, int(known.sum()), int((~known).sum()), rejected)


def comparison(found: Table, theirs: np.ndarray, ranges: np.ndarray) -> Iterator[Line]:
    """Yield the lines of all groups that have stars, and others than the group before.

    Parameters
    ----------
    found : n rows of a catalogue
    theirs : (n, 3) labels of the literature, NaN where there is none
    ranges : (3, 2) least and greatest label of the training stars
    """
    bad = np.asarray(found["flag_bad"], bool)
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
                ours, error = (np.asarray(found[column], float)[rows] for column in (name, f"e_{name}"))
                yield _line(group, name, ours, theirs[rows, t], error)


def _line(group: str, label: str, ours: np.ndarray, theirs: np.ndarray, error: np.ndarray) -> Line:
    difference = ours - theirs
    bias = float(np.median(difference))
    scatter = float(NORMAL_MAD * np.median(np.abs(difference - bias)))
    varied = len(np.unique(ours)) > 1 and len(np.unique(theirs)) > 1
    rank = float(spearmanr(ours, theirs).statistic) if varied else float("nan")
    return Line(
        group,
        label,
        len(ours),
        bias,
        scatter,
        float(np.abs(difference).mean()),
        float(np.std(difference / error)),
        rank,
    )


def _of(names: Iterable[str], literature: Literature) -> np.ndarray:
    """Return the labels (3,) of the spectrum with this name and file."""
    for name in names:
        if (labels := literature.get(os.path.basename(name))) is not None:
            return labels
    return np.full(len(TARGET_NAMES), np.nan)


# Labels of the literature ----------------------------------------------------------------------------------


def read_literature(path: str) -> Literature:
    """Return the labels in a table, by spec_id or file name, or else by plate-mjd-fiberid.

    Raises
    ------
    LabelTableError : it cannot be read, lacks a label, or does not name its spectra
    """
    table = _read_table(path)
    columns = choose(table.colnames, path, TARGET_NAMES)
    labels = np.column_stack([_numbers(table.columns[columns[name]]) for name in TARGET_NAMES])
    folded = {name.lower().replace("_", ""): name for name in reversed(table.colnames)}
    named = [folded[name] for name in NAMES if name in folded]
    if named:
        names = [os.path.basename(str(name)) for name in table[named[0]]]
    elif columns.keys() >= set(KEY):
        keys = np.column_stack([_numbers(table.columns[columns[name]]) for name in KEY]).astype(int)
        names = ["-".join(map(str, key)) for key in keys.tolist()]
    else:
        raise LabelTableError(f"label table {path} does not name its spectra; give spec_id, path, or {', '.join(KEY)}")
    return dict(zip(names, labels, strict=True))


def _read_table(path: str) -> Table:
    try:
        if path.endswith(".parquet"):
            return Table(pq.read_table(path).to_pydict())
        return Table.read(path, format="ascii.csv" if path.endswith(".csv") else None)
    except FileNotFoundError:
        raise LabelTableError(f"label table {path} does not exist") from None
    except Exception as error:  # of astropy, its readers and Arrow
        raise LabelTableError(f"label table {path} cannot be read: {first_line(error)}") from None


def _numbers(column: Sequence[float]) -> np.ndarray:
    """Return a column with NaN where a value is missing."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def read_elodie(spectra: Sequence[str]) -> Literature:
    """Return the labels of the best ELODIE star in SDSS spec files, by file name.

    The pipeline compares a spectrum with some 900 stars of known labels (Prugniel & Soubiran 2001, A&A 369, 1048), so
    that they are those of another star like it. Where it did not, as for all of BOSS, the columns hold the first star
    of its list, and ELODIE_DOF is 0. Source: SDSS data model of spec files, HDU 2.
    """
    found = {}
    for path in make_manifest(spectra)["path"].to_pylist():
        try:
            with fits.open(path) as file:
                row = file[2].data[0]
                if row["ELODIE_DOF"] > 0:
                    found[os.path.basename(path)] = np.array([row[f"ELODIE_{name}"] for name in TARGET_NAMES], float)
        except (OSError, LookupError, TypeError):  # no spec file
            continue
    return found


def _miles(path: str, model: Model, table: str | None) -> tuple[Labels, Literature]:
    """Label the stars of the library and return its labels by number."""
    with np.load(path) as library:
        names = [str(name) for name in library["miles_id"]]
        flux = library["flux"].astype(float)
        wavelength = air_to_vacuum(library["wave_air"])
        labels = np.column_stack([library[name] for name in TARGET_NAMES]).astype(float)
    ivar = np.repeat((MILES_SN / np.median(flux, axis=1, keepdims=True)) ** 2, flux.shape[1], axis=1)
    given = {"wavelength": wavelength, "flux": flux, "ivar": ivar, "rv": 0.0, "spec_id": names}
    return model.label(given), read_literature(table) if table else dict(zip(names, labels, strict=True))
