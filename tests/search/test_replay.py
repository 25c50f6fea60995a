"""The order of a finished search is recovered from its trials."""

import pytest
from formulasearch import CONFIG, EPOCHS, search

from raystellar.search.replay import best_so_far, replay
from raystellar.search.schedule import total_epochs


@pytest.mark.parametrize("failing", [(), (1, 8)])
def test_the_order_of_tasks_is_recovered_from_the_trials(failing):
    trials, tasks = search(CONFIG, failing)
    assert list(replay(trials, CONFIG, EPOCHS)) == tasks
    steps = best_so_far(trials, CONFIG, EPOCHS)
    assert steps[-1][1] == min(trial.loss() for trial in trials)
    assert steps == sorted(steps, key=lambda step: (step[0], -step[1]))
    assert steps[-1][0] <= sum(trial.epochs for trial in trials) <= total_epochs(CONFIG, EPOCHS)


def test_tasks_whose_step_the_losses_do_not_tell_come_last():
    trials, tasks = search(CONFIG)
    for trial in trials:
        trial.validation[:1] = [1 - trial.validation[0]]
    replayed = list(replay(trials, CONFIG, EPOCHS))
    assert sorted(replayed) == sorted(tasks)
    assert best_so_far(trials, CONFIG, EPOCHS)[-1][1] == min(trial.loss() for trial in trials)


def test_a_record_that_ends_early_is_replayed_as_far_as_it_goes():
    trials, tasks = search(CONFIG)
    for trial in trials:
        trial.validation, trial.repeats = trial.validation[:1], {}
    assert list(replay(trials, CONFIG, EPOCHS)) == [task for task in tasks if task.until == 1]
