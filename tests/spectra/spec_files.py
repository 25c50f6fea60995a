"""Spec files made for tests, kinds of damage, and a plain reading of a spec file by astropy."""

from __future__ import annotations

import gzip
import io
import random
import re
import warnings

import numpy as np
from astropy.io import fits

ROW = {
    "SOURCETYPE": ("19A", "QSO"), "PLATE": ("J", 266), "MJD": ("J", 51602), "FIBERID": ("J", 31),
    "RUN2D": ("3A", "26"), "PLUG_RA": ("D", 147.32107), "PLUG_DEC": ("D", -0.0065757249), "CLASS": ("6A", "STAR"),
    "SUBCLASS": ("21A", "F9"), "Z": ("E", 2.5e-4), "Z_ERR": ("E", 1e-5), "ZWARNING": ("J", 4),
    "SN_MEDIAN": ("5E", [[1, 2, 3, 4, 5]]), "SN_MEDIAN_ALL": ("E", 21.5), "THING_ID": ("K", 7),
}  # fmt: skip
PRIMARY = {"RA": 145.89219, "DEC": 0.059372, "PLATEID": 266, "MJD": 51602, "FIBERID": 31, "COEFF0": 3.5785}


def coadd(n=200, formats=None):
    """Return the columns of a coadd of ``n`` pixels, with some columns replaced; None drops a column."""
    rng = np.random.default_rng(n)
    columns = {
        "flux": ("E", rng.normal(10, 1, n)), "loglam": ("E", 3.58 + 1e-4 * np.arange(n)),
        "ivar": ("E", rng.uniform(0, 4, n)), "and_mask": ("J", rng.integers(0, 2**24, n)),
        "or_mask": ("J", np.zeros(n)), "wdisp": ("E", np.ones(n)), "sky": ("E", np.ones(n)),
        "model": ("E", np.ones(n)),
    }  # fmt: skip
    return columns | dict(formats or {})


def table(columns, name="", case=str.lower):
    """Return a binary table of ``{name: (format, values)}``."""
    made = [
        fits.Column(case(key), spec[0], array=np.atleast_1d(np.asarray(spec[1])), **(spec[2] if len(spec) > 2 else {}))
        for key, spec in columns.items()
        if spec is not None
    ]
    hdu = fits.BinTableHDU.from_columns(made)
    if name:
        hdu.name = name
    return hdu


def spec_file(columns=None, row=None, primary=None, case=str.lower, row_case=str.upper, names=True, exposures=0):
    """Return the bytes of a spec file; None drops a column or a keyword."""
    head = fits.PrimaryHDU()
    for key, value in (PRIMARY | (primary or {})).items():
        if value is not None:
            head.header[key] = value
    hdus = [
        head,
        table(columns or coadd(), "COADD" if names else "", case),
        table(ROW | (row or {}), "SPECOBJ" if names else "", row_case),
        table({"LINEWAVE": ("D", np.ones(5))}, "SPZLINE" if names else ""),
        *(table(coadd(150), f"B1-{i}") for i in range(exposures)),
    ]
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(out)
    return out.getvalue()


def with_cards(data, hdu, *cards):
    """Put cards at the end of a header that has room for them."""
    at = 0
    for _ in range(hdu):
        at = data.index(b"XTENSION", at + 1)
    end = data.index(b"END" + b" " * 77, at)
    more = b"".join(card.encode().ljust(80) for card in cards)
    assert not data[end + 3 : end + 80 + len(more)].strip()
    return data[:end] + more + data[end : end + 80] + data[end + 80 + len(more) :]


