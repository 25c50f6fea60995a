"""The reader of plate files: each fibre gives the record of its spec file, or a reason."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import os
import random
from collections import Counter

import numpy as np
import pytest
from servers import Archive
from source_files import FIBRES, N, assert_record, assert_sound, pixels, plate_file, reasons, zbest_file
from spec_files import damage

from raystellar.errors import SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.spectra import Spectrum, count_spectra, read_spectra, read_spectrum, spplate

NAME, ZBEST = "spPlate-0266-51602.fits", "spZbest-0266-51602.fits"


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Two simulated plates, with the spec files of their fibres."""
    from raystellar.engine.session import Resources
    from raystellar.simulator.config import SimulateConfig
    from raystellar.stages.simulate import simulate

    out = tmp_path_factory.mktemp("plates")
    simulate(str(out), SimulateConfig(stars=24, stars_per_plate=12, sky_fibres=2, spplate=True), Resources(local=True))
    return sorted(out.glob("spectra/*/spPlate-*.fits"))


@pytest.fixture
def plate(tmp_path):
    """Return a function that writes a plate and its spZbest, and returns the path of the plate."""

    def write(data=None, zbest=None, folder="", name=NAME):
        (tmp_path / name).write_bytes(plate_file() if data is None else data)
        path = tmp_path / folder / ZBEST
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zbest_file() if zbest is None else zbest)
        return str(tmp_path / name)

    return write


def test_a_plate_gives_the_records_of_its_spec_files(plates):
    assert len(plates) == 2
    for path in plates:
        items = list(read_spectra(str(path)))
        assert count_spectra(str(path)) == len(items) == 640
        by_name = {item.spec_id: item for item in items}
        assert len(by_name) == 640
        files = sorted(path.parent.glob("spec-*.fits"))
        assert sum(isinstance(item, Spectrum) for item in items) == len(files)
        for file in files:
            alone = read_spectrum(str(file))
            together = by_name[alone.spec_id]
            assert_record(together)
            for field in dataclasses.fields(Spectrum):
                if field.name not in ("path", "run2d"):  # run2d is only in the path of the archive
                    expected = getattr(alone, field.name)
                    np.testing.assert_array_equal(getattr(together, field.name), expected, err_msg=field.name)


def test_fibres_by_astropy(plate):
    items = list(read_spectra(plate()))
    assert [item.spec_id for item in items] == [f"266-51602-{i + 1}" for i in range(FIBRES)]
    flux, ivar, _ = pixels(FIBRES)
    ivar[:, 50] = 0
    assert isinstance(items[2], SpectrumError)
    for i in (0, 1, 4, FIBRES - 1):
        spectrum = items[i]
        assert_record(spectrum)
        np.testing.assert_array_equal(spectrum.loglam, ((35785 + np.arange(5, N - 7)) * 1e-4).astype(np.float32))
        np.testing.assert_array_equal(spectrum.flux, flux[i, 5:-7])
        np.testing.assert_array_equal(spectrum.ivar, ivar[i, 5:-7])
        assert (spectrum.fiberid, spectrum.ra, spectrum.dec) == (i + 1, i + 0.25, i - 9.25)
        assert (spectrum.zwarning, spectrum.sn) == (2 * i, i + 0.5)
        assert spectrum.z == float(np.linspace(0, 1e-3, FIBRES, dtype=np.float32)[i])
        assert (spectrum.object_class, spectrum.subclass, spectrum.is_sky) == ("STAR", "F9", i == 4)
        assert spectrum.is_star == (i != 4)


def test_unplugged_fibres_have_a_reason_and_a_name(plate):
    error = list(read_spectra(plate()))[2]
    assert (error.stage, error.reason, error.spec_id) == ("read", "fibre not plugged", "266-51602-3")
    _, ivar, mask = pixels(FIBRES)
    ivar[7], ivar[8] = 0, 0
    ivar[8, 3:50] = 1
    items = list(read_spectra(plate(plate_file(images={"ivar": ivar, "mask": mask}))))
    assert [items[7].reason, items[8].reason] == ["no good pixels", "too few pixels"]
    assert isinstance(items[2], Spectrum)  # OBJTYPE NA alone does not make a fibre unplugged


@pytest.mark.parametrize(
    ("objtype", "zwarning", "mask", "expected"),
    [
        ("GALAXY", 0, 0, "no good pixels"),
        ("NA", 0, 0, "fibre not plugged"),
        ("GALAXY", 128, 0, "fibre not plugged"),  # bit 7 of ZWARNING, UNPLUGGED
        ("GALAXY", 0, 1, "fibre not plugged"),  # bit 0 of SPPIXMASK, NOPLUG
        ("GALAXY", 127, 254, "no good pixels"),
    ],
)
def test_a_fibre_is_unplugged_by_any_of_three_signs(plate, objtype, zwarning, mask, expected):
    _, ivar, masks = pixels(FIBRES)
    ivar[7], masks[7] = 0, mask
    plugmap = {"OBJTYPE": ("16A", ["GALAXY"] * 7 + [objtype] + ["GALAXY"] * (FIBRES - 8))}
    zbest = zbest_file({"ZWARNING": ("J", np.where(np.arange(FIBRES) == 7, zwarning, 0))})
    items = list(read_spectra(plate(plate_file(plugmap=plugmap, images={"ivar": ivar, "mask": masks}), zbest)))
    assert items[7].reason == expected


