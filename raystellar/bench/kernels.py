"""How fast is one process, beside the plain program that a user would write with astropy, SciPy and torch?

Both do the same on the same files in the same run: read flux, wavelengths, ivar, class and redshift; interpolate
twice and standardise; predict. The results are compared before the times are. Printed per spectrum and core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits
from scipy.interpolate import CubicSpline

from raystellar.errors import InputError, SpectrumError
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.model.plain import predict_one
from raystellar.model.threads import threads
from raystellar.preprocess.ingest import Admitted, choose_rv, ingest
from raystellar.preprocess.pixels import SPEED_OF_LIGHT_KM_S, PreprocessConfig, Preprocessor, doppler_shift
from raystellar.spectra import Slice, Spectrum, read_spectrum
from raystellar.spectra.inputs import make_manifest

TOLERANCE = 2e-6
"""Largest difference of standardised flux between the two programs: float32 rounding of values up to 20."""


def plain_read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Read one file as the astropy documentation shows; return loglam, flux, ivar and rv [km/s]."""
    with fits.open(path, memmap=False) as hdus:
        coadd = hdus[1].data
        loglam, flux, ivar = (np.array(coadd[name], dtype=np.float64) for name in ("loglam", "flux", "ivar"))
        return loglam, flux, ivar, SPEED_OF_LIGHT_KM_S * float(hdus[2].data["Z"][0])


def plain_resample(loglam: np.ndarray, flux: np.ndarray, rv: float, grid: np.ndarray) -> np.ndarray:
    """Resample and standardise one spectrum with SciPy, as the paper says. Source: Sec. 3."""
    observed = CubicSpline(loglam, flux)(np.clip(grid, loglam[0], loglam[-1]))
    rest_axis = grid - doppler_shift(rv)
    rest = CubicSpline(rest_axis, observed)(np.clip(grid, rest_axis[0], rest_axis[-1]))
    return (rest - rest.mean()) / rest.std()


def kernel_table(spectra: list[str], model: str | None, count: int = 400) -> list[tuple[str, float, float]]:
    """Return (part, plain ms, raystellar ms) per spectrum, on one core, over the best of three passes.

    Parameters
    ----------
    spectra : files, folders or globs of spec files of stars
    model : bundle to predict with, or None to leave that out
    count : files to use, evenly taken

    Raises
    ------
    InputError : no file can be used, or the two programs disagree
    """
    bundle = load_bundle(model) if model else None
    config = bundle.preprocess if bundle else PreprocessConfig()
    preprocessor, grid = Preprocessor(config), config.grid()
    paths = _usable(spectra, preprocessor, count)
    plain_raw, plain_read_ms = _time(lambda: [plain_read(path) for path in paths], len(paths))
    raw, read_ms = _time(lambda: [read_spectrum(path) for path in paths], len(paths))
    plain_flux, plain_resample_ms = _time(
        lambda: np.array([plain_resample(x, y, rv, grid) for x, y, _, rv in plain_raw], dtype=np.float32), len(paths)
    )
    out, noise = np.empty((len(paths), grid.size), np.float32), np.empty((len(paths), 500), np.float32)

    def resample() -> np.ndarray:
        for k, spectrum in enumerate(raw):
            preprocessor(
                spectrum.loglam, spectrum.flux, spectrum.ivar, SPEED_OF_LIGHT_KM_S * spectrum.z, out[k], noise[k]
            )
        return out

    flux, resample_ms = _time(resample, len(paths))
    worst = float(np.abs(flux - plain_flux).max())
    if worst > TOLERANCE:
        raise InputError(
            f"the two programs disagree: standardised flux differs by {worst:.2e}, allowed {TOLERANCE:.0e}"
        )
    table = [("read", plain_read_ms, read_ms), ("resample", plain_resample_ms, resample_ms)]
    if bundle:
        table.append(("predict", *_predict_times(bundle, plain_flux, flux)))
    table.append(("sum", *(sum(row[k] for row in table) for k in (1, 2))))  # type: ignore[misc, arg-type]
    return table


def _predict_times(bundle: Bundle, plain_flux: np.ndarray, flux: np.ndarray) -> tuple[float, float]:
    with threads(1):
        expected, plain_ms = _time(lambda: np.array([predict_one(bundle, row) for row in plain_flux]), len(flux))
        predicted, ms = _time(lambda: bundle.predict(flux), len(flux))
    if not np.allclose(predicted, expected, rtol=1e-4, atol=1e-3):
        raise InputError("the two programs predict different labels")
    return plain_ms, ms


def _usable(spectra: list[str], preprocessor: Preprocessor, count: int) -> list[str]:
    """Return up to ``count`` paths, evenly taken, of spectra that both programs can do."""
    paths = make_manifest(spectra)["path"].to_pylist()
    paths = paths[:: max(1, len(paths) // count)][:count]
    rejects = {path for path, _ in ingest([Slice(path) for path in paths], preprocessor, admit_by_pipeline).rejects}
    usable = [path for path in paths if path not in rejects]
    if not usable:
        raise InputError(f"none of {len(paths)} spectra can be used")
    return usable


def admit_by_pipeline(spectrum: Spectrum) -> Admitted:
    """Take spectra with a credible velocity from the pipeline."""
    admitted = choose_rv(spectrum, None, -1, 1500.0)
    if admitted.rv_source == "none":
        raise SpectrumError("rv", "velocity is not a star's")
    return admitted


def _time(work: Callable[[], Any], count: int, passes: int = 3) -> tuple[Any, float]:
    """Return the result of ``work`` and the ms per spectrum of its best pass."""
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, 1e3 * best / count
