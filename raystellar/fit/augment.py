"""Noisy copies of the training spectra, made during the fit. Source: Sec. 3 and 5.

A copy is ``x' = x + eta std(x) n`` with ``n`` ~ N(0, 1) per pixel and ``eta`` ~ U(noise_min, noise_max) per copy.
``n`` and ``eta`` are functions of (seed, spectrum, copy), and of the epoch where noise is fresh. They never depend on
worker, batch or order.

The 90,000 copies are never all in memory, and their 360 million normals are never drawn. Instead, one pool of four
million normals is drawn per fit. Each copy reads the pool from an offset and with a sign that are hashed from its key.
Two copies may share a stretch of noise, but at different pixels, which a network cannot notice.
"""

from __future__ import annotations

import numba
import numpy as np

from raystellar.fit.config import FitConfig
from raystellar.labels.splits import SPLITMIX64_STEP, splitmix64

POOL_SIZE = 1 << 22
"""Number of normals in the pool: 16 MB, which fit the cache of a server and give 8 million different noises."""


class Augmenter:
    """The training set with its copies: item ``i`` is copy ``i // n`` of the ``i % n``-th of the n chosen spectra.

    Copy 0 has no noise.

    Parameters
    ----------
    flux : (n, n_pixels) float32, C-contiguous; may be read-only
    keys : (n,) uint64, stable identities of the spectra
    config : number of copies, noise and seed
    chosen : rows of ``flux`` to learn from; None for all rows
    """

    def __init__(self, flux: np.ndarray, keys: np.ndarray, config: FitConfig, chosen: np.ndarray | None = None) -> None:
        self._flux, self._keys, self._config = flux, keys, config
        self._chosen = np.arange(len(flux)) if chosen is None else chosen
        self._deviation = np.array([row.std() for row in flux], dtype=np.float32)
        self._seed = np.array([config.seed], dtype=np.uint64)
        width = max(POOL_SIZE, 4 * flux.shape[1])
        self._pool = np.random.default_rng(config.seed).standard_normal(width, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._chosen) * (1 + self._config.copies)

    def order(self, epoch: int) -> np.ndarray:
        """Return the items in the order of ``epoch``, which is a function of (seed, epoch)."""
        return np.random.default_rng((self._config.seed, epoch, 1)).permutation(len(self))

    def rows(self, items: np.ndarray) -> np.ndarray:
        """Return the row of the spectrum of each item."""
        return self._chosen[items % len(self._chosen)]

    def fill(self, items: np.ndarray, epoch: int, out: np.ndarray) -> None:
        """Write the spectra of ``items`` (b,) in ``epoch`` to ``out`` (b, n_pixels) float32."""
        rows, copies = self.rows(items), items // len(self._chosen)
        amplitude, offset = self._noise(rows, copies, epoch)
        _add_noise(self._flux, rows, self._pool, offset, amplitude * self._deviation[rows], out)

    def _noise(self, rows: np.ndarray, copies: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed eta (b,) float32, which is 0 for copy 0, and the offset (b,) into the pool."""
        state = splitmix64(self._keys[rows] ^ splitmix64(self._seed))
        state = splitmix64(state ^ copies.astype(np.uint64))
        state = splitmix64(state ^ np.uint64(epoch if self._config.fresh_noise else 0))
        bits = splitmix64(state ^ np.uint64(SPLITMIX64_STEP))
        unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        eta = self._config.noise_min + (self._config.noise_max - self._config.noise_min) * unit
        sign = 1.0 - 2.0 * (bits & np.uint64(1)).astype(np.float64)
        offsets = np.uint64(self._pool.size - self._flux.shape[1])
        return np.where(copies > 0, sign * eta, 0.0).astype(np.float32), (state % offsets).astype(np.int64)


# One thread on purpose: the OpenMP threads of numba and of torch spin against each other, which costs ten times more
# than several threads gain.
@numba.njit(cache=True, nogil=True)
def _add_noise(
    flux: np.ndarray,
    rows: np.ndarray,
    pool: np.ndarray,
    offset: np.ndarray,
    amplitude: np.ndarray,
    out: np.ndarray,
) -> None:
    for i in range(rows.size):
        row, start, scale = rows[i], offset[i], amplitude[i]
        if scale == 0.0:
            out[i, :] = flux[row, :]
        else:
            for j in range(flux.shape[1]):
                out[i, j] = flux[row, j] + scale * pool[start + j]
