"""Tables and spectra of other libraries give the records of the plain mapping."""

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.wcs import WCS

from raystellar.errors import InputError, SpectrumError
from raystellar.spectra.arrays import read_arrays
from raystellar.spectra.containers import as_mappings, is_container

FLAM = u.Unit("1e-17 erg / (s cm2 AA)")
N = 300
WAVELENGTH = 10.0 ** (np.arange(35800, 35800 + N) * 1e-4)
FLUXES = np.linspace(20.0, 60.0, N) * np.array([[1.0], [3.0]])
IVARS = np.linspace(1.0, 0.5, N) * np.array([[1.0], [2.0]])
MASKS = np.arange(N) % np.array([[50], [70]]) == 0
RV, SPEC_ID, RA, DEC = [12.5, -30.0], ["a", "b"], [1.0, 2.0], [3.0, 4.0]


def records(*items):
    return [record for item in items for mapping in as_mappings(item) for record in read_arrays(mapping, 0)]


def plain(star, **changes):
    """Return the mapping of one of two spectra."""
    values = {"wavelength": WAVELENGTH, "flux": FLUXES[star], "ivar": IVARS[star], "mask": MASKS[star], "rv": RV[star]}
    return values | {"spec_id": SPEC_ID[star], "ra": RA[star], "dec": DEC[star]} | changes


def assert_records(found, **changes):
    """Compare records with those of the plain mappings, bit by bit."""
    expected = records(plain(0, **changes), plain(1, **changes))[: len(found)]
    assert found
    for one, other in zip(found, expected, strict=True):
        assert not isinstance(one, SpectrumError), one
        for name in one.__dataclass_fields__:
            np.testing.assert_equal(getattr(one, name), getattr(other, name), name)


# Tables ----------------------------------------------------------------------------------------------------


def columns(**changes):
    """Return the columns of a table with a spectrum in each row."""
    values = {"wavelength": np.tile(WAVELENGTH, (2, 1)), "flux": FLUXES, "ivar": IVARS, "mask": MASKS}
    return values | {"rv": RV, "spec_id": SPEC_ID, "ra": RA, "dec": DEC} | changes


@pytest.mark.parametrize(
    "table",
    [
        Table(columns()),
        Table(columns(flux=Column(FLUXES, unit=FLAM), ivar=Column(IVARS, unit=FLAM**-2))),
        QTable(columns(flux=FLUXES * FLAM, ivar=IVARS * FLAM**-2, rv=RV * u.km / u.s, ra=RA * u.deg)),
        QTable(columns(wavelength=np.tile(WAVELENGTH, (2, 1)) * u.AA, flux=FLUXES * FLAM)),
        Table(columns(rv=Column(np.array(RV) * 1000, unit="m/s"), ra=Column(np.array(RA) * 60, unit="arcmin"))),
        Table(columns(flux=MaskedColumn(FLUXES, mask=MASKS, unit=FLAM), mask=np.zeros_like(MASKS))),
        QTable(columns(flux=MaskedColumn(FLUXES, mask=MASKS, unit=FLAM), mask=np.zeros_like(MASKS))),
        Table({**columns(), "spec_id": np.array(SPEC_ID, dtype="S1")}),
    ],
    ids=itertools.count(),
)
def test_rows_of_astropy_tables(table):
    assert is_container(table)
    assert_records(records(table))


def test_what_is_common_to_all_rows_may_stand_in_meta():
    values = columns(ra=None, wavelength=None)
    table = Table({name: value for name, value in values.items() if value is not None})
    table.meta = {"wavelength": WAVELENGTH, "ra": 7.0, "rv": 99.0, "RA": 8.0, "DATE": "2020"}  # the column rv is nearer
    assert_records(records(table), ra=7.0)


def test_cells_of_different_lengths():
    def ragged(name, rows, unit=None):
        return Column([rows[0], rows[1][:-5]], name, dtype=object, unit=unit)

    wavelength = ragged("wavelength", [WAVELENGTH, WAVELENGTH])
    table = Table([wavelength, ragged("flux", FLUXES, FLAM), ragged("ivar", IVARS)])
    table["rv"], table["spec_id"] = RV, SPEC_ID
    first, second = records(table)
    assert_records([first], ra=math.nan, dec=math.nan, mask=None)
    assert second.flux.size == N - 5