def test_without_zbest_class_and_redshift_are_unknown(tmp_path):
    (tmp_path / NAME).write_bytes(plate_file())
    spectrum = next(read_spectra(str(tmp_path / NAME)))
    assert (spectrum.object_class, spectrum.is_star, spectrum.zwarning) == ("", False, 0)
    assert np.isnan([spectrum.z, spectrum.z_err]).all()
    assert (spectrum.ra, spectrum.dec) == (0.5, -9.5)
    assert spectrum.note == "no spZbest file beside the spPlate file: class and redshift are unknown"
    (tmp_path / "pilot").mkdir()
    (tmp_path / "pilot" / NAME).write_bytes(plate_file({"PLATEID": 267}))
    (tmp_path / "pilot" / ZBEST).write_bytes(zbest_file())
    spectrum = next(read_spectra(str(tmp_path / "pilot" / NAME)))
    assert spectrum.note == f"{ZBEST} cannot be used (of another plate): class and redshift are unknown"


@pytest.mark.parametrize(
    ("zbest", "expected"),
    [
        (zbest_file()[:3000], "truncated"),
        (b"<html>", "not a FITS file"),
        (b"", "empty file"),
        (zbest_file({"CLASS": None}), "missing column class"),
        (zbest_file({"CLASS": ("E", np.zeros(FIBRES))}), "bad column class"),
        (zbest_file({"Z": ("4A", ["x"] * FIBRES)}), "bad column z"),
        (zbest_file({"Z": ("M", np.zeros(FIBRES))}), "bad column z"),
        (zbest_file({"ZWARNING": ("E", np.full(FIBRES, np.nan))}), "bad column zwarning"),
        (zbest_file({"MJD": ("K", np.full(FIBRES, 2**40))}), "bad column mjd"),
        (zbest_file({"FIBERID": ("J", np.arange(FIBRES))}), "of other fibres"),
        (zbest_file(rows=FIBRES - 1), "of other fibres"),
    ],
)
def test_a_zbest_that_cannot_be_used_is_named(plate, zbest, expected):
    spectrum = next(read_spectra(plate(zbest=zbest)))
    assert f"({expected})" in spectrum.note
    assert spectrum.object_class == ""


def test_zbest_in_the_folder_of_the_reduction(plate):
    assert next(read_spectra(plate(plate_file({"RUN2D": "v5_7_0"}), folder="v5_7_0"))).object_class == "STAR"


def test_run2d_from_the_folders_of_the_archive(tmp_path):
    folder = tmp_path / "redux" / "26" / "0266"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(plate_file())
    (folder / f"{ZBEST}.gz").write_bytes(gzip.compress(zbest_file()))
    spectrum = next(read_spectra(str(folder / NAME)))
    assert (spectrum.run2d, spectrum.object_class) == ("26", "STAR")


def test_known_by_content_whatever_the_name(plate):
    path = plate(plate_file(names=False), name="anything")
    assert count_spectra(path) == FIBRES
    assert next(read_spectra(path)).object_class == "STAR"
    packed = plate(gzip.compress(plate_file()), name=f"{NAME}.gz")
    assert count_spectra(packed) == len(list(read_spectra(packed))) == FIBRES


def test_sn_of_the_older_spectrograph_is_one_number(plate):
    columns = {"SN_MEDIAN_ALL": None, "SN_MEDIAN": ("E", np.full(FIBRES, 33.5))}
    assert next(read_spectra(plate(zbest=zbest_file(columns)))).sn == 33.5


def test_unusual_tables_are_read_by_astropy(tmp_path):
    odd = {"SPARE": ("PJ()", np.array([np.arange(i % 3) for i in range(FIBRES)], dtype=object))}
    (tmp_path / NAME).write_bytes(plate_file(plugmap=odd))
    items = list(read_spectra(str(tmp_path / NAME)))
    assert [items[i].ra for i in (0, 1, 4)] == [0.5, 1.5, 4.5]
    assert items[2].reason == "fibre not plugged"
    assert items[4].is_sky


def test_rows_are_read_in_strides(plate, monkeypatch):
    path = plate()
    whole = list(read_spectra(path))
    monkeypatch.setattr(spplate, "STRIDE", 7)
    again = list(read_spectra(path))
    assert [a.spec_id for a in whole] == [b.spec_id for b in again]
    np.testing.assert_array_equal(whole[13].flux, again[13].flux)


