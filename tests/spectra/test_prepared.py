"""Preprocessed spectra come back from the parts of a data set; other outputs of raystellar are refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import reasons

from raystellar.errors import SpectrumError
from raystellar.schema import (
    CATALOG,
    DATASET,
    FORMAT_VERSION,
    IDENTITY,
    N_NOISE,
    N_PIXELS,
    OPTIONAL_IDS,
    RUN_NAME,
    arrow_schema,
)
from raystellar.spectra import count_spectra, read_spectra
from raystellar.spectra.record import Prepared

ROWS = 5
SETTINGS = {"passes": "two", "min_coverage": 0.1}


def part(rows=ROWS):
    """Return the table of a part with random values, in which every third value of a row is null."""
    rng = np.random.default_rng(2)
    columns = []
    for number, column in enumerate(DATASET):
        if pa.types.is_fixed_size_list(column.type):
            values = pa.array(rng.normal(size=rows * column.type.list_size).astype(np.float32))
            columns.append(pa.FixedSizeListArray.from_arrays(values, column.type.list_size))
            continue
        null = (np.arange(rows) + number) % 3 == 0
        values = [f"{column.name} {row}" for row in range(rows)] if pa.types.is_string(column.type) else range(rows)
        columns.append(pa.array(values, column.type, mask=null & (column.name != "spec_id")))
    return pa.table(columns, schema=arrow_schema(DATASET))


def folder_of(table, folder, settings=SETTINGS):
    """Write a part and the settings of its folder; return the path of the part."""
    path = folder / "part-00000.parquet"
    pq.write_table(table, path, row_group_size=2)
    (folder / RUN_NAME).write_text(json.dumps({"format": FORMAT_VERSION, "preprocess": settings}))
    return str(path)


def test_spectra_come_back_as_they_were_written(tmp_path):
    table = part()
    path = folder_of(table, tmp_path)
    assert count_spectra(path) == ROWS
    absent = {"string": "", "int32": 0, **dict.fromkeys(OPTIONAL_IDS, -1)}
    for first in (0, 3):
        spectra = list(read_spectra(path, None, first))
        assert len(spectra) == ROWS - first
        for spectrum, row in zip(spectra, table.slice(first).to_pylist(), strict=True):
            assert isinstance(spectrum, Prepared)
            assert (spectrum.path, spectrum.preprocess, len(spectrum.loglam)) == (path, SETTINGS, 0)
            assert (len(spectrum.flux), len(spectrum.ivar)) == (N_PIXELS, N_NOISE)
            np.testing.assert_array_equal(spectrum.flux, np.float32(row["flux"]))
            np.testing.assert_array_equal(spectrum.ivar, np.float32(row["ivar"]))
            for column in IDENTITY[1:]:
                value = row[column.name]
                if value is None:
                    value = absent.get(column.name, absent.get(str(column.type), np.nan))
                np.testing.assert_equal(getattr(spectrum, column.name), value, err_msg=column.name)


def test_a_flux_that_is_not_finite_is_named(tmp_path):
    table = part()
    flux = np.array(table["flux"].combine_chunks().values)
    flux[N_PIXELS + 7] = np.nan
    flux = pa.FixedSizeListArray.from_arrays(pa.array(flux), N_PIXELS)
    path = folder_of(table.set_column(table.schema.get_field_index("flux"), "flux", flux), tmp_path)
    items = list(read_spectra(path))
    assert [isinstance(item, Prepared) for item in items] == [True, False, True, True, True]
    assert (items[1].reason, items[1].spec_id) == ("flux is not finite", "spec_id 1")


@pytest.mark.parametrize("missing", [OPTIONAL_IDS, ("obs_id",), ("e_rv",)])
def test_a_data_set_of_an_older_raystellar_is_refused_with_its_cure(missing, tmp_path):
    path = folder_of(part().drop_columns(list(missing)), tmp_path)
    (error,) = read_spectra(path)
    assert error.reason == "made by an older raystellar"
    assert error.detail.startswith(f"it has no column {', '.join(missing)}; run raystellar preprocess again")
    assert count_spectra(path) == 1


def test_a_data_set_with_other_types_is_refused(tmp_path):
    table = part()
    index = table.schema.get_field_index("sn")
    path = folder_of(table.set_column(index, "sn", table["sn"].cast(pa.float64())), tmp_path)
    (error,) = read_spectra(path)
    assert (error.reason, error.detail.partition(";")[0]) == (
        "made by an older raystellar",
        "its columns have other types",
    )


def test_other_outputs_are_refused(tmp_path):
    pq.write_table(arrow_schema(CATALOG).empty_table(), tmp_path / "part-00000.parquet")
    assert reasons(None, str(tmp_path / "part-00000.parquet")) == ["an output of raystellar"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (None, "preprocessed with unknown settings"),
        (json.dumps({"format": FORMAT_VERSION}), "preprocessed with unknown settings"),
        (json.dumps({"format": FORMAT_VERSION - 1}), "settings of preprocessed spectra cannot be read"),
        ("{", "settings of preprocessed spectra cannot be read"),
    ],
)
def test_settings_that_cannot_be_known_are_a_reason_of_each_row(run, reason, tmp_path):
    path = folder_of(part(), tmp_path)
    (tmp_path / RUN_NAME).unlink()
    if run is not None:
        (tmp_path / RUN_NAME).write_text(run)
    items = list(read_spectra(path))
    assert all(isinstance(item, SpectrumError) for item in items)
    assert [item.reason for item in items] == [reason] * ROWS
    assert count_spectra(path) == ROWS
