"""Training spectra with new noise and new errors of calibration, made during the fit. Source: Sec. 3 and 5.

An item of the training set is a copy of a spectrum: ``x' = S(x + a s n + r (x + 2))``. The noise ``n`` ~ N(0, 1) per
pixel is multiplied by ``s``, which is the error of the pixel, or the standard deviation of the spectrum as in the
paper, and by a level ``a`` ~ U(noise_min, noise_max) per item. The ripple ``r`` stands for an error of the flux
calibration: a sum of the first ``RIPPLE_ORDER`` Legendre polynomials over the pixels. Its coefficients are normal with
the standard deviation ``ripples``. A standardised spectrum no longer knows its mean flux, for which two standard
deviations are assumed. ``S`` standardises a spectrum with a ripple once more.

All random numbers are functions of (seed, spectrum, copy), and of the epoch where noise is fresh. They never depend on
worker, batch or order.

The items are never all in memory, and their hundreds of millions of normals are never drawn. Instead, one pool of four
million normals is drawn per fit. Each item reads the pool from an offset and with a sign that are hashed from its key.
Two items may share a stretch of noise, but at different pixels, which a network cannot notice.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from numpy.polynomial import legendre

from raystellar.fit.config import FitConfig
from raystellar.fit.data import SpectraSet
from raystellar.labels.splits import SPLITMIX64_STEP, splitmix64
from raystellar.model.uncertainty import block_variance

POOL_SIZE = 1 << 22
"""Number of normals in the pool: 16 MB, which fit the cache of a server and give 8 million different noises."""

RIPPLE_ORDER = 4
"""Largest order of the Legendre polynomials of a ripple; order 0 would be undone by the standardisation."""

MEAN_FLUX = 2.0
"""Mean flux of a spectrum before the standardisation, as far as ripples are concerned [standard deviations]."""


class Augmenter:
    """The training set with its copies: item ``i`` is copy ``i // n`` of the ``i % n``-th of the n chosen spectra.

    Copy 0 has no noise, unless noise is fresh.

    Parameters
    ----------
    spectra : the training spectra, with ``extra["ivar"]`` where noise is that of the pixels; arrays may be read-only
    config : number of copies, noise, ripples and seed
    chosen : rows of ``spectra`` to learn from; None for all rows
    """

    def __init__(self, spectra: SpectraSet, config: FitConfig, chosen: np.ndarray | None = None) -> None:
        self._flux, self._keys, self._config = spectra.flux, spectra.keys, config
        if config.noise_unit == "pixel":
            self._ivar = spectra.extra["ivar"]
        else:
            self._deviation = np.array([[row.std()] for row in spectra.flux], dtype=np.float32)
        self._chosen = np.arange(len(spectra)) if chosen is None else chosen
        self._seed = np.array([config.seed], dtype=np.uint64)
        width = max(POOL_SIZE, 4 * spectra.flux.shape[1])
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
        state, noisy = self._states(rows, copies, epoch), self._config.fresh_noise | (copies > 0)
        level, offset = self._noise(state)
        scale = (level * noisy)[:, None] * self._deviations(rows)
        _add_noise(self._flux, rows, self._pool, offset, scale.astype(np.float32), out)
        if self._config.ripples > 0.0:
            coefficients = self._config.ripples * self._pool[_hashed(state, RIPPLE_ORDER, self._pool.size)]
            _add_ripples(out, noisy[:, None] * coefficients, _polynomials(out.shape[1]))

    def _states(self, rows: np.ndarray, copies: np.ndarray, epoch: int) -> np.ndarray:
        """Return the number (b,) uint64 from which the random numbers of each item follow."""
        state = splitmix64(self._keys[rows] ^ splitmix64(self._seed))
        state = splitmix64(state ^ copies.astype(np.uint64))
        return splitmix64(state ^ np.uint64(epoch if self._config.fresh_noise else 0))

    def _noise(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed level (b,) of the noise and the offset (b,) into the pool."""
        bits = splitmix64(state ^ np.uint64(SPLITMIX64_STEP))
        unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        level = self._config.noise_min + (self._config.noise_max - self._config.noise_min) * unit
        sign = 1.0 - 2.0 * (bits & np.uint64(1)).astype(np.float64)
        offsets = np.uint64(self._pool.size - self._flux.shape[1])
        return sign * level, (state % offsets).astype(np.int64)

    def _deviations(self, rows: np.ndarray) -> np.ndarray:
        """Return the standard deviation (b, blocks) of noise of level 1 in each block of pixels."""
        if self._config.noise_unit == "spectrum":
            return self._deviation[rows]
        ivar = self._ivar[rows]
        return np.sqrt(np.where(ivar > 0.0, block_variance(ivar), 0.0))


def _hashed(state: np.ndarray, count: int, end: int) -> np.ndarray:
    """Return ``count`` numbers below ``end`` (b, count) int64 for each of the numbers ``state`` (b,)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(SPLITMIX64_STEP)
    return (splitmix64(~state[:, None] + steps) % np.uint64(end)).astype(np.int64)


@lru_cache(maxsize=1)
def _polynomials(n_pixels: int) -> np.ndarray:
    """Return the Legendre polynomials (RIPPLE_ORDER, n_pixels) float32 of the orders from 1 over the pixels."""
    x = np.linspace(-1.0, 1.0, n_pixels)
    return legendre.legvander(x, RIPPLE_ORDER)[:, 1:].T.astype(np.float32, order="C")


# One thread on purpose: the OpenMP threads of numba and of torch spin against each other, which costs ten times more
# than several threads gain.
@numba.njit(cache=True, nogil=True)
def _add_noise(
    flux: np.ndarray, rows: np.ndarray, pool: np.ndarray, offset: np.ndarray, scale: np.ndarray, out: np.ndarray
) -> None:
    """Write ``flux[rows]`` with the noise of each pixel to ``out``; ``scale`` (b, blocks) is that of each block."""
    n_pixels, blocks = flux.shape[1], scale.shape[1]
    size = n_pixels // blocks
    level = np.empty(n_pixels, dtype=np.float32)
    for i in range(rows.size):
        row, start = rows[i], offset[i]
        for block in range(blocks):
            level[block * size : (block + 1) * size] = scale[i, block]
        for j in range(n_pixels):
            out[i, j] = flux[row, j] + level[j] * pool[start + j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _add_ripples(out: np.ndarray, coefficients: np.ndarray, polynomials: np.ndarray) -> None:
    """Multiply each spectrum by its ripple, in place, and standardise the spectrum."""
    n = out.shape[1]
    ripple = np.empty(n, dtype=np.float32)
    for i in range(out.shape[0]):
        ripple[:] = 0.0
        for order in range(polynomials.shape[0]):
            for j in range(n):
                ripple[j] += coefficients[i, order] * polynomials[order, j]
        total, square = 0.0, 0.0
        for j in range(n):
            value = out[i, j] + ripple[j] * (out[i, j] + np.float32(MEAN_FLUX))
            out[i, j] = value
            total += value
            square += value * value
        mean = total / n
        factor = np.float32(1.0 / np.sqrt(max(square / n - mean * mean, 1e-30)))
        for j in range(n):
            out[i, j] = (out[i, j] - np.float32(mean)) * factor
