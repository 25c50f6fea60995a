"""The reader of Parquet tables: written spectra come back, and other tables are refused."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import assert_record, assert_sound, reasons, the_one

from raystellar.errors import SpectrumError
from raystellar.schema import CATALOG, DATASET, arrow_schema
from raystellar.spectra import Spectrum, count_spectra, read_spectra, read_spectrum, table
from raystellar.spectra.record import MAX_PIXELS, SPEED_OF_LIGHT_KM_S
from raystellar.spectra.table_columns import COLUMN_NAMES

ROWS = 6


def columns(rows=ROWS, floats=None):
    """Return the columns of the published data set, with another number of pixels in each row."""
    rng = np.random.default_rng(rows)
    lengths = 200 + np.arange(rows)
    kind = pa.list_(floats or pa.float64())

    def lists(make, form=kind):
        return pa.array([make(n) for n in lengths], type=form)

    return {
        "spec_id": pa.array(21143 + np.arange(rows)),
        "plate": pa.array(np.full(rows, 2316)), "mjd": pa.array(np.full(rows, 53757)),
        "fiber": pa.array(580 + np.arange(rows)), "ra": pa.array(130.84631 + np.arange(rows) * 60.0),
        "dec": pa.array(np.full(rows, 54.66)), "snr": pa.array(43.37117 + np.arange(rows)),
        "rv_adop": pa.array(np.linspace(-38.256733, 10, rows)),
        "rv_adop_unc": pa.array([None] + [1.5] * (rows - 1), type=pa.float64()),
        "flux": lists(lambda n: rng.normal(500, 9, n).astype(np.float32)),
        "loglam": lists(lambda n: ((35819 + np.arange(n)) * 1e-4).astype(np.float32)),
        "ivar": lists(lambda n: rng.uniform(0, 1, n).astype(np.float32)),
        "mask": lists(lambda n: np.arange(n) % 7 == 0, pa.list_(pa.bool_())),
        "processed_flux": pa.array([[0.57] * 4000] * rows),
        "catalog_teff": pa.array(np.full(rows, 6190.74)),
    }  # fmt: skip


def parquet(made=None, **options):
    """Return the bytes of a Parquet table."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns() if made is None else made), out, **options)
    return out.getvalue()


def test_the_published_columns(tmp_path):
    made = columns()
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(parquet(made))
    spectra = list(read_spectra(str(path)))
    assert count_spectra(str(path)) == len(spectra) == ROWS
    for i, spectrum in enumerate(spectra):
        assert_record(spectrum)
        for name, array in (
            ("flux", spectrum.flux),
            ("loglam", spectrum.loglam),
            ("ivar", spectrum.ivar),
        ):
            np.testing.assert_array_equal(array, np.array(made[name][i].as_py(), dtype=array.dtype), err_msg=name)
        assert (spectrum.spec_id, spectrum.plate, spectrum.fiberid) == (f"2316-53757-{580 + i}", 2316, 580 + i)
        assert (spectrum.object_class, spectrum.is_star, spectrum.path) == ("STAR", True, str(path))
        assert spectrum.z * SPEED_OF_LIGHT_KM_S == pytest.approx(made["rv_adop"][i].as_py())
        assert 0 <= spectrum.ra < 360
    assert spectra[0].sn == 43.37117
    assert np.isnan(spectra[0].z_err)


def test_simulated_spectra_come_back(survey, tmp_path):
    paths = sorted(map(str, survey.glob("spectra/*/spec-*.fits")))[:12]
    written = [read_spectrum(path) for path in paths]
    names = (
        "plate",
        "mjd",
        "fiberid",
        "run2d",
        "ra",
        "dec",
        "object_class",
        "subclass",
        "z",
        "z_err",
        "zwarning",
        "sn",
        "loglam",
        "flux",
        "ivar",
    )
    made = {name: pa.array([getattr(s, name) for s in written], from_pandas=True) for name in names}
    pq.write_table(pa.table(made), tmp_path / "spectra.parquet", row_group_size=5)
    for before, after in zip(written, read_spectra(str(tmp_path / "spectra.parquet")), strict=True):
        for name in ("spec_id", "is_sky", *names):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)


@pytest.mark.parametrize("kind", [pa.large_list(pa.float32()), pa.list_(pa.float32(), 200), pa.list_(pa.float16())])
def test_kinds_of_lists(kind):
    flux = pa.array([np.ones(200, dtype=np.float32)] * 2, type=pa.list_(pa.float32())).cast(kind)
    made = columns(2) | {"flux": flux}
    for name in ("loglam", "ivar", "mask"):
        made[name] = pa.array([value.as_py()[:200] for value in made[name]])
    for spectrum in read_spectra("x", parquet(made)):
        assert (spectrum.flux == 1).all()


