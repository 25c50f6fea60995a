"""Spectra that several tests share: the synthesis of one takes 0.1 s."""

import functools

import numpy as np
import pytest

from raystellar.bench.sky import BANDS_AIR, equivalent_width
from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, synthesize

WAVE = 10.0**SYNTHESIS_LOGLAM


@pytest.fixture(scope="session")
def spectrum():
    """Return a function that synthesizes a spectrum once and remembers it, read-only."""

    @functools.cache
    def once(*label: float, **more: float) -> np.ndarray:
        flux = synthesize(*label, **more)
        flux.flags.writeable = False
        return flux

    return once


@pytest.fixture(scope="session")
def width(spectrum):
    """Return a function that measures the equivalent width [A] of a line of ``BANDS_AIR`` in a synthetic spectrum."""

    def measure(name: str, *label: float, **more: float) -> float:
        return equivalent_width(WAVE, spectrum(*map(float, label), **more), BANDS_AIR[name])

    return measure
