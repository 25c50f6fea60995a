"""Small spectra whose labels can be learned, in memory and as a dataset on disk."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.config import to_plain
from raystellar.fit.data import LABEL_ERROR_NAMES, SpectraSet, spectrum_keys
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.schema import DATASET, FORMAT_VERSION, N_NOISE, PART_NAME, REJECTS_DIR, RUN_NAME, arrow_schema

PREPROCESS = to_plain(PreprocessConfig())
RUN = {"format": FORMAT_VERSION, "preprocess": PREPROCESS, "digest": "0123456789abcdef"}


def spectra(n, seed, n_pixels=40):
    """Return n spectra whose three labels set three smooth shapes."""
    rng = np.random.default_rng(seed)
    hidden = rng.uniform(-1, 1, (n, 3))
    x = np.linspace(0, 1, n_pixels)
    shapes = np.stack([np.sin(3 * x), np.cos(5 * x), x**2])
    flux = np.tanh(hidden) @ shapes + 0.02 * rng.standard_normal((n, n_pixels))
    flux = (flux - flux.mean(1, keepdims=True)) / flux.std(1, keepdims=True)
    targets = hidden * (800, 0.6, 0.7) + (5800, -0.8, 4.0)
    keys = spectrum_keys([f"{seed}-{i}" for i in range(n)])
    extra = {"ivar": np.full((n, n_pixels // 8), 2500.0, np.float32)}
    extra |= {name: [20.0 if name == "e_teff" else 0.02] * n for name in LABEL_ERROR_NAMES}
    return SpectraSet(flux.astype(np.float32), targets.astype(np.float32), keys, extra)


def rows(n, seed=0):
    """Return n rows of a dataset as columns by name; a third of the rows each split."""
    made = spectra(n, seed, 4000)
    columns = {
        "path": [f"spectra/{i}.fits" for i in range(n)],
        "spec_id": [f"{100 + i % 7}-53000-{i}" for i in range(n)],
        "plate": [100 + i % 7 for i in range(n)],
        "mjd": [53000] * n,
        "fiberid": list(range(n)),
        "split": [("train", "validation", "test")[i % 3] for i in range(n)],
        "flux": list(made.flux),
        "sn": [10.0 + i for i in range(n)],
        "ivar": [np.full(N_NOISE, 2500.0, np.float32)] * n,
    }
    columns |= {f"e_{name}": [e] * n for name, e in (("teff", 20.0), ("feh", 0.02), ("logg", 0.02))}
    return columns | {name: made.targets[:, t].tolist() for t, name in enumerate(("teff", "feh", "logg"))}


def write(folder, columns, parts=3, order=None):
    """Write the rows, in the given order, over several parts."""
    (folder / REJECTS_DIR).mkdir(parents=True)
    (folder / REJECTS_DIR / PART_NAME.format(0)).write_bytes(b"no data")
    (folder / RUN_NAME).write_text(json.dumps(RUN))
    n = len(columns["path"])
    for part, chosen in enumerate(np.array_split(np.arange(n) if order is None else order, parts)):
        full = {
            column.name: [columns[column.name][i] for i in chosen] if column.name in columns else [None] * len(chosen)
            for column in DATASET
        }
        table = pa.table(full, schema=arrow_schema(DATASET))
        pq.write_table(table, folder / PART_NAME.format(part), row_group_size=5)
    return folder