@pytest.mark.parametrize("kind", [Table, QTable])
def test_a_table_of_pixels_is_one_spectrum(kind):
    pixels = {"wavelength": WAVELENGTH * u.AA, "flux": FLUXES[0] * FLAM, "ivar": IVARS[0], "mask": MASKS[0]}
    table = kind(pixels, meta={"rv": RV[0], "spec_id": "a", "ra": 1.0, "dec": 3.0, "EXPTIME": 900})
    assert_records(records(table))
    table.meta.clear()
    for name, value in (("rv", RV[0]), ("spec_id", "a"), ("ra", 1.0), ("dec", 3.0)):
        table[name] = [value] * N
    assert_records(records(table))
    table["spec_id"][3] = "b"
    with pytest.raises(InputError, match="spec_id has several values for one spectrum"):
        records(table)


def test_columns_that_are_not_known_are_refused():
    with pytest.raises(InputError, match="no values are called wdisp, rename them or leave them out"):
        records(Table({**columns(), "wdisp": IVARS}))
    with pytest.raises(InputError, match="there is no noise"):
        records(Table({"wavelength": WAVELENGTH, "flux": FLUXES[0]}))
    with pytest.raises(InputError, match="flux is missing"):
        records(Table({"wavelength": WAVELENGTH}))


def test_missing_cells():
    table = Table({**columns(), "rv": MaskedColumn(RV, mask=[True, False]), "ra": [np.nan, 2.0]})
    first, second = records(table)
    assert math.isnan(first.rv)
    assert math.isnan(first.ra)
    assert second.rv == RV[1]
    assert records(table[:0]) == []


# pandas ----------------------------------------------------------------------------------------------------


def frame(**changes):
    pandas = pytest.importorskip("pandas")
    values = {name: list(value) for name, value in columns().items()} | changes
    return pandas.DataFrame({name: value for name, value in values.items() if value is not None})


def test_rows_of_a_data_frame():
    whole = frame()
    assert is_container(whole)
    assert_records(records(whole))
    assert_records(records(whole.set_index("spec_id")))
    assert_records(records(whole.iloc[::-1].iloc[::-1].set_axis([9, 4])))
    without = whole.drop(columns="wavelength")
    without.attrs = {"wavelength": WAVELENGTH, "telescope": "any"}
    assert_records(records(without))


def test_rows_of_arrow_lists():
    pandas = pytest.importorskip("pandas")
    arrow = pytest.importorskip("pyarrow")
    rows = {name: [list(row) if np.ndim(row) else row for row in value] for name, value in columns().items()}
    table = arrow.table(rows)
    assert_records(records(table.to_pandas()))
    assert_records(records(table.to_pandas(types_mapper=pandas.ArrowDtype)))


def test_missing_cells_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    first, second = records(frame(rv=pandas.array([None, -30.0], dtype="Float64"), spec_id=[None, pandas.NA]))
    assert math.isnan(first.rv)
    assert (first.spec_id, second.spec_id, second.rv) == ("0", "0", -30.0)
    (record,) = records(plain(0, rv=pandas.NA, spec_id=pandas.NA))
    assert math.isnan(record.rv)
    first, second = records(frame(flux=[None, FLUXES[1]]))
    assert first.reason == "arrays do not have one length"
    assert second.spec_id == "b"


def test_a_data_frame_of_pixels_is_one_spectrum():
    pandas = pytest.importorskip("pandas")
    pixels = pandas.DataFrame({"wavelength": WAVELENGTH, "flux": FLUXES[0], "ivar": IVARS[0], "mask": MASKS[0]})
    pixels.attrs = {"rv": RV[0], "spec_id": "a", "ra": 1.0, "dec": 3.0}
    assert_records(records(pixels))
    assert_records(records(pixels.set_index("wavelength")))
    together = pandas.concat([pixels.assign(rv=RV[k], spec_id=SPEC_ID[k], flux=FLUXES[k]) for k in (0, 1)])
    found = records(*(group for _, group in together.groupby("spec_id")))
    assert [record.spec_id for record in found] == SPEC_ID
    with pytest.raises(InputError, match="two columns of the table have one name"):
        records(pixels.set_axis(["wavelength", "flux", "ivar", "flux"], axis=1))


