import pytest


@pytest.fixture
def spectra(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(10):
        (folder / f"spec-{n}.fits").write_bytes(b"x" * n)
    return str(folder)
