"""The log of the program: one handler for the console, and one for a file where the user names one."""

from __future__ import annotations

import contextlib
import logging
import sys

from tqdm import tqdm

from raystellar.errors import OutputError, first_line

STAMP = "%Y-%m-%d %H:%M:%S"
"""Format of a time stamp, local time."""

RESULT = {"result": True}
"""Argument ``extra`` of a log record that belongs to the summary of a command and goes to standard output."""


def say(text: str) -> None:
    """Print lines of the summary of a command; ``--quiet`` suppresses them."""
    logging.getLogger(__name__).info(text, extra=RESULT)


def configure(command: str, *, verbose: bool = False, quiet: bool = False, log_file: str | None = None) -> None:
    """Send the log to the console, and to a file if one is named.

    Parameters
    ----------
    command : name of the command, which is put before warnings and errors
    verbose : also show debugging messages
    quiet : show only warnings and errors on the console
    log_file : file to append to, on a disk; it gets every message with a time stamp, also where ``quiet`` is set

    Raises
    ------
    OutputError : the file cannot be written
    """
    logger = logging.getLogger("raystellar")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG if verbose else logging.INFO if log_file or not quiet else logging.WARNING)
    logger.propagate = False
    console = Console(command)
    console.setLevel(logging.WARNING if quiet else logging.DEBUG)
    logger.addHandler(console)
    if log_file:
        try:
            to_file = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"log file {log_file} cannot be written: {error.strerror or first_line(error)}") from None
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", STAMP))
        logger.addHandler(to_file)


class Console(logging.Handler):
    """Write messages around the live line of progress, with time stamps where standard error is not a terminal.

    Summaries go to standard output, all other messages to standard error.
    """

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command
        self._stamped = logging.Formatter("%(asctime)s %(message)s", STAMP)
        self._bare = logging.Formatter("%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a message that the live line of progress shows is left to it."""
        if getattr(record, "shown_live", False):
            return
        result = getattr(record, "result", False)
        stream = sys.stdout if result else sys.stderr
        stamped = not result and record.levelno < logging.WARNING and not sys.stderr.isatty()
        text = (self._stamped if stamped else self._bare).format(record)
        if record.levelno >= logging.WARNING:
            text = f"{self._command}: {text}"
        with contextlib.suppress(OSError):  # a reader that closed the pipe must not end the job
            tqdm.write(text, file=stream)
            stream.flush()
