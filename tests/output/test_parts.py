import threading

import pyarrow as pa
import pytest

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.output.parts import PARTS_AT_ONCE, map_ahead, part_names, read_part, read_parts, shard_number


@pytest.fixture
def folder(tmp_path):
    for shard in (2, 0, 11):
        table = pa.table({"shard": [shard, shard], "value": [1.0, 2.0]})
        places.write_table(str(tmp_path / f"part-{shard:05d}.parquet"), table)
    (tmp_path / "_run.json").write_text("{}")
    return str(tmp_path)


def test_parts_are_read_in_the_order_of_their_shards(folder):
    assert list(map(shard_number, part_names(folder))) == [0, 2, 11]
    assert [(name, table["shard"][0].as_py()) for name, table in read_parts(folder)] == [
        ("part-00000.parquet", 0),
        ("part-00002.parquet", 2),
        ("part-00011.parquet", 11),
    ]


def test_columns_that_a_part_lacks_are_left_out(folder):
    assert read_part(f"{folder}/part-00002.parquet", ["value", "absent"]).column_names == ["value"]


def test_a_damaged_part_is_named(folder):
    for content in (b"", b"not Parquet"):
        places.write_bytes(f"{folder}/part-00000.parquet", content)
        with pytest.raises(OutputError, match=r"part-00000\.parquet is damaged"):
            read_part(f"{folder}/part-00000.parquet")
    with pytest.raises(OutputError, match=r"part-00001\.parquet is damaged"):
        read_part(f"{folder}/part-00001.parquet")


def test_results_come_in_the_order_of_the_items_and_few_at_a_time():
    begun, later = [], threading.Event()

    def work(item):
        begun.append(item)
        if item == 0:
            later.wait(10)  # the first item ends after the second one
        else:
            later.set()
        return item * item

    results = map_ahead(work, iter(range(100)))
    assert next(results) == 0
    assert len(begun) <= PARTS_AT_ONCE + 1
    assert list(results) == [item * item for item in range(1, 100)]
