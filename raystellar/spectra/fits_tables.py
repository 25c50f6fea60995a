"""Read columns of binary tables anywhere in a FITS file, by seeking: the tables that stand beside images of spectra."""

from __future__ import annotations

from collections.abc import Collection
from typing import IO, Any

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.spectra import fits_astropy
from raystellar.spectra.content import Content
from raystellar.spectra.fits_bytes import NotStandard, Table, read_table
from raystellar.spectra.fits_image import Hdu, hdus, read_at
from raystellar.spectra.values import INT32_END

MAX_TABLE_BYTES = 1 << 24
"""Size of the largest table that is read [bytes]; PLUGMAP and spZbest of 1000 fibres have less than 2 MB."""


def first_table(content: Content, names: Collection[str], max_rows: int) -> dict[str, np.ndarray]:
    """Return columns of the table after the primary header of a file; parameters and errors as in ``table_columns``."""
    with content.opened() as stream:
        every = hdus(stream)
        next(every)
        table = next(every, None)
        if table is None:
            raise SpectrumError("read", "no table", "the file ends after its primary header")
        return table_columns(stream, table, names, max_rows)


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
        with fits_astropy.opened_table(data, max_rows) as astropy_table:
            columns = {name: _astropy_column(astropy_table, name) for name in names}
    return {name: values for name, values in columns.items() if values is not None}


def typed(
    columns: dict[str, np.ndarray], texts: Collection[str], whole: Collection[str], long: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return texts as str and numbers unchanged.

    Parameters
    ----------
    columns : columns (n,) of a table, by lower-case name
    texts : names of the columns that must hold texts
    whole : names of the columns that must hold integers of at most 32 bits
    long : names of the columns that must hold integers

    Raises
    ------
    SpectrumError : a column has the wrong type, or an integer has too many bits
    """
    for name, values in columns.items():
        kinds = "S" if name in texts else "iu" if name in whole or name in long else "iuf"
        if values.dtype.kind not in kinds or (name in whole and (np.abs(values.astype(float)) >= INT32_END).any()):
            raise SpectrumError("read", f"bad column {name}", f"of type {values.dtype}, or more than 32 bits")
    return {
        name: np.char.decode(values, "ascii", "replace") if name in texts else values
        for name, values in columns.items()
    }


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
    return np.strings.strip(text, b" ")


def _astropy_column(table: Any, name: str) -> np.ndarray | None:
    """Return a column that astropy reads in native byte order; None where it is missing or has several values a row."""
    values = fits_astropy.values_of(table, name)
    if values is None or values.ndim != 1:
        return None
    text = values.dtype.kind in "US"
    return np.strings.strip(values.astype("S"), b" ") if text else values.astype(values.dtype.newbyteorder("="))
