"""The list of input files: each file once, with its number of spectra where it may hold many."""

from __future__ import annotations

import bz2

import pytest
from source_files import FIBRES, TARGETS, desi_file, mwm_star_file, mwm_visit_file, plate_file
from spec_files import spec_file
from test_table import ROWS, parquet

from raystellar.errors import InputError
from raystellar.spectra import inputs
from raystellar.spectra.inputs import MANIFEST_SCHEMA, make_manifest


def test_a_manifest_names_each_spectrum_once_in_order(tmp_path):
    spectra = str(tmp_path)
    for n in range(10):
        (tmp_path / f"spec-{n}.fits").write_bytes(b"x" * n)
    manifest = make_manifest([f"{spectra}/spec-3.fits", spectra, f"{spectra}/*.fits"])
    assert manifest["path"].to_pylist() == [f"{spectra}/spec-{n}.fits" for n in range(10)]
    assert manifest["bytes"].to_pylist() == list(range(10))
    assert manifest["spectra"].to_pylist() == [None] * 10


def test_files_that_may_hold_many_spectra_are_counted(tmp_path):
    files = {
        "coadd-main-dark-10016.fits": (desi_file(), TARGETS),
        "mwmStar-0.6.0-54459273.fits": (mwm_star_file(), 1),
        "mwmVisit-0.6.0-54459273.fits": (mwm_visit_file(), 4),
        "spPlate-0266-51602.fits": (plate_file(), FIBRES),
        "spec-0266-51602-0001.fits": (spec_file(), None),
        "spec-112360-60000-27021598150202075.fits.bz2": (bz2.compress(spec_file()), None),
        "table.parquet": (parquet(), ROWS),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    manifest = make_manifest([str(tmp_path), f"{tmp_path}/table.parquet"])
    assert manifest.schema.equals(MANIFEST_SCHEMA)
    assert manifest.to_pylist() == [
        {"path": f"{tmp_path}/{name}", "bytes": len(data), "spectra": spectra}
        for name, (data, spectra) in files.items()
    ]


def test_a_damaged_file_of_many_spectra_counts_as_one(tmp_path):
    (tmp_path / "spPlate-0266-51602.fits").write_bytes(plate_file()[:9000])
    assert make_manifest([str(tmp_path)])["spectra"].to_pylist() == [1]


def test_many_paths_are_listed_in_chunks(tmp_path, monkeypatch):
    for n in range(10):
        (tmp_path / f"spec-{n}.fits").write_bytes(b"")
    whole = make_manifest([str(tmp_path)])
    monkeypatch.setattr(inputs, "PATHS_AT_ONCE", 3)
    assert make_manifest([str(tmp_path)]).equals(whole)


def test_a_file_whose_spectra_cannot_be_counted_ends_the_job(tmp_path, monkeypatch):
    path = tmp_path / "spPlate-0266-51602.fits"
    path.write_bytes(plate_file())
    listed = list(inputs.listing.expand([str(path)]))
    path.unlink()  # removed between listing and counting
    monkeypatch.setattr(inputs.listing, "expand", lambda _: iter(listed))
    with pytest.raises(InputError, match=r"spPlate-0266-51602\.fits cannot be counted: fetch: not found"):
        make_manifest([str(path)])


def test_no_spectra_at_all_is_refused(tmp_path):
    with pytest.raises(InputError, match="no spectra"):
        make_manifest([str(tmp_path)])
    with pytest.raises(InputError, match="an empty list of files"):
        make_manifest([])
