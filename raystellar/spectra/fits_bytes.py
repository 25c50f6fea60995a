"""Decode the part of FITS that SDSS tables use, straight from bytes.

Why not astropy: a survey job reads millions of small files. A spec file takes 0.10 ms here and 24 ms with astropy
(``raystellar bench kernels``). A general FITS library spends nearly all of that time on header cards that nobody
needs: a spec file declares 240 columns to store one row. This module reads headers, the layouts of binary tables, and
single columns. It remembers layouts, because the files of a survey share a few of them, so that a known header costs
one comparison of bytes.

The decoder is strict on purpose. A file that is not written as the surveys write it raises ``NotStandard``, and the
caller passes the file to astropy; nothing is guessed. Every size that a header claims is checked against the number of
bytes in memory before anything is allocated.

Source: FITS standard 4.0, Sec. 3 (blocks), 4 (cards), 7.3 (binary tables),
https://fits.gsfc.nasa.gov/fits_standard.html
"""

from __future__ import annotations

import re
from itertools import accumulate
from operator import mul
from struct import Struct
from typing import NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK, FITS_CARD

MAX_HEADER_BYTES = 1 << 20
"""Length of the longest accepted header [bytes]. The longest header of SDSS files, for a row of SPALL, has 40 kB."""

MAX_FIELDS = 999
"""Largest number of columns of a table, by the standard."""

MAX_LAYOUTS = 16
"""Number of table layouts to remember. All reductions of SDSS-I to IV together have about ten."""

COMMENTARY = (b"COMMENT ", b"HISTORY ", b"        ")
"""Keywords of cards without a value, padded."""

Value = bool | int | float | str | None
"""Value of a header card; None where the card has none."""

_END = b"END" + b" " * (FITS_CARD - 3)
_AFTER_END = re.compile(rb"[A-Z0-9_-]")
_PRINTABLE = re.compile(rb"[ -~]*")
_KEYWORD = re.compile(rb"[A-Z0-9_-]+ *")
_VALUE = re.compile(  # texts with a quote or with "name: number" in them have other meanings to different readers
    rb" *(?:'(?P<text>(?:[^':]|:(?! +[-+.\d]))*)'|(?P<logical>[TF])|(?P<integer>[+-]?\d{1,19})"
    rb"|(?P<real>(?=[+-]?\d*[.ED])[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d{1,3})?))? *(?:/.*)?"
)
_MANDATORY = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS")
_FIXED = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2, "PCOUNT": 0, "GCOUNT": 1}
_ROW_BYTES_CARD, _ROWS_CARD = (
    3,
    4,
)  # NAXIS1 and NAXIS2; the standard fixes the order of the first eight cards
_ROW_BYTES = re.compile(rb"NAXIS1  = +(\d{1,9}) *(?:/[ -~]*)?")
_ROWS = re.compile(rb"NAXIS2  = +(\d{1,18}) *(?:/[ -~]*)?")
_FORM = re.compile(r"(\d{0,9})([LBIJKEDCMA]) *")
_TEXT_FORM = re.compile(rb"(?=.{8}= )TFORM([1-9]\d{0,2}) *= '(\d{0,6})A *' *(?:/[ -~]*)?")
_COLUMN_KEY = re.compile(r"(T[A-Z]+)([1-9]\d*)")
_PLAIN_KEYS = ("TTYPE", "TFORM", "TUNIT", "TDISP", "TUCD", "TCOMM")
_WIDTH = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16}
_DTYPE = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_STRUCT = {
    "B": Struct(">B"),
    "I": Struct(">h"),
    "J": Struct(">i"),
    "K": Struct(">q"),
    "E": Struct(">f"),
    "D": Struct(">d"),
}


class NotStandard(Exception):
    """Raised where the bytes may be valid FITS, but use a part of the standard that this module does not decode."""


class Field(NamedTuple):
    """One column of a binary table."""

    code: str
    """Letter of TFORM."""

    repeat: int
    """Number of elements in one row; for text, the number of bytes."""

    offset: int
    """Distance from the start of the row [bytes]."""

    plain: bool
    """Whether the bytes are the values, with no scaling, null value or shape declared."""


