"""Parquet tables that claim more than they should: sizes are checked before anything is decoded."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import assert_sound, reasons

from raystellar.spectra import Spectrum, count_spectra, read_spectra, table
from raystellar.spectra.record import MAX_PIXELS

MOST_BYTES = 64 << 20
"""Largest number of bytes that a refused file may take."""

BOMB = 3_000_000
"""Number of values in the list of a bomb; decoded, three of them take more than ``MOST_BYTES``."""

N = 200
WAVE = (4000.0 + 2 * np.arange(N)).astype(np.float32)


def one_list(values, kind=None):
    """Return one row with a list of values."""
    values = pa.array(values) if kind is None else pa.array(values).cast(kind)
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def written(columns, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def bomb(shape, values=BOMB, **options):
    """Return a small file of one row with many values, in one of the shapes that the reader takes."""
    zeros = pa.array(np.zeros(values, np.float32))
    flat = {name: one_list(zeros) for name in ("flux", "wave", "ivar")}
    if shape == "struct":
        return written({"spectrum": pa.StructArray.from_arrays([*flat.values()], [*flat])}, **options)
    if shape == "pixels":
        return written({"spectrum": one_list(pa.StructArray.from_arrays([zeros] * 3, [*flat]))}, **options)
    if shape == "mask":  # only the mask is long
        short = {name: one_list(WAVE) for name in flat}
        return written(short | {"mask": one_list(np.zeros(values, bool))}, **options)
    if shape == "fixed":
        return written({name: pa.FixedSizeListArray.from_arrays(zeros, values) for name in flat}, **options)
    return written(flat, **options)


@pytest.fixture
def taken():
    """Return a function that tells the largest number of bytes that Arrow held since the test began."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool.max_memory
    pa.set_memory_pool(before)


