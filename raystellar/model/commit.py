"""Write a folder so that a reader sees all of it or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from raystellar import places
from raystellar.errors import OutputError


def commit_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` by name to a temporary folder beside ``path``, then rename it to ``path``.

    A folder that is there steps aside first, and is put back if the rename fails; who is killed between the
    two renames leaves it whole beside ``path``, under a hidden name that ends in ``.old``.

    Raises
    ------
    OutputError : the folder cannot be written
    """
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
