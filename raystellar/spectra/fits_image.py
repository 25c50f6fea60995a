"""Read headers and images anywhere in a FITS file, by seeking, some rows at a time.

The formats that store spectra in images use this module. As in ``fits_bytes``, every size that a header claims is
checked against the length of the file before anything is allocated. Here only the needed cards are parsed, so that odd
cards among the hundreds of others do no harm.

A needed card that is written in an odd way is not a missing card. Its value is the one that astropy reads, and a card
that astropy cannot read makes the header damaged. The cards that declare type, size and scale of the data must be
there once, because readers differ in the card that they take.

Source: FITS standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import IO, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK, FITS_CARD
from raystellar.spectra import fits_astropy
from raystellar.spectra.content import MAX_PLATE_BYTES, expect
from raystellar.spectra.fits_bytes import (
    COMMENTARY,
    MAX_HEADER_BYTES,
    NotStandard,
    Value,
    header_end,
    padded,
    read_card,
)

HEADER_BYTES = 16 * FITS_BLOCK
"""Number of bytes read at first where a header begins."""

MAX_ARRANGEMENTS = 64
"""Number of arrangements of cards to remember. The headers of a survey share a few of them; a plate has seven."""

_STRUCTURE = (
    "SIMPLE",
    "XTENSION",
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS3",
    "GROUPS",
    "PCOUNT",
    "GCOUNT",
    "BSCALE",
    "BZERO",
    "BLANK",
)
_BEGIN = 10
"""Number of bytes of a card before its value."""

_END_BEGIN = b"END".ljust(_BEGIN)
_TELESCOPE = b"TELESCOP= '"
_PLAIN_BEGIN = re.compile(rb"[A-Z0-9_-]+ *= ")
_WORD = re.compile(rb"[A-Z0-9_-]+")
_IMAGE_DTYPE: dict[object, np.dtype] = {
    -32: np.dtype(">f4"),
    -64: np.dtype(">f8"),
    16: np.dtype(">i2"),
    32: np.dtype(">i4"),
}
_NAXIS = re.compile(rb"SIMPLE  = .{70}BITPIX  = .{70}NAXIS   = +(\d{1,3})[ /]", re.DOTALL)


class Hdu(NamedTuple):
    """One header, and the position of its data in the file."""

    header: bytes
    """All cards of the header."""

    cards: dict[str, Value]
    """Values of the cards that declare the type and the size of the data."""

    at: int
    """Offset of the header [bytes]."""

    start: int
    """Offset of the data [bytes]."""

    end: int
    """Offset after the padding of the data [bytes]."""


class Image(NamedTuple):
    """A two-dimensional image within a file."""

    dtype: np.dtype
    """Type of the pixels, big-endian."""

    rows: int
    """Number of rows (NAXIS2)."""

    columns: int
    """Number of pixels in a row (NAXIS1)."""

    start: int
    """Offset of the first pixel [bytes]."""

    def read(self, stream: IO[bytes], first: int, count: int) -> np.ndarray:
        """Return ``count`` rows from row ``first`` on, as a big-endian array (count, columns).

        Raises
        ------
        SpectrumError : the file has become shorter
        """
        data = read_at(stream, *self._span(first, count))
        return np.frombuffer(data, self.dtype).reshape(count, self.columns)

    def expect(self, stream: IO[bytes], first: int, count: int) -> None:
        """Announce that ``count`` rows from row ``first`` on will be read."""
        expect(stream, *self._span(first, count))

    def _span(self, first: int, count: int) -> tuple[int, int]:
        """Return the offset and the size of some rows [bytes]."""
        size = self.columns * self.dtype.itemsize
        return self.start + first * size, count * size


def count_axes(head: bytes) -> int:
    """Return NAXIS of the primary header of a file that begins with ``head``; -1 where it is not a FITS file."""
    match = _NAXIS.match(head)
    return int(match[1]) if match else -1


def has_sdss_telescope(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` comes from a telescope of the SDSS, as nearly all files do.

    The formats without such a card search the whole head for other signs, which takes longer than this.
    """
    at = head.find(_TELESCOPE, 0, FITS_BLOCK)
    return at >= 0 and head.startswith((b"SDSS", b"LCO"), at + len(_TELESCOPE))


