"""An exported file holds the rows of the folder and the provenance."""

import json
import shutil
import warnings

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from raystellar.catalog.export import ROW_GROUP_ROWS, _large
from raystellar.cli import main


def read(folder):
    return pa.concat_tables(pq.read_table(part) for part in sorted(folder.glob("part-*.parquet")))


def run(capsys, *words):
    code = main(["export", *map(str, words)])
    said = capsys.readouterr()
    return code, said.err.strip() if code else said.out


def opened(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a wrong checksum warns
        file = fits.open(path, checksum=True)
        file.verify("exception")
    return file


def same(exported, table):
    for name in table.column_names:
        values, column = exported[name], table[name]
        if pa.types.is_string(column.type):
            assert [str(value) for value in values] == column.fill_null("").to_pylist(), name
        elif pa.types.is_integer(column.type):
            null = np.iinfo(column.type.to_pandas_dtype()).min
            np.testing.assert_array_equal(np.asarray(values), column.fill_null(null).to_numpy(), name)
        else:
            np.testing.assert_array_equal(np.asarray(values), column.to_numpy(), name)


@pytest.fixture(scope="module")
def whole(labelled, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "catalog.fits"
    assert main(["export", str(labelled), "--out", str(path)]) == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.fits"]
    return path


def test_fits_has_the_rows_and_the_rejects(whole, labelled):
    with opened(whole) as file:
        assert [hdu.name for hdu in file] == ["PRIMARY", "CATALOG", "REJECTS"]
        same(file["CATALOG"].data, read(labelled))
        same(file["REJECTS"].data, read(labelled / "_rejects"))
        assert all({"CHECKSUM", "DATASUM"} <= set(hdu.header) for hdu in file)


def test_fits_describes_its_columns(whole, labelled):
    schema = pq.read_schema(next(labelled.glob("part-*.parquet")))
    header = fits.getheader(whole, "CATALOG")
    for number, field in enumerate(schema, start=1):
        said = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert header[f"TTYPE{number}"] == field.name
        for key, name in (("TUNIT", "unit"), ("TUCD", "ucd"), ("TCOMM", "description")):
            assert header.get(f"{key}{number}", "") == said[name]
    with pytest.warns(match="dex"):  # which FITS does not know
        table = Table.read(whole, hdu="CATALOG")
    assert str(table["rv"].unit) == "km / s"
    assert str(table["teff"].unit) == "K"


def test_fits_holds_the_provenance(whole, labelled):
    header = fits.getheader(whole)
    made = json.loads((labelled / "_run.json").read_text())
    assert (header["MODEL_ID"], header["DIGEST"]) == (made["model"], made["digest"])
    assert header["ROWSIN"] == header["ROWSOUT"] + header["REJECTED"] == made["rows"]
    assert header["ROWS"] == read(labelled).num_rows
    assert header["CREATOR"].startswith("raystellar ")
    assert sum(int(line.split()[0]) for line in header["COMMENT"] if "rejected" in line) == header["REJECTED"] == 2


def test_only_rows_without_flags_are_exported(labelled, tmp_path, capsys):
    code, said = run(capsys, labelled, "--out", tmp_path / "good.fits", "--good")
    rows = read(labelled)
    good = rows.filter(pa.compute.equal(rows["flags"], 0))
    assert code == 0
    assert said.startswith(f"{len(good)} of {len(rows)} rows, 2 rejects")
    with opened(tmp_path / "good.fits") as file:
        assert file[0].header["GOODONLY"]
        assert file[0].header["ROWS"] == len(file["CATALOG"].data) == len(good)
        same(file["CATALOG"].data, good)


def test_fits_marks_missing_values_and_escapes_characters_outside_ascii(labelled, tmp_path, capsys):
    shutil.copytree(labelled, tmp_path / "catalog")
    shutil.rmtree(tmp_path / "catalog" / "_rejects")
    part = tmp_path / "catalog" / "part-00000.parquet"
    table = pq.read_table(part)
    for name, first in (("path", "é.fits"), ("subclass", None), ("zwarning", None), ("ra", None), ("flag_bad", None)):
        index = table.column_names.index(name)
        values = pa.array([first, *table[name].to_pylist()[1:]], table[name].type)
        table = table.set_column(index, table.schema.field(index), values)
    rejected = pa.table({"stage": ["read"] * 2, "reason": ["x"] * 2})
    for name in ("path", "spec_id", "detail"):
        rejected = rejected.append_column(name, pa.array(["", ""]))
    pq.write_table(table, part)
    (tmp_path / "catalog" / "_rejects").mkdir()
    last = sorted(labelled.joinpath("_rejects").iterdir())[-1].name
    pq.write_table(rejected, tmp_path / "catalog" / "_rejects" / last)
    assert run(capsys, tmp_path / "catalog", "--out", tmp_path / "c.fits")[0] == 0
    with opened(tmp_path / "c.fits") as file:
        row = file["CATALOG"].data[0]
        assert (row["path"], row["subclass"]) == (r"\xe9.fits", "")
        assert np.isnan(row["ra"])
        assert row["zwarning"] == file["CATALOG"].columns["zwarning"].null == np.iinfo(np.int32).min
        assert file["CATALOG"].columns["flags"].null is None


def test_parquet_keeps_rows_and_metadata(labelled, tmp_path, capsys):
    assert run(capsys, labelled, "--out", tmp_path / "c.parquet")[0] == 0
    file = pq.ParquetFile(tmp_path / "c.parquet")
    assert file.read().equals(read(labelled))
    assert file.num_row_groups == 1
    assert json.loads(file.metadata.metadata[b"raystellar.run"])["kind"] == "catalog"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No table::len")
        table = Table.read(tmp_path / "c.parquet", format="parquet.votable")
    assert str(table["teff"].unit) == "K"
    assert table["path"].dtype.itemsize == 4 * max(map(len, table["path"]))


def test_csv_has_the_columns_and_rows(labelled, tmp_path, capsys):
    assert run(capsys, labelled, "--out", tmp_path / "c.csv")[0] == 0
    exported = pyarrow.csv.read_csv(tmp_path / "c.csv")
    assert exported.column_names == read(labelled).column_names
    assert exported["spec_id"].to_pylist() == read(labelled)["spec_id"].to_pylist()


def test_hats_has_the_rows(labelled, tmp_path, capsys):
    hats = pytest.importorskip("hats")
    pytest.importorskip("hats_import")
    assert run(capsys, labelled, "--out", tmp_path / "c.hats")[0] == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.hats"]
    catalog, rows = hats.read_hats(tmp_path / "c.hats"), read(labelled)
    files = list((tmp_path / "c.hats").rglob("Npix*.parquet"))
    table = pa.concat_tables(pq.read_table(path, partitioning=None) for path in files).drop_columns("_healpix_29")
    assert catalog.catalog_info.total_rows == len(rows)
    assert table.sort_by("path").equals(rows.sort_by("path"))
    assert run(capsys, labelled, "--out", tmp_path / "c.hats")[1].endswith("name a new folder")


def test_a_file_is_exported_to_a_server(labelled, tmp_path, capsys):
    assert run(capsys, labelled, "--out", "memory://exported/c.fits")[0] == 0
    (tmp_path / "c.fits").write_bytes(fsspec.filesystem("memory").cat_file("/exported/c.fits"))
    with opened(tmp_path / "c.fits") as file:
        same(file["CATALOG"].data, read(labelled))


def test_small_parts_become_large_row_groups():
    part = pa.table({"n": range(ROW_GROUP_ROWS // 2 + 1)})
    assert [len(table) for table in _large([part] * 5)] == [len(part) * 2, len(part) * 2, len(part)]
    assert list(_large([])) == []


def test_an_export_that_is_refused_ends_in_one_sentence(labelled, model, tmp_path, capsys):
    shutil.copytree(labelled, tmp_path / "part")
    (tmp_path / "part" / "part-00001.parquet").unlink()
    (tmp_path / "out").mkdir()
    for catalog, out, message in (
        (tmp_path / "part", "c.fits", "is not finished: "),
        (model.parent / "dataset", "c.fits", "is a dataset, not a catalogue"),
        (model, "c.fits", "must end in .onnx, .pt2"),
        (tmp_path / "absent", "c.fits", "is not a catalogue"),
        (labelled, "c.txt", "must end in .fits, .parquet, .csv, .hats"),
        (labelled, "absent/c.fits", "cannot be written: No such file"),
    ):
        code, error = run(capsys, catalog, "--out", tmp_path / "out" / out)
        assert code == 1
        assert error.startswith("raystellar export: ")
        assert message in error
        assert len(error.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())
