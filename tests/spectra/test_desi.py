"""DESI coadd files: three arms on one grid, and the redshifts of the redrock file beside them."""

from __future__ import annotations

import gzip
import io
import random
import re
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from source_files import (
    DESI_ARMS,
    DESI_PIXELS,
    NO_DATA,
    SKY_TARGET,
    TARGETS,
    UNASSIGNED,
    assert_sound,
    desi_file,
    reasons,
    redrock_file,
    target_ids,
)
from spec_files import damage

from raystellar.errors import SpectrumError
from raystellar.preprocessing.pixels import BUFFER_PIXELS
from raystellar.spectra import Spectrum, count_spectra, desi, read_spectra
from raystellar.spectra.record import median_sn

NAME = "coadd-main-dark-10016.fits"
REDROCK = "redrock-main-dark-10016.fits"
PLAIN = desi_file()
COMPRESSED = desi_file(compressed=True)


@pytest.fixture
def survey(tmp_path):
    """Write a coadd file and, by default, its redrock file; return the items of the coadd file."""

    def read(coadd=PLAIN, redrock=None, name=NAME, redrock_name=REDROCK, first=0):
        (tmp_path / name).write_bytes(coadd)
        if redrock is not None:
            (tmp_path / redrock_name).write_bytes(redrock)
        return list(read_spectra(str(tmp_path / name), first=first))

    return read


def joined_slowly(data, row):
    """Return wavelength, flux and ivar of a target as sums over single pixels, by astropy."""
    pixels = {}
    with fits.open(io.BytesIO(data)) as hdus:
        for arm in "BRZ":
            parts = (hdus[f"{arm}_{kind}"].data for kind in ("WAVELENGTH", "FLUX", "IVAR", "MASK"))
            for wave, flux, ivar, mask in zip(*(part if part.ndim == 1 else part[row] for part in parts), strict=True):
                good = mask == 0 and ivar > 0 and np.isfinite(flux)
                pixels.setdefault(round(float(wave), 6), []).append((float(flux), float(ivar) if good else 0.0))
    waves = np.array(sorted(pixels))
    weights = [[ivar for _, ivar in pixels[wave]] for wave in waves]
    means = [
        sum(flux * ivar for flux, ivar in pixels[wave] if ivar) / sum(ivars) if sum(ivars) else pixels[wave][-1][0]
        for wave, ivars in zip(waves, weights, strict=True)
    ]
    return waves, np.array(means), np.array([sum(ivars) for ivars in weights])


@pytest.mark.parametrize("data", [PLAIN, COMPRESSED], ids=["plain masks", "compressed masks"])
def test_arms_are_joined_by_inverse_variance(survey, data):
    items = survey(data)
    assert len(items) == count_spectra("x.fits", data) == TARGETS
    for row in (0, 33, TARGETS - 1):
        waves, flux, ivar = joined_slowly(data, row)
        assert len(waves) == DESI_PIXELS
        np.testing.assert_allclose(10 ** items[row].loglam.astype(float), waves, rtol=1e-6)
        np.testing.assert_allclose(items[row].flux, flux, rtol=1e-6)
        np.testing.assert_allclose(items[row].ivar, ivar, rtol=1e-6)
        assert items[row].sn == median_sn(items[row].loglam, items[row].flux, items[row].ivar)
        assert 0 < (items[row].ivar == 0).sum() < 60


def test_pixels_of_one_arm_are_as_they_are_stored(survey):
    item = survey()[0]
    with fits.open(io.BytesIO(PLAIN)) as hdus:
        good = (hdus["B_MASK"].data[0] == 0) & np.isfinite(hdus["B_FLUX"].data[0])
        alone = np.arange(120) < 100
        np.testing.assert_array_equal(item.flux[:120][alone], hdus["B_FLUX"].data[0][alone])
        stored = np.where(good, hdus["B_IVAR"].data[0], 0)
        np.testing.assert_array_equal(item.ivar[:120][alone], stored[alone])


@pytest.mark.parametrize("bits", [0x7FA00000, 0x7F800000, 0xFF7FFFFF, 0x00000001])
def test_pixels_of_any_bits_are_bad_pixels_or_numbers(bits):
    strange = np.full((TARGETS, 120), bits, np.uint32).view(np.float32)
    for name in ("B_FLUX", "B_IVAR"):
        for item in assert_sound(desi_file(changed=vector(strange, name)), NAME):
            assert isinstance(item, SpectrumError) or not (item.ivar[:100] > 0).any()


