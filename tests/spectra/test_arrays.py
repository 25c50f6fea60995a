"""Arrays by name become records: units, masks and uncertainties of every kind give the same spectrum."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from astropy.table import Column
from astropy.utils.masked import Masked

from raystellar.errors import InputError, SpectrumError
from raystellar.spectra.arrays import NAMES, read_arrays

FLAM = u.Unit("1e-17 erg / (s cm2 AA)")
LOGLAM = (np.arange(35800, 36100) * 1e-4).astype(np.float32)
WAVELENGTH = 10.0 ** LOGLAM.astype(float)
FLUX = np.linspace(20.0, 60.0, LOGLAM.size)
SIGMA = np.linspace(1.0, 2.0, LOGLAM.size)
UNKNOWN = Column(FLUX, unit=u.UnrecognizedUnit("erg/Ang"))
PLAIN = {"wavelength": WAVELENGTH, "flux": FLUX, "ivar": SIGMA**-2, "rv": 12.5, "spec_id": "a", "ra": 1.0, "dec": 2.0}


def read(**changes):
    """Return the only record of the plain spectrum with changes; None takes a name out."""
    (record,) = read_arrays({**PLAIN, **changes}, 7)
    return record


def sn(record):
    return record.flux * np.sqrt(record.ivar)


def shape(record):
    return record.flux / np.median(record.flux)


def assert_same(record, other, rtol=3e-7):
    """Compare the numbers of two records, whose flux may be in different units."""
    np.testing.assert_allclose(record.loglam, other.loglam, rtol=1e-7)
    np.testing.assert_allclose(shape(record), shape(other), rtol=rtol)
    np.testing.assert_allclose(sn(record), sn(other), rtol=rtol)
    assert record.sn == pytest.approx(other.sn, rel=rtol)


def assert_equal(record, other):
    """Compare two records bit by bit."""
    for name in ("loglam", "flux", "ivar"):
        np.testing.assert_array_equal(getattr(record, name), getattr(other, name), name)
    for name in ("spec_id", "ra", "dec", "rv", "sn", "catalogid", "obs_id"):
        np.testing.assert_equal(getattr(record, name), getattr(other, name), name)


def test_the_record_has_the_numbers_of_the_arrays():
    record = read(catalogid=27021598150202075, obs_id="12")
    assert record.loglam.dtype == record.flux.dtype == record.ivar.dtype == np.float32
    np.testing.assert_array_equal(record.loglam, np.log10(WAVELENGTH).astype(np.float32))
    np.testing.assert_allclose(shape(record), FLUX / np.median(FLUX), rtol=1e-7)
    np.testing.assert_allclose(sn(record), FLUX / SIGMA, rtol=1e-6)
    values = (record.spec_id, record.ra, record.dec, record.rv, record.catalogid, record.obs_id)
    assert values == ("a", 1.0, 2.0, 12.5, 27021598150202075, 12)


def test_what_is_left_out_is_unknown():
    record = read(rv=None, spec_id=None, ra=None, dec=None)
    assert record.spec_id == "7"  # its number in the call
    assert all(math.isnan(value) for value in (record.rv, record.ra, record.dec))
    assert (record.catalogid, record.obs_id) == (-1, -1)
    record = read(rv=np.ma.masked, spec_id=np.ma.masked, ra=float("nan"), catalogid=np.nan)
    assert (record.spec_id, record.catalogid) == ("7", -1)
    assert math.isnan(record.rv)


@pytest.mark.parametrize("power", [-120, -57, 0, 40])
def test_the_unit_of_the_flux_changes_no_bit(power):
    record, usual = read(flux=np.ldexp(FLUX, power), ivar=np.ldexp(SIGMA**-2, -2 * power)), read()
    scale = usual.flux[0] / record.flux[0]
    assert 2.0**-21 <= scale <= 2.0**21
    np.testing.assert_array_equal(record.flux * scale, usual.flux)
    np.testing.assert_array_equal(record.ivar / scale**2, usual.ivar)


def test_a_flux_in_cgs_keeps_its_pixels():
    record = read(flux=FLUX * 1e-17, ivar=SIGMA**-2 * 1e34)
    assert_same(record, read())
    assert np.isfinite(record.ivar**2).all()
    assert (np.abs(record.flux) < 10).all()


# Wavelengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["AA", "nm", "um", "m", "Hz", "THz", "eV", "1 / cm"])
def test_wavelengths_in_any_unit(unit):
    quantity = (WAVELENGTH * u.AA).to(unit, u.spectral())
    assert_same(read(wavelength=quantity), read())
    assert_same(read(wavelength=quantity[::-1], flux=FLUX[::-1], ivar=SIGMA[::-1] ** -2), read())


def test_loglam_is_log10_of_angstroms():
    expected = read(wavelength=None, loglam=LOGLAM)
    np.testing.assert_array_equal(expected.loglam, LOGLAM)
    for unit in (u.dimensionless_unscaled, u.dex, u.dex(u.AA)):
        assert_equal(read(wavelength=None, loglam=LOGLAM.astype(float) * unit), expected)
    assert_same(read(wavelength=None, loglam=(LOGLAM - 1) * u.dex(u.nm)), expected, rtol=1e-6)
    with pytest.raises(InputError, match=r"loglam has the unit K, which cannot be converted to dex\(Angstrom\)"):
        read(wavelength=None, loglam=LOGLAM * u.K)


@pytest.mark.parametrize("unit", [u.km / u.s, u.K, u.dimensionless_unscaled, u.pixel])
def test_a_unit_that_is_no_wavelength_is_refused(unit):
    with pytest.raises(InputError, match=r"wavelength has the unit .*, which cannot be converted to Angstrom"):
        read(wavelength=WAVELENGTH * unit)


def test_wavelengths_in_no_order_are_a_reject():
    record = read(wavelength=np.random.default_rng(0).permutation(WAVELENGTH))
    assert (record.reason, record.spec_id) == ("loglam not increasing", "a")
    assert read(wavelength=WAVELENGTH / 10).reason == "loglam out of range"  # nanometres without a unit
    assert read(wavelength=-WAVELENGTH).reason == "non-finite wavelength"


# Flux ------------------------------------------------------------------------------------------------------


def f_nu(per_wavelength):
    """Return a flux per frequency [Jy] of a flux per wavelength [1e-17 erg/s/cm2/AA], by hand."""
    return per_wavelength * 1e-17 * WAVELENGTH**2 / 2.99792458e18 * 1e23


def photons(per_wavelength):
    return per_wavelength * 1e-17 * WAVELENGTH / (6.62607015e-27 * 2.99792458e18)


@pytest.mark.parametrize(
    ("convert", "unit"),
    [
        (f_nu, u.Jy),
        (lambda flux: 1e3 * f_nu(flux), u.mJy),
        (lambda flux: 1e-23 * f_nu(flux), u.erg / u.s / u.cm**2 / u.Hz),
        (f_nu, u.Jy / u.sr),
        (photons, u.photon / u.s / u.cm**2 / u.AA),
        (lambda flux: 1e-16 * flux, u.W / u.m**2 / u.um),
        (lambda flux: flux, FLAM / u.arcsec**2),
        (lambda flux: flux, u.dimensionless_unscaled),
    ],
)
def test_flux_densities_are_converted_with_their_noise(convert, unit):
    flux, sigma = convert(FLUX), convert(SIGMA)
    for noise in (
        {"ivar": sigma**-2},  # in the unit of the flux
        {"ivar": sigma**-2 / unit**2},
        {"variance": sigma**2 * unit**2},
        {"sigma": sigma * unit},
        {"error": sigma},
        {"uncertainty": StdDevUncertainty(sigma)},
        {"uncertainty": VarianceUncertainty(sigma**2 * unit**2)},
        {"uncertainty": InverseVariance(sigma**-2 / unit**2)},
    ):
        assert_same(read(**{"flux": flux * unit, "ivar": None, **noise}), read())


def test_flux_and_noise_may_have_different_units():
    flux = f_nu(FLUX) * u.Jy
    assert_same(read(flux=flux, ivar=None, sigma=SIGMA * FLAM), read())
    assert_same(read(flux=FLUX * FLAM, ivar=None, sigma=1e6 * f_nu(SIGMA) * u.uJy), read())
    assert_equal(read(flux=FLUX * FLAM, ivar=SIGMA**-2 * FLAM**-2), read())


@pytest.mark.parametrize(
    "unit",
    [u.ct, u.adu, u.electron / u.s, u.K, u.erg / u.s / u.cm**2, u.erg / u.s / u.AA, u.ABmag, u.STmag, u.mag, u.nm],
)
def test_a_unit_that_is_no_flux_density_is_refused(unit):
    with pytest.raises(InputError, match=r"flux has the unit .*, which is no flux per wavelength or frequency; conv"):
        read(flux=FLUX * unit)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": SIGMA * FLAM}, "sigma has the unit .* and flux has none; give both their units, or neither"),
        ({"flux": FLUX * u.Jy, "sigma": SIGMA * u.K}, "sigma has the unit K, which cannot be converted to"),
        ({"flux": FLUX * u.Jy, "ivar": SIGMA / u.Jy}, "ivar has the unit 1 / Jy, which cannot be converted to"),
        ({"flux": UNKNOWN}, "astropy does not know the unit 'erg/Ang'; give another name of it"),
        ({"rv": 3 * u.K}, "rv has the unit K, which cannot be converted to km / s"),
        ({"ra": 3 * u.m}, "ra has the unit m, which cannot be converted to deg"),
    ],
)
def test_units_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read(**{"ivar": None, **changes} if "sigma" in changes else changes)


def test_numbers_with_units():
    record = read(rv=12500 * u.m / u.s, ra=0.5 * u.hourangle, dec=120 * u.arcmin)
    assert (record.rv, record.ra, record.dec) == pytest.approx((12.5, 7.5, 2.0))


# Noise -----------------------------------------------------------------------------------------------------


def test_every_kind_of_noise_gives_its_inverse_variance():
    for noise in ({"sigma": SIGMA}, {"error": SIGMA}, {"uncertainty": SIGMA}, {"variance": SIGMA**2}):
        assert_same(read(ivar=None, **noise), read(), rtol=1e-6)


def test_noise_that_is_not_positive_marks_a_bad_pixel():
    values = SIGMA.copy()
    values[[3, 5, 7]] = 0.0, -1.0, np.nan
    for name in ("sigma", "variance"):
        assert list(np.flatnonzero(read(**{"ivar": None, name: values}).ivar == 0)) == [3, 5, 7]
    ivar = SIGMA**-2
    ivar[[3, 5, 7]] = 0.0, -1.0, np.nan
    np.testing.assert_array_equal(read(ivar=ivar).ivar[[3, 5, 7]] > 0, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ivar": None}, "there is no noise, and it is not guessed; give one of ivar, variance, sigma, error, uncer"),
        ({"sigma": SIGMA}, "ivar and sigma are both a noise; give one of them"),
        ({"uncertainty": StdDevUncertainty(SIGMA)}, "uncertainty and ivar are both a noise"),
        ({"ivar": None, "uncertainty": UnknownUncertainty(SIGMA)}, "a UnknownUncertainty does not say how noisy"),
        ({"wavelength": None}, "there is no wavelength, and it is not guessed; give one of wavelength, loglam"),
        ({"loglam": LOGLAM}, "wavelength and loglam are both a wavelength; give one of them"),
        ({"flux": None}, "flux is missing"),
        ({"and_mask": SIGMA}, "no values are called and_mask, rename them or leave them out; did you mean mask?"),
        ({"flux": FLUX[None, None]}, "flux has 3 axes"),
        ({"flux": [FLUX, FLUX[1:]]}, "the rows of an array have different lengths; give the spectra in a list"),
        ({"rv": [1.0, 2.0]}, "rv has several values for one spectrum"),
    ],
)
def test_names_and_shapes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ivar": SIGMA[1:]}, "arrays do not have one length"),
        ({"mask": [True]}, "arrays do not have one length"),
        ({"flux": 3.0}, "arrays do not have one length"),
        ({"mask": FLUX}, "mask is not of booleans"),
        ({"flux": ["a"] * FLUX.size}, "flux is not numeric"),
        ({"flux": FLUX + 0j}, "flux is not numeric"),
        ({"flux": np.full(FLUX.size, "2020-01-01", dtype="M8[D]")}, "flux is not numeric"),
        ({"flux": {"a": 1}}, "flux is not numeric"),
        ({"rv": "fast"}, "rv is not numeric"),
        ({"catalogid": 2.0**60}, "catalogid is no whole number"),
        ({"obs_id": 1.5}, "obs_id is no whole number"),
        ({"obs_id": -3}, "obs_id is no whole number"),
        ({"wavelength": WAVELENGTH[:50], "flux": FLUX[:50], "ivar": SIGMA[:50]}, "too few pixels"),
    ],
)
def test_arrays_that_cannot_be_used_are_rejects(changes, reason):
    record = read(**changes)
    assert isinstance(record, SpectrumError)
    assert (record.stage, record.reason, record.spec_id) == ("read", reason, "a")


# Masks -----------------------------------------------------------------------------------------------------


def test_masked_pixels_have_no_weight():
    bad = np.zeros(FLUX.size, dtype=bool)
    bad[[0, 10, 299]] = True
    filled = np.where(bad, 1e20, FLUX)  # what lies under a mask is no flux
    masked = np.ma.array(filled, mask=bad)
    expected = read(ivar=np.where(bad, 0.0, SIGMA**-2))
    for changes in (
        {"mask": bad},
        {"mask": bad.astype(np.int32) << 23},
        {"flux": masked},
        {"flux": Masked(filled * FLAM, mask=bad)},
        {"ivar": np.ma.array(SIGMA**-2, mask=bad)},
        {"ivar": None, "sigma": Masked(SIGMA, mask=bad)},
        {"wavelength": Masked(WAVELENGTH * u.AA, mask=bad)},
        {"flux": masked, "mask": ~bad & False},
        {"flux": filled[::-1], "mask": bad[::-1], "wavelength": WAVELENGTH[::-1], "ivar": SIGMA[::-1] ** -2},
    ):
        record = read(**changes)
        assert_same_where(record, expected, ~bad)
        assert (record.ivar[bad] == 0).all()


def assert_same_where(record, expected, good):
    np.testing.assert_allclose(record.flux[good], expected.flux[good], rtol=1e-7)
    np.testing.assert_allclose(record.ivar[good], expected.ivar[good], rtol=1e-6)
    assert record.sn == pytest.approx(expected.sn, rel=1e-6)


# Many spectra ----------------------------------------------------------------------------------------------


def test_rows_of_a_matrix_are_spectra():
    scale = np.array([[1.0], [2.0], [3.0]])
    names = {"rv": [1.0, np.nan, 3.0] * u.km / u.s, "spec_id": np.array(["x", "y", "z"]), "ra": 5.0, "dec": None}
    for flux, ivar in (
        (scale * FLUX, SIGMA**-2),
        (scale * FLUX * FLAM, np.ma.array(np.tile(SIGMA**-2, (3, 1)), mask=scale * FLUX > 100)),
    ):
        many = list(read_arrays({**PLAIN, **names, "flux": flux, "ivar": ivar}, 0))
        one = [read(flux=flux[k], ivar=ivar if ivar.ndim == 1 else ivar[k], dec=None, ra=5.0) for k in range(3)]
        assert [record.spec_id for record in many] == ["x", "y", "z"]
        np.testing.assert_equal([record.rv for record in many], [1.0, np.nan, 3.0])
        for record, other in zip(many, one, strict=True):
            np.testing.assert_array_equal(record.flux, other.flux)
            np.testing.assert_array_equal(record.ivar, other.ivar)
    with pytest.raises(InputError, match=r"numbers of spectra differ: \{'flux': 3, 'rv': 2\}"):
        list(read_arrays({**PLAIN, "flux": scale * FLUX, "rv": [0.0, 1.0]}, 0))


def test_a_bad_row_rejects_itself_alone():
    flux = np.tile(FLUX, (3, 1)).astype(object)
    flux[1, 4] = "a"
    rows = list(read_arrays({**PLAIN, "flux": flux, "spec_id": None}, 4))
    assert [row.spec_id for row in rows] == ["4", "5", "6"]
    assert [isinstance(row, SpectrumError) for row in rows] == [False, True, False]


def test_the_names_are_said_where_one_is_unknown():
    with pytest.raises(InputError, match=", ".join(sorted(NAMES))):
        read(qqqqqqqqq=1)
