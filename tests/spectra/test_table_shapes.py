"""Tables in the shapes of MultimodalUniverse, SPARCL and HATS, beside rows read by pyarrow and numpy alone."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import assert_record, assert_sound, reasons, the_one

from raystellar.schema import CONTENT_KEY, Column, votable
from raystellar.spectra import count_spectra, read_spectra
from raystellar.spectra.bitmasks import ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.record import good_pixels, lattice

N = 240
K0 = 35_800
LOGLAM = lattice(K0 * 1e-4, 1e-4, N)
WAVELENGTH = 10.0 ** ((K0 + np.arange(N)) * 1e-4)


def pixels(rows=1, seed=1):
    """Return flux and ivar, (rows, N) float32, with ivar = 0 in some pixels."""
    rng = np.random.default_rng(seed)
    flux, ivar = rng.normal(10, 1, (rows, N)).astype(np.float32), rng.uniform(0.5, 4, (rows, N)).astype(np.float32)
    ivar[rng.random((rows, N)) < 0.05] = 0
    return flux, ivar


FLUX, IVAR = (array[0] for array in pixels())
VECTORS = {"flux": FLUX, "ivar": IVAR, "wavelength": WAVELENGTH}
SDSS = {"plate": [1123], "mjd": [52882], "fiberid": [65]}


def written(columns, **options):
    """Return the bytes of a Parquet table."""
    out = io.BytesIO()
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, out, **options)
    return out.getvalue()


def flat(**vectors):
    """Return columns of lists of one row."""
    return {name: pa.array([values]) for name, values in vectors.items()}


def in_struct(name, **vectors):
    """Return one column of structs of lists, of one row."""
    return {name: pa.array([vectors])}


def in_pixels(name, **vectors):
    """Return one column of lists of structs, of one row."""
    return {name: pa.array([[dict(zip(vectors, row, strict=True)) for row in zip(*vectors.values(), strict=True)]])}


def lists(**vectors):
    """Return vectors as lists of Python numbers."""
    return {name: np.asarray(values).tolist() for name, values in vectors.items()}


ALL = lists(**VECTORS)
MASK = (np.arange(N) % 5 == 0).tolist()
LAMBDA = {"flux": ALL["flux"], "ivar": ALL["ivar"], "lambda": ALL["wavelength"]}
SPECID = 299489676975171584

SHAPES = {
    "good": (SDSS | flat(flux=FLUX, ivar=IVAR, loglam=LOGLAM) | {"CLASS": ["STAR"], "z": [-7e-5]}, "1123-52882-65"),
    "mmu_sdss": ({"object_id": [str(SPECID)], "Z": [-7e-5]} | in_struct("spectrum", **LAMBDA, mask=[False] * N),
                 str(SPECID)),
    "sparcl": ({"sparcl_id": ["x"], "specid": [SPECID], "redshift": [-7e-5], "spectype": ["star "]}
               | flat(flux=FLUX, ivar=IVAR, wavelength=WAVELENGTH.astype(np.float32)), str(SPECID)),
    "sparcl_ids": (SDSS | {"spectype": ["STAR"]} | flat(**VECTORS), "1123-52882-65"),
    "nested": (SDSS | in_pixels("sed", flux=ALL["flux"], ivar=ALL["ivar"], loglam=LOGLAM.tolist()), "1123-52882-65"),
    "str_ids": ({name: [str(value[0])] for name, value in SDSS.items()} | flat(**VECTORS), "1123-52882-65"),
    "spectype": (SDSS | {"spectype": ["STAR"]} | flat(flux=FLUX, ivar=IVAR, loglam=LOGLAM), "1123-52882-65"),
    "no_ids": (flat(**VECTORS), "stars.parquet#0"),
    "targetid": ({"targetid": [39627785483846048]} | flat(**VECTORS), "39627785483846048"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_of_other_archives(name):
    columns, spec_id = SHAPES[name]
    spectrum = the_one(written(columns), "folder/stars.parquet")
    assert_record(spectrum, name)
    np.testing.assert_array_equal(spectrum.flux, FLUX)
    np.testing.assert_array_equal(spectrum.ivar, IVAR)
    np.testing.assert_array_equal(spectrum.loglam, LOGLAM)
    assert spectrum.spec_id == spec_id
    assert spectrum.object_class == ("STAR" if name in ("good", "sparcl", "sparcl_ids", "spectype") else "")
    assert np.isnan(spectrum.z) == (name not in ("good", "mmu_sdss", "sparcl"))


CASES = {
    "good": ("1123-52882-65", "STAR"),
    "mmu_sdss": ("299489676975171584", ""),
    "sparcl": ("299489676975171584", "STAR"),
    "sparcl_ids": ("1123-52882-65", "STAR"),
    "nested": ("1123-52882-65", ""),
    "str_ids": ("1123-52882-65", ""),
    "spectype": ("1123-52882-65", "STAR"),
    "no_ids": ("39627785483846048", ""),
}
"""Name and class of the spectrum in each file; all are of one star."""


@pytest.mark.realdata
@pytest.mark.parametrize("name", CASES)
def test_the_files_of_other_archives(name, cases):
    good = the_one(None, str(cases / "parquet" / "good.parquet"))
    spectrum = the_one(None, str(cases / "parquet" / f"{name}.parquet"))
    assert (spectrum.spec_id, spectrum.object_class) == CASES[name]
    pixels = len(spectrum.flux)
    assert pixels == (400 if name == "nested" else len(good.flux))
    for vector in ("flux", "ivar", "loglam"):
        np.testing.assert_array_equal(getattr(spectrum, vector), getattr(good, vector)[:pixels])


# Rows beside pyarrow and numpy alone -----------------------------------------------------------------------


def read_plainly(data, column, noise):
    """Return (loglam, flux, ivar) of each row by a loop over Python objects; None for a row that is no spectrum."""
    spectra = []
    for row in pq.read_table(io.BytesIO(data)).to_pylist():
        inside = row.get(column, row)
        if isinstance(inside, list):
            inside = {name: [pixel[name] for pixel in inside] for name in inside[0]} if inside else {}
        inside = inside or {}
        wave, flux, ivar = [], [], []
        for i, value in enumerate(inside.get("wave") or ()):
            wave.append(value)
            flux.append(np.nan if inside["flux"][i] is None else inside["flux"][i])
            given = inside[noise][i]
            if noise == "sigma":
                given = 1 / given**2 if given is not None and given > 0 else 0
            mask = inside["mask"][i] if "mask" in inside else False
            ivar.append(0 if mask is None or mask else np.nan if given is None else given)
        while wave and wave[-1] == -1:
            del wave[-1], flux[-1], ivar[-1]
        spectra.append((wave, flux, ivar) if wave else None)
    return spectra


@st.composite
def tables(draw):
    """Draw the bytes of a table in any shape, the column of its structs, and the name of its noise."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    noise = draw(st.sampled_from(["ivar", "sigma"]))
    has_mask, shape = draw(st.booleans()), draw(st.sampled_from(["flat", "struct", "pixels"]))
    kind = draw(st.sampled_from([pa.float32(), pa.float64()]))
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        n, padding = int(rng.integers(150, 170)), int(rng.integers(0, 4))
        row = {
            "wave": [*(4000.0 + 1.5 * np.arange(n)).tolist(), *[-1.0] * padding],
            "flux": [*np.round(rng.normal(10, 1, n), 3).tolist(), *[7.0] * padding],
            noise: [*np.round(rng.uniform(0.5, 4, n), 3).tolist(), *[0.0] * padding],
        }
        row["flux"][3], row[noise][4] = None, draw(st.sampled_from([None, 0.0]))
        if has_mask:
            row["mask"] = [*(rng.random(n) < 0.2).tolist(), *[True] * padding]
            row["mask"][9] = None
        rows.append(None if draw(st.integers(0, 5)) == 0 else row)
    of = {"wave": kind, "flux": kind, noise: kind} | ({"mask": pa.bool_()} if has_mask else {})
    table = arranged(rows, of, shape)
    return written(
        table, row_group_size=draw(st.integers(1, 5)), compression=draw(st.sampled_from(["none", "zstd"]))
    ), noise