def test_identity_and_redshifts_are_those_of_the_tables(survey):
    redrock = redrock_file()
    items = survey(redrock=redrock)
    with fits.open(io.BytesIO(PLAIN)) as hdus, fits.open(io.BytesIO(redrock)) as others:
        fibermap = hdus["FIBERMAP"].data
        rows = {row["TARGETID"]: row for row in others["REDSHIFTS"].data}
        for row, item in enumerate(items):
            if not isinstance(item, Spectrum):
                continue
            target = fibermap[row]
            found = rows.get(target["TARGETID"])
            expected = {
                "spec_id": f"desi-{target['TARGETID']}", "catalogid": target["TARGETID"], "obs_id": -1, "fieldid": -1,
                "plate": 0, "fiberid": 0, "mjd": 0, "ra": target["TARGET_RA"], "dec": target["TARGET_DEC"],
                "run2d": "iron", "is_sky": target["OBJTYPE"] == "SKY", "note": item.note,
            }  # fmt: skip
            if found is not None:
                expected |= {"z": found["Z"], "z_err": found["ZERR"], "zwarning": found["ZWARN"], "note": "",
                             "object_class": found["SPECTYPE"], "subclass": found["SUBTYPE"]}  # fmt: skip
            assert {name: getattr(item, name) for name in expected} == expected, row
    assert {item.is_star for item in items if isinstance(item, Spectrum)} == {True, False}


def test_fibres_without_a_target_or_data_are_refused_and_sky_is_known(survey):
    items = survey(redrock=redrock_file())
    refused = {row: item for row, item in enumerate(items) if isinstance(item, SpectrumError)}
    assert {row: item.reason for row, item in refused.items()} == {
        UNASSIGNED: "fibre not plugged",
        NO_DATA: "no good pixels",
    }
    assert refused[UNASSIGNED].spec_id == "desi--2713437"
    sky = items[SKY_TARGET]
    assert (sky.is_sky, sky.is_star, sky.zwarning, sky.object_class) == (True, False, 1, "")
    assert np.isnan(sky.z)
    assert "not in redrock-main-dark-10016.fits" in sky.note


@pytest.mark.parametrize(
    ("redrock", "words"),
    [
        (None, "no redrock file beside"),
        (b"", r"cannot be used \(empty file\)"),
        (redrock_file()[:5760], r"cannot be used \(truncated\)"),
        (redrock_file({"Z": None}), r"cannot be used \(missing column z\)"),
        (redrock_file({"ZWARN": ("K", np.full(TARGETS, 2**40))}), r"cannot be used \(bad column zwarn\)"),
        (redrock_file({"SPECTYPE": ("E", np.ones(TARGETS))}), r"cannot be used \(bad column spectype\)"),
        (redrock_file({"TARGETID": ("K", np.arange(TARGETS))}), "not in redrock"),
    ],
)
def test_spectra_without_a_redshift_say_why(survey, redrock, words):
    items = [item for item in survey(redrock=redrock) if isinstance(item, Spectrum)]
    assert len(items) == TARGETS - 2
    for item in items:
        assert (item.object_class, np.isnan(item.z), item.zwarning & ~1) == ("", True, 0)
        assert re.search(words, item.note)


def test_packed_files_and_slices(survey):
    packed = survey(gzip.compress(PLAIN), gzip.compress(redrock_file()), f"{NAME}.gz", f"{REDROCK}.gz", first=30)
    whole = survey(PLAIN, redrock_file())
    assert [item.spec_id for item in packed] == [item.spec_id for item in whole[30:]]
    assert {item.object_class for item in packed} == {"STAR", "GALAXY"}
    np.testing.assert_array_equal(packed[-1].flux, whole[-1].flux)


def test_the_day_and_the_production_where_they_are_known(survey):
    (item, *_) = survey(desi_file({"MAX_MJD": ("D", np.full(TARGETS, 59400.7))}))
    assert (item.mjd, item.run2d) == (59400, "iron")
    cards = {"DEPNAM03": "desispec", "DEPVER03": "0.51"}
    (item, *_) = read_spectra(f"/archive/redux/fuji/healpix/main/dark/100/10016/{NAME}", desi_file(primary=cards))
    assert item.run2d == "fuji"


def test_a_file_is_known_by_its_content_or_its_name():
    assert len(list(read_spectra("renamed.fits", PLAIN))) == TARGETS
    old = desi_file(primary={"INFIL000": None})
    for name in (NAME, "coadd-5-169-thru20210419.fits.gz", "folder/coadd-sv3-bright-1.fits"):
        assert len(list(read_spectra(name, old))) == TARGETS
    assert reasons(old, "coadd-1.fits") == ["not a spec file"]


@pytest.mark.parametrize("arms", [{"B": (0, 120)}, {"BRZ": (0, 300)}, {"B": (0, 120), "Z": (215, 125)}])
def test_other_sets_of_arms_are_joined(arms):
    item = next(read_spectra(NAME, desi_file(arms=arms)))
    assert len(item.loglam) == max(first + pixels for first, pixels in arms.values())
    hole = slice(120, 215) if "Z" in arms else slice(0, 0)
    assert not item.ivar[hole].any()


def test_real_arms_fit_the_kernel():
    arms = {"B": (0, 2751), "R": (2700, 2326), "Z": (4900, 2881)}
    item = next(read_spectra(NAME, desi_file(arms=arms, rows=8)))
    assert len(item.loglam) == 7781 < BUFFER_PIXELS
    np.testing.assert_allclose(10 ** item.loglam[[0, -1]].astype(float), (3600, 9824), rtol=1e-6)


