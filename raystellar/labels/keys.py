"""Integers that identify spectra: plate, mjd and fiberid packed into one number, or a hash of a name.

    key = plate * 10**9 + mjd * 10**4 + fiberid         smaller than ``NAMELESS``
    key = NAMELESS | 62 bits of a hash of the name      at least ``NAMELESS``

``key // FIBRES_PER_KEY`` of a packed key is the same number for all spectra that a plate took on one date.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

FIBRES_PER_KEY = 10**4
"""Number of fibre numbers in a key; the last four digits of a key are the fibre."""

DATES_PER_KEY = 10**5
"""Number of dates in a key; five digits of a key are the date (MJD)."""

PLATES_PER_KEY = 10**6
"""Number of plates that fit in a key."""

NAMELESS = 1 << 62
"""Smallest key of spectra that have no plate, mjd and fiberid. All packed keys are smaller."""

BOSS_PLATE = 3510
"""First plate of the BOSS spectrograph. The last plate of the SDSS spectrograph is 3480."""

MAX_FIBRE = {"sdss": 640, "boss": 1000}
"""Largest fibre numbers of the two spectrographs."""

_THREE_NUMBERS = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)


def pack_key(plate: ArrayLike, mjd: ArrayLike, fiberid: ArrayLike) -> NDArray[np.int64]:
    """Pack plate, mjd and fiberid (numbers, NaN allowed) into keys.

    The key is -1 where one of the three is not a whole number or has too many digits, so that keys never collide.
    """
    parts = [np.asarray(part) for part in (plate, mjd, fiberid)]
    valid = np.ones(np.broadcast_shapes(*(part.shape for part in parts)), bool)
    whole = []
    for part, least, end in zip(parts, (1, 1, 0), (PLATES_PER_KEY, DATES_PER_KEY, FIBRES_PER_KEY), strict=True):
        fits_in = (part >= least) & (part < end) & (part == np.floor(part))
        whole.append(np.where(fits_in, part, 0).astype(np.int64))
        valid &= fits_in
    return np.where(valid, (whole[0] * DATES_PER_KEY + whole[1]) * FIBRES_PER_KEY + whole[2], -1)


def unpack_key(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return plate, mjd and fiberid of keys, see ``pack_key``."""
    observation, fiberid = np.divmod(key, FIBRES_PER_KEY)
    plate, mjd = np.divmod(observation, DATES_PER_KEY)
    return plate, mjd, fiberid


def packed(plate: int, mjd: int, fiberid: int) -> int:
    """Return the key that ``pack_key`` gives for one spectrum; -1 where there is none."""
    if 1 <= plate < PLATES_PER_KEY and 1 <= mjd < DATES_PER_KEY and 0 <= fiberid < FIBRES_PER_KEY:
        return (plate * DATES_PER_KEY + mjd) * FIBRES_PER_KEY + fiberid
    return -1


def name_key(name: str) -> int:
    """Return the key of a name: a hash by BLAKE2b, the same on every machine."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return NAMELESS | (int.from_bytes(digest, "little") & (NAMELESS - 1))


def spec_id_key(spec_id: str) -> int:
    """Return the key of the name of a spectrum; -1 for an empty name.

    A name of the form plate-mjd-fiberid gives the packed key. Leading zeros of a name of three numbers do not matter.
    """
    numbers = _THREE_NUMBERS.fullmatch(spec_id)
    if not numbers:
        return name_key(spec_id) if spec_id else -1
    first, second, third = map(int, numbers.groups())
    key = packed(first, second, third)
    return key if key >= 0 else name_key(f"{first}-{second}-{third}")