def test_a_plate_that_shrinks_while_it_is_read_keeps_its_count(plate, monkeypatch):
    path = plate()
    monkeypatch.setattr(spplate, "STRIDE", 8)
    read = spplate.Image.read

    def fail(image, stream, first, count):
        if first:
            raise OSError("stale file handle")
        return read(image, stream, first, count)

    monkeypatch.setattr(spplate.Image, "read", fail)
    items = list(read_spectra(path))
    assert len(items) == FIBRES
    assert Counter(item.reason for item in items if isinstance(item, SpectrumError))["read failed"] == 12
    assert items[-1].spec_id == f"266-51602-{FIBRES}"
    assert isinstance(items[-1].__cause__, OSError)  # an outage is recognised by the cause


@pytest.fixture
def remote(monkeypatch):
    """An archive, and a function that reads a file from it as an actor does."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Archive() as archive, Fetcher(FetchConfig(retries=1, backoff_s=0.01)) as fetcher:

        def read(path, first=0, count=None):
            [(_, file)] = fetcher.stream([archive.url + path])
            return list(read_spectra(archive.url + path, file, first, count))

        yield archive, read


def assert_same(items, expected):
    assert len(items) == len(expected)
    for item, other in zip(items, expected, strict=True):
        assert type(item) is type(other)
        if isinstance(other, Spectrum):
            for field in dataclasses.fields(Spectrum)[1:]:  # all but the path
                np.testing.assert_array_equal(getattr(item, field.name), getattr(other, field.name), field.name)
        else:
            assert (item.stage, item.reason, item.spec_id) == (other.stage, other.reason, other.spec_id)


@pytest.mark.parametrize(("first", "most"), [(0, 20), (320, 15)])
def test_a_plate_on_a_server_takes_few_requests_several_at_a_time(plates, remote, first, most):
    archive, read = remote
    for path in (plates[0], plates[0].with_name(plates[0].name.replace("spPlate", "spZbest"))):
        archive.add(f"/{path.name}", path.read_bytes())
    archive.delay_s = 0.4  # longer than a busy machine takes to send eight requests
    assert_same(read(f"/{plates[0].name}", first, 640 - first), list(read_spectra(str(plates[0]), first=first)))
    assert archive.asked.total() <= most
    assert archive.most_in_flight >= 8  # the headers, and the first strides


def test_without_an_answer_on_zbest_no_fibre_is_taken(remote):
    archive, read = remote
    archive.add(f"/{NAME}", plate_file())
    archive.add(f"/{ZBEST}", zbest_file(), status=503)
    items = read(f"/{NAME}", 0, FIBRES)
    assert [(item.stage, item.reason) for item in items] == [("fetch", "server error")] * FIBRES
    assert archive.asked[f"/{ZBEST}"] == 2


def test_a_server_without_zbest_says_so_in_the_note(remote):
    archive, read = remote
    archive.add(f"/{NAME}", plate_file())
    spectra = [item for item in read(f"/{NAME}", 0, FIBRES) if isinstance(item, Spectrum)]
    assert len(spectra) == FIBRES - 1
    assert {item.note for item in spectra} == {
        "no spZbest file beside the spPlate file: class and redshift are unknown"
    }


def test_a_disk_that_does_not_tell_of_zbest_gives_no_rows(plate, monkeypatch):
    path, stat = plate(), os.stat

    def fail(name, *arguments, **named):
        if "spZbest" in os.fspath(name):
            raise OSError(errno.EIO, "Input/output error")
        return stat(name, *arguments, **named)

    monkeypatch.setattr(os, "stat", fail)
    items = list(read_spectra(path, count=FIBRES))
    assert [(item.stage, item.reason) for item in items] == [("fetch", "read failed")] * FIBRES


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (plate_file()[:2880], "truncated"),
        (plate_file(hdus=1), "too few HDUs"),
        (plate_file(hdus=5), "too few HDUs"),
        (plate_file(images={"ivar": np.ones((FIBRES, N - 1), np.float32)}), "not a spPlate file"),
        (plate_file(images={"mask": np.ones((FIBRES, N), np.float32)}), "not a spPlate file"),
        (plate_file({"COEFF0": None}), "missing COEFF0 and COEFF1"),
        (plate_file({"MJD": None}), "missing MJD"),
        (
            plate_file().replace(b"NAXIS2  =                   20", b"NAXIS2  =         999999999999"),
            "unreasonable size",
        ),
        (plate_file().replace(b"NAXIS1  =                  240", b"NAXIS1  =                   -1"), "damaged header"),
        (plate_file().replace(b"BITPIX  =                  -32", b"BITPIX  =                  -31"), "damaged header"),
        (plate_file(plugmap={"RA": ("4A", ["x"] * FIBRES)}), "bad column ra"),
    ],
)
def test_refusals(data, expected):
    assert reasons(data, NAME) == [expected]
    assert count_spectra(NAME, data) == 1


def test_damaged_plates_give_spectra_or_reasons(plate):
    rng = random.Random(13)
    for i in range(80):
        kind, data = damage(plate_file(), rng)
        assert_sound(data, NAME, label=f"{i}: {kind}")


def test_damaged_zbest_gives_spectra_or_a_note(plate):
    rng = random.Random(14)
    for i in range(40):
        kind, zbest = damage(zbest_file(), rng)
        path = plate(zbest=zbest)
        assert_sound(None, path, label=f"{i}: {kind}")