def vector(values, name):
    return {name: fits.ImageHDU(np.asarray(values), name=name)}


def wave(values):
    return vector(values, "B_WAVELENGTH")


GRID = 3600 + 0.8 * np.arange(120)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (desi_file(drop=("B_MASK",)), "missing HDU B_MASK"),
        (desi_file(drop=("Z_IVAR",)), "missing HDU Z_IVAR"),
        (desi_file(drop=("FIBERMAP",)), "missing HDU FIBERMAP"),
        (desi_file(drop=tuple(f"{arm}_WAVELENGTH" for arm in DESI_ARMS)), "missing HDU B_WAVELENGTH"),
        (desi_file({"OBJTYPE": None}), "missing column objtype"),
        (desi_file({"TARGETID": ("D", np.arange(TARGETS))}), "bad column targetid"),
        (desi_file({"TARGET_RA": ("4A", ["x"] * TARGETS)}), "bad column target_ra"),
        (desi_file(changed=wave(GRID + 0.01 * np.arange(120))), "wavelengths off the grid"),
        (desi_file(changed=wave(np.where(np.arange(120) == 5, np.nan, GRID))), "wavelengths off the grid"),
        (desi_file(changed=wave(GRID[::-1].copy())), "wavelengths off the grid"),
        (desi_file(changed=wave(GRID + 0.4)), "wavelengths off the grid"),
        (desi_file(changed=wave(GRID - 3000)), "loglam out of range"),
        (desi_file(changed=wave(GRID + 20000)), "unreasonable size"),
        (desi_file(changed=wave(GRID[:, None])), "not a DESI coadd file"),
        (desi_file(changed=wave(GRID[:119])), "not a DESI coadd file"),
        (desi_file(changed=vector(np.ones((TARGETS, 120), np.float64), "B_FLUX")), "not a DESI coadd file"),
        (desi_file(changed=vector(np.ones((TARGETS - 1, 120), np.float32), "B_IVAR")), "not a DESI coadd file"),
        (desi_file(changed=vector(np.ones((TARGETS, 120), np.float32), "B_MASK")), "not a DESI coadd file"),
        (desi_file(changed=vector(np.ones((TARGETS, 119), np.int32), "B_MASK")), "not a DESI coadd file"),
        (COMPRESSED.replace(b"ZNAXIS2 =                   40", b"ZNAXIS2 =                   41"),
         "not a DESI coadd file"),
        (PLAIN[:30000], "truncated"),
        (PLAIN[: len(PLAIN) // 2], "truncated"),
    ],
)  # fmt: skip
def test_refusals(data, expected):
    assert reasons(data, NAME) == [expected]
    assert count_spectra(NAME, data) == 1


def test_damaged_files_give_records_or_reasons():
    rng = random.Random(11)
    for i in range(40):
        kind, data = damage(rng.choice([PLAIN, COMPRESSED]), rng)
        assert_sound(data, NAME, seconds=2.0, label=f"{i}: {kind}")


def test_a_damaged_compressed_mask_gives_a_reason_for_each_target():
    data = COMPRESSED
    at = data.index(b"B_MASK")
    at = data.index(b"END" + b" " * 77, at)
    at += -at % 2880 + 8 * TARGETS  # the heap that follows the descriptors of the rows
    items = list(read_spectra(NAME, data[:at] + b"\xff" * 600 + data[at + 600 :]))
    assert len(items) == TARGETS
    failed = [item for item in items if isinstance(item, SpectrumError) and item.stage == "fetch"]
    assert all(item.spec_id == f"desi-{target_ids()[row]}" for row, item in enumerate(failed))


def test_a_file_that_is_cut_off_while_it_is_read_gives_a_reason_for_each_target(tmp_path, monkeypatch):
    monkeypatch.setattr(desi, "STRIDE", 8)
    (tmp_path / NAME).write_bytes(PLAIN)
    items = read_spectra(str(tmp_path / NAME))
    next(items)
    (tmp_path / NAME).write_bytes(PLAIN[: PLAIN.index(b"R_WAVELENGTH")])
    rest = list(items)
    assert len(rest) == TARGETS - 1
    assert (rest[-1].stage, rest[-1].reason) == ("fetch", "read failed")
    assert rest[-1].spec_id == f"desi-{target_ids()[-1]}"


def test_a_file_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(desi_file(arms={"B": (0, 2751), "R": (2700, 2326), "Z": (4900, 2881)}, rows=200))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_spectra(str(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 200
    assert peak < size / 2 < 20e6


def test_files_on_servers_are_read_as_files_are():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({f"/desi/{NAME}": PLAIN, f"/desi/{REDROCK}": redrock_file()})
    items = list(read_spectra(f"memory://desi/{NAME}"))
    assert len(items) == TARGETS
    assert items[0].object_class == "GALAXY"