# xarray ----------------------------------------------------------------------------------------------------


def test_a_dataset():
    xarray = pytest.importorskip("xarray")
    axes = ("star", "pixel")
    values = {"flux": (axes, FLUXES), "ivar": (axes, IVARS), "mask": (axes, MASKS)}
    values |= {name: ("star", values) for name, values in (("rv", RV), ("spec_id", SPEC_ID), ("ra", RA), ("dec", DEC))}
    dataset = xarray.Dataset({**values, "wavelength": ("pixel", WAVELENGTH)}, attrs={"title": "any"})
    assert is_container(dataset)
    assert_records(records(dataset))
    assert_records(records(dataset.transpose("pixel", "star")))
    assert_records(records(dataset.set_coords(["wavelength", "spec_id"]).assign_coords(star=[5, 6])))
    (one,) = records(dataset.isel(star=0))
    assert_records([one])


def test_units_of_a_dataset():
    xarray = pytest.importorskip("xarray")
    axis = ("wavelength", WAVELENGTH / 10, {"units": "nm"})
    dataset = xarray.Dataset(
        {"flux": ("wavelength", FLUXES[0], {"units": str(u.Jy)}), "ivar": ("wavelength", IVARS[0])},
        coords={"wavelength": axis},
        attrs={"rv": 12.5},
    )
    (expected,) = records({
        "wavelength": WAVELENGTH / 10 * u.nm, "flux": FLUXES[0] * u.Jy, "ivar": IVARS[0], "rv": 12.5,
    })  # fmt: skip
    for found in (records(dataset), records({**dict(dataset.variables), "rv": 12.5})):
        np.testing.assert_array_equal(found[0].flux, expected.flux)
        np.testing.assert_array_equal(found[0].loglam, expected.loglam)
    dataset["flux"].attrs["units"] = "furlongs"
    with pytest.raises(InputError, match="astropy does not know the unit 'furlongs'; give another name of it"):
        records(dataset)


# specutils -------------------------------------------------------------------------------------------------


def velocity(star):
    return RV[star] * u.km / u.s


def spectrum(star, **changes):
    specutils = pytest.importorskip("specutils")
    kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    values = {
        "flux": FLUXES[star] * FLAM,
        "spectral_axis": WAVELENGTH * u.AA,
        "uncertainty": InverseVariance(IVARS[star]),
        "mask": MASKS[star],
        "radial_velocity": velocity(star),
        "meta": {"spec_id": SPEC_ID[star], "ra": RA[star], "dec": DEC[star], "rv": 1e9, "OBJECT": "any"},
    }
    return kind(**values | changes)


def test_specutils_spectra():
    assert is_container(spectrum(0))
    assert_records(records(spectrum(0), spectrum(1)))
    assert_records(records(spectrum(0, flux=FLUXES[0][::-1] * FLAM, mask=MASKS[0][::-1],
        spectral_axis=WAVELENGTH[::-1] * u.AA, uncertainty=InverseVariance(IVARS[0][::-1]))))  # fmt: skip


def test_the_older_name_of_a_specutils_spectrum():
    specutils = pytest.importorskip("specutils")
    if not hasattr(specutils, "Spectrum1D"):
        pytest.skip("this specutils has no Spectrum1D")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # specutils 2 tells its new name
        one = specutils.Spectrum1D(flux=FLUXES[0] * FLAM, spectral_axis=WAVELENGTH * u.AA,
            uncertainty=InverseVariance(IVARS[0]), mask=MASKS[0], radial_velocity=velocity(0))  # fmt: skip
    assert_records(records(one), spec_id="0", ra=math.nan, dec=math.nan)


def test_other_units_of_a_specutils_spectrum():
    frequency = (WAVELENGTH * u.AA).to(u.THz, u.spectral())[::-1]
    jansky = (FLUXES[0] * FLAM).to(u.Jy, u.spectral_density(WAVELENGTH * u.AA))
    sigma = (IVARS[0] ** -0.5 * FLAM).to(u.Jy, u.spectral_density(WAVELENGTH * u.AA))
    (found,) = records(spectrum(0, flux=jansky[::-1], spectral_axis=frequency, mask=MASKS[0][::-1],
        uncertainty=StdDevUncertainty(sigma[::-1])))  # fmt: skip
    (expected,) = records(plain(0))
    np.testing.assert_allclose(found.loglam, expected.loglam, rtol=1e-7)
    np.testing.assert_allclose(found.flux / found.flux[0], expected.flux / expected.flux[0], rtol=3e-7)
    np.testing.assert_allclose(found.flux * np.sqrt(found.ivar), expected.flux * np.sqrt(expected.ivar), rtol=3e-7)
    assert found.rv == pytest.approx(RV[0])