def find_cards(header: bytes, keys: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of the ``keys`` that a header has, as astropy reads them. The first card of a key counts.

    Raises
    ------
    SpectrumError : a card of a key cannot be read
    """
    return _values(header, _arrangement(_begins(header), keys), keys)


def hdus(stream: IO[bytes], most: int = MAX_PLATE_BYTES) -> Iterator[Hdu]:
    """Yield the HDUs of a file, at least one.

    Parameters
    ----------
    stream : open file
    most : largest size of the data of one HDU to accept [bytes]

    Raises
    ------
    SpectrumError : the file is empty or no FITS file, or a header is damaged or claims more bytes than follow it
    """
    total = stream.seek(0, os.SEEK_END)
    if not total:
        raise SpectrumError("read", "empty file", "0 bytes")
    at = 0
    while at < total:
        hdu = _hdu(stream, at, total, most)
        yield hdu
        at = hdu.end


def image(hdu: Hdu, reason: str) -> Image:
    """Return the image of an HDU.

    Raises
    ------
    SpectrumError : the HDU is not a plain two-dimensional image; its reason is ``reason``, or its pixels are scaled
    """
    cards = hdu.cards
    bits, rows, columns = (cards.get(key) for key in ("BITPIX", "NAXIS2", "NAXIS1"))
    plain = cards.get("XTENSION", "IMAGE") == "IMAGE" and cards["NAXIS"] == 2 and cards.get("GROUPS") is not True
    plain &= cards.get("PCOUNT", 0) == 0 and cards.get("GCOUNT", 1) == 1
    if not plain or bits not in _IMAGE_DTYPE or not isinstance(rows, int) or not isinstance(columns, int):
        raise SpectrumError("read", reason, f"the HDU at byte {hdu.at} is not a plain two-dimensional image")
    dtype = _IMAGE_DTYPE[bits]
    scale = {key: cards[key] for key in ("BSCALE", "BZERO", "BLANK") if key in cards}
    if scale.get("BSCALE", 1) != 1 or scale.get("BZERO", 0) != 0 or ("BLANK" in scale and dtype.kind == "i"):
        raise SpectrumError("read", "scaled pixels", f"the HDU at byte {hdu.at} has {scale}")
    return Image(dtype, rows, columns, hdu.start)


def read_at(stream: IO[bytes], at: int, size: int) -> bytes:
    """Return ``size`` bytes from byte ``at`` on.

    Raises
    ------
    SpectrumError : the file is shorter
    """
    stream.seek(at)
    data = stream.read(size)
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more  # some file systems return fewer bytes than requested
    if len(data) < size:
        raise SpectrumError("read", "truncated", f"{len(data)} of {size} bytes at byte {at}")
    return data


def _hdu(stream: IO[bytes], at: int, total: int, most: int) -> Hdu:
    """Return the HDU at byte ``at`` of a file of ``total`` bytes."""
    header = _header(stream, at, total)
    start = at + len(header)
    cards = _structure(header, at)
    size = _data_bytes(cards, at)
    if size > most:
        raise SpectrumError("read", "unreasonable size", f"{size} bytes of data at byte {start}")
    if start + size > total:
        raise SpectrumError("read", "truncated", f"{size} bytes of data at byte {start} of {total}")
    return Hdu(header, cards, at, start, min(start + padded(size), total))


def _header(stream: IO[bytes], at: int, total: int) -> bytes:
    """Return the header at byte ``at``, reading four times as much until its end is found."""
    size = HEADER_BYTES
    signature = b"XTENSION=" if at else b"SIMPLE  ="
    while True:
        data = read_at(stream, at, min(size, total - at))
        if not signature.startswith(data[: len(signature)]):
            reason = "damaged header" if at else "not a FITS file"
            raise SpectrumError("read", reason, f"{data[:40]!r} at byte {at}")
        try:
            return data[: header_end(data, 0)]
        except SpectrumError:
            if at + size >= total or size > MAX_HEADER_BYTES:
                raise
        size *= 4


def _structure(header: bytes, at: int) -> dict[str, Value]:
    """Return the values of the cards that declare type, size and scale of the data of the HDU at byte ``at``."""
    arrangement = _arrangement(_begins(header), _STRUCTURE)
    if arrangement.repeated or _mentioned(header, arrangement, _STRUCTURE):
        raise SpectrumError("read", "damaged header", f"repeated or misplaced cards in the header at byte {at}")
    cards = _values(header, arrangement, _STRUCTURE)
    if cards.get("SIMPLE", True) is not True:
        raise SpectrumError("read", "damaged header", f"SIMPLE is {cards['SIMPLE']!r}")
    return cards


class _Arrangement(NamedTuple):
    """The numbers of the needed cards of a header, counted from 0."""

    first: dict[str, int]
    """Number of the first card of each needed key."""

    repeated: bool
    """Whether there are two cards of a needed key."""

    odd: tuple[int, ...]
    """Numbers of the cards that are neither commentary nor begin as ``KEYWORD = ``, or that another card continues."""


def _begins(header: bytes) -> bytes:
    """Return the first ``_BEGIN`` bytes of all cards of a header."""
    cards = np.frombuffer(header, np.uint8, len(header) // FITS_CARD * FITS_CARD).reshape(-1, FITS_CARD)
    return cards[:, :_BEGIN].tobytes()


@lru_cache(MAX_ARRANGEMENTS)
def _arrangement(begins: bytes, keys: tuple[str, ...]) -> _Arrangement:
    """Return the arrangement of the ``keys`` in a header whose cards begin with ``begins``."""
    first: dict[str, int] = {}
    repeated, odd = False, []
    for number in range(len(begins) // _BEGIN):
        begin = begins[number * _BEGIN : (number + 1) * _BEGIN]
        if begin == _END_BEGIN:
            break
        if begin.startswith(b"CONTINUE"):
            odd.append(number - 1)
        elif _PLAIN_BEGIN.fullmatch(begin):
            key = begin[:8].decode().rstrip()
            repeated |= key in first
            if key in keys:
                first.setdefault(key, number)
        elif not begin.startswith(COMMENTARY):
            odd.append(number)
    return _Arrangement(first, repeated, tuple(odd))


def _values(header: bytes, arrangement: _Arrangement, keys: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of the ``keys`` that a header has, as ``find_cards`` does."""
    if not _mentioned(header, arrangement, keys):
        try:
            return {key: read_card(_card(header, number))[1] for key, number in arrangement.first.items()}
        except NotStandard:
            pass
    return fits_astropy.header_values(header, keys)


def _mentioned(header: bytes, arrangement: _Arrangement, keys: Collection[str]) -> bool:
    """Return whether astropy may take an odd card for a card of one of the ``keys``."""
    return any(name in keys for number in arrangement.odd for name in _names(_card(header, number)))


def _names(card: bytes) -> list[str]:
    """Return the keywords that an odd card may have."""
    card = card.upper()
    if card.startswith(b"HIERARCH"):
        return [card[8:].partition(b"=")[0].decode("ascii", "replace").strip()]
    return [word.decode() for word in _WORD.findall(card[:8])]


def _card(header: bytes, number: int) -> bytes:
    """Return a card of a header, counted from 0."""
    return header[number * FITS_CARD : (number + 1) * FITS_CARD]


def _data_bytes(cards: dict[str, Value], at: int) -> int:
    """Return the number of bytes of data that a header claims, without padding."""
    axes = _size(cards, "NAXIS", at)
    bits = cards.get("BITPIX")
    if axes > 3 or type(bits) is not int or bits not in (8, 16, 32, 64, -32, -64):
        raise SpectrumError("read", "damaged header", f"BITPIX or NAXIS of the header at byte {at}")
    if not axes:
        return 0
    pixels = math.prod(_size(cards, f"NAXIS{i + 1}", at) for i in range(axes))
    return abs(bits) // 8 * _size(cards, "GCOUNT", at, 1) * (_size(cards, "PCOUNT", at, 0) + pixels)


def _size(cards: dict[str, Value], key: str, at: int, default: int | None = None) -> int:
    """Return a value that must be a whole number and not negative."""
    value = cards.get(key, default)
    if type(value) is not int or value < 0:
        raise SpectrumError("read", "damaged header", f"{key} of the header at byte {at} is {value!r}")
    return value
