"""The decoder of FITS bytes: it agrees with astropy on real headers, and leaves or refuses odd ones."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from spec_files import coadd, spec_file, table, with_cards

from raystellar.errors import SpectrumError
from raystellar.spectra import fits_bytes
from raystellar.spectra.fits_bytes import NotStandard, cards, header_end, read_table


def card(text):
    return text.encode().ljust(80)


def second_hdu(data):
    return header_end(data, 0)


@pytest.fixture(autouse=True)
def no_known_layouts(monkeypatch):
    monkeypatch.setattr(fits_bytes, "_known", ())


@pytest.fixture
def parsed(monkeypatch):
    """The headers that were parsed card by card, in a list."""
    seen = []
    parse = fits_bytes._parse
    monkeypatch.setattr(fits_bytes, "_parse", lambda header: seen.append(header) or parse(header))
    return seen


@pytest.mark.realdata
def test_headers_of_real_files_as_astropy_reads_them(real_data):
    for path in sorted(real_data.glob("*/*.fit*")):
        data = path.read_bytes()
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[:4]:
                info = hdu.fileinfo()
                assert header_end(data, info["hdrLoc"]) == info["datLoc"], path
                for key, value in dict(reversed(cards(data[info["hdrLoc"] : info["datLoc"]]))).items():
                    expected = hdu.header[key]
                    expected = None if isinstance(expected, fits.card.Undefined) else expected
                    assert (type(value), value) == (type(expected), expected), (path, key)


@pytest.mark.realdata
def test_columns_of_real_tables_as_astropy_reads_them(real_data):
    for path in (real_data / "sdss_stars").glob("*.fits"):
        data = path.read_bytes()
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:4]:
                ours = read_table(data, hdu.fileinfo()["hdrLoc"], 10**6)
                assert ours.rows == len(hdu.data)
                for name in hdu.columns.names:
                    field = ours.layout.field(name.lower())
                    if not field.plain or (field.repeat != 1 and field.code != "A"):
                        continue
                    expected = hdu.data[name]
                    if field.code == "A":
                        assert ours.first(data, name.lower()) == expected[0].strip()
                    else:
                        np.testing.assert_array_equal(ours.column(data, name.lower()), expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("KEY     =                   42 / answer", 42),
        ("KEY     = -7", -7),
        ("KEY     =              1.5E-3 /", 1.5e-3),
        ("KEY     = 2.D2", 200.0),
        ("KEY     =                    T / yes", True),
        ("KEY     = 'here / there  ' / no", "here / there"),
        ("KEY     = 'F6Iab: (187929)'", "F6Iab: (187929)"),
        ("KEY     = ''", ""),
        ("KEY     =", None),
    ],
)
def test_card_values(text, value):
    assert cards(card(text)) == [("KEY", value)]
    assert type(cards(card(text))[0][1]) is type(value)


@pytest.mark.parametrize(
    "text",
    ["KEY", "KEY     = 1 2", "key     = 1", "KEY     = 'open", "KEY     = 1,5", "KEY     = (1, 2)", "KEY =     1",
     "CONTINUE  'more'", "KEY     = 'it''s'", "KEY     = 'a''/ b'", "KEY     = 'AXIS.1: 2'", "KEY     = 1.0e3",
     "KEY     = 99999999999999999999",
     "HIERARCH LONG KEY = 1", "KEY     = 1\t", "KEY     = NaN", "KEY     = 1_0", "K Y     = 1"],
)  # fmt: skip
def test_odd_cards_are_left_to_astropy(text):
    with pytest.raises(NotStandard):
        cards(card(text))


def test_commentary_and_what_follows_end_are_no_values():
    header = b"".join(map(card, ["COMMENT = 5", "HISTORY x", "", "A       = 1", "END", "B       = 2"]))
    assert cards(header) == [("A", 1)]


def test_header_ends_at_a_block():
    block = (card("A       = 'END'") + card("ENDING  = 1") + card("END")).ljust(2880)
    assert header_end(b"x" * 2880 + block, 2880) == 5760


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (card("A       = 1") * 36, "truncated"),
        (card("END"), "truncated"),
        (card("A       = 1") * 36 + b"END" + b" " * 30, "truncated"),
        (card("A       = 1") * 36 + bytes(2880), "damaged header"),
        (b" " + card("END").ljust(2880), "truncated"),
        (card("END x").ljust(2880), "damaged header"),
        (b"SIMPLE" + b"END" * fits_bytes.MAX_HEADER_BYTES, "damaged header"),
    ],
)
def test_header_without_a_proper_end(header, reason):
    with pytest.raises(SpectrumError) as caught:
        header_end(header, 0)
    assert caught.value.reason == reason


def test_layout_is_parsed_once_for_tables_of_any_length(parsed):
    for n in (100, 200, 3000):
        data = spec_file(coadd(n))
        ours = read_table(data, second_hdu(data), 10**4)
        assert ours.rows == n
        np.testing.assert_array_equal(ours.column(data, "flux"), fits.getdata(io.BytesIO(data), 1)["flux"])
    assert len(parsed) == 1


def test_wider_text_needs_no_new_parse(parsed):
    for text in ("STAR", "GALAXY", "", "A", "Q" * 40):
        row = {"CLASS": (f"{max(len(text), 1)}A", text), "SUBCLASS": (f"{2 * len(text) + 1}A", text * 2)}
        data = spec_file(row=row)
        ours = read_table(data, read_table(data, second_hdu(data), 10**4).end, 1)
        assert ours.first(data, "class") == text
        assert ours.first(data, "subclass") == text * 2
        assert ours.first(data, "thing_id") == 7
    assert len(parsed) == 2  # the coadd and the row


def test_width_that_does_not_add_up_is_refused(parsed):
    data = spec_file()
    at = read_table(data, second_hdu(data), 10**4).end
    read_table(data, at, 1)
    with pytest.raises(NotStandard):
        read_table(data.replace(b"'6A      '", b"'7A      '"), at, 1)


def test_remembered_layouts_are_bounded():
    for i in range(3 * fits_bytes.MAX_LAYOUTS):
        hdu = table({f"column{i}": ("E", np.ones(3))})
        out = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out)
        assert read_table(out.getvalue(), 2880, 10).rows == 3
    assert len(fits_bytes._known) == fits_bytes.MAX_LAYOUTS


@pytest.mark.parametrize("rows", [10**6, 10**12, 10**17])
def test_claimed_size_is_not_allocated(rows):
    data = spec_file()
    data = data.replace(b"NAXIS2  =                  200", b"NAXIS2  = %20d" % rows, 1)
    tracemalloc.start()
    try:
        with pytest.raises(SpectrumError) as caught:
            read_table(data, second_hdu(data), 10**18)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("extra", ["TSCAL1", "TZERO1", "TNULL1", "TDIM1"])
def test_scaled_column_is_left_to_astropy_and_the_others_are_read(extra):
    data = spec_file()
    data = with_cards(data, 1, f"{extra:<8}= 2")
    ours = read_table(data, second_hdu(data), 10**4)
    with pytest.raises(NotStandard):
        ours.column(data, "flux")
    assert ours.column(data, "ivar") is not None


@pytest.mark.parametrize("form", ["PE(9)", "QE(9)", "8X", "0E", "Z", "E3"])
def test_other_formats_are_left_to_astropy(form):
    data = spec_file()
    at = second_hdu(data)
    offset = data.index(b"TFORM8  = '", at) + 10
    with pytest.raises(NotStandard):
        read_table(data[:offset] + f"'{form}'".encode().ljust(10) + data[offset + 10 :], at, 10**4)


def test_damaged_header_is_not_mistaken_for_the_known_one():
    data = spec_file()
    at = second_hdu(data)
    read_table(data, at, 10**4)
    with pytest.raises(NotStandard):
        read_table(data.replace(b"TFORM8  = 'E       '", b"TFORM8  = 'J E     '"), at, 10**4)
    changed = data.replace(b"TTYPE1  = 'flux    '", b"TTYPE1  = 'fluxes  '")
    assert read_table(changed, at, 10**4).column(changed, "flux") is None