def test_many_spectra_of_specutils():
    specutils = pytest.importorskip("specutils")
    assert_records(records(*specutils.SpectrumList([spectrum(0), spectrum(1)])))
    axes = [(FLUXES, IVARS, MASKS, {})]
    if hasattr(specutils, "Spectrum"):  # before, the pixels were always in the last axis
        axes.append((FLUXES.T, IVARS.T, MASKS.T, {"spectral_axis_index": 0}))
    for flux, ivar, mask, axis in axes:
        one = spectrum(0, flux=flux * FLAM, uncertainty=InverseVariance(ivar), mask=mask, **axis,
            radial_velocity=RV * u.km / u.s, meta={"spec_id": SPEC_ID, "ra": RA, "dec": DEC})  # fmt: skip
        assert_records(records(one))
    sigmas = [StdDevUncertainty(ivar * FLAM) for ivar in IVARS]
    spectra = [spectrum(star, radial_velocity=velocity(0), uncertainty=sigmas[star]) for star in (0, 1)]
    found = records(specutils.SpectrumCollection.from_spectra(spectra))
    for star, one in enumerate(found):
        (expected,) = records(plain(star, ivar=None, sigma=IVARS[star]))
        np.testing.assert_array_equal(one.flux, expected.flux)
        np.testing.assert_array_equal(one.ivar, expected.ivar)
        assert (one.rv, one.spec_id) == (RV[0], str(star))


def test_the_velocity_of_a_specutils_spectrum():
    for unset in (None, 0 * u.km / u.s):
        (record,) = records(spectrum(0, radial_velocity=unset))
        assert math.isnan(record.rv)
    (record,) = records(spectrum(0, radial_velocity=None, redshift=1e-3))
    ratio = (1 + record.rv / 299792.458) / (1 - record.rv / 299792.458)
    assert math.sqrt(ratio) == pytest.approx(1.001, rel=1e-12)


@pytest.mark.parametrize("where", ["wcs", "header", "meta", "word"])
def test_air_wavelengths_are_refused(where):
    wcs = WCS(naxis=1)
    wcs.wcs.ctype, wcs.wcs.cunit, wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = (
        ["AWAV"],
        ["Angstrom"],
        [4e3],
        [1.0],
        [1],
    )
    meta = {
        "header": {"header": fits.Header({"CTYPE1": "AWAV"})},
        "meta": {"CTYPE1": "AWAV-LOG"},
        "word": {"header": {"AIRORVAC": "air"}},
    }.get(where, {})
    axis = {"wcs": wcs, "spectral_axis": None} if where == "wcs" else {}
    with pytest.raises(InputError, match=r"air wavelengths \(AWAV\); convert them to vacuum, with air_to_vac"):
        records(spectrum(0, meta=meta, **axis))
    if where != "wcs":
        with pytest.raises(InputError, match=r"air wavelengths \(AWAV\)"):
            records(Table({"wavelength": WAVELENGTH, "flux": FLUXES[0], "ivar": IVARS[0]}, meta=meta))
    assert records(spectrum(0, meta={"header": {"CTYPE1": "WAVE-LOG", "AIRORVAC": "vac"}}))


def test_objects_with_the_attributes_of_a_specutils_spectrum():
    one = SimpleNamespace(
        flux=FLUXES[0] * FLAM, spectral_axis=WAVELENGTH * u.AA, uncertainty=InverseVariance(IVARS[0]), mask=MASKS[0]
    )
    assert is_container(one)
    assert_records(records(one), rv=None, spec_id="0", ra=math.nan, dec=math.nan)


@pytest.mark.parametrize("item", [3, "a", [1], np.ones(4), Column([1.0]), object(), SimpleNamespace(flux=1), Table])
def test_other_objects_are_no_containers(item):
    assert not is_container(item)
