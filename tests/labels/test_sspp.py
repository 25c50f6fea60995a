import numpy as np
import pytest

from raystellar.labels.config import LabelsConfig
from raystellar.labels.sspp import flag_letters, flag_raised

CONFIG = LabelsConfig()


@pytest.mark.parametrize(
    ("flag", "critical"),
    [
        *((f"{letter}nnnn", True) for letter in "DdHhESV"),
        *((f"{letter}nnnn", False) for letter in "nlN"),
        *((f"nnnn{letter}", True) for letter in "BRX"),
        *((f"nnnn{letter}", False) for letter in "ncTPN"),
        ("nCnnn", False),
        ("nnBnn", False),
        ("nnbnn", False),
        ("nnnGn", False),
        ("nnngn", False),
        ("NCBgc", False),
        ("EnnnX", True),
        ("XBRVn", False),
    ],
)
def test_flag_letters_stand_at_their_position(flag, critical):
    letters = flag_letters(np.array([flag.encode(), b"nnnnn"]))
    assert flag_raised(letters, CONFIG.critical_flags).tolist() == [critical, False]


@pytest.mark.parametrize("flag", [b"", b"nnnn", b"nnnnnn", b"nn nn", b"0", b"nnnn1", b"NULL"])
def test_a_flag_is_five_letters(flag):
    assert not flag_letters(np.array([flag, b"nnnnn"]))[0].any()
    assert flag_letters(np.array([b" nnnnn ", flag]))[0].tobytes() == b"nnnnn"
