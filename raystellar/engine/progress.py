"""Progress of long work: one live line on a terminal, or a line in the log from time to time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

LOG = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0
"""Least time between two lines of progress in a log [s]."""


class Progress:
    """A counter of finished work, out of a known total.

    Use as a context manager: ``with Progress("label", total, "spectra") as progress: progress.add(512)``. A line in the
    log gives the count, the rate and the time left; the last line gives the whole count, the rate and the time spent.

    Parameters
    ----------
    name : name of the job
    total : units of work in the whole job
    unit : name of the unit, plural
    """

    def __init__(self, name: str, total: int, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._live = sys.stderr.isatty() and LOG.isEnabledFor(logging.INFO)
        self._skipped, self._done, self._rejected, self._note = 0, 0, 0, ""
        self._began = self._logged = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._bar = tqdm(
            desc=name,
            total=total,
            unit=f" {unit}",
            disable=not self._live,
            smoothing=0.1,
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> Progress:
        LOG.info("%s: %d %s", self._name, self._total, self._unit)
        return self

    def skip(self, count: int) -> None:
        """Count work that an earlier run has done."""
        if count > 0:
            self._skipped += count
            self._bar.initial = self._skipped
            self._bar.n = self._bar.last_print_n = self._skipped + self._done  # update() would count it in the rate
            self._bar.refresh()
            LOG.info("%s: %d %s were done before", self._name, count, self._unit)

    def add(self, count: int, rejected: int = 0) -> None:
        """Count work that is done now; ``rejected`` of it was rejected."""
        self._done += count
        self._rejected += rejected
        self._first = self._first or (time.monotonic(), self._done)
        if self._rejected:
            self._bar.set_postfix_str(f"{self._rejected} rejected", refresh=False)
        self._bar.update(count)
        ended = self._skipped + self._done >= self._total  # the last line follows at the end of the job
        if not ended and time.monotonic() - self._logged >= LOG_INTERVAL_S:
            self._logged = time.monotonic()
            LOG.info("%s: %s", self._name, self._state(), extra={"shown_live": self._live})

    def note(self, text: str) -> None:
        """Add a remark to the line."""
        self._note = text
        self._bar.set_postfix_str(text, refresh=False)

    def _state(self) -> str:
        """Return the count, the rate and the time left, or spent if nothing is left, as text."""
        seconds = time.monotonic() - self._began
        rate, left = self._rate(), self._total - self._skipped - self._done
        parts = [f"{self._skipped + self._done} of {self._total} {self._unit}"]
        parts += [f"{self._rejected} rejected"] if self._rejected else []
        parts += [f"{rate:.3g} a second"] if self._done else []
        parts += [f"{clock(left / rate)} left"] if self._done and left > 0 else []
        parts += [f"{clock(seconds)} in all"] if left <= 0 else []
        return ", ".join(parts) + (f" ({self._note})" if self._note else "")

    def _rate(self) -> float:
        """Return the work per second since the first work ended, which leaves out the start; from the start before."""
        now = time.monotonic()
        if self._first and self._done > self._first[1] and now > self._first[0]:
            return (self._done - self._first[1]) / (now - self._first[0])
        return self._done / max(now - self._began, 1e-9)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is None and self._done:
            LOG.info("%s: %s", self._name, self._state())


def clock(seconds: float) -> str:
    """Return a duration as text: 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Stopwatch:
    """Seconds of the parts of a job, by name, in the order in which they ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the part ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
