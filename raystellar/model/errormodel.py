"""The error model: a log-linear model in the network's own variance estimates, S/N and predicted labels.

All targets are scaled as in the network. The variance estimates come from ``uncertainty``. This module does not load
torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raystellar.targets import TARGET_NAMES

N_COORDINATES = 1 + len(TARGET_NAMES)
"""Number of coordinates of a star: log10 of its S/N, and its targets."""

N_TERMS = (N_COORDINATES + 1) * (N_COORDINATES + 2) // 2
"""Number of terms of a polynomial of second degree in the coordinates."""

N_LOGARITHMS = 2 * len(TARGET_NAMES)
"""Number of logarithms of variances by photons and by units, see ``uncertainty.predict_with_variances``."""

MIN_SN = 1e-3
"""Least S/N; smaller values, and NaN, count as ``MIN_SN``."""

DEGREES_OF_FREEDOM = 12.0
"""Degrees of freedom of Student's t for predicted minus true labels, whose tails are longer than normal."""

HALF_68 = 0.953
"""Half width of the central 68.3 % interval of Student's t, in its standard deviations."""

WITHIN = {"within68": 1.0, "within95": 2.09}
"""Half widths of the central 68.3 % and 95 % intervals of Student's t, in units of the errors in a catalogue."""

LEAST_VARIANCE = 1e-12
"""Least variance, which keeps logarithms finite."""


@dataclass(frozen=True)
class ErrorModel:
    r"""Errors from photon noise, the weight on single units, S/N and predicted targets.

    .. math::
        \ln \sigma_t^2 &= w_t \cdot (p(u), l) + \max(0, \ln v_t - \ln v_t^\mathrm{high}) \\
        e_t^2 &= h^2 (\sigma_t^2 + f_t^2)

    Here :math:`u` are the coordinates of the star, :math:`p` the terms of a polynomial of second degree, and :math:`l`
    the logarithms of the variances of all targets by photons and by units. Coordinates and logarithms are clipped to
    the range of the stars that the model was fitted to. :math:`v_t` is the variance by photons: where the pixels are
    noisier than the pixels of any fitted star, the variance grows with their noise. The floor :math:`f_t` is the
    systematic error that predictions take over from the training labels; no comparison with these labels can show it.
    :math:`h` is ``HALF_68``.

    Attributes
    ----------
    low, high : (10,) limits of log10 S/N, of the three scaled targets and of the six logarithms
    weights : (3, 21) weights of the terms, in the order of ``terms``, then of the logarithms
    floor : (3,) systematic errors of the scaled labels
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    floor: tuple[float, ...] = (0.0,) * len(TARGET_NAMES)

    def __post_init__(self) -> None:
        size = N_COORDINATES + N_LOGARITHMS
        for name in ("low", "high"):
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} has {len(getattr(self, name))} values and needs {size}")
        if [len(row) for row in self.weights] != [N_TERMS + N_LOGARITHMS] * len(TARGET_NAMES):
            raise ValueError(f"weights must be {len(TARGET_NAMES)} rows of {N_TERMS + N_LOGARITHMS}")
        if len(self.floor) != len(TARGET_NAMES):
            raise ValueError(f"floor has {len(self.floor)} values and needs {len(TARGET_NAMES)}")

    def __call__(self, variances: np.ndarray, targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
        """Return errors (n, 3) float64 of scaled targets, half widths of 68.3 % intervals.

        The parameters are those of ``scatter``.
        """
        return half_68(self.scatter(variances, targets, sn), np.array(self.floor))

    def scatter(self, variances: np.ndarray, targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
        r"""Return the standard deviations (n, 3) float64 :math:`\sigma` of scaled targets, without the floor.

        The deviations refer to noiseless labels of the same label table. Only sums and products of columns are taken,
        so that the result of a row is the same to the last bit whatever the other rows are.

        Parameters
        ----------
        variances : (n, 6) of the scaled targets by photons and by units, see ``uncertainty.predict_with_variances``
        targets : (n, 3) predicted, scaled
        sn : (n,) median S/N per pixel; NaN counts as ``MIN_SN``
        """
        logs = logarithms(variances)
        columns = [*terms(coordinates(targets, sn), self.low, self.high), *clipped(logs, self.low, self.high)]
        out = np.empty((len(sn), len(TARGET_NAMES)))
        for t, weights in enumerate(self.weights):
            total = np.maximum(logs[:, t] - self.high[N_COORDINATES + t], 0.0)
            for weight, column in zip(weights, columns, strict=True):
                total += weight * column
            out[:, t] = np.exp(0.5 * total)
        return out


def half_68(*deviations: np.ndarray) -> np.ndarray:
    """Return the half width of the 68.3 % interval for standard deviations of independent causes."""
    return HALF_68 * np.sqrt(sum(np.square(deviation) for deviation in deviations))


def coordinates(targets: np.ndarray, sn: np.ndarray) -> np.ndarray:
    """Return the coordinates (n, 4) of stars: log10 of the S/N ``sn`` (n,), and scaled ``targets`` (n, 3)."""
    sn = np.where(sn > MIN_SN, sn, MIN_SN)  # NaN becomes MIN_SN, too
    return np.column_stack([np.log10(sn), targets])


def terms(stars: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> list[np.ndarray]:
    """Return the 15 terms 1, u_i and u_i u_j (i <= j), each (n,), of a polynomial of second degree.

    Parameters
    ----------
    stars : (n, 4) coordinates of stars
    low, high : limits to which the coordinates are clipped; the interval is then mapped to u = -1 to 1
    """
    u = [
        2.0 * (np.clip(column, start, stop) - start) / max(stop - start, MIN_SN) - 1.0
        for column, start, stop in zip(stars.T, low, high, strict=False)
    ]
    products = [u[i] * u[j] for i in range(N_COORDINATES) for j in range(i, N_COORDINATES)]
    return [np.ones(len(stars)), *u, *products]


def logarithms(variances: np.ndarray) -> np.ndarray:
    """Return the natural logarithms (n, 6) of ``variances`` (n, 6)."""
    return np.log(np.fmax(variances.astype(np.float64), LEAST_VARIANCE))


def clipped(logs: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> list[np.ndarray]:
    """Return the six columns (n,) of ``logarithms`` (n, 6), clipped to their limits."""
    limits = zip(logs.T, low[N_COORDINATES:], high[N_COORDINATES:], strict=True)
    return [np.clip(column, start, stop) for column, start, stop in limits]
