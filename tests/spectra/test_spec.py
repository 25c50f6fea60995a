"""The reader of spec files: it returns what astropy reads, or refuses the file with a reason."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_files import assert_same, coadd, damage, read_by_astropy, spec_file, with_cards

from raystellar.errors import SpectrumError
from raystellar.spectra import Spectrum, content, read_spectrum, spec
from raystellar.spectra.fits_bytes import NotStandard
from raystellar.spectra.record import median_sn
from raystellar.spectra.spec import read_spec

PLAIN = spec_file()
UPPER = spec_file(case=str.upper, names=False)
BARE = spec_file(
    row=dict.fromkeys(("RUN2D", "PLUG_RA", "PLUG_DEC", "PLATE", "SN_MEDIAN_ALL")),
    primary={"RUN2D": "v5_7_0", "PLUG_RA": 1.5, "PLUG_DEC": -2.5},
)


COADD_ONLY = PLAIN[: PLAIN.index(b"XTENSION", 5760)]  # as astropy writes one table


def not_standard(data):
    raise NotStandard("as if")


def unexpected(data):
    raise AssertionError("the direct decoder left this to astropy")


@pytest.fixture
def direct_only(monkeypatch):
    monkeypatch.setattr(spec, "_decode_with_astropy", unexpected)


@pytest.fixture
def astropy_only(monkeypatch):
    monkeypatch.setattr(spec, "_decode", not_standard)


def reason(data=None, path="spec.fits"):
    with pytest.raises(SpectrumError) as caught:
        read_spec(path, data)
    return caught.value.reason


def spec_paths(folder):
    return sorted(folder.glob("sdss_*/spec-*.fits"))


# Real files


@pytest.mark.realdata
def test_real_files_as_astropy_reads_them(real_data, direct_only):
    paths = spec_paths(real_data)
    assert paths
    for path in paths:
        data = path.read_bytes()
        spectrum = read_spec(str(path))
        expected = read_by_astropy(data)
        assert_same(spectrum, expected, path.name)
        assert_same(read_spec("elsewhere", data), expected, path.name)
        assert spectrum.path == str(path)


@pytest.mark.realdata
def test_both_decoders_agree(real_data, astropy_only):
    for path in spec_paths(real_data)[::6]:
        assert_same(read_spec(str(path)), read_by_astropy(path.read_bytes()), path.name)


@pytest.mark.realdata
def test_sky_fibres_are_no_stars(real_data):
    for path in (real_data / "sdss_sky").glob("*.fits"):
        spectrum = read_spec(str(path))
        assert spectrum.is_sky
        assert not spectrum.is_star


@pytest.mark.realdata
def test_computed_sn_is_that_of_the_pipeline(real_data):
    for path in spec_paths(real_data):
        spectrum = read_spec(str(path))
        if spectrum.run2d.startswith("v5"):
            assert median_sn(spectrum.loglam, spectrum.flux, spectrum.ivar) == pytest.approx(spectrum.sn, rel=1e-6), (
                path.name
            )
        else:  # the older pipeline takes the absolute value, so that sky has 0.67 and not 0
            absolute = median_sn(spectrum.loglam, np.abs(spectrum.flux), spectrum.ivar)
            assert absolute == pytest.approx(spectrum.sn, rel=0.03), path.name


@pytest.mark.realdata
def test_other_survey_files_are_refused(real_data):
    others = [*real_data.glob("sdss_other/spSpec*"), *real_data.glob("lamost/*.fits"), *real_data.glob("sspp/*.fits"),
              *real_data.glob("libraries/*.fit")]  # fmt: skip
    assert len(others) > 3
    for path in others:
        assert reason(path=str(path)) in ("not a spec file", "template library", "table of stellar parameters")


# Made files


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"case": str.upper},
        {"case": str.title, "row_case": str.lower},
        {"names": False},
        {"exposures": 3},
        {"columns": coadd(4625)},
        {"row": {"PLATE": ("J", 10000), "CLASS": ("6A", "GALAXY"), "SUBCLASS": ("21A", "")}},
        {"row": {"RUN2D": ("7A", "v5_13_0")}, "primary": {"RUN2D": "26"}},
        {"row": {"RUN2D": None}, "primary": {"RUN2D": 103}},
        {"row": {"RUN2D": ("3A", "")}, "primary": {"RUN2D": "26"}},
        {"row": {"RUN2D": None}},
        {"row": dict.fromkeys(("PLATE", "MJD", "FIBERID", "SOURCETYPE", "SUBCLASS", "Z", "Z_ERR", "ZWARNING"))},
        {"row": {"PLUG_RA": None, "PLUG_DEC": None}, "primary": {"PLUG_RA": 1.25, "PLUG_DEC": -4.5}},
        {"row": {"PLUG_RA": None, "PLUG_DEC": None}},
        {"row": {"SN_MEDIAN_ALL": None}},
        {"row": {"SOURCETYPE": ("19A", "SKY")}},
        {"row": {"SOURCETYPE": None, "OBJTYPE": ("16A", "SKY")}},
        {"row": {"ZWARNING": ("J", 5)}},
        {"row": {"Z": ("E", np.nan), "PLUG_RA": ("D", np.nan), "MJD": ("K", 59000), "FIBERID": ("I", 1000)}},
        {"row": {"SUBCLASS": ("0A", "")}},
        {"primary": {"HIERARCH LONG KEYWORD": 1}, "row": {"RUN2D": None}},
    ],
)
def test_variants_are_read_directly(variant, direct_only):
    data = spec_file(**variant)
    assert_same(read_spectrum("spec.fits", data), read_by_astropy(data))


@pytest.mark.parametrize(
    "variant",
    [
        {"columns": coadd(formats={"flux": ("D", np.linspace(1, 2, 200)), "ivar": ("D", np.ones(200))})},
        {"columns": coadd(formats={"flux": ("J", np.arange(200)), "ivar": ("K", np.arange(200))})},
        {"columns": coadd(formats={"flux": ("I", np.arange(200))}), "cards": ("TSCAL1  = 0.5", "TZERO1  = 3.0")},
        {"columns": coadd(formats={"spare": ("8X", np.ones((200, 8), bool))})},
        {"columns": coadd(formats={"spare": ("PJ()", np.array([np.arange(i % 5) for i in range(200)], object))})},
        {"row": {"PLATE": ("E", 266.0), "Z": ("1E", 0.5), "SPARE": ("PE()", np.array([np.ones(3)], object))}},
    ],
)
def test_unusual_files_are_read_by_astropy(variant, monkeypatch):
    extra = variant.get("cards", ())
    data = with_cards(spec_file(**{key: value for key, value in variant.items() if key != "cards"}), 1, *extra)
    seen = []
    fallback = spec._decode_with_astropy
    monkeypatch.setattr(spec, "_decode_with_astropy", lambda d: seen.append(1) or fallback(d))
    assert_same(read_spec("spec.fits", data), read_by_astropy(data))
    assert seen


def test_arrays_are_owned_and_native():
    spectrum = read_spec("spec.fits", PLAIN)
    for array, kind in zip((spectrum.flux, spectrum.loglam, spectrum.ivar), "fff", strict=True):
        assert array.flags.owndata
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.dtype.isnative
        assert (array.dtype.kind, array.dtype.itemsize, array.shape) == (kind, 4, (200,))
    for scalar in (spectrum.plate, spectrum.mjd, spectrum.fiberid, spectrum.zwarning):
        assert type(scalar) is int
    assert type(spectrum.is_sky) is bool
    assert {type(spectrum.z), type(spectrum.ra), type(spectrum.sn)} == {float}


def test_plate_centre_is_never_the_target():
    spectrum = read_spec("spec.fits", spec_file(row={"PLUG_RA": None, "PLUG_DEC": None, "RA": ("D", 7.0)}))
    assert np.isnan([spectrum.ra, spectrum.dec]).all()


def test_bad_pixels_are_returned_as_they_are():
    flux, ivar = np.linspace(1, 2, 200), np.ones(200)
    flux[3], flux[4], ivar[5], ivar[6] = np.nan, np.inf, 0, -1
    data = spec_file(coadd(formats={"flux": ("E", flux), "ivar": ("E", ivar)}), row={"SN_MEDIAN_ALL": None})
    spectrum = read_spec("spec.fits", data)
    np.testing.assert_array_equal(spectrum.flux, flux.astype(np.float32))
    np.testing.assert_array_equal(spectrum.ivar, ivar.astype(np.float32))


@pytest.mark.parametrize("data", [PLAIN, UPPER, gzip.compress(PLAIN), spec_file(coadd(9000)),
                                  spec_file(primary={f"LONG{i}": i for i in range(4000)})],
                         ids=["plain", "upper", "gzip", "more pixels", "long header"])  # fmt: skip
def test_path_and_bytes_give_the_same(data, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(data)
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    assert_same(read_spec(str(path)), read_by_astropy(plain))
    assert_same(read_spec(str(path), memoryview(data)), read_by_astropy(plain))


def test_only_the_needed_part_of_a_long_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "spec-full.fits"
    path.write_bytes(spec_file(exposures=80))
    assert path.stat().st_size > content.HEAD_BYTES
    sizes = []
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, n: sizes.append(n) or read(fd, n))
    read_spec(str(path))
    assert sizes == [content.HEAD_BYTES]


@pytest.mark.parametrize(("head_bytes", "read"), [(4000, 1 << 19), (1 << 16, 1 << 19)])
def test_a_longer_head_is_read_where_the_first_is_not_enough(tmp_path, monkeypatch, head_bytes, read):
    path = tmp_path / "spec-full.fits"
    path.write_bytes(spec_file(coadd(4648), exposures=100))
    assert path.stat().st_size > read
    sizes = []
    raw = content.Content.raw
    monkeypatch.setattr(content.Content, "raw", lambda self, *most: sizes.append(most) or raw(self, *most))
    item = spec._read(content.Content(str(path), head_bytes=head_bytes))
    assert_same(item, read_by_astropy(path.read_bytes()))
    assert sizes == [(read,)]


# Refusals


def test_files_that_cannot_be_fetched(tmp_path, monkeypatch):
    assert reason(path=str(tmp_path / "none.fits")) == "not found"
    assert reason(path=str(tmp_path)) == "is a directory"
    assert reason(path="a\0b") == "bad path"
    assert reason(path="\ud800") == "bad path"
    (tmp_path / "file").write_bytes(b"")
    assert reason(path=str(tmp_path / "file")) == "empty file"
    assert reason(path=str(tmp_path / "file" / "below")) == "not found"
    os.mkfifo(tmp_path / "pipe")
    assert reason(path=str(tmp_path / "pipe")) == "empty file"
    for error, expected in ((PermissionError(13, "no"), "no permission"), (OSError(5, "i/o"), "read failed")):
        monkeypatch.setattr(os, "read", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(SpectrumError) as caught:
            read_spec(str(tmp_path / "file"))
        assert (caught.value.stage, caught.value.reason) == ("fetch", expected)


def cut(name, value):
    values = coadd()["loglam"][1].copy()
    values[name] = value
    return spec_file(coadd(formats={"loglam": ("E", values)}))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>404 Not Found", "web page, not a spectrum"),
        (b"404 Not Found", "not a FITS file"),
        (b"\0" * 5760, "not a FITS file"),
        (PLAIN[:2000], "truncated"),
        (PLAIN[:2880], "no coadd table"),
        (PLAIN[:9000], "truncated"),
        (PLAIN[:2880] + bytes(2880), "no coadd table"),
        (gzip.compress(PLAIN)[:-9], "truncated"),
        (gzip.compress(PLAIN)[:2000] + b"xx" + gzip.compress(PLAIN)[2002:], "damaged gzip"),
        (gzip.compress(bytes(content.MAX_SPECTRUM_BYTES + 1), 1), "unreasonable size"),
        (spec_file(coadd(99)), "too few pixels"),
        (spec_file(coadd(formats={"ivar": None})), "missing column ivar"),
        (spec_file(coadd(formats={"loglam": None})), "missing column loglam"),
        (spec_file(coadd(formats={"flux": None, "loglam": None})), "not a spec file"),
        (spec_file(coadd(formats={"flux": ("4A", ["abc"] * 200)})), "bad column flux"),
        (spec_file(coadd(formats={"flux": ("3E", np.ones((200, 3)))})), "bad column flux"),
        (spec_file(coadd(formats={"flux": ("PE()", np.array([np.ones(2)] * 200, object))})), "bad column flux"),
        (PLAIN.replace(b"TTYPE8  = 'model   '", b"TTYPE8  = 'FLUX    '"), "bad column flux"),
        (PLAIN.replace(b"NAXIS2  =                  200", b"NAXIS2  =        1000000000000"), "unreasonable size"),
        (PLAIN.replace(b"NAXIS2  =                  200", b"NAXIS2  =                19999"), "truncated"),
        (PLAIN.replace(b"NAXIS1  =                   32", b"NAXIS1  =                   36"), "damaged header"),
        (PLAIN[:5760].replace(b"NAXIS2  =                  200", b"NAXIS2  =                    0"), "no object table"),
        (COADD_ONLY, "no object table"),
        (COADD_ONLY[:-1], "truncated"),
        (spec_file(row=dict.fromkeys(("PLATE",)), primary={"PLATEID": None}), "missing plate"),
        (spec_file(row={"PLATE": ("K", 2**40)}), "bad value plate"),
        (spec_file(row={"PLATE": ("4A", "0266")}), "bad value plate"),
        (spec_file(row={"PLATE": ("E", np.nan)}), "bad value plate"),
        (spec_file(row={"PLATE": ("L", True)}), "bad value plate"),
        (spec_file(row={"PLATE": None}, primary={"PLATEID": True}), "bad value plate"),
        (spec_file(row={"CLASS": ("E", 1.0)}), "bad value class"),
        (spec_file(row={"Z": ("3A", "0.1")}), "bad value z"),
        (spec_file(row={"Z": ("2E", [[1, 2]])}), "bad column z"),
        (cut(3, np.nan), "non-finite wavelength"),
        (cut(3, np.inf), "non-finite wavelength"),
        (cut(3, 3.5801), "loglam not increasing"),
        (cut(-1, 4.71), "loglam out of range"),
        (cut(0, 2.99), "loglam out of range"),
        (cut(slice(None), 10 ** np.linspace(3.58, 3.6, 200)), "loglam out of range"),
    ],
)
def test_reasons(data, expected):
    assert reason(data) == expected
    assert pickle.loads(pickle.dumps(SpectrumError("read", expected))).reason == expected


@pytest.mark.parametrize(
    "tail",
    [
        b"XTENSION= 'BINTABLE'".ljust(80) + b"END" * 10**6,
        b"XTENSION= 'BINTABLE'".ljust(80) + bytes(10**7),
        PLAIN[2880:5760].replace(b"200", b"  0").replace(b"TFIELDS =                    8", b"TFIELDS =    0") * 3000,
        PLAIN[2880:5760].replace(b"TFIELDS =                    8", b"TFIELDS =            999999999"),
    ],
    ids=["many ENDs", "no END", "many HDUs", "many fields"],
)
def test_damaged_headers_do_not_keep_the_reader_busy(tail):
    for head in (PLAIN[:2880], PLAIN[:2880].replace(b"/ number", b"/ \x7fumber")):
        started = time.process_time()
        assert reason(head + tail)
        assert time.process_time() - started < 1


# Damage


def check_damaged(data, label):
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a reader must not warn a million times
            item = read_spec("spec.fits", data)
    except SpectrumError as error:
        item = error
    assert time.process_time() - started < 1, label
    if isinstance(item, Spectrum):
        assert_same(item, read_by_astropy(data), label)
    else:
        assert (item.stage, bool(item.reason)) == ("read", True)


def test_damaged_files_give_what_astropy_reads_or_a_reason():
    rng = random.Random(20260801)
    read_spec("spec.fits", PLAIN)
    for i in range(300):
        kind, data = damage(rng.choice([PLAIN, UPPER, BARE]), rng)
        check_damaged(data, f"{i}: {kind}")


@pytest.mark.realdata
def test_damaged_real_files_give_what_astropy_reads_or_a_reason(real_data):
    rng = random.Random(7)
    files = [path.read_bytes() for path in spec_paths(real_data)[:8]]
    for i in range(30):
        kind, data = damage(rng.choice(files), rng)
        check_damaged(data, f"{i}: {kind}")


def test_every_cut_at_a_block_has_a_reason():
    needed = PLAIN.rindex(b"XTENSION")  # the first three HDUs are what is read
    ends = {0: "empty file", 2880: "no coadd table", len(COADD_ONLY): "no object table"}
    for size in range(0, len(PLAIN), 2880):
        if size < needed:
            assert reason(PLAIN[:size]) == ends.get(size, "truncated"), size
        else:
            assert_same(read_spec("spec.fits", PLAIN[:size]), read_by_astropy(PLAIN))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=90))
def test_overwritten_bytes_give_what_astropy_reads_or_a_reason(at, patch):
    check_damaged(PLAIN[:at] + patch + PLAIN[at + len(patch) :], f"{patch!r} at {at}")


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_with_a_reason(data):
    assert reason(data)
    assert reason(b"SIMPLE  =                    T" + data)
