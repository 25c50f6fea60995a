"""The record of every trial, written and read."""

import dataclasses
import json
import math

import pytest

from raystellar.errors import InputError
from raystellar.search.trials import TRIALS_NAME, Trial, best, read_trials, write_trials

CHOICE = {"stem": 64, "head_teff": [48, 32], "learning_rate": 1.2345678901234567e-3}


def trial(number, *losses, failure=""):
    return Trial(number, 0, {"stem": number}, validation=list(losses), failure=failure)


def test_trials_are_read_as_they_were_written(tmp_path):
    whole = Trial(
        number=1, generation=2, choice=CHOICE,
        validation=[0.1, math.nan, math.inf], training=[0.3, -math.inf, 0.1 + 0.2], mae=[[100.0, 0.1, math.nan]] * 3,
        repeats={"1": 0.2, "2": math.inf}, seconds=1.5, overhead=0.25, parameters=542_771, predict_ms=3.25,
        failure="", worker="10.0.0.1 pid 7 gpu 0",
    )  # fmt: skip
    trials = [Trial(0, 0, {}), whole, trial(2, failure="the validation loss was never finite — ΔT")]
    write_trials(str(tmp_path), trials)
    back = read_trials(str(tmp_path))
    assert [repr(one) for one in back] == [repr(one) for one in trials]  # NaN equals nothing, but reads alike
    write_trials(str(tmp_path), back[:1])
    assert read_trials(str(tmp_path)) == trials[:1]
    assert [path.name for path in tmp_path.iterdir()] == [TRIALS_NAME]


def test_a_folder_without_a_record_has_no_trials(tmp_path):
    assert read_trials(str(tmp_path)) == []
    assert read_trials(str(tmp_path / "nowhere")) == []
    assert read_trials("memory://nowhere-at-all") == []


def test_the_record_can_be_on_a_server():
    write_trials("memory://trials-test", [trial(0, 0.5)])
    assert read_trials("memory://trials-test") == [trial(0, 0.5)]


@pytest.mark.parametrize(
    "damage",
    [b"", b"[{", b"null", b"3", b'{"number": 0}', b"[1]", b"[[]]", b'[{"number": 0}]', b"\xff\xfe", b'["text"]'],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    (tmp_path / TRIALS_NAME).write_bytes(damage)
    with pytest.raises(InputError, match="is damaged") as error:
        read_trials(str(tmp_path))
    assert "\n" not in str(error.value)
    assert TRIALS_NAME in str(error.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    write_trials(str(tmp_path), [trial(0, 0.5), trial(1, 0.25, math.nan)])
    whole = (tmp_path / TRIALS_NAME).read_bytes()
    for end in range(len(whole)):
        (tmp_path / TRIALS_NAME).write_bytes(whole[:end])
        with pytest.raises(InputError):
            read_trials(str(tmp_path))


def test_every_field_is_kept(tmp_path):
    write_trials(str(tmp_path), [trial(0)])
    row = json.loads((tmp_path / TRIALS_NAME).read_text())[0]
    assert set(row) == {entry.name for entry in dataclasses.fields(Trial)}


def test_the_loss_is_the_least_so_far():
    one = trial(0, 0.5, math.nan, 0.2, 0.3)
    assert [one.loss(epochs) for epochs in (1, 2, 3, 4)] == [0.5, 0.5, 0.2, 0.2]
    assert one.loss() == 0.2
    assert one.epochs == 4
    assert trial(0).loss() == trial(0, math.nan).loss() == trial(0, math.inf).loss() == math.inf
    assert trial(0, 0.5, failure="burst").loss() == math.inf


def test_the_best_trial_is_among_those_trained_the_longest():
    trials = [trial(0, 0.1), trial(1, 0.5, 0.4, 0.35), trial(2, 0.5, 0.3, 0.3), trial(3, 0.2, 0.2)]
    assert best(trials) is trials[2]
    assert best(trials[:2]) is trials[1]
    further = trial(4, math.nan, math.nan, math.nan, math.nan)
    assert best([*trials, further]) is trials[2]
    assert best([trial(0, 0.5, 0.4, failure="burst"), trial(1, 0.7)]).number == 1
    assert best([trial(0, 0.5), trial(1, 0.5)]).number == 0
    assert best([]) is best([trial(0), trial(1, math.nan), trial(2, failure="burst")]) is None


def test_further_seeds_decide_among_the_finalists():
    lucky, steady, third = trial(0, 0.3, 0.10), trial(1, 0.3, 0.12), trial(2, 0.3, 0.05)
    for one, losses in ((lucky, (0.2, 0.3)), (steady, (0.13, 0.11))):
        for repeat, loss in enumerate(losses, 1):
            one.update({"validation": [0.9, math.nan, loss, 0.5], "seconds": 2.0, "worker": "other"}, repeat)
    assert lucky.repeats == {"1": 0.2, "2": 0.3}
    assert steady.mean_loss() == pytest.approx(0.12)
    assert best([lucky, steady, third]) is steady
    assert lucky.validation == [0.3, 0.10]  # the record is of the first seed
    assert (lucky.seconds, lucky.cost(2)) == (4.0, 6)
    steady.update({"failure": "the loss was never finite"}, 2)
    assert (steady.repeats["2"], steady.failure) == (math.inf, "")
    assert best([lucky, steady, third]) is lucky


def test_an_outcome_updates_the_trial():
    one = trial(0)
    one.update({"validation": [0.5], "seconds": 1.0, "overhead": 0.5, "worker": "here"})
    one.update({"validation": [0.5, 0.4], "seconds": 2.0, "overhead": 0.25, "worker": "there"})
    assert (one.validation, one.seconds, one.worker) == ([0.5, 0.4], 2.0, "there")
    assert one.overhead == 0.75  # of all its parts
    one.update({"validation": [0.5], "seconds": 4.0, "overhead": 0.25}, repeat=1)
    assert (one.seconds, one.overhead) == (6.0, 1.0)


def test_the_state_follows_from_epochs_and_failure():
    whole, part, none, failed = trial(0, 0.3, 0.2), trial(1, 0.3), trial(2), trial(3, 0.3, failure="burst")
    assert [one.state(2) for one in (whole, part, none, failed)] == ["done", "stopped", "waiting", "failed"]
    assert [one.reached(2) for one in (whole, part, none, failed)] == [True, False, False, True]
