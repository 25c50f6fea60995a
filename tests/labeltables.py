"""Small label tables for tests, in every format and spelling."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table

from raystellar.labels.table import LabelTable

SSPP = {
    "plate": "PLATE",
    "mjd": "MJD",
    "fiberid": "FIBER",
    "flag": "FLAG",
    "teff": "TEFF_ADOP",
    "e_teff": "TEFF_ADOP_UNC",
    "n_teff": "TEFF_ADOP_N",
    "logg": "LOGG_ADOP",
    "e_logg": "LOGG_ADOP_UNC",
    "n_logg": "LOGG_ADOP_N",
    "feh": "FEH_ADOP",
    "e_feh": "FEH_ADOP_UNC",
    "n_feh": "FEH_ADOP_N",
    "rv": "RV_ADOP",
    "e_rv": "RV_ADOP_UNC",
    "sn": "SNR",
    "ra": "RA",
    "dec": "DEC",
}
CAS = {own: name.replace("_", "") for own, name in SSPP.items()} | {"fiberid": "FIBERID"}
OWN = {own: own for own in SSPP} | {name: SSPP[name] for name in ("n_teff", "n_logg", "n_feh")}


def rows(n=200, seed=1):
    """Return random rows with the column names of raystellar and the types of the SSPP; some labels are missing."""
    rng = np.random.default_rng(seed)
    table = {
        "plate": rng.integers(266, 3480, n).astype("i2"),
        "mjd": rng.integers(51600, 55000, n).astype("i4"),
        "fiberid": rng.integers(1, 641, n).astype("i2"),
        "flag": rng.choice(["nnnnn", "nCBgn", "VnnnX", "nnnnX", "lnnnn"], n, p=[0.6, 0.1, 0.1, 0.1, 0.1]),
    }
    for name, low, high in (("teff", 3900, 10100), ("logg", 0, 5.2), ("feh", -3, 0.5)):
        table[name] = rng.uniform(low, high, n).astype("f4")
        table[f"e_{name}"] = rng.uniform(0.01, 0.2, n).astype("f4")
        table[f"n_{name}"] = rng.integers(0, 10, n).astype("i2")
        table[name][rng.random(n) < 0.1] = -9999
    table |= {
        "rv": rng.normal(0, 300, n).astype("f4"),
        "e_rv": rng.uniform(1, 120, n).astype("f4"),
        "sn": rng.uniform(5, 100, n).astype("f4"),
        "ra": rng.uniform(0, 360, n),
        "dec": rng.uniform(-20, 80, n),
    }
    return table


def one_row(**values):
    """Return a table of one usable row with the column names of raystellar; ``values`` replace or add columns."""
    row = {"plate": 266, "mjd": 51602, "fiberid": 28, "teff": 6000.0, "logg": 4.0, "feh": -1.0, "sn": 30.0}
    return {name: np.array([value]) for name, value in (row | values).items()}


def save(table, path, names=OWN):
    """Write a table in the format of the suffix of ``path``, with renamed columns, and return the path."""
    renamed = Table({names.get(name, name): values for name, values in table.items()})
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: np.asarray(renamed[name]) for name in renamed.colnames}), path)
    else:
        renamed.write(path, overwrite=True, format="fits" if path.suffix == ".fits" else "ascii.csv")
    return str(path)


def same(left: LabelTable, right: LabelTable):
    """Return whether two label tables have the same content and summary."""
    return left.digest() == right.digest() and left.summary() == right.summary()
