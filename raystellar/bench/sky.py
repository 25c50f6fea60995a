"""Is the simulator like the sky? Line strengths of real MILES stars against their simulated twins.

    python -m raystellar.bench.sky miles.npz [miles_labels.csv]

Every MILES star (Sanchez-Blazquez et al. 2006, MNRAS 371, 703; labels Cenarro et al. 2007) with
labels inside the simulator's range meets a twin with the same teff, logg, feh, broadened to
2.5 angstrom. For six lines the table gives the rank correlation and the slope of the equivalent
widths. No star is left out for being a bad match. Exit code 0 only if all six correlations reach
0.9.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import spearmanr

from raystellar.simulate.photosphere.synthesis import LIMITS, LOGLAM, synthesize

Bands = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

BANDS_AIR: dict[str, Bands] = {
    # name: (band, blue side, red side) in angstrom, air
    "H-alpha": ((6548.0, 6578.0), (6500.0, 6530.0), (6595.0, 6625.0)),
    "H-beta": ((4847.875, 4876.625), (4827.875, 4847.875), (4876.625, 4891.625)),  # Worthey et al. 1994
    "H-delta": ((4083.5, 4122.25), (4041.6, 4081.5), (4128.5, 4161.0)),  # Worthey & Ottaviani 1997
    "Ca II K": ((3927.7, 3939.7), (3903.0, 3923.0), (4000.0, 4020.0)),  # Beers et al. 1999
    "Mg b": ((5160.125, 5192.625), (5117.625, 5142.625), (5191.375, 5206.375)),  # Worthey et al. 1994
    "Fe 5270": ((5245.65, 5285.65), (5233.15, 5248.15), (5285.65, 5318.15)),
}
TEFF_RANGE_K = (4000.0, 10000.0)
RESOLUTION_FWHM_ANGSTROM = 2.5
SAMPLING_ANGSTROM = 0.3
PASS = 0.9
COLOUR_BANDS = {"B": (4000.0, 4900.0), "V": (5100.0, 5900.0)}


def air_to_vacuum(wavelength: np.ndarray | float) -> Any:
    """Return vacuum wavelengths [A] of wavelengths in air [A]: inverse of Ciddor 1996 as fitted by Piskunov."""
    s2 = (1e4 / np.asarray(wavelength, float)) ** 2
    index = 8.336624212083e-5 + 2.408926869968e-2 / (130.1065924522 - s2)
    return wavelength * (1.0 + index + 1.599740894897e-4 / (38.92568793293 - s2))


def alpha_of_feh(feh: float) -> float:
    """Mean [alpha/Fe] of disc and halo: 0 above the Sun, +0.4 below [Fe/H] = -1."""
    return float(np.interp(feh, [-1.0, 0.0], [0.4, 0.0]))


def equivalent_width(wavelength: np.ndarray, flux: np.ndarray, bands: Bands) -> float:
    """Equivalent width [A] in a band under a straight line between the means of two side bands.

    Parameters
    ----------
    wavelength, flux : [A, vacuum] and any scale (n,)
    bands : band, blue and red side band, as those of `BANDS_AIR`
    """
    band, blue, red = [air_to_vacuum(np.array(b)) for b in bands]
    means = [flux[(wavelength >= lo) & (wavelength <= hi)].mean() for lo, hi in (blue, red)]
    inside = (wavelength >= band[0]) & (wavelength <= band[1])
    x, y = wavelength[inside], flux[inside]
    continuum = np.interp(x, [blue.mean(), red.mean()], means)
    return float(np.mean(1.0 - y / continuum) * (band[1] - band[0]))


def colour(wavelength: np.ndarray, flux: np.ndarray) -> float:
    """A B-V-like colour [mag] without zero point: box bands of COLOUR_BANDS, wavelength (n,) [A]."""
    b, v = [flux[(wavelength > lo) & (wavelength < hi)].mean() for lo, hi in COLOUR_BANDS.values()]
    return float(-2.5 * np.log10(b / v))


def twin(teff: float, logg: float, feh: float) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength [A, vacuum] and flux [erg/s/cm2/A] of the simulated star at the resolution of MILES."""
    wave = np.arange(3562.0, 7450.0, SAMPLING_ANGSTROM)
    flux = np.interp(wave, 10.0**LOGLAM, synthesize(teff, logg, feh, alpha_of_feh(feh)))
    return wave, gaussian_filter1d(flux, RESOLUTION_FWHM_ANGSTROM / 2.3548 / SAMPLING_ANGSTROM)


