"""The spectra of a few rows of a catalogue, read again from their files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raystellar.errors import RaystellarError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.output.folder import ShardedOutput
from raystellar.preprocessing.ingest import Admitted, ingest
from raystellar.preprocessing.pixels import PreprocessConfig, Preprocessor
from raystellar.report.catalog.census import Pick
from raystellar.spectra import Slice
from raystellar.spectra.record import Spectrum

OTHER_SPECTRUM = "another spectrum of its file"
"""Reason to pass over each spectrum of a file that the gallery does not show."""


@dataclass(frozen=True)
class SpectrumOfRow:
    """The spectrum of a row of the gallery."""

    pick: Pick
    """Row of the catalogue."""
    flux: np.ndarray | None
    """Standardised flux (P,); None where the spectrum cannot be read."""
    why: str = ""
    """Reason why the spectrum cannot be read."""


def read_spectra_again(
    picks: Sequence[Pick], output: ShardedOutput, config: PreprocessConfig, fetch: FetchConfig
) -> list[SpectrumOfRow]:
    """Read and preprocess the spectra of rows, as ``raystellar label`` did.

    Parameters
    ----------
    picks : rows of the catalogue
    output : folder of the catalogue; its manifest tells which part of a file holds a spectrum
    config : preprocessing of the model that labelled the rows
    fetch : requests for files on servers
    """
    preprocessor = Preprocessor(config)
    with Fetcher(fetch) as fetcher:
        return [_read(pick, output, preprocessor, fetcher) for pick in picks]


def _read(pick: Pick, output: ShardedOutput, preprocessor: Preprocessor, fetcher: Fetcher) -> SpectrumOfRow:
    def admit(spectrum: Spectrum) -> Admitted:
        if spectrum.spec_id != pick.row["spec_id"]:
            raise SpectrumError("read", OTHER_SPECTRUM)
        known = pick.row["rv"] is not None and pick.row["rv_source"] != "none"
        return Admitted(pick.row["rv"] if known else math.nan, "catalog")

    try:
        batch = ingest(_slices(pick, output), preprocessor, admit, fetcher)
    except RaystellarError as error:
        return SpectrumOfRow(pick, None, str(error))
    if len(batch.flux):
        return SpectrumOfRow(pick, batch.flux[0].copy())
    reasons = [error.reason for _, error in batch.rejects if error.reason != OTHER_SPECTRUM]
    return SpectrumOfRow(pick, None, reasons[0] if reasons else "its file no longer holds it")


def _slices(pick: Pick, output: ShardedOutput) -> list[Slice]:
    """Return the slice of the file that holds the spectrum; the whole file where the manifest has no such slice."""
    try:
        slices = [part for part in output.slices(pick.shard) if part.path == pick.row["path"]]
    except (RaystellarError, IndexError):  # the manifest has other shards
        slices = []
    return slices or [Slice(pick.row["path"])]
