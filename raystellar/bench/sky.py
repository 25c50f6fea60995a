"""Benchmark the simulator: compare line strengths of real MILES stars with those of simulated stars of the same labels.

    raystellar bench sky miles.npz [miles_labels.csv]

For every MILES star (Sanchez-Blazquez et al. 2006, MNRAS 371, 703; labels Cenarro et al. 2007) with labels in the range
of the simulator, a twin with the same teff, logg and feh is simulated and broadened to 2.5 angstrom. For six lines the
table gives the rank correlation and the slope of the equivalent widths. No star is left out because it matches badly.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import spearmanr

from raystellar.errors import InputError, first_line
from raystellar.simulator.photosphere.synthesis import LIMITS, SYNTHESIS_LOGLAM, synthesize

Bands = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Band, blue side band and red side band [angstrom]."""

BANDS_AIR: dict[str, Bands] = {
    "H-alpha": ((6548.0, 6578.0), (6500.0, 6530.0), (6595.0, 6625.0)),
    "H-beta": ((4847.875, 4876.625), (4827.875, 4847.875), (4876.625, 4891.625)),  # Worthey et al. 1994
    "H-delta": ((4083.5, 4122.25), (4041.6, 4081.5), (4128.5, 4161.0)),  # Worthey & Ottaviani 1997
    "Ca II K": ((3927.7, 3939.7), (3903.0, 3923.0), (4000.0, 4020.0)),  # Beers et al. 1999
    "Mg b": ((5160.125, 5192.625), (5117.625, 5142.625), (5191.375, 5206.375)),  # Worthey et al. 1994
    "Fe 5270": ((5245.65, 5285.65), (5233.15, 5248.15), (5285.65, 5318.15)),
}
"""Bands of each line, wavelengths in air."""

COMPARED_TEFF_K = (4000.0, 10000.0)
"""Least and greatest effective temperature of the stars that are compared."""

RESOLUTION_FWHM_ANGSTROM = 2.5
"""Resolution of the MILES spectra."""

SAMPLING_ANGSTROM = 0.3
"""Step of the wavelengths on which the twins are broadened."""

LEAST_CORRELATION = 0.9
"""Rank correlation that each line should reach."""

COLOUR = "B-V"
"""Name of the colour, which depends on reddening and has no limit."""

COLOUR_BANDS = {"B": (4000.0, 4900.0), "V": (5100.0, 5900.0)}
"""Box bands of the colour [angstrom]."""


class IndexMatch(NamedTuple):
    """Agreement of one index, a line or the colour, between real stars and their twins."""

    name: str
    """Name of the index."""

    correlation: float
    """Spearman rank correlation."""

    real: float
    """Median of the real stars [angstrom, or mag for the colour]."""

    simulated: float
    """Median of the simulated stars, in the same unit."""

    slope: float
    """Slope of a straight line fitted to simulated against real values."""

    @property
    def as_wanted(self) -> bool:
        """Whether the correlation reaches its limit."""
        return self.name == COLOUR or self.correlation >= LEAST_CORRELATION


def air_to_vacuum(wavelength: np.ndarray | float) -> Any:
    """Return vacuum wavelengths [A] of wavelengths in air [A]: inverse of Ciddor 1996 as fitted by Piskunov."""
    s2 = (1e4 / np.asarray(wavelength, float)) ** 2
    index = 8.336624212083e-5 + 2.408926869968e-2 / (130.1065924522 - s2)
    return wavelength * (1.0 + index + 1.599740894897e-4 / (38.92568793293 - s2))


def alpha_of_feh(feh: float) -> float:
    """Return the mean [alpha/Fe] of disc and halo: 0 above the solar [Fe/H], +0.4 below [Fe/H] = -1."""
    return float(np.interp(feh, [-1.0, 0.0], [0.4, 0.0]))


def equivalent_width(wavelength: np.ndarray, flux: np.ndarray, bands: Bands) -> float:
    """Return the equivalent width [A] in a band under a straight line between the means of two side bands.

    Parameters
    ----------
    wavelength : (n,) [A, vacuum]
    flux : (n,) in any unit
    bands : bands as those of ``BANDS_AIR`` [A, air]
    """
    band, blue, red = [air_to_vacuum(np.array(b)) for b in bands]
    means = [flux[(wavelength >= lo) & (wavelength <= hi)].mean() for lo, hi in (blue, red)]
    inside = (wavelength >= band[0]) & (wavelength <= band[1])
    x, y = wavelength[inside], flux[inside]
    continuum = np.interp(x, [blue.mean(), red.mean()], means)
    return float(np.mean(1.0 - y / continuum) * (band[1] - band[0]))


