"""One live line of progress on standard error; a line now and then where that is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

LOG_INTERVAL_S = 30.0
"""Between two lines in a log file, which no one watches live."""


class Progress:
    """Count what is done of a known total.

    Use as a context manager: ``with Progress("label", total, "spectra") as progress: progress.add(512)``.
    """

    def __init__(self, name: str, total: int, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._live = sys.stderr.isatty()
        self._rejected, self._note = 0, ""
        self._logged = time.monotonic()
        self._bar = tqdm(
            desc=name, total=total, unit=f" {unit}", disable=not self._live, smoothing=0.1, dynamic_ncols=True
        )
        self._done = 0

    def __enter__(self) -> Progress:
        if not self._live:
            print(f"{self._name}: {self._total} {self._unit}", file=sys.stderr, flush=True)
        return self

    def skip(self, count: int) -> None:
        """Count what an earlier run has done."""
        if count:
            self._done += count
            self._bar.update(count)
            tqdm.write(f"{self._name}: {count} {self._unit} were done before", file=sys.stderr)

    def add(self, count: int, rejected: int = 0) -> None:
        """Count what is done now; ``rejected`` of them were rejected."""
        self._done += count
        self._rejected += rejected
        if self._rejected:
            self._bar.set_postfix_str(f"{self._rejected} rejected", refresh=False)
        self._bar.update(count)
        if not self._live and time.monotonic() - self._logged > LOG_INTERVAL_S:
            self._logged = time.monotonic()
            note = f" ({self._note})" if self._note else ""
            print(f"{self._name}: {self._done} of {self._total} {self._unit}{note}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Say something more on the line."""
        self._note = text
        self._bar.set_postfix_str(text, refresh=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


class Stopwatch:
    """Seconds of the parts of a job, by name, in the order in which they ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time one part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
