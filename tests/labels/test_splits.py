import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labeltables import one_row, save

from raystellar.config import build
from raystellar.errors import ConfigError, LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.keys import unpack_key
from raystellar.labels.splits import SPLITMIX64_STEP, SplitConfig, assign_splits, draw_splits, seeded_hash, splitmix64
from raystellar.labels.table import read_labels
from raystellar.schema import SPLITS

stars = st.lists(st.integers(0, 60), min_size=1, max_size=120).map(lambda ids: np.array(ids) * 10**9 + 7)


def keys_of(star_id):
    return np.arange(len(star_id)) + 5 * 10**11


@settings(max_examples=40, deadline=None)
@given(stars, st.integers(0, 9), st.sampled_from(["star", "spectrum"]), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_and_stars_stay_together(star_id, seed, by, random):
    config = SplitConfig(train=0.5, validation=0.2, test=0.2, seed=seed, by=by)
    keys = keys_of(star_id)
    split = assign_splits(star_id, keys, config)
    assert split.dtype == np.int8
    order = np.array(random.sample(range(len(star_id)), len(star_id)))
    np.testing.assert_array_equal(assign_splits(star_id[order], keys[order], config), split[order])
    if by == "star":
        assert all(len(set(split[star_id == star])) == 1 for star in np.unique(star_id))


@settings(max_examples=40, deadline=None)
@given(stars, st.integers(0, 9), st.integers(2, 40), st.integers(2, 20), st.randoms(use_true_random=False))
def test_counts_are_exact(star_id, seed, train, test, random):
    singles = np.arange(70) + 10**12
    star_id = np.concatenate([star_id, singles])
    keys = keys_of(star_id)
    config = SplitConfig(train=float(train), validation=0.0, test=float(test), seed=seed)
    split = assign_splits(star_id, keys, config)
    assert np.bincount(split + 1, minlength=4)[1:].tolist() == [train, 0, test]
    assert all(len(set(split[star_id == star])) == 1 for star in np.unique(star_id))
    order = np.array(random.sample(range(len(star_id)), len(star_id)))
    np.testing.assert_array_equal(assign_splits(star_id[order], keys[order], config), split[order])


@settings(max_examples=20, deadline=None)
@given(stars, stars)
def test_more_stars_move_none_of_the_others(few, more):
    config = SplitConfig()
    both = np.concatenate([few, more + 10**11])
    np.testing.assert_array_equal(
        assign_splits(both, keys_of(both), config)[: len(few)], assign_splits(few, keys_of(few), config)
    )


def test_the_paper_sizes_with_repeats():
    rng = np.random.default_rng(1)
    star_id = rng.integers(0, 45000, 54400)
    config = SplitConfig(train=30000.0, validation=5000.0, test=15000.0)
    split = assign_splits(star_id, keys_of(star_id), config)
    assert np.bincount(split + 1).tolist() == [4400, 30000, 5000, 15000]
    sides = [set(star_id[split == side]) for side in range(len(SPLITS))]
    assert len(sides[0] | sides[1] | sides[2]) == sum(map(len, sides))


def test_all_spectra_are_drawn_by_fractions_of_one_and_by_counts_of_all():
    star_id = np.arange(20000)
    split = assign_splits(star_id, star_id, SplitConfig())
    np.testing.assert_allclose(np.bincount(split + 1) / 20000, [0, 0.8, 0.1, 0.1], atol=0.01)
    whole = SplitConfig(train=15000.0, validation=2000.0, test=3000.0)
    assert np.bincount(assign_splits(star_id, star_id, whole)).tolist() == [15000, 2000, 3000]
    assert not assign_splits(star_id, star_id, SplitConfig(train=1.0, validation=0.0, test=0.0)).any()


def test_the_seed_chooses_the_draw():
    star_id = np.arange(2000)
    draws = [assign_splits(star_id, star_id, SplitConfig(seed=seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    # independent draws agree by chance in 0.8**2 + 2 * 0.1**2 of the stars
    assert (draws[0] == draws[2]).mean() == pytest.approx(0.66, abs=0.05)


def test_splitmix64_gives_the_published_numbers():
    # The generator's first outputs from state 0. The state steps by the constant that splitmix64 adds.
    states = np.array([0, SPLITMIX64_STEP, 2 * SPLITMIX64_STEP % 2**64], dtype=np.uint64)
    assert [hex(value) for value in splitmix64(states)] == [
        "0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"
    ]  # fmt: skip


def test_hash_of_stars_is_known_and_uniform():
    first = 0xE220A8397B1DCDAF  # splitmix64 of state 0, which is the salt of seed 0
    assert seeded_hash(np.array([first], np.uint64).view(np.int64), 0)[0] == first
    numbers = seeded_hash(266 * 10**9 + 51602 * 10**4 + np.arange(640), 3) / 2.0**64
    counts = np.histogram(numbers, 8, (0, 1))[0]
    assert ((counts - 80) ** 2 / 80).sum() < 30
    assert len(np.unique(numbers)) == 640


def test_a_star_that_does_not_fit_is_passed_over():
    star_id = np.array([1, 1, 1, 1, 1, 2, 3, 4])
    for seed in range(20):
        config = SplitConfig(train=3.0, validation=0.0, test=0.0, seed=seed)
        split = assign_splits(star_id, keys_of(star_id), config)
        assert split.tolist() == [-1] * 5 + [0] * 3


def test_counts_that_cannot_be_filled_are_refused():
    star_id = np.array([1, 1, 2, 2, 3, 3])
    with pytest.raises(LabelTableError, match="8 spectra are asked for and 6 are usable"):
        assign_splits(star_id, keys_of(star_id), SplitConfig(train=6.0, validation=2.0, test=0.0))
    with pytest.raises(LabelTableError, match="train = 3 spectra cannot be made up of whole stars"):
        assign_splits(star_id, keys_of(star_id), SplitConfig(train=3.0, validation=0.0, test=0.0))
    by_spectrum = SplitConfig(train=3.0, validation=2.0, test=0.0, by="spectrum")
    assert np.bincount(assign_splits(star_id, keys_of(star_id), by_spectrum) + 1).tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    "values",
    [
        {"train": 0.9},
        {"train": 30000, "validation": 0.1},
        {"train": 0.0},
        {"train": -1.0},
        {"train": 2.5, "validation": 0, "test": 0},
        {"seed": -1},
        {"by": "plate"},
        {"test": float("nan")},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ConfigError):
        build(SplitConfig, values, "split")


SPEC_FILES = ["a/spec-0266-51602-0001.fits", "spec-0266-51602-0003.fits.gz"]
PLATE_FILE = "https://server/spPlate-0267-51608.fits"


@pytest.mark.parametrize(
    ("files", "fibres"),
    [
        (SPEC_FILES, [2661, 2663]),
        ([PLATE_FILE], [2671, 2672]),
        ([*SPEC_FILES, PLATE_FILE], [2661, 2663, 2671, 2672]),
        ([*SPEC_FILES, "spectra.parquet"], [2661, 2663, 2671, 2672, 2681]),
    ],
)
def test_counts_are_drawn_from_usable_spectra_whose_files_are_there(tmp_path, files, fibres):
    table = {name: np.repeat(values, 6) for name, values in one_row().items()}
    table |= {"plate": np.array([266, 266, 266, 267, 267, 268]), "mjd": np.array([51602] * 3 + [51608] * 3)}
    table |= {"fiberid": np.array([1, 2, 3, 1, 2, 1]), "teff": np.array([5000.0, np.nan, *[5000.0] * 4])}
    labels = read_labels(save(table, tmp_path / "t.csv"), LabelsConfig())
    paths = pa.chunked_array([files])
    split = draw_splits(labels, paths, SplitConfig(train=float(len(fibres)), validation=0.0, test=0.0))
    plate, _, fiberid = unpack_key(labels.key[split == 0])
    assert (plate * 10 + fiberid).tolist() == fibres
    with pytest.raises(LabelTableError, match=f"asked for and {len(fibres)} are usable"):
        draw_splits(labels, paths, SplitConfig(train=len(fibres) + 1.0, validation=0.0, test=0.0))
    whole = draw_splits(labels, paths, SplitConfig(train=1.0, validation=0.0, test=0.0))
    np.testing.assert_array_equal(whole == 0, labels.usable)
