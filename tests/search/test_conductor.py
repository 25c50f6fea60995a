"""Tasks are handed out one by one, and the record is written after each outcome."""

import pytest
from formulasearch import CONFIG, EPOCHS, SPACE, outcome, search

from raystellar.search.conductor import Conductor
from raystellar.search.trials import read_trials


def finish(conductor, failing=(), most=10_000):
    """Run up to ``most`` tasks of a conductor one after the other; return them."""
    tasks = []
    while len(tasks) < most and (task := conductor.take()):
        conductor.put(task, outcome(conductor.trials[task.trial], task, failing))
        tasks.append(task)
    return tasks


def test_a_search_stopped_after_any_task_continues_as_if_it_had_not_been(tmp_path):
    whole = Conductor(str(tmp_path), SPACE, CONFIG, EPOCHS)
    tasks = finish(whole)
    assert whole.finished
    for stop in range(0, len(tasks), 5):
        (folder := tmp_path / str(stop)).mkdir()
        first = finish(Conductor(str(folder), SPACE, CONFIG, EPOCHS), most=stop)
        rest = finish(again := Conductor(str(folder), SPACE, CONFIG, EPOCHS))
        assert first + rest == tasks
        assert again.trials == read_trials(str(folder)) == whole.trials


def test_no_task_is_handed_out_before_the_tasks_of_its_step_end(tmp_path):
    conductor = Conductor(str(tmp_path), SPACE, CONFIG, EPOCHS)
    taken = [conductor.take() for _ in range(CONFIG.generation)]
    assert {task.trial for task in taken} == set(range(CONFIG.generation)) == {task.trial for task in conductor.running}
    assert conductor.take() is None
    assert not conductor.finished


def test_a_task_that_is_given_back_is_taken_next(tmp_path):
    conductor = Conductor(str(tmp_path), SPACE, CONFIG, EPOCHS)
    first, second = conductor.take(), conductor.take()
    conductor.give_back(second)
    assert conductor.running == {first}
    assert conductor.take() == second
    assert conductor.running == {first, second}


def test_the_watcher_is_called_after_every_change(tmp_path):
    conductor, calls = Conductor(str(tmp_path), SPACE, CONFIG, EPOCHS), []
    conductor.watch = lambda one: calls.append((len(one.running), sum(trial.epochs for trial in one.trials)))
    finish(conductor, most=2)
    assert calls == [(1, 0), (0, 1), (1, 1), (0, 2)]


@pytest.mark.parametrize("failing", [(), (2, 7)])
def test_the_tasks_are_those_of_the_schedule(failing, tmp_path):
    trials, tasks = search(CONFIG, failing)
    conductor = Conductor(str(tmp_path), SPACE, CONFIG, EPOCHS)
    assert len(finish(conductor, failing)) == len(tasks)
    assert sum(trial.cost(EPOCHS) for trial in conductor.trials) == sum(trial.cost(EPOCHS) for trial in trials)