def _measure(wavelength: np.ndarray, flux: np.ndarray) -> list[float]:
    return [equivalent_width(wavelength, flux, b) for b in BANDS_AIR.values()] + [colour(wavelength, flux)]


def _labels(library: Mapping[str, np.ndarray], labels_csv_path: str | None) -> np.ndarray:
    """teff, logg, feh of every spectrum: the library's own, or those of the table by miles_id."""
    names = ("teff", "logg", "feh")
    if labels_csv_path is None:
        return np.stack([library[n].astype(float) for n in names], axis=1)
    with open(labels_csv_path, newline="") as handle:
        table = {row["miles_id"]: [float(row[n] or "nan") for n in names] for row in csv.DictReader(handle)}
    return np.array([table[str(i)] for i in library["miles_id"]])


def _usable(wavelength: np.ndarray, flux: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Return the mask of stars to compare, and reasons and counts of the others."""
    low = np.array([max(LIMITS["teff"][0], TEFF_RANGE_K[0]), LIMITS["logg"][0], LIMITS["feh"][0]])
    high = np.array([min(LIMITS["teff"][1], TEFF_RANGE_K[1]), LIMITS["logg"][1], LIMITS["feh"][1]])
    missing = ~np.isfinite(labels).all(axis=1)
    outside = ~missing & ~((labels >= low) & (labels <= high)).all(axis=1)
    used = (wavelength > 3900.0) & (wavelength < 6630.0)
    broken = ~missing & ~outside & ~(np.isfinite(flux[:, used]) & (flux[:, used] > 0)).all(axis=1)
    reasons = {"a label missing": missing, "a label out of range": outside, "flux not positive": broken}
    return ~(missing | outside | broken), {k: int(v.sum()) for k, v in reasons.items()}


def measure(
    miles_npz_path: str, labels_csv_path: str | None = None, workers: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Measure every usable star and its twin.

    Parameters
    ----------
    miles_npz_path : arrays wave_air [A] (n,), flux (stars, n), miles_id, teff, logg and feh (stars,)
    labels_csv_path : table with miles_id, teff, logg and feh in place of the library's own labels
    workers : threads

    Returns
    -------
    real and simulated indices (stars, 7): the widths [A] of `BANDS_AIR`, then the colour [mag]; labels (stars, 3);
    reasons and counts of the stars left out
    """
    library = np.load(miles_npz_path)
    wavelength, flux = air_to_vacuum(library["wave_air"]), library["flux"].astype(float)
    labels = _labels(library, labels_csv_path)
    mask, left_out = _usable(wavelength, flux, labels)
    labels = labels[mask]
    real = np.array([_measure(wavelength, f) for f in flux[mask]])
    with ThreadPoolExecutor(workers) as pool:  # the kernels release the interpreter lock
        simulated = np.array(list(pool.map(lambda label: _measure(*twin(*label)), labels)))
    return real, simulated, labels, left_out


def _row(name: str, real: np.ndarray, simulated: np.ndarray) -> dict[str, Any]:
    slope = float(np.polyfit(real, simulated, 1)[0])
    rank = float(spearmanr(real, simulated).statistic)
    medians = {"real": float(np.median(real)), "simulated": float(np.median(simulated))}
    return {"index": name, "spearman": rank, **medians, "slope": slope}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 if every line passes. The colour depends on reddening and is given for information."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("miles_npz")
    parser.add_argument("labels_csv", nargs="?")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", help="write the measured indices to this npz file")
    args = parser.parse_args(argv)
    real, simulated, labels, left_out = measure(args.miles_npz, args.labels_csv, args.workers)
    if args.save:
        np.savez(args.save, real=real, simulated=simulated, labels=labels)
    rows = [_row(name, real[:, i], simulated[:, i]) for i, name in enumerate([*BANDS_AIR, "B-V"])]
    print(f"{len(labels)} stars; left out: " + ", ".join(f"{v} {k}" for k, v in left_out.items()))
    print(f"{'index':8s} {'spearman':>9s} {'real':>8s} {'simulated':>10s} {'slope':>7s}")
    for r in rows:
        print(f"{r['index']:8s} {r['spearman']:9.3f} {r['real']:8.2f} {r['simulated']:10.2f} {r['slope']:7.2f}")
    return 0 if all(r["spearman"] >= PASS for r in rows[: len(BANDS_AIR)]) else 1


if __name__ == "__main__":
    sys.exit(main())