class Layout:
    """The columns of a binary table, as its header declares them.

    Parameters
    ----------
    names : positions of the columns, by lower-case name
    codes : letter of TFORM of each column
    repeats : number of elements of each column in one row
    odd : positions of the columns with TSCAL, TZERO, TNULL, TDIM or another keyword that changes their meaning
    """

    __slots__ = ("codes", "names", "odd", "offsets", "repeats", "row_bytes")

    def __init__(self, names: dict[str, int], codes: list[str], repeats: list[int], odd: frozenset[int]) -> None:
        self.names, self.codes, self.repeats, self.odd = names, codes, repeats, odd
        widths = map(_WIDTH.__getitem__, codes)
        *self.offsets, self.row_bytes = accumulate(map(mul, repeats, widths), initial=0)

    def field(self, name: str) -> Field | None:
        """Return the column with a lower-case ``name``; None where the table has no such column."""
        i = self.names.get(name)
        if i is None:
            return None
        return Field(self.codes[i], self.repeats[i], self.offsets[i], i not in self.odd)


class Table(NamedTuple):
    """A binary table within the bytes of a file."""

    layout: Layout
    """Columns of the table."""

    rows: int
    """Number of rows."""

    start: int
    """Offset of the first row [bytes]."""

    end: int
    """Offset after the padding, where the next HDU starts [bytes]."""

    def column(self, data: bytes, name: str) -> np.ndarray | None:
        """Return a numeric column as a big-endian view of ``data``; None where the table has no such column.

        Raises
        ------
        NotStandard : the column does not hold one plain number a row
        """
        field = self.layout.field(name)
        if field is None:
            return None
        if not field.plain or field.repeat != 1 or field.code not in _DTYPE:
            raise NotStandard(f"column {name}")
        offset = self.start + field.offset if self.rows else 0  # even an empty view must not begin beyond the end
        return np.ndarray((self.rows,), _DTYPE[field.code], data, offset, (self.layout.row_bytes,))

    def first(self, data: bytes, name: str) -> int | float | str | None:
        """Return the value of a column in the first row; None where the table has no such column.

        Raises
        ------
        NotStandard : the column holds neither one plain number nor plain text
        """
        field = self.layout.field(name)
        if field is None:
            return None
        offset = self.start + field.offset
        if field.code == "A" and field.plain:
            return _text(bytes(data[offset : offset + field.repeat]))
        if not field.plain or field.repeat != 1 or field.code not in _STRUCT:
            raise NotStandard(f"column {name}")
        value: int | float = _STRUCT[field.code].unpack_from(data, offset)[0]
        return value


