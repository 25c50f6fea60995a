import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from labeltables import CAS, OWN, SSPP, one_row, rows, same, save

from raystellar.errors import LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.readers import column_names, read_columns
from raystellar.labels.table import read_labels

CONFIG = LabelsConfig()


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["sdss_stars/*.fits", "sdss_other/spec*.fits"])
def test_a_real_spectrum_is_refused_as_a_label_table(real_data, name):
    with pytest.raises(LabelTableError, match="not a table of labels"):
        read_labels(str(sorted(real_data.glob(name))[0]), CONFIG)


def test_every_format_and_spelling_gives_the_same_table(tmp_path):
    table = rows()
    first = read_labels(save(table, tmp_path / "a.fits", SSPP), CONFIG)
    assert 10 < first.usable.sum() < 150
    for name, names in (
        ("b.csv", CAS),
        ("c.csv", OWN),
        ("d.parquet", OWN),
        ("e.parquet", SSPP),
        ("f.fits", {own: name.lower() for own, name in CAS.items()}),
    ):
        assert same(first, read_labels(save(table, tmp_path / name, names), CONFIG)), name


def test_the_name_of_the_file_does_not_matter(tmp_path):
    table = rows()
    first = read_labels(save(table, tmp_path / "a.fits", SSPP), CONFIG)
    for suffix in ("fits", "csv", "parquet"):
        path = tmp_path / f"b.{suffix}"
        save(table, path)
        packed = tmp_path / f"{suffix}.dat"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert same(first, read_labels(str(packed), CONFIG))
        assert same(first, read_labels(path.as_uri(), CONFIG))


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
def test_text_may_have_any_delimiter_and_a_line_above_the_names(tmp_path, delimiter):
    path = tmp_path / "t.txt"
    names = ["plate", "mjd", "fiberid", "teff", "logg", "feh", "comment"]
    values = ["266", "51602", "28", "6000", "", "-1.5", "word"]
    path.write_text("#Table1\n" + delimiter.join(names) + "\n" + delimiter.join(values) + "\n")
    table = read_labels(str(path), CONFIG)
    assert table.feh[0] == -1.5
    assert table.summary()["by_reason"] == {"missing logg": 1}


def test_pieces_and_rows_in_another_order_change_nothing(tmp_path, monkeypatch):
    table = rows()
    whole = {name: read_labels(save(table, tmp_path / name), CONFIG) for name in ("a.fits", "a.csv")}
    monkeypatch.setattr("raystellar.labels.cells.PIECE", 1500)
    order = np.random.default_rng(2).permutation(200)
    for name, first in whole.items():
        again = save({key: values[order] for key, values in table.items()}, tmp_path / name)
        assert same(first, read_labels(again, CONFIG))


def test_fits_columns_may_be_scaled_null_or_text(tmp_path):
    table = one_row()
    columns = [
        fits.Column("PLATE", "I", bzero=32768, array=np.array([40000, 40000], "u2")),
        fits.Column("MJD", "J", array=np.array([55000, 55000])),
        fits.Column("FIBER", "4A", array=["1", "2"]),
        fits.Column("TEFF_ADOP", "J", null=-1, array=np.array([6000, -1])),
        *(fits.Column(name, "E", array=np.repeat(table[name], 2)) for name in ("logg", "feh")),
        fits.Column("MANY", "7E", array=np.zeros((2, 7))),
        fits.Column("BITS", "11X", array=np.zeros((2, 11), bool)),
    ]
    path = tmp_path / "t.fits"
    image = fits.ImageHDU(np.zeros((50, 40), "f4"))
    fits.HDUList([fits.PrimaryHDU(np.zeros(9)), image, fits.BinTableHDU.from_columns(columns)]).writeto(path)
    labels = read_labels(str(path), CONFIG)
    assert labels.key.tolist() == [40000 * 10**9 + 550000001, 40000 * 10**9 + 550000002]
    np.testing.assert_array_equal(labels.teff, [6000, np.nan])


