"""Formats that are known and not read: files that archives keep beside spectra, or send in their place.

A file of such a format becomes a reject whose reason names the format. A format is known by its content, or else by
the name that its survey gives to the file. Only files that the reader of spec files has refused are asked for their
format, so that it costs nothing to know many formats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from raystellar.errors import SpectrumError
from raystellar.spectra.fits_bytes import header_end

APOGEE = "APOGEE spectrum"
"""Reason to refuse infrared spectra, which have no pixel on the grid."""

WEB_PAGE = "web page, not a spectrum"
"""Reason to refuse a page in HTML, XML or JSON, mostly an error message of a server."""

LOOKED_AT_BYTES = 1 << 17
"""Number of leading bytes in which the signs of a format are searched: the headers, and no more than needed."""

_WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[!?a-zA-Z]|[\[{]*\{\s*[\"}])")
_SIGNATURE = b"SIMPLE  ="
_TTYPE = re.compile(rb"TTYPE\d+ *= '([^']*)'")


class _Format(NamedTuple):
    """A FITS format that is not read."""

    reason: str

    name: re.Pattern[str] | None = None
    """Pattern at the beginning of the name of a file."""

    cards: re.Pattern[bytes] | None = None
    """Pattern in the primary header."""

    columns: tuple[str, ...] = ()
    """Names of columns of the first table in lower case, all of which the table must have."""


_FORMATS = (
    _Format(
        APOGEE,
        re.compile(r"(?:ap|as)(?:Star|Visit)|aspcapStar"),
        re.compile(rb"V_APRED *=|APRED   *=|(?:APSTAR|APVISIT|ASPCAP): |APOGEE Reduction"),
    ),
    _Format("MaNGA spectra", re.compile(r"ma(?:nga|star)-"), re.compile(rb"PLATEIFU=|MANGAID *=|VERSDRP3=")),
    _Format("template library", re.compile(r"spEigen|kurucz"), re.compile(rb"NAME0   = '")),
    _Format("line table (spZline)", re.compile(r"sp(?:Zline|AllLine)"), None, ("linename", "linewave")),
    _Format(
        "redshift table (spZbest, spAll)", re.compile(r"sp(?:Zbest|Zall|All|ecObj)"), None, ("class", "z", "zwarning")
    ),
    _Format(
        "single exposures of DESI (spectra)",
        re.compile(r"spectra-(?:cmx|main|special|sv\d|\d)-"),
        None,
        ("targetid", "expid", "night"),
    ),
    _Format("redshift table (redrock)", re.compile(r"redrock-|zcatalog-|zall-"), None, ("spectype", "z", "zwarn")),
    _Format(
        "list of plates (platelist)", re.compile(r"(?:plate|field)list|plates-"), None, ("plate", "mjd", "platequality")
    ),
    _Format("list of plates (platelist)", None, None, ("field", "mjd", "fieldquality", "nexp")),
    _Format("table of stellar parameters", re.compile(r"ssppOut|allStar|astraAll"), None, ("feh_adop", "teff_adop")),
    _Format("table of stellar parameters", None, None, ("teff", "logg")),
)


def refusal(data: bytes, path: str, error: SpectrumError) -> SpectrumError:
    """Return the error that names the format of a refused file; ``error`` where the format is not known.

    Parameters
    ----------
    data : first bytes of the file, unpacked
    path : path or URL of the file
    error : error of the reader that refused the file
    """
    reason = _reason(data[:LOOKED_AT_BYTES], os.path.basename(path)) if error.stage == "read" else ""
    return SpectrumError("read", reason, str(error)) if reason else error


def _reason(head: bytes, name: str) -> str:
    """Return the reason that names the format of a file; empty where the format is not known."""
    if _WEB_PAGE.match(head):
        return WEB_PAGE
    if not head.startswith(_SIGNATURE):
        return ""
    primary, extension = _headers(head)
    columns = {column.decode("ascii", "replace").strip().lower() for column in _TTYPE.findall(extension)}
    return next((known.reason for known in _FORMATS if _is(known, name, primary, columns)), "")


def _is(known: _Format, name: str, primary: bytes, columns: Iterable[str]) -> bool:
    """Return whether a file has a format, by its cards or columns or else its name."""
    if known.cards is not None and known.cards.search(primary):
        return True
    if known.columns and "flux" not in columns and set(known.columns) <= set(columns):
        return True
    return known.name is not None and known.name.match(name) is not None


def _headers(head: bytes) -> tuple[bytes, bytes]:
    """Return the primary header and the header that follows it without data between; empty where it is cut off."""
    ends = [0]
    for _ in range(2):
        try:
            ends.append(header_end(head, ends[-1]))
        except SpectrumError:
            ends.append(len(head) if len(ends) == 1 else ends[-1])
    return head[: ends[1]], head[ends[1] : ends[2]]
