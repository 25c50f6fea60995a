"""The spectra of a few rows of a catalogue, read again from where they lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raystellar.errors import RaystellarError, SpectrumError
from raystellar.files.fetcher import FetchConfig, Fetcher
from raystellar.output.folder import ShardedOutput
from raystellar.preprocess.ingest import Admitted, ingest
from raystellar.preprocess.pixels import PreprocessConfig, Preprocessor
from raystellar.report.catalog.census import Pick
from raystellar.spectra import Slice
from raystellar.spectra.record import Spectrum

OTHER = "another spectrum of its file"


@dataclass(frozen=True)
class Again:
    """The spectrum of a row."""

    pick: Pick
    flux: np.ndarray | None
    """(P,) standardised; None where it cannot be had."""
    why: str = ""
    """It cannot be had."""


def read_again(
    picks: Sequence[Pick], output: ShardedOutput, config: PreprocessConfig, fetch: FetchConfig
) -> list[Again]:
    """Read and preprocess the spectra of rows, as they were to be labelled; one that is gone is none.

    Parameters
    ----------
    output : the catalogue, whose manifest says where in a file of many a spectrum may be
    config : of the model that labelled them
    """
    preprocessor = Preprocessor(config)
    with Fetcher(fetch) as fetcher:
        return [_read(pick, output, preprocessor, fetcher) for pick in picks]


def _read(pick: Pick, output: ShardedOutput, preprocessor: Preprocessor, fetcher: Fetcher) -> Again:
    def admit(spectrum: Spectrum) -> Admitted:
        if spectrum.spec_id != pick.row["spec_id"]:
            raise SpectrumError("read", OTHER)
        known = pick.row["rv"] is not None and pick.row["rv_source"] != "none"
        return Admitted(pick.row["rv"] if known else math.nan, "catalog")

    try:
        batch = ingest(_slices(pick, output), preprocessor, admit, fetcher)
    except RaystellarError as error:
        return Again(pick, None, str(error))
    if len(batch.flux):
        return Again(pick, batch.flux[0].copy())
    reasons = [error.reason for _, error in batch.rejects if error.reason != OTHER]
    return Again(pick, None, reasons[0] if reasons else "its file no longer holds it")


def _slices(pick: Pick, output: ShardedOutput) -> list[Slice]:
    """Return where in its file the spectrum was."""
    try:
        found = [part for part in output.slices(pick.shard) if part.path == pick.row["path"]]
    except (RaystellarError, IndexError):  # the manifest is of other shards
        found = []
    return found or [Slice(pick.row["path"])]