def arranged(rows, of, shape):
    """Return a table of the rows, whose lists have the types ``of``, in one of three shapes; a row may be None."""
    if shape == "flat":
        return pa.table(
            {name: pa.array([row and row[name] for row in rows], pa.list_(kind)) for name, kind in of.items()}
        )
    if shape == "struct":
        return pa.table({"spectrum": pa.array(rows, pa.struct([(name, pa.list_(kind)) for name, kind in of.items()]))})
    made = [row and [dict(zip(row, values, strict=True)) for values in zip(*row.values(), strict=True)] for row in rows]
    return pa.table({"spectrum": pa.array(made, pa.list_(pa.struct(list(of.items()))))})


@settings(max_examples=40, deadline=None)
@given(tables())
def test_rows_are_those_of_a_loop_over_python_objects(made):
    data, noise = made
    expected = read_plainly(data, "spectrum", noise)
    items = assert_sound(data, "t.parquet", seconds=5.0)
    assert len(items) == len(expected)
    for number, (item, row) in enumerate(zip(items, expected, strict=True)):
        assert item.spec_id == f"t.parquet#{number}"
        if row is None:
            assert item.reason == "too few pixels"
            continue
        wave, flux, ivar = row
        np.testing.assert_allclose(item.loglam, np.log10(wave), atol=3e-7)
        np.testing.assert_array_equal(item.flux, np.float32(flux))
        np.testing.assert_allclose(item.ivar, np.float32(ivar), rtol=3e-7)


