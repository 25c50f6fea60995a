"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real survey files; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("RAYSTELLAR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real survey files in {folder}; set RAYSTELLAR_TEST_DATA")
    return folder