def colour(wavelength: np.ndarray, flux: np.ndarray) -> float:
    """Return a colour like B-V [mag] without zero point, in the box bands ``COLOUR_BANDS``; wavelength (n,) [A]."""
    b, v = [flux[(wavelength > lo) & (wavelength < hi)].mean() for lo, hi in COLOUR_BANDS.values()]
    return float(-2.5 * np.log10(b / v))


def twin(teff: float, logg: float, feh: float) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength [A, vacuum] and flux [erg/s/cm2/A] of a simulated star at the resolution of MILES."""
    wave = np.arange(3562.0, 7450.0, SAMPLING_ANGSTROM)
    flux = np.interp(wave, 10.0**SYNTHESIS_LOGLAM, synthesize(teff, logg, feh, alpha_of_feh(feh)))
    return wave, gaussian_filter1d(flux, RESOLUTION_FWHM_ANGSTROM / 2.3548 / SAMPLING_ANGSTROM)


def _measure(wavelength: np.ndarray, flux: np.ndarray) -> list[float]:
    """Return the widths [A] of all lines, then the colour [mag]."""
    return [equivalent_width(wavelength, flux, b) for b in BANDS_AIR.values()] + [colour(wavelength, flux)]


def _labels(library: Mapping[str, np.ndarray], labels_csv_path: str | None) -> np.ndarray:
    """Return teff, logg and feh (stars, 3) of the library, or of the table by miles_id."""
    names = ("teff", "logg", "feh")
    if labels_csv_path is None:
        return np.stack([library[n].astype(float) for n in names], axis=1)
    with open(labels_csv_path, newline="") as handle:
        table = {row["miles_id"]: [float(row[n] or "nan") for n in names] for row in csv.DictReader(handle)}
    return np.array([table[str(i)] for i in library["miles_id"]])


def _usable(wavelength: np.ndarray, flux: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Return which stars can be compared (stars,) bool, and the number of other stars by reason."""
    low = np.array([max(LIMITS["teff"][0], COMPARED_TEFF_K[0]), LIMITS["logg"][0], LIMITS["feh"][0]])
    high = np.array([min(LIMITS["teff"][1], COMPARED_TEFF_K[1]), LIMITS["logg"][1], LIMITS["feh"][1]])
    missing = ~np.isfinite(labels).all(axis=1)
    outside = ~missing & ~((labels >= low) & (labels <= high)).all(axis=1)
    used = (wavelength > 3900.0) & (wavelength < 6630.0)
    broken = ~missing & ~outside & ~(np.isfinite(flux[:, used]) & (flux[:, used] > 0)).all(axis=1)
    reasons = {"a label missing": missing, "a label out of range": outside, "flux not positive": broken}
    return ~(missing | outside | broken), {k: int(v.sum()) for k, v in reasons.items()}


def measure(
    miles_npz_path: str, labels_csv_path: str | None = None, workers: int = 2
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Measure the indices of every usable star and its twin.

    Parameters
    ----------
    miles_npz_path : file of the arrays wave_air [A] (n,), flux (stars, n), miles_id, teff, logg and feh (stars,)
    labels_csv_path : table with miles_id, teff, logg and feh to use instead of the labels of the library
    workers : number of threads

    Returns
    -------
    real, simulated : (stars, 7) the widths [A] of ``BANDS_AIR``, then the colour [mag]
    left_out : number of stars left out, by reason
    """
    try:
        library = np.load(miles_npz_path)
    except (OSError, ValueError) as error:
        raise InputError(f"{miles_npz_path} cannot be read as a NumPy archive: {first_line(error)}") from None
    wavelength, flux = air_to_vacuum(library["wave_air"]), library["flux"].astype(float)
    labels = _labels(library, labels_csv_path)
    mask, left_out = _usable(wavelength, flux, labels)
    labels = labels[mask]
    real = np.array([_measure(wavelength, f) for f in flux[mask]])
    with ThreadPoolExecutor(workers) as pool:  # the kernels of the simulator release the interpreter lock
        simulated = np.array(list(pool.map(lambda label: _measure(*twin(*label)), labels)))
    return real, simulated, left_out


def sky_table(real: np.ndarray, simulated: np.ndarray) -> list[IndexMatch]:
    """Return the agreement of each index of real and simulated stars, both (stars, 7); see ``measure``."""
    return [
        IndexMatch(
            name,
            float(spearmanr(ours, theirs).statistic),
            float(np.median(ours)),
            float(np.median(theirs)),
            float(np.polyfit(ours, theirs, 1)[0]),
        )
        for name, ours, theirs in zip([*BANDS_AIR, COLOUR], real.T, simulated.T, strict=True)
    ]
