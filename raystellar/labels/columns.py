"""Names and units of the columns of label tables.

One quantity has several names. In the file of the SSPP (``ssppOut``), columns are named ``TEFF_ADOP`` and ``FIBER``; in
its copy in the CAS database (``sppParams``), ``TEFFADOP`` and ``FIBERID``; in the tables of raystellar, ``teff`` and
``fiberid``. Only letters and digits of a name are compared, in lower case.

The name of an error is made from a name of its quantity by one of ``ERROR_FORMS``: ``e_teff``, ``teff_err``,
``TEFF_ADOP_UNC``, ``sigma_teff``.

Source: SDSS data model of ``ssppOut``; CAS schema of ``sppParams``; column lists of LAMOST DR7 and DR10.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from raystellar.errors import LabelTableError
from raystellar.targets import TARGET_NAMES

KEY = ("plate", "mjd", "fiberid")
"""Quantities that identify a spectrum of SDSS-I to SDSS-IV."""

_LABELS: Mapping[str, tuple[str, ...]] = {
    "teff": ("teff", "TEFF_ADOP", "TEFFA", "catalog_teff"),
    "logg": ("logg", "LOGG_ADOP", "LOGGA", "catalog_logg"),
    "feh": ("feh", "FEH_ADOP", "FEHA", "catalog_feh"),
    # RV_ELODIE is left out: it is 7.3 km/s too low, as the pipeline's ELODIE velocities are; ELODIERVFINAL is corrected
    "rv": ("rv", "RV_ADOP", "ELODIERVFINAL", "v_rad", "radial_velocity"),
}

ERROR_FORMS = ("e_{}", "{}_err", "{}_error", "{}_unc", "{}_uncertainty", "{}_std", "{}_sigma",
               "err_{}", "error_{}", "unc_{}", "std_{}", "sigma_{}")  # fmt: skip
"""Names of the error of a quantity, from a name of the quantity."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "plate": ("plate",),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "FIBER"),
    **_LABELS,
    **{f"e_{name}": tuple(form.format(n) for n in names for form in ERROR_FORMS) for name, names in _LABELS.items()},
    "n_teff": ("TEFF_ADOP_N", "TEFFAN"),
    "n_logg": ("LOGG_ADOP_N", "LOGGAN"),
    "n_feh": ("FEH_ADOP_N", "FEHAN"),
    "sn": ("sn", "SNR", "snrg", "snrr"),
    "ra": ("ra", "PLUG_RA", "objra", "target_ra"),
    "dec": ("dec", "PLUG_DEC", "objdec", "target_dec"),
    "flag": ("FLAG",),
    "specobjid": ("specObjID",),
    "fieldid": ("fieldid", "field"),
    "catalogid": ("catalogid",),
    "sdss_id": ("sdss_id",),
    "obsid": ("obsid",),
    "lmjd": ("lmjd",),
    "planid": ("planid",),
    "spid": ("spid",),
    "targetid": ("targetid",),
    "spec_id": ("spec_id",),
    "file": ("file", "filename", "specfile", "path"),
}
"""Accepted column names of each quantity, the preferred one first."""

KEPT = ("teff", "logg", "feh", "e_teff", "e_logg", "e_feh", "n_teff", "n_logg", "n_feh", "rv", "e_rv", "sn", "ra",
        "dec", "flag")  # fmt: skip
"""Quantities that are kept of each row; the others make up its name."""

INTEGERS = ("specobjid", "catalogid", "sdss_id", "obsid", "targetid")
"""Quantities that are integers of 64 bits, which float64 cannot hold."""

TEXTS = (*INTEGERS, "flag", "planid", "spec_id", "file")
"""Quantities that are read as text."""

UNITS: Mapping[str, str] = {
    **{"teff": "K", "e_teff": "K", "rv": "km/s", "e_rv": "km/s", "ra": "deg", "dec": "deg"},
    **{"logg": "dex(cm/s2)", "e_logg": "dex", "feh": "dex", "e_feh": "dex"},
}
"""Units in which quantities are kept, as ``astropy.units`` writes them."""

_LIKE_LABEL = re.compile(
    r"(?i)(?<![a-z])(t_?eff|log_?g(?![a-z])|fe[^a-z0-9]*h(?![a-z])|rv(?![a-z])|h?v_?rad|v_?helio|rad(ial)?_?vel)"
)
_ADOPTED = re.compile(
    "adop$|a$"
)  # the SSPP adopts one value from those of its methods, which have columns of their own


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
        if not chosen:
            raise LabelTableError(
                f"{path} is not a table of labels: it has {listed(names)}, and none of {', '.join(missing)}"
            )
        accepted_names = "; ".join(f"{quantity} (accepted: {', '.join(spellings[quantity])})" for quantity in missing)
        raise LabelTableError(f"label table {path} has no column for {accepted_names}; it has {listed(names)}")
    return chosen


def unused(names: Sequence[str], chosen: Mapping[str, int]) -> list[str]:
    """Return the names of columns that look like a label, a velocity or an error of one, and that were not chosen.

    The columns of the single methods of the SSPP are left out where the adopted values were chosen.
    """
    adopted = [name for name in TARGET_NAMES if name in chosen and _ADOPTED.search(fold(names[chosen[name]]))]
    if len(adopted) == len(TARGET_NAMES):
        return []
    used = set(chosen.values())
    return [name.strip() for i, name in enumerate(names) if i not in used and _LIKE_LABEL.search(name)]


def fold(name: str) -> str:
    """Return the letters and digits of the name of a column in lower case, the form in which names are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def listed(names: Iterable[str], most: int = 12) -> str:
    """Return names as a text, with commas; only the first ``most`` of them."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name.strip()[:30] for name in names[:most]) + more
