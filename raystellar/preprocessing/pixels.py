"""Grid, rest frame, standardisation and noise of one spectrum.

The paper (Source: Sec. 3) interpolates twice. The first pass resamples the pixels to the grid in the observed frame.
The second pass resamples the grid, shifted by ``log10(sqrt((1 + b) / (1 - b)))`` with ``b = rv / c``, to the grid in
the rest frame. Outside its coverage a spectrum is clamped to the nearest flux, in both passes. At the end the flux is
standardised to mean 0 and standard deviation 1.

With ``passes = "one"`` a single interpolation goes from the pixels to the rest-frame grid, and smooths less.

A bad pixel decides nothing: ``bad_pixels`` replaces bad pixels before the interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np

from raystellar.errors import KernelError, SpectrumError
from raystellar.preprocessing import spline
from raystellar.preprocessing.bad_pixels import SPIKE_REACH, bridge, judge, mark_numbers, mark_spikes
from raystellar.schema import N_NOISE, N_PIXELS, NOISE_BLOCK
from raystellar.spectra.record import LATTICE_STEP, MIN_PIXELS, SPEED_OF_LIGHT_KM_S

LATTICE_FIRST, LATTICE_LAST = 34_000, 44_000
"""First and last k of the lattice loglam = k * 1e-4 with tabulated spline factors (2512 to 25119 angstrom)."""

BUFFER_PIXELS = 16_384
"""Largest number of pixels of a spectrum that fits in the buffers of the kernel."""

MOST_NOISE = 1e12
"""Largest inverse variance of the standardised flux, a signal-to-noise ratio of a million."""

MOST_TIMES_MEDIAN = 100.0
"""Largest ratio of the inverse variance of a block to the median of all blocks. In real spectra it is below 10."""

REASONS = {
    1: "no good pixels",
    2: "constant flux",
    3: "no overlap with the grid",
    4: "wavelengths not increasing",
    5: "too few pixels",
}
"""Reasons to refuse a spectrum, by the status of the kernel."""


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Settings that turn spectra into the input of the network.

    They are part of each model bundle, so that spectra are labelled with the settings of the training.
    """

    loglam_start: float = 3.5754
    """First point of the grid, log10 of vacuum wavelength [angstrom]. Source: Sec. 3."""

    loglam_stop: float = 3.9670
    """Last point of the grid, included, log10 of vacuum wavelength [angstrom]. Source: Sec. 3."""

    passes: Literal["two", "one"] = "two"
    """Number of interpolations: ``two`` as in the paper (to the grid, then to the rest frame), or ``one`` for both."""

    repair_bad_pixels: bool = True
    """Whether straight lines replace bad pixels and spikes before the interpolation; the paper leaves them."""

    min_coverage: float = 0.1
    """Least fraction of the grid that a spectrum must cover; a spectrum that covers less is rejected."""

    max_abs_rv: float = 1500.0
    """Largest credible |rv| of a star [km/s]; a larger velocity is not used."""

    def __post_init__(self) -> None:
        if not 3.42 <= self.loglam_start < self.loglam_stop - 0.05 < self.loglam_stop <= 4.38:
            raise ValueError(
                f"loglam_start = {self.loglam_start} and loglam_stop = {self.loglam_stop} "
                "must lie in 3.42 to 4.38, at least 0.05 apart"
            )
        if not 0.0 < self.min_coverage <= 1.0:
            raise ValueError(f"min_coverage = {self.min_coverage} must lie in (0, 1]")
        if not 0.0 < self.max_abs_rv <= 30_000.0:
            raise ValueError(f"max_abs_rv = {self.max_abs_rv} km/s must lie in (0, 30000]")

    def grid(self) -> np.ndarray:
        """Return the grid (4000,), log10 of vacuum wavelength [angstrom], uniform."""
        return np.linspace(self.loglam_start, self.loglam_stop, N_PIXELS)


def doppler_shift(rv: float) -> float:
    """Return log10 of the relativistic Doppler factor, ``log10(sqrt((1 + b) / (1 - b)))``, b = rv / c.

    Parameters
    ----------
    rv : heliocentric radial velocity [km/s], |rv| < c

    Source: Sec. 3.
    """
    b = rv / SPEED_OF_LIGHT_KM_S
    return 0.5 * math.log10((1.0 + b) / (1.0 - b))


def lattice_knots() -> np.ndarray:
    """Return the tabulated part of the lattice as SDSS files store it: k * 1e-4 rounded to float32."""
    return (np.arange(LATTICE_FIRST, LATTICE_LAST + 1) * LATTICE_STEP).astype(np.float32).astype(np.float64)


