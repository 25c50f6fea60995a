"""Benchmark one process against the plain program that a user would write with astropy, SciPy and torch.

Both programs do the same work on the same files in one run: read flux, wavelengths, ivar, class and redshift; replace
bad pixels, interpolate twice and standardise; predict. Their results are compared before their times. Times are per
spectrum and core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import CubicSpline

from raystellar.errors import InputError, SpectrumError
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.model.plain import predict_one
from raystellar.model.threads import threads
from raystellar.preprocessing.bad_pixels import SPIKE_RATIO, SPIKE_REACH, SPIKE_SIGMA
from raystellar.preprocessing.ingest import Admitted, choose_rv, ingest
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor, doppler_shift
from raystellar.schema import N_NOISE, N_PIXELS
from raystellar.spectra import Slice, Spectrum, read_spectrum
from raystellar.spectra.inputs import make_manifest
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S, good_pixels

FLUX_TOLERANCE = 2e-6
"""Largest difference of standardised flux between the two programs: float32 rounding of values up to 20."""


def plain_read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Read one spec file as the documentation of astropy shows; return loglam, flux and ivar (n,), and rv [km/s]."""
    with fits.open(path, memmap=False) as hdus:
        coadd = hdus[1].data
        loglam, flux, ivar = (np.array(coadd[name], dtype=np.float64) for name in ("loglam", "flux", "ivar"))
        return loglam, flux, ivar, SPEED_OF_LIGHT_KM_S * float(hdus[2].data["Z"][0])


def plain_resample(
    loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray, rv: float, config: PreprocessConfig
) -> np.ndarray:
    """Resample one spectrum to the grid at rest and standardise it, with SciPy; return (P,). Source: Sec. 3."""
    grid, shift = config.grid(), doppler_shift(rv)
    if config.repair_bad_pixels:
        good = plain_good(flux, ivar)
        flux = np.interp(np.arange(flux.size), np.flatnonzero(good), flux[good])
    if config.passes == "two":
        flux = CubicSpline(loglam, flux)(np.clip(grid, loglam[0], loglam[-1]))
        loglam = grid
    rest = CubicSpline(loglam - shift, flux)(np.clip(grid, loglam[0] - shift, loglam[-1] - shift))
    return (rest - rest.mean()) / rest.std()


def plain_resample_all(
    stars: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, float]], config: PreprocessConfig
) -> np.ndarray:
    """Resample spectra, each as ``plain_read`` returns it; return (n, P) float32."""
    return np.array([plain_resample(x, y, ivar, rv, config) for x, y, ivar, rv in stars], dtype=np.float32)


def plain_good(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return which pixels (n,) are good, as ``record.good_pixels`` and ``bad_pixels.SPIKE_SIGMA`` say."""
    good = good_pixels(flux, ivar)
    near = sliding_window_view(
        np.pad(np.where(good, flux, np.nan), SPIKE_REACH, constant_values=np.nan), 2 * SPIKE_REACH + 1
    )
    middle = np.isfinite(near).sum(axis=1) // 2
    median = np.sort(near, axis=1)[np.arange(flux.size), middle]  # NaN comes last
    sigma = 1.0 / np.sqrt(np.where(good, ivar, 1.0))
    above = (flux > SPIKE_RATIO * median) & (flux > median + SPIKE_SIGMA * sigma)
    return good & ~np.where(flux < 0.0, flux < -SPIKE_SIGMA * sigma, above)


def kernel_table(spectra: list[str], model: str | None, count: int = 400) -> list[tuple[str, float, float]]:
    """Return (part, plain ms, raystellar ms) per spectrum on one core, each from the best of three passes.

    Parameters
    ----------
    spectra : spec files of stars, folders or globs
    model : folder of the model to predict with; None to leave the prediction out
    count : number of files to use, evenly spaced in the list

    Raises
    ------
    InputError : no file can be used, or the two programs disagree
    """
    bundle = load_bundle(model) if model else None
    config = bundle.preprocess if bundle else PreprocessConfig()
    preprocessor = Preprocessor(config)
    paths = usable(make_manifest(spectra)["path"].to_pylist(), preprocessor, count)
    plain_raw, plain_read_ms = timed(lambda: [plain_read(path) for path in paths], len(paths))
    raw, read_ms = timed(lambda: [read_spectrum(path) for path in paths], len(paths))
    plain_flux, plain_resample_ms = timed(
        lambda: plain_resample_all(plain_raw, config),
        len(paths),
    )
    out, noise = np.empty((len(paths), N_PIXELS), np.float32), np.empty((len(paths), N_NOISE), np.float32)

    def resample() -> np.ndarray:
        for k, spectrum in enumerate(raw):
            preprocessor(
                spectrum.loglam, spectrum.flux, spectrum.ivar, SPEED_OF_LIGHT_KM_S * spectrum.z, out[k], noise[k]
            )
        return out

    flux, resample_ms = timed(resample, len(paths))
    worst = float(np.abs(flux - plain_flux).max())
    if worst > FLUX_TOLERANCE:
        raise InputError(
            f"the two programs disagree: standardised flux differs by {worst:.2e}, allowed {FLUX_TOLERANCE:.0e}"
        )
    table = [("read", plain_read_ms, read_ms), ("resample", plain_resample_ms, resample_ms)]
    if bundle:
        table.append(("predict", *_predict_times(bundle, plain_flux, flux)))
    table.append(("sum", *(sum(row[k] for row in table) for k in (1, 2))))  # type: ignore[misc, arg-type]
    return table


def _predict_times(bundle: Bundle, plain_flux: np.ndarray, flux: np.ndarray) -> tuple[float, float]:
    """Return the times [ms] of the plain prediction and of the prediction by the model, per spectrum on one core."""
    with threads(1):
        expected, plain_ms = timed(lambda: np.array([predict_one(bundle, row) for row in plain_flux]), len(flux))
        predicted, ours_ms = timed(lambda: bundle.predict(flux), len(flux))
    if not np.allclose(predicted, expected, rtol=1e-4, atol=1e-3):
        raise InputError("the two programs predict different labels")
    return plain_ms, ours_ms


def usable(paths: list[str], preprocessor: Preprocessor, count: int) -> list[str]:
    """Return up to ``count`` of the paths, evenly spaced in the list, without spectra that are rejected.

    Raises
    ------
    InputError : all spectra are rejected
    """
    paths = paths[:: max(1, len(paths) // count)][:count]
    rejects = {path for path, _ in ingest([Slice(path) for path in paths], preprocessor, admit_by_pipeline).rejects}
    kept = [path for path in paths if path not in rejects]
    if not kept:
        raise InputError(f"none of {len(paths)} spectra can be used; name spec files of stars")
    return kept


def admit_by_pipeline(spectrum: Spectrum) -> Admitted:
    """Admit a spectrum with the velocity of the pipeline; reject it if no star can have this velocity."""
    admitted = choose_rv(spectrum, None, -1, 1500.0)
    if admitted.rv_source == "none":
        raise SpectrumError("rv", "the velocity is not a star's")
    return admitted


def timed(work: Callable[[], Any], count: int, passes: int = 3) -> tuple[Any, float]:
    """Return the result of ``work`` on ``count`` spectra, and the time of its best pass [ms per spectrum]."""
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, 1e3 * best / count
