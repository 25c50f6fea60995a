"""Readers of survey spectra: one module for each file format, one record for all of them.

    source         the interface of a format: recognise a file, count its spectra, read them
    spec           SDSS spec files: one spectrum a file, SDSS-I/II, BOSS and SDSS-V
    spspec         spSpec files: one spectrum a file, SDSS-I/II until DR7
    spplate        spPlate files: all spectra of one SDSS plate
    mwm            SDSS-V mwmStar and mwmVisit files: the optical spectra of one star
    desi           DESI coadd files: all spectra in one pixel of the sky
    redrock        redrock files: classes and redshifts beside DESI coadd files
    lamost         LAMOST low-resolution files: one spectrum a file
    table          Parquet tables: one spectrum a row
    table_columns  names and types of the columns of such tables
    table_wavelengths  their wavelengths: unit, vacuum or air, grids in the metadata
    table_values   values of their rows, and what identifies a spectrum
    prepared       the parts that ``raystellar preprocess`` writes
    arrays         arrays by name, which a user passes in a notebook
    containers     tables and spectra of astropy, pandas, specutils and xarray as such arrays
    quantities     numbers with masks and units
    foreign        formats that are known and not read, by name
    record         the record ``Spectrum`` and the checks of its wavelengths
    bitmasks       bits of ZWARNING and SPPIXMASK
    values         single values of a header or a table row, checked for their type
    content        the bytes of one file: its head at once, the rest on demand
    fits_bytes     FITS tables decoded from bytes, for speed
    fits_image     FITS headers and images read by seeking
    fits_tables    columns of FITS tables read by seeking
    fits_astropy   FITS tables read with astropy, for files that ``fits_bytes`` does not decode
    inputs         the list of input files, with their numbers of spectra

A reader yields one item for each spectrum: a ``Spectrum`` as observed, or a ``SpectrumError`` with a stage and a
short reason that can be counted. A reader yields nothing else, whatever the bytes are. A job reads millions of files,
and some of them are half written or are error pages of a web server.

To add a survey, write a module with a ``Source`` beside ``spspec.py``, add it to ``SOURCES``, and give the tests one
real file and one damaged file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat

from raystellar.errors import SpectrumError
from raystellar.spectra import desi, lamost, mwm, spec, spplate, spspec, table
from raystellar.spectra.content import Content, FileData
from raystellar.spectra.record import Spectrum
from raystellar.spectra.source import CLAIM_BYTES, Item, Slice, Source

__all__ = ["SOURCES", "Item", "Slice", "Source", "Spectrum", "count_spectra", "read_spectra", "read_spectrum"]

SOURCES: tuple[Source, ...] = (
    table.SOURCE,
    lamost.SOURCE,
    spspec.SOURCE,
    spplate.SOURCE,
    desi.SOURCE,
    mwm.SOURCE,
    spec.SOURCE,
)
"""The formats, in the order in which they are tried. The last format takes every file that no other format claims."""


def read_spectra(path: str, data: FileData = None, first: int = 0, count: int | None = None) -> Iterator[Item]:
    """Return an iterator of the spectra in a file, with a SpectrumError in place of each that cannot be used.

    ``count_spectra`` returns the number of items. A file that cannot be used gives one item. Nothing is raised.

    Parameters
    ----------
    path : path or URL of the file
    data : contents of the file, plain or packed, or the file on a server; None to open ``path``
    first : position of the first item; the items before it are not read
    count : exact number of items, of which the last are errors where the file has become shorter; None for all items
    """
    items = _items(path, data, first)
    return items if count is None else _exactly(items, count)


def count_spectra(path: str, data: FileData = None) -> int:
    """Return the number of items that ``read_spectra`` yields, from headers or footers only.

    A damaged file counts as one item, which tells the reason.

    Raises
    ------
    SpectrumError : stage fetch, where the file cannot be opened
    """
    try:
        content = Content(path, data, head_bytes=2 * CLAIM_BYTES)
        return _source(content).count(content)
    except SpectrumError as error:
        if error.stage == "fetch":
            raise
        return 1


def read_spectrum(path: str, data: FileData = None) -> Spectrum:
    """Return the only spectrum in a file.

    Raises
    ------
    SpectrumError : the file cannot be used, or holds several spectra or none; nothing else is raised
    """
    items = read_spectra(path, data)
    item = next(items, SpectrumError("read", "no spectra", "the table has no rows"))
    if isinstance(item, SpectrumError):
        raise item
    if next(items, None) is not None:
        raise SpectrumError("read", "several spectra in the file", "read_spectra reads them all")
    return item


def _items(path: str, data: FileData, first: int) -> Iterator[Item]:
    """Yield the items of a file from position ``first`` on; one error where the file as a whole cannot be used."""
    try:
        content = Content(path, data)
        yield from _source(content).read(content, first)
    except SpectrumError as error:
        yield error


def _exactly(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Yield ``count`` items: the first of ``items``, and an error for each that is missing."""
    yielded, missing = 0, SpectrumError("fetch", "file changed", "it holds fewer spectra than when it was listed")
    for item in islice(items, count):
        yield item
        yielded += 1
        if isinstance(item, SpectrumError) and item.stage == "fetch" and not item.spec_id:
            missing = item  # the reason for the file as a whole
    yield from repeat(missing, count - yielded)


def _source(content: Content) -> Source:
    """Return the source that claims a file."""
    head = content.first(CLAIM_BYTES)
    return next(source for source in SOURCES if source.claims(head, content.path))