def test_bad_rows_are_named_and_the_others_read():
    made = {name: values.to_pylist() for name, values in columns().items()}
    made["flux"][1] = None
    made["ivar"][2] = made["ivar"][2][:-1]
    made["loglam"][3] = [3.6] * len(made["loglam"][3])
    made["plate"][4] = None
    made["flux"][5][7] = made["ivar"][5][8] = None
    items = list(read_spectra("x", parquet(made)))
    assert [getattr(item, "reason", "") for item in items] == [
        "",
        "columns of unequal length",
        "columns of unequal length",
        "loglam not increasing",
        "",
        "",
    ]
    assert [item.spec_id for item in items[1:4]] == [f"2316-53757-{580 + i}" for i in (1, 2, 3)]
    assert (items[4].spec_id, items[4].plate, items[4].fiberid) == ("21147", 0, 584)
    assert np.isnan(items[5].flux[7])
    assert np.isnan(items[5].ivar[8])


def test_other_spellings_and_missing_numbers():
    made = columns(1)
    made = {
        "native_flux": made["flux"],
        "native_loglam": made["loglam"],
        "native_ivar": made["ivar"],
        "PLATE": made["plate"],
        "Mjd": made["mjd"],
        "FIBERID": made["fiber"],
        "redshift": pa.array([0.36]),
        "class_label": pa.array(["galaxy"]).dictionary_encode(),
        "RV_ADOP": pa.array([-9999.0]),
    }
    spectrum = the_one(parquet(made))
    assert (spectrum.object_class, spectrum.z, spectrum.is_star) == ("GALAXY", 0.36, False)
    assert np.isnan([spectrum.ra, spectrum.z_err]).all()
    assert spectrum.sn > 0
    del made["redshift"]
    assert np.isnan(the_one(parquet(made)).z)


def test_batches_bound_what_is_decoded(monkeypatch, tmp_path):
    monkeypatch.setattr(table, "DECODED_ROWS", 4)
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet(columns(11), row_group_size=6))
    assert [item.fiberid for item in read_spectra(str(path))] == [580 + i for i in range(11)]


def without(*names):
    return {name: values for name, values in columns().items() if name not in names}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (parquet(without("flux")), "missing column flux"),
        (parquet(without("loglam")), "missing column loglam"),
        (parquet(without("ivar")), "missing column ivar"),
        (parquet(columns() | {"flux": pa.array(["a"] * ROWS)}), "bad column flux"),
        (parquet(columns() | {"flux": pa.array([["a"]] * ROWS)}), "bad column flux"),
        (parquet(columns() | {"mjd": pa.array([["53757"]] * ROWS)}), "bad column mjd"),
        (
            parquet(columns() | {"catalog_plug_ra": pa.array(["1"] * ROWS), "ra": pa.array(["1"] * ROWS)}),
            "bad column ra",
        ),
        (parquet(arrow_schema(CATALOG).empty_table()), "an output of raystellar"),
        (parquet()[:-9], "damaged Parquet file"),
        (b"PAR1", "damaged Parquet file"),
        (b"PAR1" + bytes(5000) + b"PAR1", "damaged Parquet file"),
    ],
)
def test_refusals(data, expected):
    assert reasons(data) == [expected]
    assert count_spectra("x", data) == 1


def test_no_rows_are_no_items():
    data = parquet(pa.table(columns()).slice(0, 0))
    assert count_spectra("x", data) == len(list(read_spectra("x", data))) == 0
    with pytest.raises(SpectrumError, match="no spectra"):
        read_spectrum("x", data)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_damaged_tables_give_spectra_or_reasons(compression):
    rng = random.Random(15)
    data = parquet(compression=compression)
    seen = set()
    for i in range(60):
        broken = bytearray(data)
        if i % 3 == 0:
            del broken[rng.randrange(len(broken)) :]
        for _ in range(rng.randint(1, 30)):
            if broken:
                tail = 4000 if i % 3 == 1 else len(broken)
                broken[-rng.randint(1, min(tail, len(broken)))] = rng.randrange(256)
        items = assert_sound(bytes(broken), label=str(i))
        seen |= {isinstance(item, Spectrum) for item in items}
    assert False in seen


def test_preprocessed_rows_without_their_settings_are_not_read():
    values = {column.name: pa.nulls(2, column.type) for column in DATASET}
    values |= {
        name: pa.array([[0.0] * size] * 2, pa.list_(pa.float32(), size))
        for name, size in {"flux": 4000, "ivar": 500}.items()
    }
    data = parquet(pa.table(values, schema=arrow_schema(DATASET)))
    assert reasons(data) == ["preprocessed with unknown settings"] * 2
    assert count_spectra("x", data) == 2


def test_the_readme_lists_the_accepted_columns():
    page = (Path(table.__file__).parent / "README.md").read_text()
    section = page.partition("## Columns that a Parquet table may have")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", section, re.MULTILINE)
    assert {key: tuple(re.findall(r"`(\w+)`", names)) for key, names in rows} == COLUMN_NAMES
    assert f"{MAX_PIXELS:,} values a row" in section
