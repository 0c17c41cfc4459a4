"""What the daemon says of itself: a line of text for each record, on its standard error.

There are three for each job, so they cost little: the time of day is written once a second, and
nobody looks for the place in the program that a record comes from. Who keeps the lines is the
service manager's.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class Lines(logging.Handler):
    """Writes records to a stream: time, level, text, and below them the trace of an exception."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        # Only for what it says of exceptions.
        self._traces = logging.Formatter("%(message)s")
        self._second = 0
        self._time = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one; a failure is told as `logging` tells all of them."""
        try:
            self._stream.write(self._line(record))
            self._stream.flush()
        except Exception:  # noqa: BLE001 - as every handler
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        is_plain = record.exc_info is None and record.stack_info is None
        text = record.getMessage() if is_plain else self._traces.format(record)
        return f"{self._time} {record.levelname:<7} {text}\n"


def begin(stream: TextIO) -> None:
    """Everything from INFO on goes to the stream from now on."""
    root = logging.getLogger()
    root.addHandler(Lines(stream))
    root.setLevel(logging.INFO)
    # No line shows them: Python's Logging HOWTO, "Optimization".
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
