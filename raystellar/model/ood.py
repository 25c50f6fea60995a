"""The OOD score: how unlike the training spectra a spectrum is (OOD: out-of-distribution).

The score is learned from spectra alone. Class, warnings, velocity and labels play no part. The score rests on four
quantities of a spectrum, whose P pixels are averaged in bins of ``BIN``:

    coefficients   of the K principal components of the training spectra, fitted with each bin weighted by its noise,
                   so that bad pixels do not count
    chi squares    of the residuals on three scales, each in the worst of ``CHUNKS`` parts of the grid
    density        of coefficients and chi squares together among the training spectra, by Gaussian mixtures
    signal         chi square per bin that the components gain over a constant: nothing where there is only noise

About one in a hundred validation stars scores above 1, whatever its signal-to-noise ratio. The score is 0 for the
median star and grows linearly with the negative logarithm of the density.

Matrix products are done by torch, which is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, cached_property

import numpy as np
from threadpoolctl import ThreadpoolController

from raystellar.schema import NOISE_BLOCK

BIN = 4
"""Number of pixels of the grid in one bin. A bin spans 270 km/s, wide enough for stars with a wrong velocity."""

CHUNKS = 10
"""Number of parts of the grid; the worst part counts."""

SCALES = (1, 4, 20)
"""Numbers of bins over which residuals are summed before they are squared: 4, 16 and 80 pixels. Each number is a
multiple of the number before."""

CLIP = 4.0
"""Limit to which the residual of a bin is clipped [standard errors], so that cosmic rays do not raise the score."""

LEAST_SIGNAL = 0.3
"""Least gain in chi square per bin over a constant; stars of S/N 10 gain 1.8 and more, sky and noise 0.2."""

SCORE_WITHOUT_SIGNAL = 100.0
"""Score of a spectrum without any signal."""

BATCH_ROWS = 256
"""Number of spectra scored at a time. It is fixed because matrix products of another shape sum in another order."""


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep matrix products of numpy and torch to one thread within the context: more threads sum in another order."""
    from raystellar.model.threads import threads

    with _libraries().limit(limits=1, user_api="blas"), threads(1):
        yield


