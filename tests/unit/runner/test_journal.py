"""The daemon's lines: what they look like, whatever is logged."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runner.journal import Lines

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[3]


def line(record: logging.LogRecord, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    Lines(stream).handle(record)
    return stream.getvalue()


def record(text: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("runner.x", level, "", 0, text, args, None)


def test_a_line_says_when_how_grave_and_what() -> None:
    made = record("job %s ended: status %d", "7f", 3)
    made.created = 1_700_000_000.9
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_700_000_000))
    assert line(made) == f"{when} INFO    job 7f ended: status 3\n"
    made.levelname = "CRITICAL"
    assert line(made).startswith(f"{when} CRITICAL job")


def test_each_line_has_its_own_second() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for second in (100, 100, 3700, 100):
        made = record("x")
        made.created = second + 0.5
        lines.handle(made)
    times = [text[14:19] for text in stream.getvalue().splitlines()]
    assert times == ["01:40", "01:40", "01:40", "01:40"]
    hours = [text[11:13] for text in stream.getvalue().splitlines()]
    assert hours[0] == hours[1] == hours[3] != hours[2]


def test_an_exception_comes_below_its_line() -> None:
    try:
        int("seven")
    except ValueError:
        made = record("a defect", level=logging.ERROR)
        made.exc_info = sys.exc_info()
    first, *rest = line(made).splitlines()
    assert first.endswith("ERROR   a defect")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: invalid literal for int() with base 10: 'seven'"


def test_a_record_that_cannot_be_written_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    closed = io.StringIO()
    closed.close()
    Lines(closed).handle(record("x"))
    Lines(io.StringIO()).handle(record("%d", "no number"))
    assert "Logging error" in capsys.readouterr().err


def test_a_program_that_begins_its_journal_writes_from_info_on() -> None:
    program = (
        "import logging, sys; from runner import journal; journal.begin(sys.stderr)\n"
        "log = logging.getLogger('runner.x')\n"
        "log.debug('no'); log.info('one %d', 1); log.error('two')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [text.split(None, 2)[2] for text in done.stderr.splitlines()] == [
        "INFO    one 1", "ERROR   two",
    ]  # fmt: skip
