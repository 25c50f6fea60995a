"""Hand out the tasks of a search one by one, and record their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raystellar.search.config import TuneConfig
from raystellar.search.sampler import propose
from raystellar.search.schedule import Propose, Task, next_step
from raystellar.search.space import Space
from raystellar.search.trials import Trial, read_trials, write_trials


class Conductor:
    """The state of a running search.

    Parameters
    ----------
    run : folder of the search; recorded tasks are not run again
    space : parameters of the search
    config : settings of the search
    epochs : epochs of a whole training
    earlier : trials of an earlier search, from which the sampler learns

    Attributes
    ----------
    watch : called with the conductor after every change
    trials : all proposed trials
    running : tasks that were taken and have not ended
    finished : whether all tasks are done
    """

    def __init__(
        self,
        run: str,
        space: Space,
        config: TuneConfig,
        epochs: int,
        earlier: Sequence[Trial] = (),
    ) -> None:
        self._run, self._space, self.epochs, self._earlier = run, space, epochs, earlier
        self.config = config
        self.watch: Callable[[Conductor], None] = lambda _: None
        self.trials = read_trials(run)
        self.running: set[Task] = set()
        self._queue: list[Task] = []
        self.finished = False

    def take(self) -> Task | None:
        """Return a task to begin now; None if running tasks must end first, or if the search is ``finished``."""
        if not self._queue and not self.running:
            self._queue = self._step()
            self.finished = not self._queue
        if not self._queue:
            return None
        task = self._queue.pop(0)
        self.running.add(task)
        self.watch(self)
        return task

    def give_back(self, task: Task) -> None:
        """Put back a task that was taken and has no outcome; it is the next to be taken."""
        self.running.discard(task)
        self._queue.insert(0, task)

    def put(self, task: Task, outcome: dict[str, Any]) -> None:
        """Record the outcome of a task; ``outcome`` holds fields of ``Trial``."""
        self.running.discard(task)
        self.trials[task.trial].update(outcome, task.repeat)
        write_trials(self._run, self.trials)
        self.watch(self)

    def _step(self) -> list[Task]:
        """Return the next tasks; propose new trials first if the schedule asks for them."""
        step = next_step(self.trials, self.config, self.epochs)
        if isinstance(step, Propose):
            generation = 1 + max((trial.generation for trial in self.trials), default=-1)
            for choice in propose(self._space, self.trials, self._earlier, step.choices, self.config):
                self.trials.append(Trial(len(self.trials), generation, choice))
            write_trials(self._run, self.trials)
            return self._step()
        return step
