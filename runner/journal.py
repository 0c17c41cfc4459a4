"""What the daemon says of itself: a line of text for each record, on its standard error.

There are three for each job, so they cost little: the time of day is written once a second, and
nobody looks for the place in the program that a record comes from. Each is written at once, so
that none is lost, whatever ends the daemon. Who keeps the lines is the service manager's.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO


class Line(logging.LogRecord):
    """A record with what lines are made of, and nothing of file, thread and process."""

    # `logging` speaks of them where a line could not be written.
    pathname = filename = module = "runnerd"
    lineno = 0

    def __init__(
        self,
        name: str,
        level: int,
        _pathname: str,
        _lineno: int,
        msg: object,
        args: Any,  # noqa: ANN401 - logging's
        exc_info: Any,  # noqa: ANN401 - logging's
        _func: str | None = None,
        sinfo: str | None = None,
        **_more: Any,  # noqa: ANN401 - logging's
    ) -> None:
        self.name = name
        self.msg = msg
        # As logging has it: one map stands for the names in the text.
        is_map = len(args) == 1 and isinstance(args[0], dict) and bool(args[0]) if args else False
        self.args = args[0] if is_map else args
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.exc_info = exc_info
        self.exc_text = None
        self.stack_info = sinfo
        self.created = time.time()


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
            # A stream that ends its lines with a flush, as standard error does, has no need of one.
            self._stream.write(self._line(record))
            if not getattr(self._stream, "line_buffering", False):
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
    logging.setLogRecordFactory(Line)
