"""Readers of survey spectra: one module a format, one record out.

A source (``source.py``) knows its files by what stands in them, counts the spectra of a file without reading them,
and yields one item for each: a ``Spectrum`` (``record.py``) as observed, in vacuum wavelengths, with nothing masked,
corrected or shifted, or a ``SpectrumError`` with a stage and a short reason that can be counted. It yields nothing
else, whatever the bytes are: a job reads millions of files, and some are half written, some are error pages of a web
server.

To add a survey, write one module beside ``spspec.py`` with a ``Source``, name it in ``SOURCES``, and give the tests
one real file and one damaged one. ``content`` fetches the bytes, ``fits_image`` finds headers, images and tables in
them, ``fits_bytes`` decodes tables without going through all their columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat

from raystellar.errors import SpectrumError
from raystellar.spectra import lamost, spec, spplate, spspec, table
from raystellar.spectra.content import Content, Given
from raystellar.spectra.record import Spectrum
from raystellar.spectra.source import CLAIM_BYTES, Item, Slice, Source

__all__ = ["SOURCES", "Item", "Slice", "Source", "Spectrum", "count_spectra", "read_spectra", "read_spectrum"]

SOURCES: tuple[Source, ...] = (table.SOURCE, lamost.SOURCE, spspec.SOURCE, spplate.SOURCE, spec.SOURCE)
"""In the order in which they are asked. The last takes what no other takes, and says why it is nothing to read."""


def read_spectra(path: str, data: Given = None, first: int = 0, count: int | None = None) -> Iterator[Item]:
    """Return the spectra in a file of any survey known here, and a SpectrumError for each that cannot be used.

    There are as many items as ``count_spectra`` says; a file that cannot be used has one. Nothing is raised.

    Parameters
    ----------
    path : name of the file; read from disk unless ``data`` is given
    data : contents of the file, plain or gzip, where they were fetched from elsewhere
    first : the item to begin with, 0 for the first; those before it are not read
    count : return exactly this many, the last of them errors where the file has become shorter; None for all
    """
    items = _items(path, data, first)
    return items if count is None else _exactly(items, count)


def count_spectra(path: str, data: Given = None) -> int:
    """Return the number of items that ``read_spectra`` yields, found in headers or footers only.

    Raises
    ------
    SpectrumError : stage fetch, where the file cannot be had; one that can but is damaged counts as one
    """
    try:
        content = Content(path, data, head_bytes=2 * CLAIM_BYTES)
        return _source(content).count(content)
    except SpectrumError as error:
        if error.stage == "fetch":
            raise
        return 1  # the one item that says why


def read_spectrum(path: str, data: Given = None) -> Spectrum:
    """Return the only spectrum in a file.

    Raises
    ------
    SpectrumError : the file cannot be used, or holds several spectra; nothing else is raised
    """
    items = read_spectra(path, data)
    found = next(items, SpectrumError("read", "no spectra", "the table has no rows"))
    if isinstance(found, SpectrumError):
        raise found
    if next(items, None) is not None:
        raise SpectrumError("read", "several spectra in the file", "read_spectra reads them all")
    return found


def _items(path: str, data: Given, first: int) -> Iterator[Item]:
    try:
        content = Content(path, data)
        yield from _source(content).read(content, first)
    except SpectrumError as error:
        yield error


def _exactly(items: Iterator[Item], count: int) -> Iterator[Item]:
    given, rest = 0, SpectrumError("fetch", "file changed", "it holds fewer spectra than when it was listed")
    for item in islice(items, count):
        yield item
        given += 1
        if isinstance(item, SpectrumError) and item.stage == "fetch" and not item.spec_id:
            rest = item  # what holds for the file as a whole
    yield from repeat(rest, count - given)


def _source(content: Content) -> Source:
    """Return the source of a file; raise where it is empty or no file of data at all."""
    head = content.first(CLAIM_BYTES)
    return next(source for source in SOURCES if source.claims(head, content.path))
