"""Labels as SSPP would give them, with errors, flags and missing values, in the columns of ssppOut.

Random errors grow at low S/N. A small systematic error is a function of the parameters of the star, so that no number
of spectra averages it away: a model cannot be better than the labels from which it learns.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from raystellar.files import places
from raystellar.simulator.population import SSPP_FEH_RANGE, SSPP_LOGG_RANGE, SSPP_TEFF_RANGE_K, Star
from raystellar.simulator.spectro1d import Fibre, specobj_id

SSPP_MISSING = -9999.0
"""Value of a missing measurement in ssppOut."""

ERROR_TEFF_K, ERROR_LOGG, ERROR_FEH = 50.0, 0.12, 0.07
"""Random error of a normal star at S/N 60 [K, dex, dex]. Source: Lee et al. 2008, AJ 136, 2022 and 2050."""

CRITICAL_SHARE = 0.02
"""Share of the rows that have a critical flag and no labels."""

CRITICAL_FLAGS = ("Vnnnn", "VCnnn", "nnnnX", "EnnnX", "Dnnnn", "dnnnn", "Hnnnn", "hnnnn", "nnnnR", "nnnnB")
"""Flags of rows without labels."""

CAUTIONS = (
    (1, "C", 0.02),
    (2, "B", 0.02),
    (3, "g", 0.025),
    (3, "G", 0.012),
    (4, "c", 0.008),
    (4, "T", 0.006),
    (4, "P", 0.006),
)
"""Position, letter and probability of the flags that call for caution."""

SSPP_COLUMNS: tuple[tuple[str, str], ...] = (
    ("SPECOBJID", "22A"),
    ("SPECPRIMARY", "J"),
    ("PLUG_RA", "D"),
    ("PLUG_DEC", "D"),
    ("PROGRAMNAME", "23A"),
    ("RUN1D", "A"),
    ("RUN2D", "3A"),
    ("MJD", "J"),
    ("PLATE", "I"),
    ("FIBER", "I"),
    ("PRIM_TARGET", "13A"),
    ("SPECTYPE_SUBCLASS", "20A"),
    ("FLAG", "5A"),
    ("TEFF_ADOP", "E"),
    ("TEFF_ADOP_N", "I"),
    ("TEFF_ADOP_UNC", "E"),
    ("LOGG_ADOP", "E"),
    ("LOGG_ADOP_N", "I"),
    ("LOGG_ADOP_UNC", "E"),
    ("FEH_ADOP", "E"),
    ("FEH_ADOP_N", "I"),
    ("FEH_ADOP_UNC", "E"),
    ("AFE", "E"),
    ("AFE_UNC", "E"),
    ("RV_FLAG", "4A"),
    ("RV_ADOP", "E"),
    ("RV_ADOP_UNC", "E"),
    ("G_MAG", "E"),
    ("EBV", "E"),
    ("SNR", "E"),
    ("QA", "I"),
    ("RA", "D"),
    ("DEC", "D"),
    ("INSPECT", "6A"),
    ("ZWARNING", "J"),
    ("SURVEY", "6A"),
)
"""Columns of ssppOut and their FITS formats, in the order of ssppOut, without columns that training does not need."""


def label_row(fibre: Fibre, star: Star | None, sn: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return a row of ssppOut.

    Parameters
    ----------
    fibre : fibre of the spectrum, with the results of the pipeline
    star : the true star; None for a sky fibre, which gets a critical flag
    sn : measured S/N per pixel
    rng : generator of all random numbers of this row
    """
    row = _identity(fibre, sn)
    if star is None:
        return row | {"FLAG": "Snnnn", "PRIM_TARGET": "SKY", "SPECTYPE_SUBCLASS": "SKY", "QA": 6}
    row |= {"EBV": star.ebv * rng.normal(1.0, 0.1), "G_MAG": star.g + rng.normal(0.0, 0.02)}
    labels = _labels(star, sn, rng)
    velocity = _velocity(star, sn, rng)
    flag = _flag(star, sn, rng)
    if rng.random() < CRITICAL_SHARE or not _inside(labels):
        flag = CRITICAL_FLAGS[int(rng.integers(len(CRITICAL_FLAGS)))]
        garbage = {"RV_ADOP": rng.uniform(-1449.0, 1449.0), "RV_ADOP_UNC": rng.uniform(20.0, 200.0)}
        return row | {"FLAG": flag, "QA": 5, "INSPECT": "FnnnnC"} | ({} if flag[0] == "V" else garbage)
    return row | labels | velocity | {"FLAG": flag, "QA": 1 if flag == "nnnnn" else 2}


def label_sigma(star: Star, sn: float) -> tuple[float, float, float]:
    """Return the random errors of teff [K], logg and feh [dex]; they grow by a factor of 2.5 from S/N 60 to S/N 10."""
    growth = math.sqrt(0.85 + 540.0 / max(sn, 5.0) ** 2)
    hot = max(star.teff - 6500.0, 0.0) / 1000.0
    poor = max(-1.5 - star.feh, 0.0)
    return (
        ERROR_TEFF_K * growth * (1.0 + 0.35 * hot),
        ERROR_LOGG * growth * (1.0 + 0.15 * hot + 0.1 * poor),
        ERROR_FEH * growth * (1.0 + 0.5 * hot + 0.25 * poor),
    )