class Preprocessor:
    """Kernel that preprocesses spectra one by one, with buffers and spline factors that are allocated once.

    Only one thread at a time may use a preprocessor.
    """

    def __init__(self, config: PreprocessConfig) -> None:
        self.config = config
        self._grid = config.grid()
        self._lattice = lattice_knots()
        self._lattice_table = spline.factorise(self._lattice)
        self._grid_table = spline.factorise(self._grid)
        self._scratch = np.empty((4, BUFFER_PIXELS))
        self._known = np.empty(BUFFER_PIXELS + 2 * SPIKE_REACH, dtype=np.float32)
        self._good = np.empty((2, BUFFER_PIXELS), dtype=bool)
        self._factors = np.empty((BUFFER_PIXELS, 5))
        self._check_arithmetic()

    def __call__(
        self, loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray, rv: float, out: np.ndarray, out_ivar: np.ndarray
    ) -> float:
        """Preprocess one spectrum.

        Parameters
        ----------
        loglam, flux, ivar : (n,) float32, as in ``Spectrum``
        rv : radial velocity to remove [km/s]
        out : (4000,) float32, receives the standardised rest-frame flux
        out_ivar : (500,) float32, receives the mean inverse variance of ``out`` in blocks of 8 pixels

        Returns
        -------
        Fraction of the grid covered by good pixels.

        Raises
        ------
        SpectrumError : the kernel refuses the spectrum for one of ``REASONS``, or it has too many pixels
        """
        if loglam.size > BUFFER_PIXELS:
            raise SpectrumError("preprocess", "unreasonable size", f"{loglam.size} pixels")
        status, good, bad = _preprocess(
            loglam, flux, ivar, doppler_shift(rv), self.config.passes == "one", self.config.repair_bad_pixels,
            self.config.min_coverage, self._grid, self._grid_table, self._lattice, self._lattice_table,
            self._factors, self._scratch, self._good, self._known, out, out_ivar,
        )  # fmt: skip
        if status:
            raise SpectrumError("preprocess", REASONS[status], f"{bad} of {loglam.size} pixels are bad")
        return float(good)

    def _check_arithmetic(self) -> None:
        """Raise KernelError on a machine where the kernel does not reproduce a cubic, as a cubic spline must.

        Some compilers are wrong: LLVM 20 to 22 mistranslate certain loops for processors with AVX2.
        """
        rv, margin = 120.0, 40
        inside = (self._lattice > self._grid[0] - 1e-3) & (self._lattice < self._grid[-1] + 1e-3)
        loglam = self._lattice[inside].astype(np.float32)
        cubic = np.polynomial.Polynomial([0.3, 1.0, -0.5, 1.0], domain=[self._grid[0], self._grid[-1]])
        flux = cubic(loglam.astype(float)).astype(np.float32)
        out, out_ivar = np.empty(N_PIXELS, np.float32), np.empty(N_NOISE, np.float32)
        self(loglam, flux, np.ones_like(flux), rv, out, out_ivar)
        expected = cubic(np.minimum(self._grid + doppler_shift(rv), self._grid[-1]))
        expected = (expected - expected.mean()) / expected.std()
        worst = np.abs(out - expected)[:-margin].max()  # at the end the kernel clamps in another way
        if not worst < 1e-3:
            raise KernelError(
                f"the compiled resampling kernel is wrong by {worst:.2g} on this processor; set NUMBA_LOOP_VECTORIZE=0 "
                "and report it"
            )


@numba.njit(cache=True, nogil=True)
def _solve(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    lattice: np.ndarray,
    lattice_table: np.ndarray,
    factors: np.ndarray,
    d: np.ndarray,
) -> None:
    """Solve the spline of the observed pixels, with the tabulated factors where the pixels lie on the lattice."""
    start = int(np.rint(x[0] / LATTICE_STEP)) - LATTICE_FIRST
    on_lattice = start >= spline.FORGOTTEN and start + n <= lattice.size and n > 2 * spline.FORGOTTEN
    if on_lattice:
        for i in range(n):
            on_lattice &= x[i] == lattice[start + i]
    rows = spline.FORGOTTEN if on_lattice else n - 1
    spline.factorise_head(factors, x, rows)
    spline.derivatives(x, y, n, factors, rows, lattice_table, start, d)


@numba.njit(cache=True, nogil=True)
def _standardise(values: np.ndarray, out: np.ndarray) -> float:
    """Write ``(values - mean) / std`` to ``out``; return the standard deviation, or 0 where the values are constant."""
    n = values.size
    mean = 0.0
    for j in range(n):
        mean += values[j]
    mean /= n
    total = 0.0
    for j in range(n):
        total += (values[j] - mean) ** 2
    std = np.sqrt(total / n)
    if not std > 1e-9 * abs(mean):
        return 0.0
    scale = 1.0 / std
    for j in range(n):
        out[j] = (values[j] - mean) * scale
    return std


