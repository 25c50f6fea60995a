"""The state of a fit in files."""

import logging

import numpy as np
import pytest

from raystellar.fit.checkpoints import Checkpoints, State


def state(epoch, value=0.0):
    history = [{"epoch": number + 1, "mae": [1.0, 0.1, 0.2]} for number in range(epoch)]
    return State({"parameters": np.full(3, value, np.float32)}, epoch, 10 * epoch, 1, history)


def test_a_state_comes_back_as_it_was_encoded():
    before = state(2, value=0.5)
    again = State.decode(before.encode())
    assert np.array_equal(again.tensors["parameters"], before.tensors["parameters"])
    assert (again.epoch, again.step, again.best_epoch, again.history) == (2, 20, 1, before.history)


@pytest.mark.parametrize("durable", [False, True])
def test_the_latest_epochs_are_kept(tmp_path, durable):
    checkpoints = Checkpoints(str(tmp_path), "fit", keep=2, durable=durable)
    assert checkpoints.latest() is None
    for epoch in range(1, 5):
        checkpoints.save(epoch, state(epoch).encode())
    assert [name.name[:11] for name in sorted((tmp_path / "fit").iterdir())] == ["epoch-00003", "epoch-00004"]
    assert State.decode(checkpoints.latest()).epoch == 4


def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path, caplog):
    checkpoints = Checkpoints(str(tmp_path), "fit")
    for epoch in (1, 2):
        checkpoints.save(epoch, state(epoch).encode())
    newest = max((tmp_path / "fit").iterdir())
    newest.write_bytes(newest.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        assert State.decode(checkpoints.latest()).epoch == 1
    assert f"{newest} is damaged" in caplog.text


def test_files_of_another_fit_are_ignored_with_a_warning(tmp_path, caplog):
    Checkpoints(str(tmp_path), "one").save(1, state(1).encode())
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(str(tmp_path), "two").latest() is None
    assert "another fit" in caplog.text
