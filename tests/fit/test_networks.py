"""The fit of several networks, each without another part of the training spectra."""

import dataclasses

import numpy as np
import pytest
from fitdata import spectra

from raystellar.fit.config import FitConfig
from raystellar.fit.loop import fit
from raystellar.fit.networks import PLATES_PER_PART, fit_networks, parts_of
from raystellar.labels.keys import FIBRES_PER_KEY
from raystellar.model.architecture import NetworkConfig

NETWORK = NetworkConfig(n_pixels=40, stem=16, blocks=(8,))
CONFIG = FitConfig(epochs=4, batch_size=16, members=3)
TRAIN, VALIDATION = spectra(120, 0), spectra(40, 1)
RNG = np.random.default_rng(0)


def stars(plates, per_plate):
    return np.repeat(FIBRES_PER_KEY * RNG.permutation(10 * plates)[:plates], per_plate) + np.tile(
        np.arange(per_plate), plates
    )


@pytest.mark.parametrize("members", [2, 4, 5])
def test_parts_are_of_whole_plates_and_of_one_size(members):
    star = RNG.permutation(stars(40, 7))
    star = np.concatenate([star, star[:20]])  # seen again
    parts = parts_of(star, members, 0)
    for plate in np.unique(star // FIBRES_PER_KEY):
        assert len(set(parts[star // FIBRES_PER_KEY == plate])) == 1
    sizes = np.bincount(parts[:280], minlength=members)
    assert np.ptp(sizes) <= 7


def test_parts_depend_on_the_stars_and_the_seed_alone():
    star = stars(40, 7)
    order = RNG.permutation(len(star))
    assert np.array_equal(parts_of(star[order], 4, 3), parts_of(star, 4, 3)[order])
    assert not np.array_equal(parts_of(star, 4, 3), parts_of(star, 4, 4))


def test_parts_are_of_stars_where_plates_are_few():
    star = np.repeat(stars(3 * PLATES_PER_PART - 1, 10), 2)
    parts = parts_of(star, 3, 0)
    assert np.array_equal(parts[::2], parts[1::2])
    assert set(parts[: 2 * 10]) == {0, 1, 2}  # of one plate
    assert np.ptp(np.bincount(parts)) <= 2
    assert parts_of(star, 0, 0) is None
    assert len(parts_of(star[:1], 4, 0)) == 1  # some parts are empty


def same(first, second):
    return all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def fitted(tmp_path, parts, config=CONFIG, train=TRAIN, **more):
    return fit_networks(
        train, VALIDATION, NETWORK, config, parts=parts, checkpoints=str(tmp_path), identity="x", device="cpu", **more
    )


def test_no_member_learns_from_its_part(tmp_path):
    parts = parts_of(np.arange(120), 3, 0)
    whole = fitted(tmp_path / "a", parts)
    flux = TRAIN.flux.copy()
    flux[parts == 1] = flux[0]
    changed = fitted(tmp_path / "b", parts, train=dataclasses.replace(TRAIN, flux=flux))
    assert [same(*pair) for pair in zip(whole, changed, strict=True)] == [False, True, False]
    assert len({result.weights["trunks.0.0.weight"].tobytes() for result in whole}) == 3
    for result in whole[1:]:
        assert result.label_ranges == whole[0].label_ranges
        assert np.array_equal(result.scaler.centre, whole[0].scaler.centre)


def test_the_fit_of_one_member_is_that_of_one_network(tmp_path):
    config = dataclasses.replace(CONFIG, members=1, folds=0)
    (result,) = fitted(tmp_path, None, config)
    assert same(result, fit(TRAIN, VALIDATION, NETWORK, config))


def test_beside_a_single_network_others_leave_out_parts(tmp_path):
    parts, config = parts_of(np.arange(120), 2, 0), dataclasses.replace(CONFIG, members=1, folds=2)
    assert config.left_out == (None, 0, 1)
    assert (CONFIG.parts, CONFIG.left_out) == (3, (0, 1, 2))
    whole = fitted(tmp_path / "a", parts, config)
    assert same(whole[0], fit(TRAIN, VALIDATION, NETWORK, config))
    flux = TRAIN.flux.copy()
    flux[parts == 1] = flux[0]
    changed = fitted(tmp_path / "b", parts, config, train=dataclasses.replace(TRAIN, flux=flux))
    assert [same(*pair) for pair in zip(whole, changed, strict=True)] == [False, False, True]


def test_a_fit_to_chosen_spectra_is_like_that_to_a_set_of_them():
    chosen = np.flatnonzero(RNG.random(120) < 0.7)
    some = dataclasses.replace(TRAIN, flux=TRAIN.flux[chosen], targets=TRAIN.targets[chosen], keys=TRAIN.keys[chosen])
    result, expected = (
        fit(TRAIN, VALIDATION, NETWORK, CONFIG, chosen=chosen), fit(some, VALIDATION, NETWORK, CONFIG)
    )  # fmt: skip
    assert [past["train_loss"] for past in result.history] == pytest.approx(
        [past["train_loss"] for past in expected.history], rel=0.2
    )  # the scale of the targets is that of all


def test_a_fit_that_was_killed_resumes(tmp_path):
    parts, epochs = parts_of(np.arange(120), 3, 0), []

    def kill(member, report):
        epochs.append((member, report.epoch))
        if (member, report.epoch) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "a", parts, report=kill)
    again = fitted(tmp_path / "a", parts, report=kill)
    assert epochs == [(member, epoch) for member in range(3) for epoch in range(1, 5)]
    assert all(same(*pair) for pair in zip(again, fitted(tmp_path / "b", parts), strict=True))
