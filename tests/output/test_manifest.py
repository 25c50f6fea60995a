import pyarrow as pa
import pytest
from outputs import files

from raystellar.output.manifest import cut, slices_of, table_digest


def shards_of(manifest, rows, size=1 << 40):
    return [slices_of(shard) for shard in cut(manifest, rows, size)]


def test_shards_are_full_but_not_too_full():
    assert [len(shard) for shard in shards_of(files(*[1] * 10), 4)] == [4, 4, 2]
    assert [len(shard) for shard in shards_of(files(*[1] * 10), 4, 250)] == [2] * 5
    assert [len(shard) for shard in shards_of(files(*[1] * 3), 4, 1)] == [1] * 3


@pytest.mark.parametrize(("spectra", "rows"), [(100, 100), (300, 256), (40_000, 625), (300_000, 2048)])
def test_there_are_about_64_shards_unless_they_would_be_too_small_or_too_large(spectra, rows):
    assert len(next(cut(files(*[1] * spectra), 0, 1 << 40))) == rows


def test_a_file_of_many_spectra_is_sliced():
    assert shards_of(files(1, 10, 1), 4) == [
        [("000", 0, 1)],
        [("001", 0, 5)],
        [("001", 5, 5)],
        [("002", 0, 1)],
    ]
    assert shards_of(files(640, 1000), 512) == [[("000", 0, 640)], [("001", 0, 500)], [("001", 500, 500)]]


def test_a_file_whose_spectra_were_not_counted_counts_as_one_spectrum():
    assert shards_of(files(None, 3, None, None), 3) == [
        [("000", 0, None)],
        [("001", 0, 3)],
        [("002", 0, None), ("003", 0, None)],
    ]


@pytest.mark.parametrize("rows", [1, 3, 7, 640, 5000])
def test_every_spectrum_is_in_one_shard(rows):
    counts = [1, 1, 640, 3, 1000, 1, 2, 7]
    slices = [file_slice for shard in shards_of(files(*counts), rows, 777) for file_slice in shard]
    spectra = [(path, first + k) for path, first, count in slices for k in range(count)]
    assert spectra == [(f"{n:03d}", k) for n, count in enumerate(counts) for k in range(count)]


def test_the_digest_of_a_table_tells_its_rows_and_their_order_and_not_its_chunks():
    table = files(1, 2, None, 4)
    digest = table_digest(table)
    assert len(digest) == 16
    assert table_digest(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == digest
    assert table_digest(table.slice(1)) != digest
    assert table_digest(table.take([1, 0, 2, 3])) != digest