def product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the products (n, N) of ``rows`` (n, K) with each of ``columns`` (N, K).

    Torch computes the products: with numpy's OpenBLAS the last bits of a row depend, on some processors, on its
    position among the rows.
    """
    import torch
    from torch.nn.functional import linear

    with torch.inference_mode():
        return linear(torch.from_numpy(rows), torch.from_numpy(columns.astype(rows.dtype, copy=False))).numpy()


@dataclass(frozen=True)
class OodScore:
    """The OOD score, learned from training spectra; all arrays are float32.

    Shapes: K components, S scales, D = K + S, E mixtures of M Gaussians.

    Attributes
    ----------
    mean : (P / BIN,) mean of the binned training spectra
    basis : (P / BIN, K) principal components of the binned training spectra
    scale : (K,) standard deviations of the coefficients
    scatter : (P / NOISE_BLOCK,) variance of the residuals in excess of the noise
    chi : (2, S) constant and slope of the logarithm of each chi square over log10 S/N
    chi_scale : (S,) standard deviation about each line
    weights : (E, M) logarithms of the weights of the Gaussians times the constants of their densities
    centres : (E, M, D) means of the Gaussians
    factors : (E, M, D, D) whitening matrices, upper triangular: rows of (y - centre) @ factor have unit variance
    ends : (2, 2) range of log10 S/N to which the lines of the chi squares (first row) and of the surprise are limited
    surprise : (3,) constant and slope of -log density [nats] of validation stars over log10 S/N, and the excess over
        that line that scores 1
    """

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray
    scatter: np.ndarray
    chi: np.ndarray
    chi_scale: np.ndarray
    weights: np.ndarray
    centres: np.ndarray
    factors: np.ndarray
    ends: np.ndarray
    surprise: np.ndarray

    def __post_init__(self) -> None:
        bins, k = self.basis.shape
        d, s, (e, m) = k + len(SCALES), len(SCALES), self.weights.shape
        wanted = {
            "mean": (bins,), "scale": (k,), "scatter": (bins * BIN // NOISE_BLOCK,), "chi": (2, s), "chi_scale": (s,),
            "centres": (e, m, d), "factors": (e, m, d, d), "ends": (2, 2), "surprise": (3,),
        }  # fmt: skip
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape} and needs {shape}")
        if not all(np.isfinite(array).all() for array in self.arrays().values()):
            raise ValueError("the arrays have values that are not finite")

    @property
    def pixels(self) -> int:
        """Number of pixels of a spectrum."""
        return self.mean.size * BIN

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def fit(self) -> ComponentFit:
        """Fit of the components to spectra."""
        return ComponentFit(self.mean, self.basis, self.scale, self.scatter)

    def score(self, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
        """Return the scores (n,) float32; NaN where no pixel is good or the noise is not known.

        The score of a row is the same to the last bit whatever the other rows are.

        Parameters
        ----------
        flux : (n, P) float32, standardised
        ivar : (n, P / NOISE_BLOCK) mean inverse variance of ``flux`` in blocks of pixels; 0 where no pixel is good
        """
        out = np.empty(len(flux), dtype=np.float32)
        batch = np.zeros((BATCH_ROWS, flux.shape[1]), np.float32)
        noise = np.zeros((BATCH_ROWS, ivar.shape[1]), np.float32)
        with one_thread():
            for start in range(0, len(flux), BATCH_ROWS):
                rows = flux[start : start + BATCH_ROWS]
                batch[: len(rows)], noise[: len(rows)] = rows, ivar[start : start + BATCH_ROWS]
                out[start : start + len(rows)] = self._score(self.fit(batch, noise))[: len(rows)]
        out[~(ivar > 0).any(1)] = np.nan
        return out

    def _score(self, spectra: FittedSpectra) -> np.ndarray:
        surprise = self.surprise_of(spectra)
        excess = (surprise - line(spectra.log_sn, self.ends[1], self.surprise[:2])) / self.surprise[2]
        silent = LEAST_SIGNAL / np.maximum(spectra.signal, LEAST_SIGNAL / SCORE_WITHOUT_SIGNAL)
        return np.asarray(np.maximum(excess, silent), dtype=np.float32)

    def surprise_of(self, spectra: FittedSpectra) -> np.ndarray:
        """Return -log density (n,) [nats] of spectra among the training spectra, averaged over the mixtures."""
        left = (spectra.chi - line(spectra.log_sn[:, None], self.ends[0], self.chi)) / self.chi_scale
        return -log_density(np.hstack([spectra.coefficients, left]), self.weights, self.centres, self.factors).mean(1)


@dataclass(frozen=True)
class FittedSpectra:
    """The fit of the components to n spectra.

    Attributes
    ----------
    coefficients : (n, K) coefficients of the components, in units of their standard deviations
    chi : (n, S) logarithm of the chi square per sum of residuals in the worst chunk
    signal : (n,) gain in chi square per bin over a constant
    log_sn : (n,) log10 of the mean signal-to-noise ratio per pixel; the signal is the spectrum's standard deviation
    residual : (n, P / BIN) spectrum minus fit
    """

    coefficients: np.ndarray
    chi: np.ndarray
    signal: np.ndarray
    log_sn: np.ndarray
    residual: np.ndarray


class ComponentFit:
    r"""Fit principal components to spectra, with each bin weighted by its noise.

    .. math:: (B^T W B + \Lambda^{-1}) \, c = B^T W (x - \mu), \qquad W_p = 1 / (\sigma_p^2 + \psi_p)

    Here :math:`\sigma_p` is the noise of a bin, :math:`\psi_p` the scatter and :math:`\Lambda` the variances of the
    coefficients. The arguments are those of ``OodScore``.
    """

    def __init__(self, mean: np.ndarray, basis: np.ndarray, scale: np.ndarray, scatter: np.ndarray) -> None:
        self._mean, self._basis, self._scale, self._scatter = mean, basis, scale, scatter
        bins, k = basis.shape
        blocks = (basis * scale).reshape(scatter.size, bins // scatter.size, k)
        self._low, self._high = np.triu_indices(k)
        self._square = np.zeros((k, k), dtype=np.int64)
        self._square[self._low, self._high] = self._square[self._high, self._low] = np.arange(self._low.size)
        grams = np.einsum("bpk,bpk->kb", blocks[:, :, self._low], blocks[:, :, self._high], dtype=np.float32)
        self._grams = np.ascontiguousarray(grams)
        self._back = np.ascontiguousarray(basis * scale, dtype=np.float32)
        self._scaled = np.ascontiguousarray(self._back.T)

    def __call__(self, flux: np.ndarray, ivar: np.ndarray) -> FittedSpectra:
        """Fit ``flux`` (n, P) with ``ivar`` (n, P / NOISE_BLOCK), both float32."""
        return self.fit_bins(binned(flux), ivar)

    def fit_bins(self, values: np.ndarray, ivar: np.ndarray) -> FittedSpectra:
        """Fit spectra whose flux is binned: ``values`` (n, P / BIN), see ``binned``."""
        n, per_block = len(values), NOISE_BLOCK // BIN
        noise = ivar * np.float32(BIN)
        weight = noise / (1.0 + noise * self._scatter)
        weights = np.repeat(weight, per_block, axis=1)
        offset = values - self._mean
        right = product(offset * weights, self._scaled)
        grams = product(weight, self._grams)[:, self._square.ravel()].reshape(n, *self._square.shape)
        grams += np.eye(len(self._square), dtype=np.float32)
        coefficients = np.linalg.solve(grams, right[:, :, None])[:, :, 0]
        residual = offset - product(coefficients, self._back)
        z = residual * np.sqrt(weights)
        return FittedSpectra(
            coefficients=coefficients,
            chi=_chi(np.clip(z, -CLIP, CLIP)),
            signal=_signal(values, weights, z),
            log_sn=log_sn(ivar),
            residual=residual,
        )


def binned(flux: np.ndarray) -> np.ndarray:
    """Return the means (n, P / BIN) of ``BIN`` neighbouring pixels of ``flux`` (n, P)."""
    return _sums(flux, BIN) * np.float32(1.0 / BIN)


def _sums(values: np.ndarray, n: int) -> np.ndarray:
    """Return the sums (rows, m / n) of ``n`` neighbouring columns of ``values`` (rows, m)."""
    total = values[:, ::n].copy()
    for k in range(1, n):
        total += values[:, k::n]
    return total


def log_sn(ivar: np.ndarray) -> np.ndarray:
    """Return log10 S/N (n,) from the mean of the positive ``ivar`` (n, blocks); -3 where none is positive."""
    good = np.maximum((ivar > 0).sum(1), 1)
    return np.asarray(0.5 * np.log10(np.maximum(ivar.sum(1) / good, np.float32(1e-6))))


def line(x: np.ndarray, ends: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return ``coefficients[0] + coefficients[1] * x`` with ``x`` clipped to ``ends``."""
    return np.asarray(coefficients[0] + coefficients[1] * np.clip(x, ends[0], ends[1]))


