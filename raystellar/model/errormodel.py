"""The error of a predicted target: photon noise through the network, and a scatter learnt on validation stars.

All targets are scaled as the network's. Without torch; the photon noise itself is in ``uncertainty``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raystellar.targets import TARGET_NAMES

N_PLACES = 1 + len(TARGET_NAMES)
"""Coordinates of the place of a star: log10 of its S/N, and its targets."""

N_TERMS = (N_PLACES + 1) * (N_PLACES + 2) // 2
"""Terms of a polynomial of the second degree in them."""

MIN_SN = 1e-3
"""Below this S/N its logarithm says nothing."""


@dataclass(frozen=True)
class ErrorModel:
    r"""What makes standard errors of photon noise, S/N and place among the stars.

    .. math:: \sigma_t^2 = a_t^2 \, \sigma_{\mathrm{photon},t}^2 + \exp(w_t \cdot p(u))

    with :math:`p` the terms of a polynomial of the second degree and :math:`u` the place of the star, clipped to where
    there were stars to learn from.

    Attributes
    ----------
    gain : (3,) factors a of the photon noise: resampling makes neighbouring pixels alike, which the photon part omits
    low, high : (4,) ends of the place: log10 of the S/N, then the scaled targets
    weights : (3, 15) of the terms, in the order of ``terms``
    """

    gain: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        for name, wanted in (("gain", len(TARGET_NAMES)), ("low", N_PLACES), ("high", N_PLACES)):
            if len(getattr(self, name)) != wanted:
                raise ValueError(f"{name} has {len(getattr(self, name))} values and needs {wanted}")
        if [len(row) for row in self.weights] != [N_TERMS] * len(TARGET_NAMES):
            raise ValueError(f"weights must be {len(TARGET_NAMES)} rows of {N_TERMS}")

    def __call__(self, photon: np.ndarray, targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
        """Return standard errors (n, 3) float64 of scaled targets.

        Only sums and products of columns: a row's result is the same to the last bit whatever rows come with it.

        Parameters
        ----------
        photon : (n, 3) variance of the scaled targets by photon noise, see ``uncertainty.photon_variance``
        targets : (n, 3) predicted, scaled
        sn : (n,) median S/N per pixel; NaN counts as the least
        """
        columns = terms(place(targets, sn), self.low, self.high)
        out = np.empty((len(sn), len(TARGET_NAMES)))
        for t, weights in enumerate(self.weights):
            logarithm = np.zeros(len(sn))
            for weight, column in zip(weights, columns, strict=True):
                logarithm += weight * column
            out[:, t] = np.sqrt(self.gain[t] ** 2 * photon[:, t].astype(np.float64) + np.exp(logarithm))
        return out


def place(targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the places (n, 4) of stars: log10 of the S/N ``sn`` (n,), and scaled ``targets`` (n, 3)."""
    sn = np.where(sn > MIN_SN, sn, MIN_SN)  # also where it is NaN
    return np.column_stack([np.log10(sn), targets])


def terms(places: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> list[np.ndarray]:
    """Return the 15 terms 1, u_i, u_i u_j (i <= j), each (n,), of ``places`` (n, 4) clipped and brought to -1 to 1."""
    u = [
        2.0 * (np.clip(column, start, stop) - start) / max(stop - start, MIN_SN) - 1.0
        for column, start, stop in zip(places.T, low, high, strict=True)
    ]
    products = [u[i] * u[j] for i in range(N_PLACES) for j in range(i, N_PLACES)]
    return [np.ones(len(places)), *u, *products]
