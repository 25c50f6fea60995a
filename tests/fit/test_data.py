"""A dataset as arrays in memory."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fitdata import rows, write

from raystellar.errors import DatasetError, InputError
from raystellar.fit.data import read_dataset, spectrum_keys
from raystellar.schema import FORMAT_VERSION, MANIFEST_NAME, PART_NAME, RUN_NAME

N = 60


@pytest.fixture
def columns():
    return rows(N)


def test_rows_come_in_one_order_whatever_their_files(tmp_path, columns):
    shuffled = np.random.default_rng(0).permutation(N)
    first = read_dataset(write(tmp_path / "a", columns)).splits(("train", "test"), extra=("sn", "spec_id"))
    again = write(tmp_path / "b", columns, parts=7, order=shuffled)
    second = read_dataset(again).splits(("test", "train"))
    expected = sorted(range(0, N, 3), key=lambda i: (columns["plate"][i], columns["fiberid"][i]))
    assert first["train"].extra["spec_id"] == [columns["spec_id"][i] for i in expected]
    assert first["train"].extra["sn"] == [columns["sn"][i] for i in expected]
    assert np.array_equal(first["train"].flux, np.stack([columns["flux"][i] for i in expected]))
    assert np.array_equal(first["train"].targets[:, 2], np.float32([columns["logg"][i] for i in expected]))
    for split in ("train", "test"):
        for name in ("flux", "targets", "keys"):
            assert np.array_equal(getattr(first[split], name), getattr(second[split], name))


def test_spectra_are_counted_without_their_flux(tmp_path, columns):
    assert read_dataset(write(tmp_path / "a", columns)).counts() == {"train": 20, "validation": 20, "test": 20}


def test_a_split_is_read_alone(tmp_path, columns):
    dataset = read_dataset(write(tmp_path / "a", columns))
    spectra = dataset.split("validation")
    assert spectra.flux.shape == (N // 3, 4000)
    assert spectra.flux.dtype == np.float32
    assert spectra.flux.flags.c_contiguous
    assert dataset.about["digest"] == "0123456789abcdef"


def test_keys_are_the_same_on_every_machine():
    # as from: printf 2316-53757-580 | b2sum --length 64, read as a little-endian number
    assert spectrum_keys(["2316-53757-580", "x"]).tolist() == [17274305037675798767, 5717441744405258058]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path, columns):
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=f"no {RUN_NAME}"):
        read_dataset(tmp_path)
    folder = write(tmp_path / "a", columns)
    (folder / RUN_NAME).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        read_dataset(folder)
    (folder / RUN_NAME).write_text(json.dumps({"format": 1, "raystellar": "0.1.0", "preprocess": {}}))
    with pytest.raises(InputError, match=r"has the format of raystellar 0\.1\.0 .* make the folder anew"):
        read_dataset(folder)
    (folder / RUN_NAME).write_text(json.dumps({"format": FORMAT_VERSION, "preprocess": {}}))
    with pytest.raises(DatasetError, match="no 'digest'"):
        read_dataset(folder)


def test_missing_parts_are_counted(tmp_path, columns):
    folder = write(tmp_path / "a", columns)
    pq.write_table(pa.table({"path": columns["path"]}), folder / MANIFEST_NAME, row_group_size=N // 3)
    read_dataset(folder)
    (folder / PART_NAME.format(1)).unlink()
    with pytest.raises(DatasetError, match="not complete: 1 of 3 parts"):
        read_dataset(folder)
    for part in folder.glob("part-*"):
        part.unlink()
    with pytest.raises(DatasetError, match="no part-"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.update(split=["test"] * N), "no row of split 'train'"),
        (lambda c: c["feh"].__setitem__(slice(0, 7), [None] * 7), "3 rows of split 'train' .* first 100-53000-0"),
        (lambda c: c["teff"].__setitem__(3, float("nan")), "1 rows of split 'train' .* first 103-53000-3"),
        (lambda c: c["flux"].__setitem__(3, None), "1 rows without flux"),
        (lambda c: c["flux"].__setitem__(3, np.full(4000, np.inf, np.float32)), "flux that is not finite"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, columns, spoil, message):
    spoil(columns)
    with pytest.raises(DatasetError, match=message):
        read_dataset(write(tmp_path / "a", columns)).split("train")


def test_files_that_cannot_be_used_are_refused(tmp_path, columns):
    folder = write(tmp_path / "a", columns)
    part = folder / PART_NAME.format(0)
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["logg"]), part)
    with pytest.raises(DatasetError, match="no column 'logg'"):
        read_dataset(folder).split("train")
    pq.write_table(table.set_column(table.column_names.index("flux"), "flux", pa.array([[1.0]] * len(table))), part)
    with pytest.raises(DatasetError, match="needs 4000 float32"):
        read_dataset(folder).split("train")
    part.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        read_dataset(folder).split("train")
