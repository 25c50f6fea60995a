"""Read images and tables anywhere in a FITS file, by seeking, some rows at a time.

The formats that store spectra in images use this module. As in ``fits_bytes``, every size that a header claims is
checked against the length of the file before anything is allocated. Here only the needed cards are parsed, so that odd
cards among the hundreds of others do no harm.

Source: FITS standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator
from typing import IO, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK, FITS_CARD
from raystellar.spectra import fits_astropy
from raystellar.spectra.content import expect
from raystellar.spectra.fits_bytes import (
    MAX_HEADER_BYTES,
    NotStandard,
    Table,
    Value,
    header_end,
    padded,
    read_card,
    read_table,
)

MAX_TABLE_BYTES = 1 << 24
"""Size of the largest table that is read [bytes]; PLUGMAP and spZbest of 1000 fibres have less than 2 MB."""

HEADER_BYTES = 16 * FITS_BLOCK
"""Number of bytes read at first where a header begins."""

_STRUCTURE = ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "XTENSION")
_IMAGE_DTYPE: dict[object, np.dtype] = {
    -32: np.dtype(">f4"),
    -64: np.dtype(">f8"),
    16: np.dtype(">i2"),
    32: np.dtype(">i4"),
}
_NAXIS = re.compile(rb"SIMPLE  = .{70}BITPIX  = .{70}NAXIS   = +(\d{1,3})[ /]", re.DOTALL)
_EMPTY_PRIMARY = b"".join(
    card.ljust(FITS_CARD)
    for card in (
        b"SIMPLE  =                    T",
        b"BITPIX  =                    8",
        b"NAXIS   =                    0",
        b"EXTEND  =                    T",
        b"END",
    )
).ljust(FITS_BLOCK)


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


def find_cards(header: bytes, keys: Collection[str]) -> dict[str, Value]:
    """Return the values of the ``keys`` that a header has.

    The first card of a key counts. A card that is not a plain ``KEYWORD = value / comment`` counts as missing.
    """
    wanted = {key.encode().ljust(8): key for key in keys}
    values: dict[str, Value] = {}
    for at in range(0, len(header) - FITS_CARD + 1, FITS_CARD):
        key = wanted.get(header[at : at + 8])
        if key is None or key in values:
            continue
        try:
            values[key] = read_card(header[at : at + FITS_CARD])[1]
        except NotStandard:
            continue
    return values


def hdus(stream: IO[bytes]) -> Iterator[Hdu]:
    """Yield the HDUs of a file, at least one.

    Raises
    ------
    SpectrumError : the file is empty, or a header is damaged or claims more bytes than follow it
    """
    total = stream.seek(0, os.SEEK_END)
    if not total:
        raise SpectrumError("read", "empty file", "0 bytes")
    at = 0
    while at < total:
        hdu = _hdu(stream, at, total)
        yield hdu
        at = hdu.end


def image(hdu: Hdu, reason: str) -> Image:
    """Return the image of an HDU.

    Raises
    ------
    SpectrumError : the HDU is not a plain two-dimensional image; its reason is ``reason``
    """
    cards = hdu.cards
    bits, rows, columns = (cards.get(key) for key in ("BITPIX", "NAXIS2", "NAXIS1"))
    plain = cards.get("BSCALE", 1) == 1 and cards.get("BZERO", 0) == 0
    plain &= cards.get("XTENSION", "IMAGE") == "IMAGE" and cards.get("NAXIS") == 2
    if not plain or bits not in _IMAGE_DTYPE or not isinstance(rows, int) or not isinstance(columns, int):
        raise SpectrumError("read", reason, f"the HDU at byte {hdu.at} is not a plain two-dimensional image")
    return Image(_IMAGE_DTYPE[bits], rows, columns, hdu.start)


def table_columns(stream: IO[bytes], hdu: Hdu, names: Collection[str], max_rows: int) -> dict[str, np.ndarray]:
    """Return columns of a binary table, by lower-case name.

    Columns that the table lacks, and columns of several values a row, are left out.

    Parameters
    ----------
    stream : open file
    hdu : header and position of the table
    names : lower-case names of the columns
    max_rows : largest number of rows to accept

    Returns
    -------
    Arrays (rows,) in native byte order, of numbers or of bytes.

    Raises
    ------
    SpectrumError : the HDU is not a binary table, or its header is damaged
    """
    if hdu.end - hdu.at > MAX_TABLE_BYTES:
        raise SpectrumError("read", "unreasonable size", f"a table of {hdu.end - hdu.start} bytes")
    data = read_at(stream, hdu.at, hdu.end - hdu.at)
    try:
        table = read_table(data, 0, max_rows)
        columns = {name: _column(table, data, name) for name in names}
    except NotStandard:
        columns = _read_with_astropy(data, names, max_rows)
    return {name: values for name, values in columns.items() if values is not None}


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


def _hdu(stream: IO[bytes], at: int, total: int) -> Hdu:
    """Return the HDU at byte ``at`` of a file of ``total`` bytes."""
    header = _header(stream, at, total)
    start = at + len(header)
    cards = find_cards(header, _STRUCTURE)
    size = _data_bytes(cards, at)
    if start + size > total:
        raise SpectrumError("read", "truncated", f"{size} bytes of data at byte {start} of {total}")
    return Hdu(header, cards, at, start, min(start + padded(size), total))


def _header(stream: IO[bytes], at: int, total: int) -> bytes:
    """Return the header at byte ``at``, reading four times as much until its end is found."""
    size = HEADER_BYTES
    while True:
        data = read_at(stream, at, min(size, total - at))
        try:
            return data[: header_end(data, 0)]
        except SpectrumError as error:
            if error.reason != "truncated" or at + size >= total or size > MAX_HEADER_BYTES:
                raise
        size *= 4


def _data_bytes(cards: dict[str, Value], at: int) -> int:
    """Return the number of bytes of data that a header claims, without padding."""
    axes = _size(cards, "NAXIS", at)
    bits = cards.get("BITPIX")
    if axes > 3 or bits not in (8, 16, 32, 64, -32, -64):
        raise SpectrumError("read", "damaged header", f"BITPIX or NAXIS of the header at byte {at}")
    pixels = math.prod(_size(cards, f"NAXIS{i + 1}", at) for i in range(axes)) if axes else 0
    return abs(int(bits)) // 8 * _size(cards, "GCOUNT", at, 1) * (_size(cards, "PCOUNT", at, 0) + pixels)


def _size(cards: dict[str, Value], key: str, at: int, default: int | None = None) -> int:
    """Return a value that must be a whole number and not negative."""
    value = cards.get(key, default)
    if type(value) is not int or value < 0:
        raise SpectrumError("read", "damaged header", f"{key} of the header at byte {at} is {value!r}")
    return value


def _column(table: Table, data: bytes, name: str) -> np.ndarray | None:
    """Return a column in native byte order; None where it is missing or has several values a row."""
    field = table.layout.field(name)
    if field is None or (field.repeat != 1 and field.code != "A"):
        return None
    if field.code != "A":
        values = table.column(data, name)
        return None if values is None else values.astype(values.dtype.newbyteorder("="))
    if not field.plain:
        raise NotStandard(f"column {name}")
    offset = table.start + field.offset if table.rows else 0
    text = np.ndarray((table.rows,), f"S{max(field.repeat, 1)}", data, offset, (table.layout.row_bytes,))
    return np.strings.strip(text)


def _read_with_astropy(data: bytes, names: Collection[str], max_rows: int) -> dict[str, np.ndarray | None]:
    """Return columns of a table that ``fits_bytes`` does not decode."""
    with fits_astropy.opened(_EMPTY_PRIMARY + data) as opened:
        table = fits_astropy.table_at(opened, 1, max_rows, "no table")
        columns: dict[str, np.ndarray | None] = {}
        for name in names:
            values = fits_astropy.values_of(table, name)
            if values is not None and values.ndim == 1:
                text = values.dtype.kind in "US"
                native = values.dtype.newbyteorder("=")
                columns[name] = np.strings.strip(values.astype("S")) if text else values.astype(native)
        return columns