def label_bias(star: Star) -> tuple[float, float, float]:
    """Return the systematic errors, label minus truth, of teff [K], logg and feh [dex].

    The errors are smooth functions of the parameters, a third to a half as large as the random errors.
    """
    warm, high = (star.teff - 5800.0) / 1200.0, (star.logg - 3.5) / 1.5
    return (
        25.0 * math.tanh(warm) - 15.0 * math.sin(2.0 * (star.feh + 1.0)),
        0.05 * math.sin(2.2 * high) - 0.03 * math.tanh(warm),
        -0.04 * math.tanh(star.feh + 1.0) + 0.02 * math.cos(2.0 * warm),
    )


def write_sspp_table(path: str, columns: Mapping[str, Any]) -> None:
    """Write a table of labels in the layout of ssppOut.

    Parameters
    ----------
    path : file to write, as a whole or not at all
    columns : values of each column of ``SSPP_COLUMNS`` (rows,), by name

    Raises
    ------
    OutputError : the file cannot be written
    """
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name=name, format=form, array=_values(columns[name], form)) for name, form in SSPP_COLUMNS]
    )
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    places.write_bytes(path, stream.getvalue())


def _values(values: Any, form: str) -> np.ndarray:
    """Return the values of a column as an array of the type of its FITS format."""
    return np.asarray(values, dtype=f"S{form[:-1] or 1}" if form.endswith("A") else None)


def _identity(fibre: Fibre, sn: float) -> dict[str, Any]:
    """Return a row with the identity of a spectrum, in which all measurements are missing."""
    row: dict[str, Any] = {}
    for name, form in SSPP_COLUMNS:
        counts = name.endswith("_N") or form in "IJ"
        row[name] = "" if form.endswith("A") else 0 if counts else SSPP_MISSING
    return row | {
        "SPECOBJID": f"{specobj_id(fibre):>22}",
        "SPECPRIMARY": 1,
        "PROGRAMNAME": "simulated",
        "RUN2D": "26",
        "PLUG_RA": fibre.ra,
        "PLUG_DEC": fibre.dec,
        "RA": fibre.ra,
        "DEC": fibre.dec,
        "MJD": fibre.mjd,
        "PLATE": fibre.plate,
        "FIBER": fibre.fiberid,
        "PRIM_TARGET": "TO",
        "RV_FLAG": "NORV",
        "SNR": sn,
        "SPECTYPE_SUBCLASS": fibre.subclass,
        "INSPECT": "nnnnnn",
        "ZWARNING": fibre.zwarning,
        "SURVEY": "segue1",
    }


def _labels(star: Star, sn: float, rng: np.random.Generator) -> dict[str, Any]:
    """Draw the labels of a row with their errors."""
    row: dict[str, Any] = {}
    truths = (star.teff, star.logg, star.feh)
    for name, truth, sigma, bias in zip(
        ("TEFF", "LOGG", "FEH"), truths, label_sigma(star, sn), label_bias(star), strict=True
    ):
        row[f"{name}_ADOP"] = truth + bias + sigma * rng.standard_normal()
        row[f"{name}_ADOP_N"] = int(np.clip(rng.poisson(5.5 + 1.5 * (sn > 25)), 1, 10))
        # the uncertainty of SSPP is the scatter of a handful of methods: right on average, but uncertain itself
        row[f"{name}_ADOP_UNC"] = sigma * float(np.exp(rng.normal(-0.1, 0.35)))
    sigma = 0.05 + 1.5 / sn
    return row | {"AFE": star.alpha + sigma * rng.standard_normal(), "AFE_UNC": sigma}


def _velocity(star: Star, sn: float, rng: np.random.Generator) -> dict[str, Any]:
    """Draw RV_ADOP with an error of 2 km/s (bright stars) to 10 km/s (S/N 10), larger for hot stars with few lines."""
    sigma = math.hypot(2.0, 95.0 / max(sn, 5.0)) * (1.0 + 0.3 * (star.teff > 7500.0))
    return {
        "RV_FLAG": "ELRV",
        "RV_ADOP": star.rv + sigma * rng.standard_normal(),
        "RV_ADOP_UNC": sigma * float(np.exp(rng.normal(0.0, 0.2))),
    }


def _flag(star: Star, sn: float, rng: np.random.Generator) -> str:
    """Draw the five letters of FLAG: 'nnnnn', or in a few per cent of the rows a letter that calls for caution."""
    letters = list("nnnnn")
    if sn < 12.0 and rng.random() < 0.4:
        letters[0] = "N"
    elif star.teff < 4800.0 and star.feh > -0.6 and rng.random() < 0.2:
        letters[0] = "l"
    for (position, letter, probability), u in zip(CAUTIONS, rng.random(len(CAUTIONS)), strict=True):
        if u < probability:
            letters[position] = letter
    return "".join(letters)


def _inside(labels: Mapping[str, Any]) -> bool:
    """Return whether the labels are in the ranges of SSPP, with a margin of 0.2 dex in logg."""
    bounds = (
        ("TEFF", SSPP_TEFF_RANGE_K),
        ("LOGG", (SSPP_LOGG_RANGE[0] - 0.2, SSPP_LOGG_RANGE[1] + 0.2)),
        ("FEH", SSPP_FEH_RANGE),
    )
    return all(low <= labels[f"{name}_ADOP"] <= high for name, (low, high) in bounds)
