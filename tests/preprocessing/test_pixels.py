"""The preprocessing of one spectrum, against SciPy and against its own symmetries."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from raystellar.errors import KernelError, SpectrumError
from raystellar.preprocessing import pixels
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor, doppler_shift, lattice_knots
from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

CONFIG = PreprocessConfig(passes="two")
GRID = CONFIG.grid()
PREPROCESSOR = Preprocessor(CONFIG)
AS_THE_PAPER = Preprocessor(PreprocessConfig(passes="two", repair_bad_pixels=False))
ONE_PASS = Preprocessor(PreprocessConfig(passes="one"))


def run(preprocessor, loglam, flux, ivar=None, rv=0.0):
    out, out_ivar = np.empty(4000, np.float32), np.empty(500, np.float32)
    ivar = np.full(loglam.size, 1e-3, np.float32) if ivar is None else ivar  # the noise of ``noisy``
    good = preprocessor(loglam, flux.astype(np.float32), ivar, rv, out, out_ivar)
    return out, out_ivar, good


def as_the_paper(loglam, flux, rv):
    """Return the flux preprocessed with SciPy as Sec. 3 of the paper describes."""

    def clamped(x, y, at):
        return CubicSpline(x, y)(np.clip(at, x[0], x[-1]))

    observed = clamped(loglam.astype(float), flux.astype(float), GRID)
    b = rv / SPEED_OF_LIGHT_KM_S
    rest = clamped(GRID - np.log10(np.sqrt((1 + b) / (1 - b))), observed, GRID)
    return (rest - rest.mean()) / rest.std()


def sdss_lattice(first=35788, n=3842):
    return (np.arange(first, first + n) * 1e-4).astype(np.float32)


def noisy(n, seed=0):
    return np.random.default_rng(seed).normal(100, 30, n).astype(np.float32)


@pytest.mark.parametrize("rv", [0.0, -38.26, 311.7, -620.0])
@pytest.mark.parametrize(("first", "n"), [(35788, 3842), (35514, 4600), (36500, 2070), (35784, 101)])
def test_two_passes_agree_with_scipy(rv, first, n):
    preprocessor = Preprocessor(PreprocessConfig(passes="two", min_coverage=0.01)) if n == 101 else PREPROCESSOR
    loglam, flux = sdss_lattice(first, n), noisy(n)
    np.testing.assert_allclose(run(preprocessor, loglam, flux, rv=rv)[0], as_the_paper(loglam, flux, rv), atol=1e-6)


def test_off_the_lattice_agrees_with_scipy():
    loglam = (3.57 + 1e-4 * (np.arange(3900) + 0.21)).astype(np.float32)
    flux = noisy(3900)
    np.testing.assert_allclose(run(PREPROCESSOR, loglam, flux, rv=50.0)[0], as_the_paper(loglam, flux, 50.0), atol=1e-6)


def test_every_real_file_agrees_with_scipy(real_data):
    from raystellar.spectra import read_spectrum

    folders = ("sdss_stars", "sdss_sky", "sdss_other")
    paths = [path for folder in folders for path in (real_data / folder).glob("spec-*")]
    assert len(paths) >= 47
    for path in paths:
        spectrum = read_spectrum(str(path))
        for rv in (0.0, 217.3):
            ours = run(AS_THE_PAPER, spectrum.loglam, spectrum.flux, spectrum.ivar, rv)[0]
            np.testing.assert_allclose(ours, as_the_paper(spectrum.loglam, spectrum.flux, rv), atol=1e-6)


def test_the_result_is_standardised():
    out, _, _ = run(PREPROCESSOR, sdss_lattice(), noisy(3842), rv=12.0)
    assert out.mean(dtype=float) == pytest.approx(0, abs=1e-6)
    assert out.std(dtype=float) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("preprocessor", [PREPROCESSOR, ONE_PASS], ids=["two", "one"])
def test_a_line_comes_back_to_its_rest_wavelength(preprocessor):
    loglam = sdss_lattice()
    rest, rv = 3.7500, 300.0
    flux = 1 - 0.8 * np.exp(-0.5 * ((loglam - (rest + doppler_shift(rv))) / 2e-4) ** 2)
    out, _, _ = run(preprocessor, loglam, flux, rv=rv)
    assert GRID[out.argmin()] == pytest.approx(rest, abs=0.6e-4)


def test_shifting_there_and_back_is_the_identity():
    assert doppler_shift(250.0) == pytest.approx(-doppler_shift(-250.0))
    smooth = np.sin(40 * sdss_lattice().astype(float)) + 2
    there, _, _ = run(ONE_PASS, sdss_lattice(), smooth, rv=250.0)
    back = CubicSpline(GRID - doppler_shift(-250.0), there)(GRID[200:-200])
    plain, _, _ = run(ONE_PASS, sdss_lattice(), smooth)
    slope = np.polyfit(plain[200:-200], back, 1)  # the two are standardised over slightly different pixels
    np.testing.assert_allclose(np.polyval(slope, plain[200:-200]), back, atol=1e-4)


def test_scale_and_offset_do_not_matter():
    flux = noisy(3842)
    first, _, _ = run(PREPROCESSOR, sdss_lattice(), flux)
    second, _, _ = run(PREPROCESSOR, sdss_lattice(), flux * np.float32(512.0), np.full(3842, 1e-3 / 512**2, np.float32))
    np.testing.assert_array_equal(first, second)


def test_noise_is_in_units_of_the_standardised_flux():
    loglam = sdss_lattice(35500, 4700)
    flux = np.sin(30 * loglam.astype(float)) + 2
    _, ivar, good = run(PREPROCESSOR, loglam, flux, np.full(4700, 0.25, np.float32))
    assert good == 1.0
    np.testing.assert_allclose(ivar, 0.25 * np.interp(GRID, loglam, flux).std() ** 2, rtol=1e-4)


BAD_VALUES = [(9999, 0), (np.nan, 0), (np.nan, 1), (np.inf, 1), (-np.inf, 1), (1e30, 1), (1e-30, 1), (9999, -1),
              (9999, np.nan), (9999, np.inf), (9999, 3e38), (9999, 1e-30)]  # fmt: skip


def with_bad_pixels(value, noise, where=slice(1000, 1100)):
    loglam, flux = sdss_lattice(35500, 4700), np.linspace(50, 100, 4700).astype(np.float32)
    ivar, spoilt = np.ones(4700, np.float32), flux.copy()
    spoilt[where], ivar[where] = value, noise
    return loglam, flux, spoilt, ivar


@pytest.mark.parametrize(("value", "noise"), BAD_VALUES)
def test_bad_pixels_are_bridged_and_lower_the_good_fraction(value, noise):
    loglam, flux, spoilt, ivar = with_bad_pixels(value, noise)
    clean, _, _ = run(PREPROCESSOR, loglam, flux)
    out, out_ivar, good = run(PREPROCESSOR, loglam, spoilt, ivar)
    np.testing.assert_allclose(out, clean, atol=1e-4)
    assert 0.97 < good < 0.98
    assert (out_ivar == 0).sum() >= 11


def test_the_paper_leaves_bad_pixels_as_they_are_where_flux_is_finite():
    loglam, flux, spoilt, ivar = with_bad_pixels(9999, 0)
    np.testing.assert_allclose(run(AS_THE_PAPER, loglam, spoilt, ivar)[0], as_the_paper(loglam, spoilt, 0.0), atol=1e-6)
    _, _, unknown, _ = with_bad_pixels(np.nan, 0)
    np.testing.assert_allclose(
        run(AS_THE_PAPER, loglam, unknown, ivar)[0], run(PREPROCESSOR, loglam, flux)[0], atol=1e-4
    )


@pytest.mark.parametrize("where", [slice(0, 900), slice(3900, None)])
def test_bad_pixels_at_an_end_have_the_nearest_good_flux(where):
    loglam, flux, spoilt, ivar = with_bad_pixels(np.nan, 0, where)
    clamped = flux.clip(flux[900] if where.start == 0 else None, flux[3899] if where.start else None)
    np.testing.assert_allclose(
        run(PREPROCESSOR, loglam, spoilt, ivar)[0], run(PREPROCESSOR, loglam, clamped)[0], atol=1e-5
    )


def test_spikes_are_bridged_and_lines_are_kept():
    loglam = sdss_lattice(35500, 4700)
    flux = 100 - 90 * np.exp(-0.5 * ((loglam - 3.75) / 1.1e-4) ** 2)  # as narrow as the spectrograph allows
    spoilt = flux.copy()
    spoilt[[500, 501, 1500, 3000]] = 400, 300, -90, 1e4
    ivar = np.ones(4700, np.float32)
    clean = run(PREPROCESSOR, loglam, flux, ivar)[0]
    np.testing.assert_allclose(run(PREPROCESSOR, loglam, spoilt, ivar)[0], clean, atol=1e-4)
    np.testing.assert_array_equal(clean, run(AS_THE_PAPER, loglam, flux, ivar)[0])


@pytest.mark.parametrize("exponent", range(-45, 39, 3))
def test_the_noise_of_one_pixel_does_not_decide_the_noise_of_the_spectrum(exponent):
    loglam, flux, ivar = sdss_lattice(35500, 4700), noisy(4700), np.ones(4700, np.float32)
    _, usual, _ = run(PREPROCESSOR, loglam, flux, ivar)
    ivar[2000] = 10.0**exponent
    out, out_ivar, _ = run(PREPROCESSOR, loglam, flux, ivar)
    assert np.isfinite(out).all()
    assert np.isfinite(out_ivar).all()
    assert np.delete(out_ivar, out_ivar.argmax()).mean() == pytest.approx(usual.mean(), rel=0.01)
    assert out_ivar.mean() <= 1.25 * usual.mean()


def test_buffers_do_not_leak_from_one_spectrum_to_the_next():
    loglam, flux = sdss_lattice(), noisy(3842)
    before, _, _ = run(PREPROCESSOR, loglam, flux)
    run(PREPROCESSOR, sdss_lattice(35514, 4600), noisy(4600, seed=1), rv=400.0)
    after, _, _ = run(PREPROCESSOR, loglam, flux)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("loglam", "flux", "reason"),
    [
        (sdss_lattice(), np.full(3842, 7.0), "constant flux"),
        (sdss_lattice(), np.full(3842, np.nan), "no good pixels \\(3842 of 3842 pixels are bad\\)"),
        (sdss_lattice(), noisy(3842) * 1e-40, "no good pixels"),
        (sdss_lattice(), np.where(sdss_lattice() < 3.97, np.nan, 1.0), "no good pixels"),
        (sdss_lattice(40500), noisy(3842), "no overlap with the grid"),
        (sdss_lattice()[::-1].copy(), noisy(3842), "wavelengths not increasing"),
        (sdss_lattice(n=99), noisy(99), "too few pixels"),
        (np.linspace(3.5, 4, 20_000).astype(np.float32), noisy(20_000), "unreasonable size"),
    ],
)
def test_refusals(loglam, flux, reason):
    with pytest.raises(SpectrumError, match=reason):
        run(PREPROCESSOR, loglam, flux)


def test_the_lattice_is_that_of_the_files(real_data):
    from raystellar.spectra import read_spectrum

    spectrum = read_spectrum(str(real_data / "sdss_stars" / "spec-0266-51602-0031.fits"))
    assert np.isin(spectrum.loglam.astype(float), lattice_knots()).all()


@pytest.mark.parametrize("passes", ["one", "two"])
def test_a_machine_on_which_the_kernel_is_wrong_is_refused(passes, monkeypatch):
    config = PreprocessConfig(passes=passes, loglam_start=3.6, loglam_stop=3.9)
    Preprocessor(config)
    right = pixels._preprocess

    def wrong(*arguments):
        result = right(*arguments)
        arguments[-2][100:] = arguments[-2][96:-4]  # the output, out of step after 100 pixels
        return result

    monkeypatch.setattr(pixels, "_preprocess", wrong)
    with pytest.raises(KernelError, match="NUMBA_LOOP_VECTORIZE=0"):
        Preprocessor(config)


@pytest.mark.parametrize("wrong", [{"loglam_start": 4.0}, {"min_coverage": 0.0}, {"max_abs_rv": 3e5}])
def test_config_limits(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PreprocessConfig(**wrong)