def read_by_astropy(data):
    """Return the arrays and values that astropy reads, by the names of the fields of the record."""
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(data), memmap=False) as hdus:
            primary, pixels, table = hdus[0].header, hdus[1].data, hdus[2]
            columns = {name.upper(): name for name in table.columns.names}

            def value(key, keyword=None, default=None):
                content = table.data[columns[key]][0] if key in columns else None
                content = content.strip() if isinstance(content, str) else content
                if content is None or (keyword and isinstance(content, str) and not content):
                    content = primary.get(keyword, default) if keyword else default
                return content

            zwarning = int(value("ZWARNING", default=0))
            sky = "SKY" in (value("SOURCETYPE"), value("OBJTYPE"))
            flux, ivar = (np.array(pixels[k]).astype(np.float32).reshape(-1) for k in ("flux", "ivar"))
            loglam = np.array(pixels["loglam"]).astype(np.float32).reshape(-1)
            sn = value("SN_MEDIAN_ALL")
            if sn is None:
                good = (ivar > 0) & (loglam >= np.log10(3280)) & (loglam < np.log10(9860))
                ordered = np.sort(flux[good] * np.sqrt(ivar[good]))
                sn = ordered[len(ordered) // 2] if good.any() else np.nan
            return {
                "plate": int(value("PLATE", "PLATEID")), "mjd": int(value("MJD", "MJD")),
                "fiberid": int(value("FIBERID", "FIBERID")), "run2d": str(value("RUN2D", "RUN2D", "")),
                "ra": float(value("PLUG_RA", "PLUG_RA", np.nan)), "dec": float(value("PLUG_DEC", "PLUG_DEC", np.nan)),
                "object_class": value("CLASS", default=""), "subclass": value("SUBCLASS", default=""),
                "z": float(value("Z", default=np.nan)), "z_err": float(value("Z_ERR", default=np.nan)),
                "zwarning": zwarning, "is_sky": bool(zwarning & 1) or sky, "sn": float(sn),
                "flux": flux, "ivar": ivar, "loglam": loglam,
            }  # fmt: skip


def assert_same(spectrum, expected, label=""):
    """Fail where a field of the record differs from ``read_by_astropy``; NaN equals NaN."""
    for key, value in expected.items():
        read = getattr(spectrum, key)
        same = read == value if isinstance(value, str) else np.array_equal(read, value, equal_nan=True)
        assert same, f"{label}: {key} is {read!r}, astropy reads {value!r}"


def damage(data, rng: random.Random):
    """Return the name of a random kind of damage, and the damaged bytes."""
    kind = rng.choice(KINDS)
    return kind.__name__.strip("_"), kind(data, rng)


def _cards_at(data):
    """Return the offsets of the header cards of the first three HDUs, without a library."""
    offsets, at = [], 0
    for _ in range(3):
        end = data.find(b"END" + b" " * 77, at)
        offsets += range(at, end, 80)
        following = data.find(b"XTENSION= 'BINTABLE'", end)
        if following < 0:
            return offsets
        at = following
    return offsets


def _truncate_at_block(data, rng):
    return data[: 2880 * rng.randrange(len(data) // 2880)]


def _truncate(data, rng):
    return data[: rng.randrange(len(data))]


def _flip_header(data, rng):
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        out[rng.choice(_cards_at(data)) + rng.randrange(80)] = rng.choice([rng.randrange(256), rng.randrange(32, 127)])
    return bytes(out)


def _flip_anywhere(data, rng):
    out = bytearray(data)
    for _ in range(rng.randint(1, 40)):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def _lie(data, rng):
    """Give a structural keyword another value."""
    structural = re.compile(rb"(SIMPLE|XTENSION|BITPIX|NAXIS\d?|PCOUNT|GCOUNT|TFIELDS|TFORM\d+|TTYPE\d+) *=")
    at = rng.choice([at for at in _cards_at(data) if structural.match(data, at)])
    key = data[at : at + 8]
    words = [
        "'E'",
        "'D'",
        "'J'",
        "'1E'",
        "'2E'",
        "'0E'",
        "'8A'",
        "'0A'",
        "'PE(5)'",
        "'QD(9)'",
        "'X'",
        "'999999999E'",
        "'flux'",
        "'LOGLAM'",
        "''",
        "'class'",
        "'IMAGE'",
        "'TABLE'",
        "'BINTABLE'",
        "'e'",
        "'4E '",
        "'E3'",
        "'M'",
    ]
    numbers = [
        0,
        1,
        2,
        3,
        7,
        8,
        16,
        -32,
        31,
        32,
        33,
        64,
        99,
        100,
        199,
        201,
        2880,
        10**6,
        10**12,
        10**17,
        -1,
        1.5,
        "T",
        "F",
        "",
        "1E3",
        "'8'",
        10**30,
    ]
    text = rng.choice(words if data[at + 10 : at + 11] == b"'" else numbers)
    if key.startswith(b"TFORM") and rng.random() < 0.5:
        text = f"'{rng.randrange(40)}{rng.choice('LXBIJKAEDCMPQZ')}'"
    card = key + b"= " + (f"{text:<20}" if isinstance(text, str) else f"{text:>20}").encode()
    return data[:at] + card.ljust(80) + data[at + 80 :]


def _insert_card(data, rng):
    """Replace a random card by a scaling, a null value, a shape, a duplicate or an odd card."""
    at = rng.choice(_cards_at(data))
    n = rng.randint(1, 16)
    card = rng.choice(
        [
            f"TSCAL{n}  = {rng.choice([1, 2.0, -1])}",
            f"TZERO{n}  = {rng.choice([0, 32768, 2**31, 0.5])}",
            f"TNULL{n}  = 4",
            f"TDIM{n}   = '(1,1)'",
            f"TDIM{n}   = '(3,7)'",
            "THEAP   = 12",
            "END",
            "END x",
            "CONTINUE  'abc'",
            "HIERARCH PLUG_RA = 5.0",
            "PLUG_RA 3",
            "ZIMAGE  =  T",
            "GROUPS  =  T",
            f"TBCOL{n}  = 5",
            f"TFORM{n}  = 'J'",
            f"TTYPE{n}  = 'flux'",
            "NAXIS2  = 3",
            "plug_ra = 1",
            "RUN2D   = 'x'",
            "PLUG_RA = 12.5",
            "PLATEID = 1234567890123",
            "NAXIS   = 0",
            "PLUG_RA = 1 2",
            f"TUNIT{n}  = 'm'",
            f"TDISP{n}  = 'Q9'",
            "COMMENT = 5",
            "PLUG_RA = NaN",
            "RUN2D   = 'it''s'",
        ]
    )
    return data[:at] + card.encode().ljust(80) + data[at + 80 :]


def _swap_cards(data, rng):
    a, b = sorted(rng.sample(_cards_at(data), 2))
    return data[:a] + data[b : b + 80] + data[a + 80 : b] + data[a : a + 80] + data[b + 80 :]


def _drop_card(data, rng):
    """Remove a card; a blank card replaces it, or is added at the end of the header."""
    at = rng.choice(_cards_at(data))
    if rng.random() < 0.5:
        return data[:at] + b" " * 80 + data[at + 80 :]
    end = data.find(b"END" + b" " * 77, at)
    return data[:at] + data[at + 80 : end + 80] + b" " * 80 + data[end + 80 :]


def _zero_block(data, rng):
    at = 2880 * rng.randrange(len(data) // 2880)
    return data[:at] + bytes(2880) + data[at + 2880 :]


def _lose_bytes(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 80, 2880]) :]


def _repeat_block(data, rng):
    at = 2880 * rng.randrange(len(data) // 2880)
    return data[: at + 2880] + data[at:]


def _gzipped(data, rng):
    packed = gzip.compress(data, 1)
    return rng.choice([packed, packed[: rng.randrange(len(packed))], _flip_anywhere(packed, rng), packed + bytes(9)])


def _other_file(data, rng):
    return rng.choice(
        [
            b"",
            b"\0",
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            b"SIMPLE",
            data[2880:],
            bytes(5760),
            b"SIMPLE  =                    T".ljust(80) * 400,
            b"\x1f\x8b",
            data[:80] * 36,
        ]
    )


KINDS = (
    _truncate_at_block,
    _truncate,
    _flip_header,
    _flip_header,
    _flip_header,
    _flip_anywhere,
    _lie,
    _lie,
    _lie,
    _insert_card,
    _insert_card,
    _swap_cards,
    _drop_card,
    _zero_block,
    _lose_bytes,
    _repeat_block,
    _gzipped,
    _other_file,
)


# SDSS-V

CATALOGID = 27021598150202075
"""A number of more than 53 bits, which a floating point number does not hold."""

PIXELS = coadd(300, {"wresl": ("E", np.ones(300))})
NO_PLATE = {"PLATE": None, "FIBERID": None, "THING_ID": None, "SOURCETYPE": None}
DR18 = {
    "row": NO_PLATE | {
        "HOLETYPE": ("6A", ["BOSS"], {"dim": "(6,1)"}), "FIBERID": ("J", 271), "SOURCETYPE": ("3A", "NA"),
        "RUN": ("K", 756), "CAMCOL": ("K", 4), "FIELD": ("K", 206), "CATALOGID": ("K", 4544940698), "MJD": ("J", 59292),
        "RUN2D": ("6A", "v6_0_4"), "OBJTYPE": ("16A", "QSO"), "TCOLUMN": ("10J", [range(10)]),
    },
    "primary": {"PLATEID": "", "FIBERID": None, "FIELDID": "15170", "MJD": 59292, "PLUG_RA": 1.0, "PLUG_DEC": 2.0},
}  # fmt: skip
DR19 = {
    "row": NO_PLATE | {
        "FIELD": ("K", 112360), "CATALOGID": ("K", CATALOGID), "SDSS_ID": ("K", 77), "MJD": ("K", 60000),
        "RUN2D": ("6A", "v6_1_3"), "FIBERID_LIST": ("31A", "17 17"), "SDSS5_TARGET_FLAGS": ("29L", [[True] * 29]),
        "OBJTYPE": ("16A", "science"), "ZWARNING": ("K", 4), "RACAT": ("D", 5.0), "XCSAO_RV": ("E", -30.0),
    },
    "primary": {"PLATEID": "", "FIBERID": None, "FIELDID": "112360", "MJD": 60000, "PLUG_RA": 1.0, "PLUG_DEC": 2.0},
}  # fmt: skip


def sdss_v(release, **more):
    """Return the bytes of a spec file of a release, with some columns and cards replaced."""
    row, primary = release["row"] | more.pop("row", {}), release["primary"] | more.pop("primary", {})
    return spec_file(PIXELS, row, primary, case=str.upper, **more)
