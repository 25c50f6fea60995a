"""Readers of survey spectra: one format a file, one record out.

A reader is a function ``(path, data=None) -> Spectrum`` (``record.py``). It returns the spectrum as
observed, in vacuum wavelengths, with nothing masked, corrected or shifted, or raises ``SpectrumError`` with a
stage and a short reason that can be counted. It raises nothing else, whatever the bytes are: a job reads
millions of files, and some are half written, some are error pages of a web server.

To add a survey, write one module beside ``spec.py`` with such a function, let ``read_spectrum`` choose it by
what stands in the file, not by its name, and give the tests one real file and one damaged one. ``fits_bytes``
decodes plain FITS tables without going through all their columns.
"""

from __future__ import annotations

from raystellar.spectra.record import Spectrum
from raystellar.spectra.spec import read_spec

__all__ = ["Spectrum", "read_spectrum"]


def read_spectrum(path: str, data: bytes | None = None) -> Spectrum:
    """Return the spectrum in a file of any survey known here; at present SDSS spec files.

    Parameters
    ----------
    path : name of the file; read from disk unless ``data`` is given
    data : contents of the file, where they were fetched from elsewhere

    Raises
    ------
    SpectrumError
        where the file cannot be used; nothing else is raised
    """
    return read_spec(path, data)
