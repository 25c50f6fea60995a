"""Write a folder so that a reader takes all of it or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from raystellar.errors import OutputError
from raystellar.files import places


def commit_folder(place: str, files: Mapping[str, bytes]) -> None:
    """Write ``files`` by name to a folder, in the order in which they are given.

    On a disk they go to a temporary folder beside ``place``, which is renamed to ``place``. A folder that is there
    steps aside first, and is put back if the rename fails; who is killed between the two renames leaves it whole
    beside ``place``, under a hidden name that ends in ``.old``. An object store renames nothing: there the last file
    is removed first and written last, and a folder without it is not whole.

    Parameters
    ----------
    place : an absolute path, or a URL
    files : content by name

    Raises
    ------
    OutputError : the folder cannot be written
    """
    if places.is_local(place):
        _commit_on_disk(Path(place), files)
        return
    places.remove(places.join(place, list(files)[-1]))
    for name, data in files.items():
        places.write_bytes(places.join(place, name), data)


def _commit_on_disk(path: Path, files: Mapping[str, bytes]) -> None:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True)
        for name, data in files.items():
            places.write_bytes(str(aside / name), data)
        _replace(aside, path)
    except OSError as error:
        raise OutputError(f"folder {path} cannot be written ({error}); check its path, space and rights") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace(aside: Path, path: Path) -> None:
    if not path.exists():
        os.rename(aside, path)
        return
    older = aside.with_name(f"{aside.name}.old")
    os.rename(path, older)
    try:
        os.rename(aside, path)
    except OSError:
        os.rename(older, path)
        raise
    shutil.rmtree(older, ignore_errors=True)
