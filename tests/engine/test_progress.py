"""Progress outside a terminal: few lines, each with the count, the rate and the time left, and a last one."""

import io
import logging
import re
import sys

import pytest

from raystellar.engine import progress as module
from raystellar.engine.progress import Progress, clock


@pytest.fixture
def seconds(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_half_minute_and_a_last_one(seconds, caplog):
    caplog.set_level(logging.INFO, logger="raystellar")
    with Progress("label", 1000, "spectra") as progress:
        progress.skip(200)
        for _ in range(8):
            seconds[0] += 10
            progress.add(100, 1)
    assert caplog.messages == [
        "label: 1000 spectra",
        "label: 200 spectra were done before",
        "label: 500 of 1000 spectra, 3 rejected, 10 a second, 50 s left",
        "label: 800 of 1000 spectra, 6 rejected, 10 a second, 20 s left",
        "label: 1000 of 1000 spectra, 8 rejected, 10 a second, 1 min 20 s in all",
    ]


def test_the_last_line_is_written_once(seconds, caplog):
    caplog.set_level(logging.INFO, logger="raystellar")
    with Progress("label", 10, "spectra") as progress:
        seconds[0] += 40
        progress.add(10)
    assert caplog.messages == ["label: 10 spectra", "label: 10 of 10 spectra, 0.25 a second, 40 s in all"]


class Terminal(io.StringIO):
    """A text stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def test_work_of_an_earlier_run_is_no_part_of_the_live_rate(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(logging.getLogger("raystellar"), "level", logging.INFO)
    with Progress("label", 2_000_000, "spectra") as progress:
        progress.skip(1_000_000)
        progress._bar.last_print_t -= 10  # ten seconds pass
        progress.add(100)
        shown = progress._bar.format_dict
    assert shown["n"] == 1_000_100
    assert shown["rate"] == pytest.approx(10, rel=0.05)


def test_the_start_of_a_job_counts_neither_in_the_rate_nor_in_the_time_left(seconds, caplog):
    caplog.set_level(logging.INFO, logger="raystellar")
    with Progress("label", 1000, "spectra") as progress:
        seconds[0] += 25
        progress.add(100)
        for _ in range(2):
            seconds[0] += 5
            progress.add(100)
    assert caplog.messages[1] == "label: 200 of 1000 spectra, 20 a second, 40 s left"


def test_a_job_that_fails_has_no_last_line(seconds, caplog):
    caplog.set_level(logging.INFO, logger="raystellar")

    def fail():
        with Progress("label", 10, "spectra") as progress:
            progress.add(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert caplog.messages == ["label: 10 spectra"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert clock(seconds) == text
    assert re.fullmatch(r"[\d a-z]+", text)
