"""Files as servers send them, and how tests fetch one of them."""

from __future__ import annotations

import numpy as np

from raystellar.files.fetcher import FetchConfig

QUICK = FetchConfig(concurrency=8, retries=2, backoff_s=0.01, timeout_s=2.0)
FULL = np.random.default_rng(1).bytes(1_700_000)
"""Content of a file as long as a full spec file."""

LITE = FULL[:172_800]
"""Content of a file as long as a lite spec file."""


def fetch_one(fetcher, path):
    """Return the file of one path, or the error in its place."""
    [(streamed, item)] = fetcher.stream([path])
    assert streamed == path
    return item