@settings(max_examples=20, deadline=None)
@given(tables(), st.data())
def test_slices_begin_at_any_row(made, data):
    whole = [item.spec_id for item in read_spectra("t.parquet", made[0])]
    first = data.draw(st.integers(0, len(whole)))
    assert [item.spec_id for item in read_spectra("t.parquet", made[0], first)] == whole[first:]


# Columns ---------------------------------------------------------------------------------------------------


def test_wavelengths_off_the_lattice_stay_as_they_are():
    wavelength = 3600 + 0.8 * np.arange(N)
    spectrum = the_one(written(flat(flux=FLUX, ivar=IVAR, wave=wavelength)))
    np.testing.assert_allclose(spectrum.loglam, np.log10(wavelength), atol=3e-7)
    assert abs(np.rint(spectrum.loglam * 1e4) - spectrum.loglam * 1e4).max() > 0.1


def with_metadata(column, about=None, metadata=None, **vectors):
    """Return the bytes of a table of one row in which a column and the file have metadata."""
    table = pa.table(flat(**vectors))
    if column:
        index = table.schema.get_field_index(column)
        table = table.set_column(index, table.schema.field(index).with_metadata(about or {}), table[column])
    return written(table.replace_schema_metadata(metadata))


@pytest.mark.parametrize(
    ("unit", "angstrom"),
    [("nm", 10), ("um", 1e4), ("micron", 1e4), ("Angstrom", 1), ("AA", 1), ("0.1nm", 1), ("m", 1e10)],
)
def test_units_of_the_column_are_converted(unit, angstrom):
    vectors = VECTORS | {"wavelength": WAVELENGTH / angstrom}
    data = with_metadata("wavelength", {"unit": unit}, **vectors)
    np.testing.assert_array_equal(the_one(data).loglam, LOGLAM)


def votable_of(unit, description=""):
    """Return the VOTable in the metadata of a file with a column ``wavelength``."""
    column = Column("wavelength", pa.list_(pa.float32(), N), unit, description)
    return votable(pa.schema([column.field()]), "spectra")


