"""Flags of the SEGUE Stellar Parameter Pipeline (SSPP): the meaning of their letters.

Source: SDSS data model of ``ssppOut``; SSPP flag page of DR10.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FLAG_LENGTH = 5
"""Number of letters of an SSPP flag."""


def flag_letters(flags: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    """Return the letters (n, 5) of SSPP flags as ASCII codes; zeros where a flag is not five letters."""
    flags = np.strings.strip(flags).astype(f"S{FLAG_LENGTH + 1}")
    letters = np.ascontiguousarray(flags).view(np.uint8).reshape(len(flags), FLAG_LENGTH + 1)
    lower = letters[:, :FLAG_LENGTH] | 0x20
    whole = ((lower >= ord("a")) & (lower <= ord("z"))).all(axis=1) & (letters[:, FLAG_LENGTH] == 0)
    return np.where(whole[:, None], letters[:, :FLAG_LENGTH], 0).astype(np.uint8)


def flag_raised(letters: NDArray[np.uint8], critical: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each flag (n,) whether it has a critical letter.

    The meaning of a letter depends on its position: B is critical at the fifth position and harmless at the third.

    Parameters
    ----------
    letters : (n, 5) see ``flag_letters``
    critical : critical letters of each of the five positions
    """
    raised = np.zeros(len(letters), bool)
    for position, critical_letters in enumerate(critical):
        raised |= np.isin(letters[:, position], np.frombuffer(critical_letters.encode(), np.uint8))
    return raised