@numba.njit(cache=True, nogil=True)
def _block_noise(
    x: np.ndarray, ivar: np.ndarray, good: np.ndarray, grid: np.ndarray, shift: float, std: float, out_ivar: np.ndarray
) -> float:
    """Average the inverse variance over blocks of grid pixels; return the fraction of good grid pixels."""
    covered = 0
    i = 0
    n = ivar.size
    variance_scale = std * std
    for block in range(N_NOISE):
        total = 0.0
        for j in range(block * NOISE_BLOCK, (block + 1) * NOISE_BLOCK):
            position = grid[j] + shift
            if position < x[0] or position > x[n - 1]:
                continue
            while i < n - 1 and x[i + 1] - position < position - x[i]:
                i += 1
            if good[i]:
                total += ivar[i]  # inverse variance of the nearest observed pixel
                covered += 1
        out_ivar[block] = min(total / NOISE_BLOCK * variance_scale, MOST_NOISE)
    _limit_noise(out_ivar)
    return covered / grid.size


@numba.njit(cache=True, nogil=True)
def _limit_noise(out_ivar: np.ndarray) -> None:
    """Limit blocks to ``MOST_TIMES_MEDIAN`` times the median, so that no single pixel decides the noise of all."""
    total, most = 0.0, 0.0
    for block in range(N_NOISE):
        total += out_ivar[block]
        most = max(most, out_ivar[block])
    if most * N_NOISE <= 20.0 * total:  # a few blocks above the limit would be above this; a median takes longer
        return
    limit = MOST_TIMES_MEDIAN * np.median(out_ivar[out_ivar > 0.0])
    for block in range(N_NOISE):
        out_ivar[block] = min(out_ivar[block], limit)


@numba.njit(cache=True, nogil=True)
def _coverage(x: np.ndarray, n: int, grid: np.ndarray, shift: float) -> float:
    """Return the fraction of the shifted grid that lies within the pixels."""
    inside = 0
    for j in range(grid.size):
        position = grid[j] + shift
        inside += x[0] <= position <= x[n - 1]
    return inside / grid.size


@numba.njit(cache=True, nogil=True)
def _load(loglam: np.ndarray, flux: np.ndarray, x: np.ndarray, y: np.ndarray) -> int:
    """Copy the pixels to float64; return a status of ``REASONS``, or 0 where the wavelengths can be used."""
    if loglam.size < MIN_PIXELS:
        return 5
    for i in range(loglam.size):
        x[i] = loglam[i]
        y[i] = flux[i]
        if i and not x[i] > x[i - 1]:
            return 4
    return 0


@numba.njit(cache=True, nogil=True)
def _preprocess(
    loglam: np.ndarray,
    flux: np.ndarray,
    ivar: np.ndarray,
    shift: float,
    one_pass: bool,
    repair: bool,
    min_coverage: float,
    grid: np.ndarray,
    grid_table: np.ndarray,
    lattice: np.ndarray,
    lattice_table: np.ndarray,
    factors: np.ndarray,
    scratch: np.ndarray,
    masks: np.ndarray,
    known: np.ndarray,
    out: np.ndarray,
    out_ivar: np.ndarray,
) -> tuple[int, float, int]:
    """Preprocess one spectrum; return the status, the fraction of good grid pixels, and the number of bad pixels."""
    n = loglam.size
    x, y, d, observed = scratch[0], scratch[1], scratch[2], scratch[3]
    good = masks[0, :n]
    bad = judge(flux, ivar, good)
    status = _load(loglam, flux, x, y)
    if status:
        return status, 0.0, bad
    if bad == n:
        return 1, 0.0, bad
    if _coverage(x, n, grid, shift) < min_coverage:
        return 3, 0.0, bad
    kept = masks[1, :n]
    if repair:
        bad += mark_spikes(flux, ivar, good, kept, known)
        good = kept
    elif bad:
        mark_numbers(flux, kept)
    if bad:
        bridge(y, kept)
    _solve(x, y, n, lattice, lattice_table, factors, d)
    values = observed[: grid.size]
    if one_pass:
        spline.evaluate(x, y, d, n, grid, shift, values)
        std = _standardise(values, out)
    else:
        spline.evaluate(x, y, d, n, grid, 0.0, values)
        spline.derivatives(grid, values, grid.size, grid_table, grid.size - 1, grid_table, 0, d)
        step = (grid[-1] - grid[0]) / (grid.size - 1)
        spline.evaluate_uniform(values, d, grid.size, step, shift, y)
        std = _standardise(y[: grid.size], out)
    covered = _block_noise(x, ivar, good, grid, shift, std, out_ivar)
    if covered == 0.0:
        return 1, 0.0, bad
    if not std > 0.0:
        return 2, 0.0, bad
    return 0, covered, bad