def test_units_of_astropy_and_of_votables_are_converted(tmp_path):
    made = Table({name: values[None] for name, values in VECTORS.items()})
    made["wavelength"] = made["wavelength"] / 10 * units.nm
    made["class"], made["object_id"] = [b"STAR"], ["Gaia DR3 1"]
    made.write(tmp_path / "t.parquet")
    spectrum = the_one(None, str(tmp_path / "t.parquet"))
    np.testing.assert_array_equal(spectrum.loglam, LOGLAM)
    assert (spectrum.object_class, spectrum.spec_id) == ("STAR", "Gaia DR3 1")
    in_nm = VECTORS | {"wavelength": WAVELENGTH / 10}
    data = with_metadata(None, metadata={CONTENT_KEY: votable_of("nm")}, **in_nm)
    np.testing.assert_array_equal(the_one(data).loglam, LOGLAM)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (written(flat(flux=FLUX, ivar=IVAR, wavelength=WAVELENGTH / 10)), "unknown unit of wavelength"),
        (written(flat(flux=FLUX, ivar=IVAR, wavelength=WAVELENGTH / 1e4)), "unknown unit of wavelength"),
        (with_metadata("wavelength", {"unit": "furlong"}, **VECTORS), "unknown unit of wavelength"),
        (with_metadata("wavelength", {"unit": "Hz"}, **VECTORS), "unknown unit of wavelength"),
        (with_metadata("wavelength", {"unit": "um"}, **VECTORS), "loglam out of range"),
        (with_metadata("wavelength", {"description": "air wavelength"}, **VECTORS), "wavelengths in air"),
        (with_metadata(None, None, {"AIRORVAC": "air"}, **VECTORS), "wavelengths in air"),
        (with_metadata(None, None, {CONTENT_KEY: votable_of("AA", "now in Air")}, **VECTORS), "wavelengths in air"),
        (written(flat(flux=FLUX, ivar=IVAR)), "missing column loglam"),
        (written(flat(flux=FLUX, ivar=IVAR) | {"COEFF0": [3.58]}), "missing column loglam"),
        (written(flat(flux=FLUX, wavelength=WAVELENGTH)), "missing column ivar"),
        (written(flat(**VECTORS) | {"error": ["none"]}), None),
        (written(flat(flux=FLUX, wavelength=WAVELENGTH) | {"error": ["none"]}), "bad column error"),
        (written(flat(**VECTORS) | {"mask": [1.0]}), "bad column mask"),
        (written(flat(**VECTORS) | {"spec_id": [[1]]}), "bad column spec_id"),
        (written(flat(**VECTORS) | {"plate": ["a"]}), "bad value plate"),
        (written(flat(**VECTORS) | {"plate": [2.5]}), "bad value plate"),
        (written(flat(**VECTORS) | {"fieldid": [2**31]}), "bad value fieldid"),
        (written(flat(**VECTORS) | {"targetid": [3.9627785483846048e16]}), "bad value catalogid"),
        (written(flat(**VECTORS) | {"object_id": [3.9627785483846048e16]}), "bad value spec_id"),
        (written(flat(**VECTORS) | {"obs_id": pa.array([2**63], pa.uint64())}), "bad value obs_id"),
        (written(in_struct("a", **ALL) | in_struct("b", **ALL)), "several spectra in a row"),
        (written(pa.table([pa.array([v]) for v in (*VECTORS.values(), FLUX)], [*VECTORS, "flux"])), "bad column flux"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(data, reason):
    assert reasons(data) == ([reason] if reason else [])
    assert count_spectra("x", data) == 1


@pytest.mark.parametrize("name", ["loglam", "lambda", "metadata of the flux"])
def test_grids_in_the_metadata(name):
    flux_and_ivar = {"flux": FLUX, "ivar": IVAR}
    coefficients = {"COEFF0": str(K0 * 1e-4), "COEFF1": "1e-4"}
    data = {
        "loglam": with_metadata(None, None, {"loglam": json.dumps(LOGLAM.tolist())}, **flux_and_ivar),
        "lambda": with_metadata(None, None, {"lambda": json.dumps(WAVELENGTH.tolist())}, **flux_and_ivar),
        "metadata of the flux": with_metadata("flux", coefficients, **flux_and_ivar),
    }[name]
    np.testing.assert_array_equal(the_one(data).loglam, LOGLAM)


def test_grids_in_columns_and_wrong_grids():
    data = written(flat(flux=FLUX, ivar=IVAR) | {"coeff0": [K0 * 1e-4], "coeff1": [1e-4]})
    np.testing.assert_array_equal(the_one(data).loglam, LOGLAM)
    wrong = {
        "columns of unequal length": {"loglam": json.dumps(LOGLAM[:-1].tolist())},
        "bad value loglam": {"loglam": "[1, [2]]"},
        "bad value coeff1": {"coeff0": "3.58", "coeff1": "?"},
        "wavelengths off the lattice": {"coeff0": "3.58", "coeff1": "2e-4"},
        "unknown unit of wavelength": {"wave": json.dumps((WAVELENGTH / 10).tolist())},
    }
    for reason, metadata in wrong.items():
        assert reasons(with_metadata(None, None, metadata, flux=FLUX, ivar=IVAR)) == [reason]


@pytest.mark.parametrize("name", ["sigma", "error", "UNCERTAINTY", "flux_err"])
def test_errors_become_inverse_variances(name):
    sigma = np.where(IVAR > 0, 1 / np.sqrt(np.maximum(IVAR, 1e-9)), np.inf)
    sigma[:5] = [-1, 0, np.nan, 1e-30, np.inf]
    spectrum = the_one(written(flat(flux=FLUX, wavelength=WAVELENGTH) | {name: pa.array([sigma])}))
    assert not good_pixels(spectrum.flux, spectrum.ivar)[:5].any()
    np.testing.assert_allclose(spectrum.ivar[5:], IVAR[5:], rtol=1e-6)


@pytest.mark.parametrize("kind", [pa.bool_(), pa.uint8(), pa.int64(), pa.float32()])
def test_masked_pixels_have_no_weight(kind):
    mask = pa.array([np.array(MASK)]).cast(pa.list_(pa.uint8())).cast(pa.list_(kind))
    spectrum = the_one(written(flat(**VECTORS) | {"mask": mask}))
    np.testing.assert_array_equal(spectrum.ivar, np.where(MASK, 0, IVAR))


def test_masks_of_bits_keep_good_pixels():
    bits = np.where(np.arange(N) % 3 == 0, 1 << 23, 0)  # BRIGHTSKY
    spectrum = the_one(written(flat(**VECTORS, mask=bits)))
    np.testing.assert_array_equal(spectrum.ivar, IVAR)
    made = in_struct("spectrum", **LAMBDA, mask=MASK) | {"SPECTROFLUX_U": [1.0]}
    np.testing.assert_array_equal(the_one(written(made)).ivar, IVAR)
    made.pop("SPECTROFLUX_U")
    np.testing.assert_array_equal(the_one(written(made)).ivar, np.where(MASK, 0, IVAR))


def test_light_curves_beside_spectra_are_passed_over():
    curve = in_pixels("lightcurve", mjd=[1.0, 2.0], flux=[5.0, 6.0], flux_err=[0.1, 0.1])
    spectrum = the_one(written(curve | in_struct("spectrum", **LAMBDA)))
    np.testing.assert_array_equal(spectrum.flux, FLUX)
    assert reasons(written(curve)) == ["missing column loglam"]


def test_padding_is_left_out_but_no_pixel_with_a_weight():
    pad = {"flux": [*ALL["flux"], 7.0], "ivar": [*ALL["ivar"], 0.0], "lambda": [*ALL["wavelength"], -1.0]}
    np.testing.assert_array_equal(the_one(written(in_struct("spectrum", **pad))).loglam, LOGLAM)
    pad["ivar"][-1] = 1.0
    assert reasons(written(in_struct("spectrum", **pad))) == ["non-finite wavelength"]


# Names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "spec_id"),
    [
        ({"specobjid": pa.array([2**64 - 3], pa.uint64())}, str(2**64 - 3)),
        ({"specobjid": pa.array([-(2**62) - 1], pa.int64())}, str(-(2**62) - 1)),
        ({"targetid": pa.array([2**53 + 1], pa.int64())}, str(2**53 + 1)),
        ({"targetid": pa.array([str(2**53 + 1)]).cast(pa.decimal128(20, 0))}, str(2**53 + 1)),
        ({"targetid": [12345.0]}, "12345"),
        ({"object_id": ["b' 461628614023079936'"]}, "461628614023079936"),
        ({"object_id": [b"J0001+01 "]}, "J0001+01"),
        ({"object_id": pa.array(["a b"]).dictionary_encode()}, "a b"),
        ({"SPEC_ID": ["first"], "object_id": ["second"], "sparcl_id": ["third"]}, "first"),
        ({"sparcl_id": ["uuid"], "object_id": ["second"]}, "uuid"),
        ({"obsid": [101001]}, "101001"),
        ({"obs_id": ["jw01"]}, "jw01"),
        ({"plate": [266], "mjd": [51602.25], "fiberid": [3], "spec_id": [7]}, "266-51602-3"),
        ({"plate": [0], "mjd": [51602], "fiberid": [3], "spec_id": [7]}, "7"),
        ({"plate": [-9999], "mjd": [51602], "fiberid": [3]}, "t.parquet#0"),
        ({"plate": pa.nulls(1, pa.int32()), "mjd": [51602], "fiberid": [3]}, "t.parquet#0"),
        ({"spec_id": pa.nulls(1)}, "t.parquet#0"),
        ({"spec_id": [" "]}, "t.parquet#0"),
        ({"spec_id": [-1]}, "t.parquet#0"),
        ({"targetid": [float("nan")]}, "t.parquet#0"),
        ({"fieldid": [112360], "mjd": [60000], "catalogid": [27021598150202075]}, "112360-60000-27021598150202075"),
    ],
)
def test_names_are_kept_to_the_last_digit(columns, spec_id):
    spectrum = the_one(written(flat(**VECTORS) | columns), "folder/t.parquet")
    assert_record(spectrum)
    assert spectrum.spec_id == spec_id


