"""The interface of a survey's module: recognise a file, count its spectra, read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK
from raystellar.spectra.content import Content
from raystellar.spectra.record import Spectrum

Item = Spectrum | SpectrumError
"""One spectrum of a file, or the reason why it cannot be used."""


class Slice(NamedTuple):
    """Consecutive spectra of one file."""

    path: str
    """Path or URL of the file."""

    first: int = 0
    """Position of the first spectrum in the file; 0 in a file of one spectrum."""

    spectra: int | None = None
    """Number of spectra; None where the file was not opened, because its name says that it holds one spectrum."""


@dataclass(frozen=True)
class Source:
    """One file format."""

    name: str
    """Name of the format in messages."""

    claims: Callable[[bytes, str], bool]
    """Function that takes the first ``CLAIM_BYTES`` of a file, unpacked, and its name, and tells whether the file has
    this format. Magic bytes and header cards decide; the name decides only as the last resort."""

    read: Callable[[Content, int], Iterator[Item]]
    """Function that yields one item for each spectrum from a position on (0 is the first). The function ``count``
    returns the number of all items. Instead of items, ``read`` may raise SpectrumError, which counts as one item."""

    count: Callable[[Content], int] = lambda _: 1
    """Function that returns the number of items of ``read``, from headers or footers only. It may raise SpectrumError
    where ``read`` raises the error before its first item."""


CLAIM_BYTES = 4 * FITS_BLOCK
"""Leading bytes passed to each source's ``claims`` [bytes]; they hold 144 header cards."""
