"""Rows of a catalogue for tests of its statistics and figures."""

import numpy as np
import pyarrow as pa

N = 4000


def catalogue(seed=0, n=N):
    """Return rows of a catalogue with all columns, also those of later versions."""
    rng = np.random.default_rng(seed)
    flags = rng.choice([0, 0, 0, 0, 1, 2, 8, 12, 64], n).astype(np.int32)
    sn = 10 ** rng.uniform(0.2, 2.2, n)
    columns = {
        "path": [f"spectra/{i}.fits" for i in range(n)],
        "spec_id": [f"{1 + i // 640}-53000-{i % 640}" for i in range(n)],
        "plate": 1 + np.arange(n) // 640,
        "mjd": np.full(n, 53000),
        "fiberid": np.arange(n) % 640,
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
        "object_class": ["STAR"] * n,
        "subclass": ["F9"] * n,
        "sn": sn.astype(np.float32),
        "rv": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 150, n)).astype(np.float32),
        "rv_source": ["pipeline"] * n,
        "good_fraction": rng.uniform(0.5, 1, n).astype(np.float32),
        "flags": flags,
        "flag_warn": (flags & 0b111111100) != 0,
        "flag_bad": (flags & 0b11) != 0,
        "teff": rng.uniform(1500, 9000, n).astype(np.float32),
        "feh": rng.uniform(-3, 0.5, n).astype(np.float32),
        "logg": rng.uniform(0, 5, n).astype(np.float32),
        "ood_score": rng.lognormal(0, 1, n).astype(np.float32),
        "is_primary": rng.random(n) < 0.8,
    }
    for name, size in (("teff", 300.0), ("feh", 0.4), ("logg", 0.6)):
        columns[f"e_{name}"] = (size / np.sqrt(sn) * rng.lognormal(0, 0.3, n)).astype(np.float32)
    return pa.table(columns)