def test_numbers_of_targets_and_observations():
    columns = {
        "fieldid": [112360, None, -999],
        "catalogid": [2**53 + 1, None, "x"],  # not a number
        "obs_id": [2**63 - 1, None, 5],
    }
    made = {name: pa.array([values] * 3) for name, values in VECTORS.items()}
    made["fieldid"] = pa.array(columns["fieldid"])
    made["catalogid"] = pa.array([value and str(value) for value in columns["catalogid"]])
    made["obs_id"] = pa.array(columns["obs_id"], pa.uint64())
    rows = [(s.fieldid, s.catalogid, s.obs_id) for s in read_spectra("x", written(made))]
    assert rows == [(112360, 2**53 + 1, 2**63 - 1), (-1, -1, -1), (-1, -1, 5)]
    spectrum = the_one(written(flat(**VECTORS) | {"targetid": [39627785483846048]}))
    assert (spectrum.plate, spectrum.mjd, spectrum.fiberid, spectrum.catalogid) == (0, 0, 0, 39627785483846048)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("t.parquet", "t.parquet"),
        ("/data/set/t.parquet", "t.parquet"),
        ("s3://bucket/hats/Norder=1/Dir=0/Npix=12.parquet", "Norder=1/Dir=0/Npix=12.parquet"),
    ],
)
def test_rows_without_names_are_named_by_file_and_row(path, name):
    made = {key: pa.array([values] * 3) for key, values in VECTORS.items()}
    data = written(made, row_group_size=2)
    assert [item.spec_id for item in read_spectra(path, data)] == [f"{name}#{row}" for row in range(3)]
    assert [item.spec_id for item in read_spectra(path, data, 2)] == [f"{name}#2"]


# Classes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"class": [" Star "]}, "STAR"),
        ({"spectype": [b"GALAXY"]}, "GALAXY"),
        ({"object_class": ["unknown"]}, ""),
        ({"class": pa.nulls(1)}, ""),
        ({"class": pa.nulls(1), "rv": [5.0]}, ""),
        ({"rv": [5.0]}, "STAR"),
        ({}, ""),
    ],
)
def test_classes(columns, expected):
    assert the_one(written(flat(**VECTORS) | columns)).object_class == expected


def test_a_boolean_warning_is_a_doubt_and_no_sky():
    made = {key: pa.array([values] * 3) for key, values in VECTORS.items()} | {"ZWARNING": [True, False, None]}
    spectra = list(read_spectra("x", written(made)))
    assert [spectrum.zwarning for spectrum in spectra] == [ZWARNING_SMALL_DELTA_CHI2, 0, 0]
    assert not any(spectrum.is_sky for spectrum in spectra)
