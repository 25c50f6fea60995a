"""Messages: summaries on standard output, all others on standard error or in a file, and less or more of them."""

import logging
import re

import pytest

from raystellar.cli.logs import configure, say
from raystellar.errors import OutputError

STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
LOG = logging.getLogger("raystellar.engine.progress")


def speak():
    LOG.debug("detail")
    LOG.info("progress")
    LOG.warning("trouble")
    say("summary")


def test_a_summary_goes_to_standard_output_and_progress_with_a_time_stamp_to_standard_error(capsys):
    configure("raystellar label")
    speak()
    out, err = capsys.readouterr()
    assert out == "summary\n"
    stamped, trouble = err.splitlines()
    assert STAMPED.match(stamped)
    assert stamped.endswith(" progress")
    assert trouble == "raystellar label: trouble"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["progress", "trouble", "summary"]),
        ({"verbose": True}, ["detail", "progress", "trouble", "summary"]),
    ],
)
def test_quiet_and_verbose(options, expected, tmp_path, capsys):
    path = tmp_path / "run.log"
    path.write_text("2026-01-01 00:00:00 INFO of an earlier run\n")
    configure("raystellar label", log_file=str(path), **options)
    speak()
    lines = path.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["run", *expected]
    assert all(STAMPED.match(line) for line in lines)
    shown = "".join(capsys.readouterr())
    assert [word for word in ("detail", "progress", "trouble", "summary") if word in shown] == expected


def test_quiet_is_for_the_console_and_not_for_the_file(tmp_path, capsys):
    path = tmp_path / "run.log"
    configure("raystellar label", quiet=True, log_file=str(path))
    speak()
    assert capsys.readouterr() == ("", "raystellar label: trouble\n")
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["progress", "trouble", "summary"]


def test_a_message_that_the_live_line_shows_goes_to_the_file_only(tmp_path, capsys):
    path = tmp_path / "run.log"
    configure("raystellar label", log_file=str(path))
    LOG.info("half done", extra={"shown_live": True})
    assert capsys.readouterr() == ("", "")
    assert path.read_text().endswith("half done\n")


def test_a_closed_pipe_does_not_end_the_job(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

        def isatty(self):
            return False

    configure("raystellar label")
    monkeypatch.setattr("sys.stdout", Closed())
    monkeypatch.setattr("sys.stderr", Closed())
    speak()


def test_a_log_file_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"log file .* cannot be written: No such file"):
        configure("raystellar label", log_file=str(tmp_path / "no" / "run.log"))


def test_configuring_twice_does_not_say_all_twice(capsys):
    configure("raystellar label")
    configure("raystellar label")
    say("summary")
    assert capsys.readouterr().out == "summary\n"
