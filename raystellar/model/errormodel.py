"""The error of a predicted target: a product of powers of what the network itself says of its noise, and of the place.

All targets are scaled as the network's. Without torch; what the network says is in ``uncertainty``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raystellar.targets import TARGET_NAMES

N_PLACES = 1 + len(TARGET_NAMES)
"""Coordinates of the place of a star: log10 of its S/N, and its targets."""

N_TERMS = (N_PLACES + 1) * (N_PLACES + 2) // 2
"""Terms of a polynomial of the second degree in them."""

N_LOGARITHMS = 2 * len(TARGET_NAMES)
"""Logarithms of the variances by photons and by units, see ``uncertainty.predict_with_variances``."""

MIN_SN = 1e-3
"""Below this S/N its logarithm says nothing."""

DEGREES_OF_FREEDOM = 12.0
"""Of Student's t for predicted minus true labels: some stars are off by more than a normal distribution allows."""

HALF_68 = 0.953
"""Half of the interval that has 68.3 % of that distribution, in its standard deviations."""

WITHIN = {"within68": 1.0, "within95": 2.09}
"""What an error means: within how many of them are 68.3 % and 95 % of the stars."""

LEAST_VARIANCE = 1e-12
"""What keeps logarithms finite."""


@dataclass(frozen=True)
class ErrorModel:
    r"""What makes errors of photon noise, of the weight on single units, of S/N and place among the stars.

    .. math::
        \ln \sigma_t^2 &= w_t \cdot (p(u), l) + \max(0, \ln v_t - \ln v_t^\mathrm{high}) \\
        e_t^2 &= h^2 (\sigma_t^2 + f_t^2)

    with :math:`p` the terms of a polynomial of the second degree, :math:`u` the place of the star, :math:`l` the
    logarithms of the variances of all targets by photons and by units, place and logarithms clipped to where there
    were stars to learn from, and :math:`v_t` the variance by photons: where the pixels are worse than those of any
    star it was learnt from, the variance grows with theirs. The floor :math:`f_t` is what predictions have wrong
    because the labels that the network learnt from have it wrong, which no comparison with such labels shows; and
    :math:`h` is ``HALF_68``.

    Attributes
    ----------
    low, high : (10,) ends of log10 of the S/N, of the scaled targets, and of the six logarithms
    weights : (3, 21) of the terms, in the order of ``terms``, then of the logarithms
    floor : (3,) systematic errors of the scaled labels
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    floor: tuple[float, ...] = (0.0,) * len(TARGET_NAMES)

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if len(getattr(self, name)) != N_PLACES + N_LOGARITHMS:
                raise ValueError(f"{name} has {len(getattr(self, name))} values and needs {N_PLACES + N_LOGARITHMS}")
        if [len(row) for row in self.weights] != [N_TERMS + N_LOGARITHMS] * len(TARGET_NAMES):
            raise ValueError(f"weights must be {len(TARGET_NAMES)} rows of {N_TERMS + N_LOGARITHMS}")
        if len(self.floor) != len(TARGET_NAMES):
            raise ValueError(f"floor has {len(self.floor)} values and needs {len(TARGET_NAMES)}")

    def __call__(self, variances: np.ndarray, targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
        """Return errors (n, 3) float64 of scaled targets, see ``WITHIN``; see ``scatter`` for the parameters."""
        return half_68(self.scatter(variances, targets, sn), np.array(self.floor))

    def scatter(self, variances: np.ndarray, targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
        """Return the standard deviations (n, 3) float64 of scaled targets from labels of the same table without noise.

        Only sums and products of columns: a row's result is the same to the last bit whatever rows come with it.

        Parameters
        ----------
        variances : (n, 6) of the scaled targets by photons and by units, see ``uncertainty.predict_with_variances``
        targets : (n, 3) predicted, scaled
        sn : (n,) median S/N per pixel; NaN counts as the least
        """
        found = logarithms(variances)
        columns = [*terms(place(targets, sn), self.low, self.high), *clipped(found, self.low, self.high)]
        out = np.empty((len(sn), len(TARGET_NAMES)))
        for t, weights in enumerate(self.weights):
            total = np.maximum(found[:, t] - self.high[N_PLACES + t], 0.0)
            for weight, column in zip(weights, columns, strict=True):
                total += weight * column
            out[:, t] = np.exp(0.5 * total)
        return out


def half_68(*deviations: np.ndarray) -> np.ndarray:
    """Return half of the interval that has 68.3 % of the stars, for standard deviations of several causes."""
    return HALF_68 * np.sqrt(sum(np.square(deviation) for deviation in deviations))


def place(targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the places (n, 4) of stars: log10 of the S/N ``sn`` (n,), and scaled ``targets`` (n, 3)."""
    sn = np.where(sn > MIN_SN, sn, MIN_SN)  # also where it is NaN
    return np.column_stack([np.log10(sn), targets])


def terms(places: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> list[np.ndarray]:
    """Return the 15 terms 1, u_i, u_i u_j (i <= j), each (n,), of ``places`` (n, 4) clipped and brought to -1 to 1."""
    u = [
        2.0 * (np.clip(column, start, stop) - start) / max(stop - start, MIN_SN) - 1.0
        for column, start, stop in zip(places.T, low, high, strict=False)
    ]
    products = [u[i] * u[j] for i in range(N_PLACES) for j in range(i, N_PLACES)]
    return [np.ones(len(places)), *u, *products]


def logarithms(variances: np.ndarray) -> np.ndarray:
    """Return the natural logarithms (n, 6) of ``variances`` (n, 6)."""
    return np.log(np.fmax(variances.astype(np.float64), LEAST_VARIANCE))


def clipped(found: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> list[np.ndarray]:
    """Return the six ``logarithms`` (n, 6), each (n,), clipped to their part of the ends."""
    ends = zip(found.T, low[N_PLACES:], high[N_PLACES:], strict=True)
    return [np.clip(column, start, stop) for column, start, stop in ends]
