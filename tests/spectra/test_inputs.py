import pytest

from raystellar.errors import InputError
from raystellar.spectra.inputs import make_manifest


def test_a_manifest_names_each_spectrum_once_in_order(tmp_path):
    spectra = str(tmp_path)
    for n in range(10):
        (tmp_path / f"spec-{n}.fits").write_bytes(b"x" * n)
    manifest = make_manifest([f"{spectra}/spec-3.fits", spectra, f"{spectra}/*.fits"])
    assert manifest["path"].to_pylist() == [f"{spectra}/spec-{n}.fits" for n in range(10)]
    assert manifest["bytes"].to_pylist() == list(range(10))
    assert manifest["spectra"].to_pylist() == [None] * 10


def test_no_spectra_at_all_is_refused(tmp_path):
    with pytest.raises(InputError, match="no spectra"):
        make_manifest([str(tmp_path)])
