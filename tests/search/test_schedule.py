"""Successive halving, for any losses and any order in which tasks end."""

import json
import math
import random
from collections import Counter
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raystellar.search.config import TuneConfig
from raystellar.search.schedule import Propose, Task, next_step, order, pareto_fronts, total_epochs
from raystellar.search.trials import Trial


class Losses:
    """Losses of trials as functions of seed, trial and epoch, with ties."""

    def __init__(self, seed, burst=0.0, nan=0.0, bursts_late=True):
        self.seed, self.burst, self.nan, self.bursts_late = seed, burst, nan, bursts_late

    def at(self, trial, epoch, repeat=0):
        dice = random.Random(f"{self.seed} {trial} {repeat} {epoch}")
        return math.nan if epoch > 1 and dice.random() < self.nan else dice.randrange(30) / epoch

    def outcome(self, task):
        bursts_at = random.Random(f"{self.seed} {task.trial} {task.repeat}")
        if bursts_at.random() < self.burst and task.until >= bursts_at.randrange(1, 30 if self.bursts_late else 2):
            return {"failure": "the loss was never finite"}
        validation = [self.at(task.trial, epoch, task.repeat) for epoch in range(1, task.until + 1)]
        return {"validation": validation, "parameters": 1 + random.Random(f"{self.seed} p {task.trial}").randrange(5)}


def search(config, epochs, losses, shuffle=None, restart=False):
    """Run a search; return its trials, and the tasks of each step with the trials as they were before the step.

    With ``shuffle`` the tasks of a step end in another order. With ``restart`` all but the records, as JSON holds
    them, is forgotten after each task.
    """
    trials, steps = [], []
    for _ in range(100_000):
        step = next_step(trials, config, epochs)
        if isinstance(step, Propose):
            assert 1 <= step.choices <= config.trials - len(trials)
            generation = 1 + max((trial.generation for trial in trials), default=-1)
            trials += [Trial(len(trials) + i, generation, {}) for i in range(step.choices)]
            continue
        if not step:
            return trials, steps
        assert len({(task.trial, task.repeat) for task in step}) == len(step)
        for task in step:
            assert not trials[task.trial].failure
            if task.repeat:
                assert task.until == epochs == trials[task.trial].epochs
                assert str(task.repeat) not in trials[task.trial].repeats
            else:
                assert task.until > trials[task.trial].epochs
        steps.append((step, [Trial(**asdict(trial)) for trial in trials]))
        if shuffle:
            shuffle.shuffle(step)
        for task in step[:1] if restart else step:
            trials[task.trial].update(losses.outcome(task), task.repeat)
        if restart:
            trials = [Trial(**row) for row in json.loads(json.dumps([asdict(trial) for trial in trials]))]
    raise AssertionError("it never ends")


rungs_of_all_kinds = st.lists(st.integers(1, 40), max_size=4, unique=True).map(sorted).map(tuple)
configs = st.builds(
    TuneConfig,
    trials=st.integers(1, 40),
    generation=st.integers(1, 45),
    rungs=rungs_of_all_kinds,
    keep=st.integers(2, 5),
    finalists=st.integers(1, 4),
    seeds=st.integers(1, 3),
    objective=st.sampled_from(["loss", "parameters"]),
)
numbers = st.integers(0, 10**6)


def quota(count, keep, level):
    return math.ceil(count / keep**level)


def fronts_by_hand(points):
    """Return the front of each point by removing the unbeaten points again and again."""
    fronts, left = [-1] * len(points), set(range(len(points)))

    def beats(a, b):
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    for front in range(len(points)):
        free = {i for i in left if not any(beats(points[j], points[i]) for j in left)}
        for i in free:
            fronts[i] = front
        left -= free
    return fronts


def ranked_by_hand(trials, rung, config):
    """Return trials that all reached a rung, from the best to the worst."""
    losses = [min(loss for loss in trial.validation[:rung] if not math.isnan(loss)) for trial in trials]
    fronts = [0] * len(trials)
    if config.objective == "parameters":
        fronts = fronts_by_hand([(loss, trial.parameters) for loss, trial in zip(losses, trials, strict=True)])
    places = sorted(range(len(trials)), key=lambda i: (fronts[i], losses[i], trials[i].number))
    return [trials[i] for i in places]