def truncated():
    table = Table(one_row())
    table = Table({name: np.repeat(table[name], 5000) for name in table.colnames})
    buffer = io.BytesIO()
    table.write(buffer, format="fits")
    return buffer.getvalue()[:20000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page or XML"),
        (b"\x89PNG\r\n\0\0\0", "none of FITS, text, Parquet, ECSV, VOTable"),
        (b"plate,mjd,fiberid,teff,logg,feh\n", "holds no rows"),
        (b"plate,mjd,fiber,teff,logg\n266,51602,1,6000,4\n", r"no column for feh \(accepted: feh, FEH_ADOP"),
        (b"a,b,c\n1,2,3\n", "it has a, b, c, and none of teff, feh, logg"),
        (",".join(f"c{i}" for i in range(300)).encode() + b"\n1\n", "c11 and 288 more"),
        (b"plate,mjd,fiberid,teff,logg,feh\n266,51602,1,hot,4,-1\n", "cannot be read: .*teff.*hot"),
        (b"plate,mjd,fiberid,teff,logg,feh\n266,51602,1\n", "cannot be read: .*columns"),
        (b"plate,mjd,fiberid,teff,logg,feh\n0,0,1,5000,4,-1\n", "none of 1 rows names a spectrum"),
        (truncated(), "ends before its last row"),
        (truncated()[:2880], "without a binary table"),
        (b"SIMPLE  =", "cannot be read|damaged|binary table"),
        (b"PAR1 and then nothing", "cannot be read"),
        (gzip.compress(truncated(), 0)[:-600], "cannot be read"),
        (b"\x1f\x8bnot gzip at all", "cannot be read"),
    ],
)
def test_files_that_are_not_label_tables_are_refused(tmp_path, content, message):
    path = tmp_path / "t.dat"
    path.write_bytes(content)
    with pytest.raises(LabelTableError, match=message) as caught:
        read_labels(str(path), CONFIG)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_without_a_table_are_refused(tmp_path):
    for name, message in (("none.fits", "does not exist"), ("", "no Parquet files there")):
        with pytest.raises(LabelTableError, match=message):
            read_labels(str(tmp_path / name), CONFIG)
    with pytest.raises(LabelTableError, match="does not exist"):
        read_labels((tmp_path / "none.fits").as_uri(), CONFIG)
    with pytest.raises(LabelTableError, match=r"nowhere://none\.fits cannot be used: Protocol"):
        read_labels("nowhere://none.fits", CONFIG)


def test_fits_tables_of_vectors_and_without_rows_are_refused(tmp_path):
    table = Table(one_row())
    table["teff"] = np.zeros((1, 3))
    table.write(tmp_path / "t.fits")
    with pytest.raises(LabelTableError, match="3D in column teff"):
        read_labels(str(tmp_path / "t.fits"), CONFIG)
    Table(one_row())[:0].write(tmp_path / "u.fits")
    with pytest.raises(LabelTableError, match="holds no rows"):
        read_labels(str(tmp_path / "u.fits"), CONFIG)


def test_a_folder_or_glob_of_parquet_files_is_one_table(tmp_path):
    rows = {"plate": [266, 267, 268], "mjd": [51602] * 3, "fiberid": [1, 2, 3], "teff": [5000.0, 6000.0, 7000.0],
            "feh": [0.0, -1.0, -2.0], "logg": [4.0, 3.0, 2.0]}  # fmt: skip
    whole = pa.table(rows)
    pq.write_table(whole, tmp_path / "whole.parquet")
    (tmp_path / "parts" / "data").mkdir(parents=True)
    pq.write_table(whole.slice(1), tmp_path / "parts" / "data" / "b.parquet")
    pq.write_table(whole.slice(0, 1), tmp_path / "parts" / "a.parquet")
    config = LabelsConfig()
    expected = read_labels(str(tmp_path / "whole.parquet"), config).digest()
    assert read_labels(str(tmp_path / "parts"), config).digest() == expected
    assert read_labels(str(tmp_path / "parts" / "**" / "*.parquet"), config).digest() == expected
    pq.write_table(whole.append_column("sn", pa.array([30.0] * 3)), tmp_path / "parts" / "c.parquet")
    with pytest.raises(LabelTableError, match="not all of its files have a column for sn"):
        read_labels(str(tmp_path / "parts"), config)
    pq.write_table(whole.append_column("spec_id", pa.array(["a", "b", "c"])), tmp_path / "parts" / "c.parquet")
    assert read_labels(str(tmp_path / "parts"), config).digest() == expected
    with pytest.raises(LabelTableError, match=r"no Parquet files|no spectra|nothing matches"):
        read_labels(str(tmp_path / "*.csv"), config)
    for number in range(3):
        Table({name: values[number : number + 1] for name, values in rows.items()}).write(tmp_path / f"{number}.csv")
    assert read_labels(str(tmp_path / "*.csv"), config).digest() == expected


def whole(path, spellings, **options):
    """Return the columns of all pieces of a table."""
    pieces = list(read_columns(str(path), spellings, **options))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