def padded(size: int) -> int:
    """Return ``size`` [bytes] rounded up to whole blocks."""
    return -(-size // FITS_BLOCK) * FITS_BLOCK


def header_end(data: bytes, start: int) -> int:
    """Return the offset of the first block after the header that begins at ``start``.

    Raises
    ------
    SpectrumError : no END card follows, or an END card holds other text. A header that the end of the file cuts off is
        truncated; one that is followed by data, which are no text, has lost its END card.
    """
    limit = min(start + MAX_HEADER_BYTES, len(data))
    at = data.find(b"END", start, limit)
    while at >= 0:
        if (at - start) % FITS_CARD == 0 and not _AFTER_END.match(data, at + 3):  # a longer keyword may begin with END
            break
        at = data.find(b"END", at + 1, limit)
    if at < 0:
        cut_off = limit == len(data) and _PRINTABLE.fullmatch(data, start)
        detail = f"no end of the header at byte {start} in {limit - start} bytes"
        raise SpectrumError("read", "truncated" if cut_off else "damaged header", detail)
    end = start + padded(at + FITS_CARD - start)
    if not _END.startswith(data[at : at + FITS_CARD]):
        raise SpectrumError("read", "damaged header", f"END card at byte {at}")
    if end > len(data):
        raise SpectrumError("read", "truncated", f"the header at byte {start} ends beyond the last byte {len(data)}")
    return end


def cards(header: bytes) -> list[tuple[str, Value]]:
    """Return the keywords and values of a header, in their order, without commentary.

    Raises
    ------
    NotStandard : a card is not a plain ``KEYWORD = value / comment``
    """
    pairs: list[tuple[str, Value]] = []
    for at in range(0, len(header), FITS_CARD):
        card = header[at : at + FITS_CARD]
        if card == _END:
            return pairs
        if not card.startswith(COMMENTARY):
            pairs.append(read_card(card))
    return pairs


def read_table(data: bytes, start: int, max_rows: int) -> Table:
    """Return the binary table whose header begins at ``start``.

    Raises
    ------
    NotStandard : the header is not that of a plain binary table
    SpectrumError : the header claims more than ``max_rows`` rows, or more bytes than the file has
    """
    layout, data_start = _layout(data, start)
    at = start + _ROWS_CARD * FITS_CARD
    match = _ROWS.fullmatch(data, at, at + FITS_CARD)
    if match is None:
        raise NotStandard("NAXIS2")
    rows = int(match[1])
    if rows > max_rows:
        raise SpectrumError("read", "unreasonable size", f"a table of {rows} rows, more than {max_rows}")
    size = rows * layout.row_bytes
    if data_start + size > len(data):
        raise SpectrumError("read", "truncated", f"a table of {size} bytes, {len(data) - data_start} follow its header")
    return Table(layout, rows, data_start, data_start + padded(size))


def _text(raw: bytes) -> str:
    """Return a text field without its padding; raise ``NotStandard`` where it is not plain ASCII."""
    raw = raw.rstrip(b"\0").strip(b" ")
    if not _PRINTABLE.fullmatch(raw):
        raise NotStandard("text")
    return raw.decode("ascii")


def read_card(card: bytes) -> tuple[str, Value]:
    """Return the keyword and value of one card; raise ``NotStandard`` where the card is not plain."""
    value = _VALUE.fullmatch(card, 10) if _PRINTABLE.fullmatch(card) else None
    if value is None or card[8:10] != b"= " or len(card) != FITS_CARD or not _KEYWORD.fullmatch(card, 0, 8):
        raise NotStandard(f"card {card!r}")
    return card[:8].decode().rstrip(), _value(value)


def _value(match: re.Match[bytes]) -> Value:
    """Return the value of a card as a Python object; None where it is blank."""
    kind = match.lastgroup
    if kind is None:
        return None
    raw = match[kind].decode()
    if kind == "text":
        return raw.rstrip()
    if kind == "logical":
        return raw == "T"
    return int(raw) if kind == "integer" else float(raw.replace("D", "E"))


class _Known(NamedTuple):
    """A table header that was parsed before, apart from the card NAXIS2, whose value differs between files."""

    before: bytes
    """Bytes of the header before the card NAXIS2."""

    after: bytes
    """Bytes of the header after the card NAXIS2."""

    layout: Layout
    """Columns that the header declares."""

    text_cards: dict[int, int]
    """Position of each text column, by the number of the card with its TFORM."""


_known: tuple[_Known, ...] = ()  # the last used comes first; replaced, never changed, so that threads may share it


def _layout(data: bytes, start: int) -> tuple[Layout, int]:
    """Return the layout that the header at ``start`` declares, and the offset after that header."""
    global _known
    rest = start + (_ROWS_CARD + 1) * FITS_CARD
    for i, known in enumerate(_known):
        if data.startswith(known.before, start) and data.startswith(known.after, rest):
            if i:
                _known = (known, *_known[:i], *_known[i + 1 :])
            return known.layout, rest + len(known.after)
    end = header_end(data, start)
    header = bytes(data[start:end])
    for known in _known:
        revised = _revise(known, header)
        if revised is not None:
            return revised, end
    known = _parse(header)
    _known = (known, *_known[: MAX_LAYOUTS - 1])
    return known.layout, end


def _revise(known: _Known, header: bytes) -> Layout | None:
    """Return the layout of a header that differs from a known one only in the widths of text columns, else None.

    Most plates of DR16 and DR17 store each text in its own width, so that each star has another header.
    """
    cut = _ROWS_CARD * FITS_CARD
    same_writer = header.startswith(known.before[: _ROW_BYTES_CARD * FITS_CARD])
    if not same_writer or len(header) != len(known.before) + FITS_CARD + len(known.after):
        return None
    old_header = known.before + header[cut : cut + FITS_CARD] + known.after
    old, new = (np.frombuffer(h, np.uint64).reshape(-1, FITS_CARD // 8) for h in (old_header, header))
    repeats, row_bytes = known.layout.repeats.copy(), known.layout.row_bytes
    for card in np.unique(np.nonzero(old != new)[0]).tolist():
        at = card * FITS_CARD
        if card == _ROW_BYTES_CARD and (match := _ROW_BYTES.fullmatch(header, at, at + FITS_CARD)):
            row_bytes = int(match[1])
        elif (
            (position := known.text_cards.get(card)) is not None
            and (match := _TEXT_FORM.fullmatch(header, at, at + FITS_CARD))
            and int(match[1]) == position + 1
        ):
            repeats[position] = int(match[2] or 1)
        else:
            return None
    layout = Layout(known.layout.names, known.layout.codes, repeats, known.layout.odd)
    return layout if layout.row_bytes == row_bytes else None


def _parse(header: bytes) -> _Known:
    """Parse a whole table header; return its layout, with the bytes by which to recognise it."""
    pairs = cards(header)
    keys = dict(pairs)
    if len(keys) != len(pairs) or tuple(key for key, _ in pairs[:8]) != _MANDATORY:
        raise NotStandard("duplicate or misplaced keywords")
    fixed, fields = [keys[key] for key in _FIXED], keys["TFIELDS"]
    if fixed != list(_FIXED.values()) or type(fields) is not int or not 0 <= fields <= MAX_FIELDS:
        raise NotStandard("not a plain binary table")
    if keys.keys() & {"THEAP", "ZIMAGE", "ZTABLE"}:
        raise NotStandard("heap or compression")
    layout = _columns(keys, fields)
    if layout.row_bytes != keys["NAXIS1"]:
        raise NotStandard("NAXIS1 is not the width of the columns")
    cut = _ROWS_CARD * FITS_CARD
    return _Known(header[:cut], header[cut + FITS_CARD :], layout, _text_cards(header, layout))


def _columns(keys: dict[str, Value], fields: int) -> Layout:
    """Return the layout that the TTYPE and TFORM cards declare."""
    names: dict[str, int] = {}
    codes, repeats = [], []
    for i in range(fields):
        name, form = keys.get(f"TTYPE{i + 1}"), keys.get(f"TFORM{i + 1}")
        match = _FORM.fullmatch(form) if isinstance(form, str) else None
        if match is None or not isinstance(name, str) or name.strip().lower() in names or not name.strip():
            raise NotStandard(f"column {i + 1}")
        repeat = int(match[1] or 1)
        if repeat == 0 and match[2] != "A":
            raise NotStandard(f"column {i + 1} is empty")
        names[name.strip().lower()] = i
        codes.append(match[2])
        repeats.append(repeat)
    odd_keys = [m for m in map(_COLUMN_KEY.fullmatch, keys) if m and m[1] not in _PLAIN_KEYS]
    return Layout(names, codes, repeats, frozenset(int(m[2]) - 1 for m in odd_keys))


def _text_cards(header: bytes, layout: Layout) -> dict[int, int]:
    """Return the position of each text column, by the number of the card that declares its width."""
    positions = {}
    for at in range(0, len(header), FITS_CARD):
        match = _TEXT_FORM.fullmatch(header, at, at + FITS_CARD)
        if match and int(match[1]) <= len(layout.codes):
            positions[at // FITS_CARD] = int(match[1]) - 1
    return positions