def stages_of(config, epochs):
    return [*(rung for rung in config.rungs if rung < epochs), epochs]


@settings(deadline=None, max_examples=150)
@given(configs, st.integers(1, 30), numbers)
def test_as_many_trials_reach_each_rung_as_the_settings_say(config, epochs, seed):
    trials, steps = search(config, epochs, Losses(seed, nan=0.2))
    stages = stages_of(config, epochs)
    assert [trial.number for trial in trials] == list(range(config.trials))
    assert {trial.epochs for trial in trials} <= set(stages)
    for level, stage in enumerate(stages):
        assert sum(trial.epochs >= stage for trial in trials) == quota(config.trials, config.keep, level)
    assert sum(trial.cost(epochs) for trial in trials) == total_epochs(config, epochs)
    finalists = min(config.finalists, quota(config.trials, config.keep, len(stages) - 1))
    whole = {str(repeat) for repeat in range(1, config.seeds)}
    assert [set(trial.repeats) for trial in trials if trial.repeats] == ([whole] * finalists if whole else [])
    done = Counter(task for step, _ in steps for task in step)
    assert max(done.values()) == 1
    sizes = Counter(trial.generation for trial in trials)
    assert all(sizes[g] == config.generation for g in range(len(sizes) - 1))


@settings(deadline=None, max_examples=150)
@given(configs, st.integers(1, 30), numbers)
def test_the_best_of_each_rung_continue(config, epochs, seed):
    stages = stages_of(config, epochs)
    for step, before in search(config, epochs, Losses(seed, nan=0.2))[1]:
        (until,) = {task.until for task in step}
        if step[0].repeat:
            done = [trial for trial in before if trial.epochs == epochs]
            ranked = ranked_by_hand(done, epochs, config)[: config.finalists]
            wanted = [Task(trial.number, epochs, repeat) for trial in ranked for repeat in range(1, config.seeds)]
            assert step == wanted
            continue
        level = stages.index(until)
        if not level:
            assert [task.trial for task in step] == [trial.number for trial in before if not trial.epochs]
            continue
        rung = stages[level - 1]
        gone = [trial for trial in before if trial.epochs > rung]
        here = [trial for trial in before if trial.epochs >= rung]
        free = quota(len(before), config.keep, level) - len(gone)
        assert len(step) == free > 0
        ranked = [trial for trial in ranked_by_hand(here, rung, config) if trial.epochs == rung]
        assert [task.trial for task in step] == [trial.number for trial in ranked[:free]]
        if level == len(stages) - 1:
            assert len(before) == config.trials  # only when all have been tried is one trained to the end


@settings(deadline=None, max_examples=100)
@given(configs, st.integers(1, 30), numbers, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.4]))
def test_neither_the_order_in_which_tasks_end_nor_a_restart_matters(config, epochs, seed, burst, nan):
    losses = Losses(seed, burst, nan, bursts_late=config.objective == "loss")
    trials, steps = search(config, epochs, losses)
    for shuffle in (random.Random(seed), random.Random(seed + 1)):
        again, same = search(config, epochs, losses, shuffle)
        assert repr(again) == repr(trials)
        assert [set(step) for step, _ in same] == [set(step) for step, _ in steps]
    assert repr(search(config, epochs, losses, random.Random(seed), restart=True)[0]) == repr(trials)


@settings(deadline=None, max_examples=100)
@given(configs, st.integers(1, 30), numbers, st.sampled_from([0.3, 0.8, 1.0]))
def test_trials_that_fail_at_once_make_room_for_others(config, epochs, seed, burst):
    losses = Losses(seed, burst, bursts_late=False)
    trials, _ = search(config, epochs, losses)
    assert len(trials) == config.trials
    assert all(bool(trial.epochs) != bool(trial.failure) for trial in trials)
    sound = sum(not trial.failure for trial in trials)
    for level, stage in enumerate(stages_of(config, epochs)):
        room = quota(config.trials, config.keep, level)
        assert sum(trial.epochs >= stage for trial in trials) == min(sound, room)