@pytest.mark.parametrize("suffix", ["fits", "csv", "parquet"])
def test_any_columns_are_read_as_numbers_or_as_text(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("raystellar.labels.cells.PIECE", 100)
    table = {
        "Spec_ID": np.array([f"star {i}" for i in range(50)]),
        "number": 2**60 + np.arange(50),
        "teff": np.arange(50.0),
    }
    path = save(table, tmp_path / f"t.{suffix}", {})
    assert column_names(path) == list(table)
    spellings = {"name": ("specid",), "id": ("NUMBER",), "temperature": ("nothing", "TEFF"), "none": ("nothing",)}
    columns = whole(path, spellings, text=("name", "id"))
    assert list(columns) == ["name", "id", "temperature"]
    assert columns["name"].tolist() == [name.encode() for name in table["Spec_ID"].tolist()]
    assert columns["id"].tolist() == [str(number).encode() for number in table["number"].tolist()]
    np.testing.assert_array_equal(columns["temperature"], table["teff"])
    with pytest.raises(LabelTableError, match=r"no column for none \(accepted: nothing\)"):
        whole(path, spellings, required=("name", "none"))
    assert list(read_columns(path, {"none": ("nothing",)})) == []


def test_a_table_is_read_in_pieces_of_a_given_size(tmp_path, monkeypatch):
    monkeypatch.setattr("raystellar.labels.cells.PIECE", 1000)
    path = save({"a": np.arange(1000.0), "b": np.arange(1000.0)}, tmp_path / "t.fits", {})
    assert [len(piece["b"]) for piece in read_columns(path, {"b": ("b",)})] == [62] * 16 + [8]


def test_unsigned_integers_of_64_bits_are_exact_as_text(tmp_path):
    numbers = np.array([0, 2**63, 2**64 - 1], dtype="u8")
    path = save({"id": numbers}, tmp_path / "t.fits", {})
    assert whole(path, {"id": ("id",)}, text=("id",))["id"].tolist() == [str(n).encode() for n in numbers.tolist()]


def test_null_is_nan_as_a_number_and_empty_as_text(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\nnull,null\n1,x\n")
    pq.write_table(pa.table({"a": pa.array([None, 1.0]), "b": pa.array([None, "x"])}), tmp_path / "t.parquet")
    columns = [fits.Column("a", "J", null=-1, array=[-1, 1]), fits.Column("b", "J", null=-1, array=[-1, 7])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    for suffix, text in (("csv", b"x"), ("parquet", b"x"), ("fits", b"7")):
        read = whole(tmp_path / f"t.{suffix}", {"a": ("a",), "b": ("b",)}, text=("b",))
        np.testing.assert_array_equal(read["a"], [np.nan, 1.0])
        assert read["b"].tolist() == [b"", text]


def written(table, path, **options):
    """Write a table with astropy, in the format that the suffix of the path stands for, and return the path."""
    formats = {"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable", "csv": "ascii.csv"}
    table.write(path, format=formats[path.name.rsplit(".", 1)[1]], **options)
    return path


def test_one_table_is_read_alike_in_all_formats(tmp_path):
    """With identifiers that have lost digits beside plate, mjd and fiberid, text, and masked values."""
    table = Table({CAS.get(name, name): values for name, values in rows().items()}, masked=True)
    table["specObjID"] = np.linspace(2.9e17, 1.1e19, len(table))
    table["TEFFADOP"].mask[3:9] = True
    table["comment"] = ["a, b", 'say "c"'] * 100
    paths = [written(table, tmp_path / f"t.{suffix}") for suffix in ("ecsv", "vot", "csv")]
    filled = table.copy()
    filled["TEFFADOP"] = table["TEFFADOP"].filled(np.nan)
    written(filled, tmp_path / "t.fits")
    written(table, tmp_path / "binary.vot", tabledata_format="binary2")
    written(table, tmp_path / "commas.ecsv", delimiter=",")
    (tmp_path / "comments.csv").write_text(f"# query: a, b, c\n# rows, 9\n#\n{paths[2].read_text()}# the end\n")
    (tmp_path / "packed.dat").write_bytes(gzip.compress(paths[0].read_bytes()))
    first = read_labels(str(paths[0]), CONFIG)
    assert first.usable.any()
    assert np.isnan(first.teff).sum() > 6
    for path in tmp_path.iterdir():
        assert same(first, read_labels(str(path), CONFIG)), path.name


@pytest.mark.parametrize("suffix", ["ecsv", "vot"])
def test_integers_of_64_bits_are_exact_as_text_in_tables_that_astropy_reads(suffix, tmp_path):
    signed = np.array([0, -(2**63), 2**63 - 1])
    table = Table({"a": signed, "b": ["", "x y", "ü"]}, masked=True)
    table["a"].mask[0] = True
    path = written(table, tmp_path / f"t.{suffix}")
    columns = whole(path, {"a": ("a",), "b": ("b",)}, text=("a", "b"))
    assert columns["a"].tolist() == [b"", b"-9223372036854775808", b"9223372036854775807"]
    assert [text.decode() for text in columns["b"].tolist()] == ["", "x y", "ü"]


def test_the_line_of_names_may_be_a_comment_or_below_comments(tmp_path):
    body = "266,51602,28,6000,4.0,-1.0\n"
    names = "plate,mjd,fiberid,teff,logg,feh\n"
    expected = None
    for head in (
        names,
        f"#{names}",
        f"# made by hand, today\n# {names}",
        f"# a,b,c,d,e,f\n{names}",
        f"#Table1\n\n{names}",
    ):
        path = tmp_path / "t.csv"
        path.write_text(head + body)
        table = read_labels(str(path), CONFIG)
        expected = expected or table
        assert same(table, expected), head
    assert expected.teff.tolist() == [6000.0]


def test_comments_between_rows_are_skipped_and_short_rows_are_not(tmp_path):
    names, row = "plate,mjd,fiberid,teff,logg,feh\n", "266,51602,{},6000,4.0,-1.0\n"
    path = tmp_path / "t.csv"
    path.write_text(names + row.format(1) + "# night 2\n" + row.format(2) + "# end, of, table\n")
    assert len(read_labels(str(path), CONFIG)) == 2
    path.write_text(names + row.format(1) + "266,51602,3\n")
    with pytest.raises(LabelTableError, match=r"cannot be read: .*columns"):
        read_labels(str(path), CONFIG)


@pytest.mark.parametrize("suffix", ["ecsv", "vot"])
def test_tables_that_are_read_as_a_whole_have_a_largest_size(suffix, tmp_path, monkeypatch):
    path = written(Table(one_row()), tmp_path / f"t.{suffix}")
    monkeypatch.setattr("raystellar.labels.whole_table.MAX_BYTES", 100)
    with pytest.raises(LabelTableError, match=r"file of more than 0 MB, too large .* write it as FITS or Parquet"):
        read_labels(str(path), CONFIG)


@pytest.mark.parametrize(
    "content", [b"# %ECSV 1.0\n# ---\nnot yaml: [\n", b"<?xml version='1.0'?>\n<VOTABLE><RESOURCE>"]
)
def test_damaged_tables_that_astropy_reads_are_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "t.dat").write_bytes(content)
    with pytest.raises(LabelTableError, match="cannot be read: ") as caught:
        read_labels(f"{tmp_path}/t.dat", CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["ecsv", "vot", "fits"])
def test_a_column_of_vectors_is_refused(suffix, tmp_path):
    table = Table(one_row())
    table["teff"] = np.zeros((1, 3))
    with pytest.raises(LabelTableError, match="in column teff, which must hold one number"):
        read_labels(str(written(table, tmp_path / f"t.{suffix}")), CONFIG)


@pytest.mark.parametrize("zero", [9223372036854775808, 9.223372036854775808e18])
def test_unsigned_integers_of_fits_are_exact_however_tzero_is_written(zero, tmp_path):
    numbers = np.array([0, 2**63, 2**64 - 1], dtype="u8")
    save({"id": numbers}, tmp_path / "t.fits", {})
    data = (tmp_path / "t.fits").read_bytes()
    card = next(data[at : at + 80] for at in range(0, len(data), 80) if data[at : at + 6] == b"TZERO1")
    (tmp_path / "u.fits").write_bytes(data.replace(card, b"TZERO1  = %-70s" % str(zero).encode()))
    assert whole(tmp_path / "u.fits", {"id": ("id",)}, text=("id",))["id"].tolist() == [
        str(n).encode() for n in numbers.tolist()
    ]


@pytest.mark.realdata
def test_the_cases_are_read_as_they_should_be(real_data):
    folder = real_data.parent / "cases" / "labels"
    if not folder.is_dir():
        pytest.skip(f"no cases in {folder}")
    tables = {path.name: read_labels(str(path), CONFIG) for path in sorted(folder.iterdir())}
    alike = [tables[name] for name in ("t.fits", "t.ecsv", "t.vot", "comments.csv")]
    assert all(same(alike[0], table) for table in alike)
    assert alike[0].teff.tolist() == [5000.0 + 100 * i for i in range(9)]
    assert tables["only_specobjid.csv"].digest() == alike[0].digest()
    assert tables["only_specobjid.csv"].identities == {"specObjID": 9}
    odd = tables["lamost_style_err.csv"]
    assert (odd.e_teff == 80).all()
    assert np.isnan(odd.rv).all()
