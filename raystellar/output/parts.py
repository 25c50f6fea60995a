"""Parquet files of an output folder: parts that are read one after another while the next ones are on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.schema import MANIFEST_NAME

PARTS_AT_ONCE = 8
"""Number of parts that are read or written at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(item)`` in the order of the items; threads do ``PARTS_AT_ONCE`` items at a time.

    Threads speed up the reading of files on servers, which is mostly waiting.
    """
    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > PARTS_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def part_names(folder: str) -> list[str]:
    """Return the sorted names of the parts in a folder."""
    return sorted(name for name in places.names(folder) if name.startswith("part-"))


def shard_number(name: str) -> int:
    """Return the number of the shard whose part has this name."""
    return int(name.removesuffix(".parquet").rpartition("-")[2])


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a Parquet file of an output folder.

    Raises
    ------
    OutputError : the file is damaged or absent
    """
    try:
        return places.parquet_file(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def read_part(path: str, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of a part, with all columns or those of ``columns`` that the part has.

    Raises
    ------
    OutputError : the file is damaged or absent
    """
    file = open_parquet(path)
    try:
        return file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def read_parts(folder: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    """Yield name and rows of each part in a folder, in the order of their names; see ``read_part``."""
    for name in part_names(folder):
        yield name, read_part(places.join(folder, name), columns)


def damaged(path: str, error: Exception) -> OutputError:
    """Return the error that names a damaged file of an output folder."""
    cure = "name a new folder" if path.endswith(MANIFEST_NAME) else "remove it and run the same command again"
    return OutputError(f"{path} is damaged: {error}; {cure}")
