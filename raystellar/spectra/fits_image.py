"""Images and tables anywhere in a FITS file, read by seeking, some rows at a time.

For the formats whose spectra stand in images. As in ``fits_bytes``, every size that a header claims is checked
against the bytes that are there before anything is allocated. Unlike there only the cards that matter are parsed,
so that odd ones among the hundreds of others do no harm.

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
"""Longest table that is read [bytes]; the PLUGMAP and spZbest of 1000 fibres have less than 2 MB."""

HEADER_BYTES = 16 * FITS_BLOCK
"""Read of a file where a header begins [bytes]."""

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
    """Where one header and its data lie, by the header's word and within the file."""

    header: bytes
    cards: dict[str, Value]  # those that say what the data are
    at: int  # first byte of the header
    start: int  # first byte of the data
    end: int  # first byte after the padding


class Image(NamedTuple):
    """A two-dimensional image among the bytes of a file."""

    dtype: np.dtype
    rows: int
    columns: int
    start: int

    def read(self, stream: IO[bytes], first: int, count: int) -> np.ndarray:
        """Return rows as a big-endian array (count, columns).

        Raises
        ------
        SpectrumError : the file has become shorter
        """
        data = read_at(stream, *self._place(first, count))
        return np.frombuffer(data, self.dtype).reshape(count, self.columns)

    def expect(self, stream: IO[bytes], first: int, count: int) -> None:
        """Say that these rows are read soon."""
        expect(stream, *self._place(first, count))

    def _place(self, first: int, count: int) -> tuple[int, int]:
        size = self.columns * self.dtype.itemsize
        return self.start + first * size, count * size


def axes(head: bytes) -> int:
    """Return NAXIS of a file that begins with ``head``; -1 where it is no FITS file."""
    found = _NAXIS.match(head)
    return int(found[1]) if found else -1


def find_cards(header: bytes, keys: Collection[str]) -> dict[str, Value]:
    """Return the values of the ``keys`` that a header has; of a key given twice the first counts.

    A card that is not a plain ``KEYWORD = value / comment`` counts as missing.
    """
    wanted = {key.encode().ljust(8): key for key in keys}
    found: dict[str, Value] = {}
    for at in range(0, len(header) - FITS_CARD + 1, FITS_CARD):
        key = wanted.get(header[at : at + 8])
        if key is None or key in found:
            continue
        try:
            found[key] = read_card(header[at : at + FITS_CARD])[1]
        except NotStandard:
            continue
    return found


def hdus(stream: IO[bytes]) -> Iterator[Hdu]:
    """Yield the HDUs of a file, one by one, at least one.

    Raises
    ------
    SpectrumError : a header is damaged, or claims more bytes than follow it
    """
    total = stream.seek(0, os.SEEK_END)
    if not total:
        raise SpectrumError("read", "empty file", "no bytes")
    at = 0
    while at < total:
        hdu = _hdu(stream, at, total)
        yield hdu
        at = hdu.end


def image(hdu: Hdu, reason: str) -> Image:
    """Return the image of an HDU.

    Raises
    ------
    SpectrumError : with this ``reason``, where it is no plain two-dimensional image
    """
    cards = hdu.cards
    bits, rows, columns = (cards.get(key) for key in ("BITPIX", "NAXIS2", "NAXIS1"))
    plain = cards.get("BSCALE", 1) == 1 and cards.get("BZERO", 0) == 0
    plain &= cards.get("XTENSION", "IMAGE") == "IMAGE" and cards.get("NAXIS") == 2
    if not plain or bits not in _IMAGE_DTYPE or not isinstance(rows, int) or not isinstance(columns, int):
        raise SpectrumError("read", reason, f"no plain two-dimensional image at byte {hdu.at}")
    return Image(_IMAGE_DTYPE[bits], rows, columns, hdu.start)


def table_columns(stream: IO[bytes], hdu: Hdu, names: Collection[str], max_rows: int) -> dict[str, np.ndarray]:
    """Return those columns of a binary table that it has, by lower-case name, native or text; one value a row.

    A column of several values a row is left out.

    Raises
    ------
    SpectrumError : the HDU is no binary table, or one that cannot be
    """
    if hdu.end - hdu.at > MAX_TABLE_BYTES:
        raise SpectrumError("read", "unreasonable size", f"a table of {hdu.end - hdu.start} bytes")
    data = read_at(stream, hdu.at, hdu.end - hdu.at)
    try:
        table = read_table(data, 0, max_rows)
        found = {name: _column(table, data, name) for name in names}
    except NotStandard:
        found = _by_astropy(data, names, max_rows)
    return {name: values for name, values in found.items() if values is not None}


def read_at(stream: IO[bytes], at: int, size: int) -> bytes:
    """Return ``size`` bytes from byte ``at``.

    Raises
    ------
    SpectrumError : there are fewer
    """
    stream.seek(at)
    data = stream.read(size)
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more  # some file systems return less than asked for
    if len(data) < size:
        raise SpectrumError("read", "truncated", f"{len(data)} of {size} bytes at byte {at}")
    return data


def _hdu(stream: IO[bytes], at: int, total: int) -> Hdu:
    header = _header(stream, at, total)
    start = at + len(header)
    cards = find_cards(header, _STRUCTURE)
    size = _data_bytes(cards, at)
    if start + size > total:
        raise SpectrumError("read", "truncated", f"{size} bytes of data at byte {start} of {total}")
    return Hdu(header, cards, at, start, min(start + padded(size), total))


def _header(stream: IO[bytes], at: int, total: int) -> bytes:
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
    """Return the bytes of data that a header claims, without padding."""
    axes = _size(cards, "NAXIS", at)
    bits = cards.get("BITPIX")
    if axes > 3 or bits not in (8, 16, 32, 64, -32, -64):
        raise SpectrumError("read", "damaged header", f"BITPIX or NAXIS at byte {at}")
    pixels = math.prod(_size(cards, f"NAXIS{i + 1}", at) for i in range(axes)) if axes else 0
    return abs(int(bits)) // 8 * _size(cards, "GCOUNT", at, 1) * (_size(cards, "PCOUNT", at, 0) + pixels)


def _size(cards: dict[str, Value], key: str, at: int, default: int | None = None) -> int:
    value = cards.get(key, default)
    if type(value) is not int or value < 0:
        raise SpectrumError("read", "damaged header", f"{key} of the header at byte {at} is {value!r}")
    return value


def _column(table: Table, data: bytes, name: str) -> np.ndarray | None:
    field = table.layout.field(name)
    if field is None or (field.repeat != 1 and field.code != "A"):
        return None
    if field.code != "A":
        values = table.column(data, name)
        return None if values is None else values.astype(values.dtype.newbyteorder("="))
    if not field.plain:
        raise NotStandard(f"column {name}")
    at = table.start + field.offset if table.rows else 0
    text = np.ndarray((table.rows,), f"S{max(field.repeat, 1)}", data, at, (table.layout.row_bytes,))
    return _stripped(text)


def _by_astropy(data: bytes, names: Collection[str], max_rows: int) -> dict[str, np.ndarray | None]:
    with fits_astropy.opened(_EMPTY_PRIMARY + data) as opened:
        table = fits_astropy.table_at(opened, 1, max_rows, "no table")
        found: dict[str, np.ndarray | None] = {}
        for name in names:
            values = fits_astropy.values_of(table, name)
            if values is not None and values.ndim == 1:
                text = values.dtype.kind in "US"
                found[name] = _stripped(values.astype("S")) if text else values.astype(values.dtype.newbyteorder("="))
        return found


def _stripped(values: np.ndarray) -> np.ndarray:
    return np.strings.strip(values)
