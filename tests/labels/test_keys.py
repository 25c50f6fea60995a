import numpy as np

from raystellar.labels.keys import FIBRES_PER_KEY, NAMELESS, pack_key, unpack_key


def test_keys_do_not_collide():
    key = pack_key(
        [266, 10000, 266, 266.5, np.nan, 0, 266],
        [51602, 57346, 151602, 51602, 51602, 51602, 51602],
        [28, 1000, 28, 28, 28, 28, 10000],
    )
    assert key.tolist() == [266516020028, 10000573461000, -1, -1, -1, -1, -1]


def test_unpacked_keys_are_the_numbers_that_were_packed():
    numbers = np.array([[1, 266, 999_999], [1, 51602, 99_999], [0, 640, 9_999]])
    key = pack_key(*numbers)
    np.testing.assert_array_equal(unpack_key(key), numbers)
    assert key.max() < NAMELESS


def test_spectra_of_one_plate_and_date_share_the_key_without_its_fibre():
    key = pack_key([266, 266, 266, 267], [51602, 51602, 51630, 51602], [1, 640, 1, 1]) // FIBRES_PER_KEY
    assert (key[0] == key).tolist() == [True, True, False, False]