@settings(deadline=None, max_examples=100)
@given(configs, st.integers(1, 30), numbers, st.sampled_from([0.3, 0.8, 1.0]))
def test_trials_that_fail_later_keep_their_place(config, epochs, seed, burst):
    trials, _ = search(config, epochs, Losses(seed, burst))
    assert len(trials) == config.trials
    assert all(trial.epochs or trial.failure for trial in trials)
    stages = stages_of(config, epochs)
    for level, stage in enumerate(stages):
        came = sum(trial.epochs >= stage for trial in trials)
        tried = came + sum(trial.epochs == (0, *stages)[level] for trial in trials if trial.failure)
        assert came <= tried <= quota(config.trials, config.keep, level)


def test_rungs_beyond_a_whole_training_are_ignored():
    losses = Losses(3)
    wide, narrow = (
        TuneConfig(trials=20, generation=7, rungs=rungs, keep=3, seeds=1) for rungs in ((1, 3, 9, 27), (1, 3))
    )
    assert search(wide, 9, losses)[0] == search(narrow, 9, losses)[0]
    assert total_epochs(wide, 9) == total_epochs(narrow, 9) == 20 + 7 * 2 + 3 * 6
    every = TuneConfig(trials=5, rungs=(1,))
    assert [trial.epochs for trial in search(every, 1, losses)[0]] == [1] * 5


def test_without_rungs_all_trials_are_trained_to_the_end():
    config = TuneConfig(trials=10, generation=4, rungs=(), seeds=2, finalists=3)
    trials, steps = search(config, 6, Losses(1))
    assert [trial.epochs for trial in trials] == [6] * 10
    assert [len(step) for step, _ in steps] == [4, 4, 2, 3]
    assert total_epochs(config, 6) == 60 + 3 * 6


def test_the_default_search_has_the_numbers_computed_by_hand():
    trials, steps = search(TuneConfig(), 30, Losses(0))
    assert Counter(trial.epochs for trial in trials) == {3: 75, 9: 18, 30: 7}
    assert total_epochs(TuneConfig(), 30) == 100 * 3 + 25 * 6 + 7 * 21 + 3 * 2 * 30
    assert [(len(step), step[0].until) for step, _ in steps[:3]] == [(20, 3), (5, 9), (20, 3)]
    assert [(len(step), step[0].until) for step, _ in steps[-2:]] == [(7, 30), (6, 30)]


def test_a_finished_search_has_no_tasks_left():
    config = TuneConfig(trials=9, rungs=(1, 3))
    trials, _ = search(config, 5, Losses(2))
    assert next_step(trials, config, 5) == []
    trials[0].validation = []
    assert next_step(trials, config, 5) == [Task(0, 1)]


def test_trials_are_ordered_by_epochs_then_loss():
    one = [
        Trial(0, 0, {}, [0.5, 0.1]),
        Trial(1, 0, {}, [0.3]),
        Trial(2, 0, {}, [0.4, 0.2]),
        Trial(3, 0, {}, failure="-"),
    ]
    assert [trial.number for trial in order(one, TuneConfig())] == [0, 2, 1, 3]
    assert [trial.number for trial in order(one[:3], TuneConfig(), at=1)] == [1, 2, 0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), max_size=25))
def test_pareto_fronts_equal_those_of_a_naive_loop(points):
    assert pareto_fronts([tuple(map(float, point)) for point in points]) == fronts_by_hand(points)


def test_pareto_fronts_of_one_cost_and_of_values_that_are_not_finite():
    assert pareto_fronts([(3.0,), (1.0,)]) == [0, 0]
    assert pareto_fronts([]) == []
    assert pareto_fronts([(math.inf, 0.0), (1.0, 5.0), (2.0, 6.0)]) == [0, 0, 1]
    assert len(pareto_fronts([(math.nan, 1.0), (1.0, math.nan), (1.0, 1.0)])) == 3


@pytest.mark.parametrize(
    "values", [{"trials": 0}, {"keep": 1}, {"generation": 0}, {"rungs": (3, 1)}, {"rungs": (0, 1)}, {"rungs": (1, 1)}]
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        TuneConfig(**values)