def log_density(y: np.ndarray, weights: np.ndarray, centres: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the log densities (n, E) [nats] of ``y`` (n, D) in E mixtures; parameters as in ``OodScore``."""
    (e, m), d = weights.shape, y.shape[1]
    flat = factors.reshape(e * m, d, d)
    offsets = np.einsum("md,mdk->mk", centres.reshape(e * m, d), flat).ravel()
    white = product(y, np.ascontiguousarray(flat.transpose(0, 2, 1).reshape(e * m * d, d)))
    white -= offsets
    parts = weights - 0.5 * np.einsum("nemd,nemd->nem", *[white.reshape(len(y), e, m, d)] * 2)
    most = parts.max(2)
    return np.asarray(most + np.log(np.exp(parts - most[:, :, None]).sum(2)))


def _chi(z: np.ndarray) -> np.ndarray:
    """Return the logarithms (n, S) of chi square per sum in the worst chunk, for residuals ``z`` [standard errors]."""
    logs, sums, before = [], z, 1
    for scale in SCALES:
        sums, before = _sums(sums, scale // before), scale
        chunks = sums.reshape(len(z), CHUNKS, -1)
        mean = np.einsum("ncb,ncb->nc", chunks, chunks).max(1) / np.float32(scale * chunks.shape[2])
        logs.append(np.log(mean + np.float32(1e-6)))
    return np.stack(logs, axis=1)


def _signal(values: np.ndarray, weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the gain (n,) in chi square per bin over a constant, for a fit with residuals ``z``."""
    constant = np.einsum("nb,nb->n", weights, values) / np.maximum(weights.sum(1), np.float32(1e-6))
    offset = values - constant[:, None]
    flat = np.einsum("nb,nb,nb->n", weights, offset, offset)
    return np.asarray((flat - np.einsum("nb,nb->n", z, z)) / np.maximum(np.count_nonzero(weights, 1), 1))


def from_arrays(arrays: Mapping[str, np.ndarray]) -> OodScore:
    """Return the score with the ``arrays``, by name.

    Raises
    ------
    ValueError : arrays are missing, of another type, or do not fit together
    """
    names = [field.name for field in fields(OodScore)]
    if sorted(arrays) != sorted(names):
        raise ValueError(f"the arrays are {', '.join(sorted(arrays))} and must be {', '.join(names)}")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise ValueError("the arrays are not all float32")
    if arrays["basis"].ndim != 2 or arrays["weights"].ndim != 2:
        raise ValueError("basis and weights need two axes")
    return OodScore(**arrays)
