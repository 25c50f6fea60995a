"""Columns and flags of the SEGUE Stellar Parameter Pipeline (SSPP): accepted column names, and meaning of flag letters.

One quantity has several names. In the file of the SSPP (``ssppOut``), columns are named ``TEFF_ADOP`` and ``FIBER``; in
its copy in the CAS database (``sppParams``), ``TEFFADOP`` and ``FIBERID``; in the tables of raystellar, ``teff`` and
``fiberid``. Case and underscores do not matter.

Source: SDSS data model of ``ssppOut``; CAS schema of ``sppParams``; SSPP flag page of DR10.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raystellar.errors import LabelTableError

KEY = ("plate", "mjd", "fiberid")
"""Quantities that identify a spectrum."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "plate": ("plate",),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "FIBER"),
    "teff": ("teff", "TEFF_ADOP", "TEFFA", "catalog_teff"),
    "logg": ("logg", "LOGG_ADOP", "LOGGA", "catalog_logg"),
    "feh": ("feh", "FEH_ADOP", "FEHA", "catalog_feh"),
    "e_teff": ("e_teff", "TEFF_ADOP_UNC", "TEFFAERR", "catalog_teff_unc"),
    "e_logg": ("e_logg", "LOGG_ADOP_UNC", "LOGGAERR", "catalog_logg_unc"),
    "e_feh": ("e_feh", "FEH_ADOP_UNC", "FEHAERR", "catalog_feh_unc"),
    "n_teff": ("TEFF_ADOP_N", "TEFFAN"),
    "n_logg": ("LOGG_ADOP_N", "LOGGAN"),
    "n_feh": ("FEH_ADOP_N", "FEHAN"),
    # RV_ELODIE is left out: it is 7.3 km/s too low, as the pipeline's ELODIE velocities are; ELODIERVFINAL is corrected
    "rv": ("rv", "RV_ADOP", "ELODIERVFINAL"),
    "e_rv": ("e_rv", "RV_ADOP_UNC", "ELODIERVFINALERR"),
    "sn": ("sn", "SNR"),
    "ra": ("ra", "PLUG_RA"),
    "dec": ("dec", "PLUG_DEC"),
    "flag": ("FLAG",),
}
"""Accepted column names of each quantity, the preferred one first."""

FLAG_LENGTH = 5
"""Number of letters of an SSPP flag."""


def flag_letters(flags: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    """Return the letters (n, 5) of SSPP flags as ASCII codes; zeros where a flag is not five letters."""
    flags = np.strings.strip(flags).astype(f"S{FLAG_LENGTH + 1}")
    letters = np.ascontiguousarray(flags).view(np.uint8).reshape(len(flags), FLAG_LENGTH + 1)
    lower = letters[:, :FLAG_LENGTH] | 0x20
    whole = ((lower >= ord("a")) & (lower <= ord("z"))).all(axis=1) & (letters[:, FLAG_LENGTH] == 0)
    return np.where(whole[:, None], letters[:, :FLAG_LENGTH], 0).astype(np.uint8)


def flag_raised(letters: NDArray[np.uint8], critical: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each flag (n,) whether it has a critical letter.

    The meaning of a letter depends on its position: B is critical at the fifth position and harmless at the third.

    Parameters
    ----------
    letters : (n, 5) see ``flag_letters``
    critical : critical letters of each of the five positions
    """
    raised = np.zeros(len(letters), bool)
    for position, critical_letters in enumerate(critical):
        raised |= np.isin(letters[:, position], np.frombuffer(critical_letters.encode(), np.uint8))
    return raised


def choose(
    names: Sequence[str],
    path: str,
    required: Collection[str],
    spellings: Mapping[str, Sequence[str]] = SPELLINGS,
) -> dict[str, int]:
    """Return the position in ``names`` of the column of each quantity that a table has.

    Parameters
    ----------
    names : names of all columns of the table
    path : path of the table, for the messages
    required : quantities that the table must have
    spellings : accepted column names of each quantity, the preferred one first

    Raises
    ------
    LabelTableError : the table lacks a column for a required quantity
    """
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        positions.setdefault(fold(name), position)
    chosen = {}
    for quantity, accepted in spellings.items():
        present = [positions[fold(spelling)] for spelling in accepted if fold(spelling) in positions]
        if present:
            chosen[quantity] = present[0]
    missing = [quantity for quantity in required if quantity not in chosen]
    if missing:
        if {"flux", "loglam"} <= positions.keys():
            raise LabelTableError(f"label table {path} is a spectrum, not a table of labels")
        if len(missing) == len(required):
            raise LabelTableError(
                f"{path} is not a table of labels: it has {_shorten(names)}, and none of {', '.join(missing)}"
            )
        accepted_names = "; ".join(f"{quantity} (accepted: {', '.join(spellings[quantity])})" for quantity in missing)
        raise LabelTableError(f"label table {path} has no column for {accepted_names}; it has {_shorten(names)}")
    return chosen


def fold(name: str) -> str:
    """Return the name of a column in the form in which names are compared: lower case, without underscores."""
    return name.strip().lower().replace("_", "")


def _shorten(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name.strip()[:30] for name in names[:most]) + more
