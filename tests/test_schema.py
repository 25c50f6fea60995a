"""Every part says what its columns are, in the way that astropy and TOPCAT read."""

import io
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table

from raystellar.schema import CATALOG, CONTENT_KEY, DATASET, REJECTS, VERSION_KEY, described_schema


@pytest.fixture(scope="module")
def parts(labelled, model):
    folders = {"catalog": labelled, "dataset": model.parent / "dataset", "rejects": labelled / "_rejects"}
    return {name: sorted(folder.glob("part-*.parquet")) for name, folder in folders.items()}


def fields(part):
    content = pq.read_metadata(part).metadata[CONTENT_KEY.encode()]
    assert b"<DATA" not in content
    return parse(io.BytesIO(content), verify="exception").get_first_table().fields


@pytest.mark.parametrize(("name", "columns"), [("catalog", CATALOG), ("dataset", DATASET), ("rejects", REJECTS)])
def test_the_fields_are_the_columns(name, columns, parts):
    for part in parts[name]:
        metadata = pq.read_metadata(part).metadata
        assert metadata[VERSION_KEY.encode()] == b"1.0"
        assert metadata[CONTENT_KEY.encode()] == described_schema(columns, name).metadata[CONTENT_KEY.encode()]
        assert b"VOTABLE" not in metadata[b"ARROW:schema"]
        assert pq.read_schema(part).equals(described_schema(columns, name))
    for field, column in zip(fields(parts[name][0]), columns, strict=True):
        assert field.name == column.name
        assert (field.ucd or "") == column.ucd
        assert field.description.startswith(column.description)
        assert (field.unit.to_string() if field.unit else "") == column.unit.replace("/", " / ")
    lists = {field.name: field.arraysize for field in fields(parts[name][0]) if field.name in ("flux", "ivar")}
    assert lists == ({"flux": "4000", "ivar": "500"} if name == "dataset" else {})


def test_ucds_are_words_of_the_ivoa():
    for column in (*CATALOG, *DATASET, *REJECTS):
        assert not column.ucd or check_ucd(column.ucd, check_controlled_vocabulary=True), column.name


@pytest.mark.parametrize("name", ["catalog", "dataset"])
def test_astropy_reads_a_part_with_its_units(name, parts):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No table::len")
        table = Table.read(parts[name][0], format="parquet.votable")
    assert [str(table[key].unit) for key in ("ra", "rv", "teff", "feh")] == ["deg", "km / s", "K", "dex"]
    assert table["teff"].description == "effective temperature"
    assert table["teff"].meta["ucd"] == "phys.temperature.effective"
    plain = pq.read_table(parts[name][0])
    assert np.array_equal(table["teff"], plain["teff"].to_numpy())
    assert list(table["path"]) == plain["path"].to_pylist()
    if name == "catalog":
        assert "32 NO_RV" in table["flags"].description
    else:
        assert table["flux"].shape == (len(plain), 4000)