ENCODINGS = {
    "dictionary": {},
    "plain zstd": {"use_dictionary": False, "compression": "zstd"},
    "plain gzip, pages of version 2": {"use_dictionary": False, "compression": "gzip", "data_page_version": "2.0"},
    "byte stream split": {"use_dictionary": False, "use_byte_stream_split": True, "compression": "zstd"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("shape", ["flat", "struct", "pixels", "fixed"])
def test_long_lists_are_refused_before_they_are_decoded(shape, encoding, taken):
    data = bomb(shape, **ENCODINGS[encoding])
    assert len(data) < 100_000
    before = taken()
    assert reasons(data) == ["unreasonable size"]
    assert count_spectra("x", data) == 1
    assert taken() - before < MOST_BYTES // 8


def test_a_long_mask_is_refused(taken):
    data = bomb("mask")
    before = taken()
    assert reasons(data) == ["unreasonable size"]
    assert taken() - before < MOST_BYTES // 8


@pytest.mark.processes
def test_the_process_stays_small(tmp_path):
    for number, shape in enumerate(("flat", "struct", "pixels")):
        (tmp_path / f"{number}.parquet").write_bytes(bomb(shape, 4_000_000))
    script = """
import resource, sys
import pyarrow.parquet
from raystellar.spectra import read_spectra
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reasons = [item.reason for path in sys.argv[1:] for item in read_spectra(path)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *reasons, sep=";")
"""
    paths = [str(path) for path in sorted(tmp_path.glob("*.parquet"))]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    kilobytes, *found = done.stdout.strip().split(";")
    assert found == ["unreasonable size"] * 3
    assert int(kilobytes) << 10 < MOST_BYTES


@pytest.mark.realdata
def test_a_bomb_of_20_million_values(cases, taken):
    before = taken()
    assert [item.reason for item in read_spectra(str(cases / "bombs" / "bomb20000000.parquet"))] == [
        "unreasonable size"
    ]
    assert taken() - before < MOST_BYTES // 8


def rows_of(lengths, name="flux"):
    """Return a column of lists of these lengths."""
    values = {"flux": np.ones, "ivar": np.ones, "wave": lambda n: 4000.0 + np.arange(n)}[name]
    return pa.array([values(n).astype(np.float32) for n in lengths])


def test_the_longest_spectrum_is_read_and_a_longer_one_is_not():
    for lengths, expected in (([MAX_PIXELS], 0), ([MAX_PIXELS + 1], 1), ([MAX_PIXELS + 1, 200], 1)):
        data = written({name: rows_of(lengths, name) for name in ("flux", "ivar", "wave")})
        assert reasons(data) == ["unreasonable size"] * expected
        assert sum(isinstance(item, Spectrum) for item in read_spectra("x", data)) == len(lengths) - expected


def test_only_the_row_groups_that_claim_too_much_are_refused():
    lengths = [200, 201, 3 * MAX_PIXELS, 202, 203, 204, 205, 206]
    data = written({name: rows_of(lengths, name) for name in ("flux", "ivar", "wave")}, row_group_size=2)
    expected = [200, 201, None, None, 203, 204, 205, 206]
    for first in range(len(lengths) + 1):
        items = list(read_spectra("t.parquet", data, first))
        assert [len(item.flux) if isinstance(item, Spectrum) else None for item in items] == expected[first:]
        for row, item in enumerate(items, first):
            assert item.spec_id == (f"t.parquet#{row}" if expected[row] else "")


def test_fewer_rows_are_decoded_at_a_time_where_rows_are_long(monkeypatch):
    sizes = []
    decoded = table._decoded
    monkeypatch.setattr(table, "_decoded", lambda *given: sizes.append(given[2]) or decoded(*given))
    for length, expected in ((200, 128), (8000, 128), (9000, 64), (18_000, 32)):
        data = written({name: rows_of([length] * 3, name) for name in ("flux", "ivar", "wave")})
        assert len(list(read_spectra("x", data))) == 3
        assert sizes.pop() == expected


@pytest.mark.parametrize("name", ["class", "spec_id"])
def test_long_texts_are_refused_or_take_little(name, taken):
    rows = 200
    columns = {key: pa.array([WAVE] * rows) for key in ("flux", "ivar", "wave")}
    long = written(columns | {name: ["a" * 10_000_000] + ["STAR"] * (rows - 1)}, compression="zstd")
    repeated = written(columns | {name: ["b" * 200_000] * rows}, compression="zstd")
    for data, expected in ((long, ["unreasonable size"] * rows), (repeated, [])):
        before = taken()
        assert reasons(data) == expected
        assert taken() - before < MOST_BYTES


def test_texts_of_usual_length_are_read():
    rows = 300
    columns = {key: pa.array([WAVE] * rows) for key in ("flux", "ivar", "wave")}
    names = [f"{number:0300d}x" for number in range(rows)]
    items = list(read_spectra("x", written(columns | {"spec_id": names})))
    assert [item.spec_id for item in items] == names


@pytest.mark.parametrize("shape", ["flat", "struct", "pixels"])
def test_damaged_footers_give_spectra_or_reasons(shape):
    rng = random.Random(4)
    columns = {name: pa.array([WAVE] * 4) for name in ("flux", "wave", "ivar")} | {"class": ["STAR"] * 4}
    if shape != "flat":
        rows = [{name: WAVE.tolist() for name in ("flux", "wave", "ivar")}] * 4
        if shape == "pixels":
            rows = [[{"flux": 1.0, "wave": float(wave), "ivar": 1.0} for wave in WAVE]] * 4
        columns = {"spectrum": rows, "class": ["STAR"] * 4}
    data = written(columns, row_group_size=2)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for number in range(100):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            broken[-rng.randint(1, footer)] = rng.randrange(256)
        assert_sound(bytes(broken), label=f"{shape} {number}", seconds=5.0)


def test_no_byte_of_the_footer_can_end_the_process():
    data = written({name: pa.array([WAVE]) for name in ("flux", "wave", "ivar")}, store_schema=False)
    for at in range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10  # in the header of a list of the footer, its length
        assert_sound(bytes(broken), label=str(at), seconds=5.0)


def test_names_that_are_no_text_are_refused():
    data = written({name: pa.array([WAVE]) for name in ("flux", "wave", "ivar")}, store_schema=False)
    assert not reasons(data)
    (error,) = assert_sound(data.replace(b"flux", b"\xff\xfe\xff\xfe"))
    assert error.reason in ("damaged Parquet file", "missing column flux")
