"""What a survey's module offers: how to know its files, count the spectra in them, and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_BLOCK
from raystellar.spectra.content import Content
from raystellar.spectra.record import Spectrum

Item = Spectrum | SpectrumError
"""One spectrum of a file, or why it cannot be used."""


class Slice(NamedTuple):
    """Some of the spectra of one file."""

    path: str
    first: int = 0
    """The first of them; 0 in a file of one spectrum."""
    spectra: int | None = None
    """How many; None where by its name the file holds one, and no one has counted."""


@dataclass(frozen=True)
class Source:
    """One format of files."""

    name: str
    """What it is called in messages."""

    claims: Callable[[bytes, str], bool]
    """Whether a file that begins with these bytes (``CLAIM_BYTES`` of it, unpacked) and has this name is one of its
    own. By magic bytes and header cards; the name is the last resort."""

    read: Callable[[Content, int], Iterator[Item]]
    """Yield one item for each spectrum from this one on (0 is the first), to as many in all as ``count`` says; or
    raise SpectrumError, which counts as one."""

    count: Callable[[Content], int] = lambda _: 1
    """The number of items that ``read`` yields, found in headers or footers only. It may raise SpectrumError where
    ``read`` does before its first item."""


CLAIM_BYTES = 4 * FITS_BLOCK
"""What of a file the sources see when they are asked whose it is [bytes]: 144 header cards."""
