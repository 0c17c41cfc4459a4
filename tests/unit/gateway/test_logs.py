"""The gateway's own log: one line a record, bounded, and nothing secret in it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n"
NAMES = ("", "gateway", "client", "opentelemetry", "aiohttp.server", "aiohttp.access")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is one for the whole process."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in NAMES}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("gateway.door", more.pop("level", logging.INFO), "f", 1, message, args,
                             more.pop("exc_info", None))  # fmt: skip
    made.__dict__.update(more)
    return made


def json_of(made: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(logs.JsonLines().format(made))
    return line


def test_a_line_of_json_has_time_level_logger_and_message() -> None:
    made = record("refused %s, %d times", "somebody", 3)
    made.created = 1_700_000_000.25
    assert json_of(made) == {
        "time": "2023-11-14T22:13:20.250+00:00", "level": "info", "logger": "gateway.door",
        "message": "refused somebody, 3 times",
    }  # fmt: skip


def test_a_line_has_what_is_named_and_nothing_else_of_extra() -> None:
    line = json_of(record("m", request="r-1", trace="4bf9", env={"TOKEN": "secret"}, code=None))
    assert (line["request"], line["trace"]) == ("r-1", "4bf9")
    assert not {"env", "code"} & set(line)


@given(st.text(), st.text())
def test_nothing_that_somebody_sends_begins_another_line(message: str, request: str) -> None:
    made = record("%s", message, request=request)
    for formatter in (logs.JsonLines(), logs.JournalLines(), logs.TerminalLines()):
        line = formatter.format(made)
        assert line.isprintable()
    assert json_of(made)["message"] == message[:8192] + ("…" if len(message) > 8192 else "")


def test_long_text_is_cut() -> None:
    line = json_of(record("x" * 100_000))
    assert len(line["message"]) == 8193
    assert line["message"].endswith("x…")


@pytest.mark.parametrize("cut", [len(KEY), len(KEY) - 30])
@pytest.mark.parametrize("formatter", [logs.JsonLines(), logs.JournalLines(), logs.TerminalLines()])
def test_a_private_key_is_never_shown(formatter: logging.Formatter, cut: int) -> None:
    error = ValueError(f"not a key: {KEY[:cut]}")
    made = record("bad: %s", KEY[:cut], exc_info=(ValueError, error, None), subject=KEY)
    line = formatter.format(made)
    assert "MC4CAQAw" not in line
    assert line.count("(a private key)") == 3


def test_of_a_long_exception_the_end_is_shown() -> None:
    error = ValueError("x" * 100_000 + "the end")
    line = json_of(record("m", exc_info=(ValueError, error, None)))
    assert line["exception"].endswith("the end")
    assert len(line["exception"]) < 8200


@pytest.mark.parametrize(
    ("level", "number"),
    [("CRITICAL", 2), ("ERROR", 3), ("WARNING", 4), ("INFO", 6), ("DEBUG", 7)],
)
def test_the_journal_is_told_the_priority(level: str, number: int) -> None:
    made = record('said "no"\nand more', level=getattr(logging, level), remote="::1")
    line = logs.JournalLines().format(made)
    assert line == f'<{number}>gateway.door: said "no"\\nand more remote=::1'


def test_people_are_shown_the_time_and_the_level() -> None:
    stream = io.StringIO()
    logs.configure("info", "terminal", stream)
    logging.getLogger("gateway").warning("it ended")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8} WARNING gateway: it ended\n", stream.getvalue())


def test_a_terminal_is_known() -> None:
    leader, follower = os.openpty()
    with open(leader, "rb", buffering=0) as screen, open(follower, "w") as stream:
        logs.configure("info", stream=stream)
        logging.getLogger("gateway").info("told")
        assert screen.read(1000).endswith(b"INFO    gateway: told\r\n")


def test_our_own_lines_are_told_from_the_level_on_and_those_of_libraries_from_warnings() -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    logging.getLogger("gateway.rest").debug("ours")
    logging.getLogger("asyncio").info("theirs")
    logging.getLogger("asyncio").warning("their warning")
    logging.getLogger("opentelemetry.trace").warning("what somebody sent")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    told = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert told[:2] == ["ours", "their warning"]
    assert len(told) == 3
    assert "DeprecationWarning: old" in told[2]


def test_configured_again_it_takes_the_place_of_what_was() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", "json", first)
    logs.configure("error", "journal", second)
    logging.getLogger("gateway").info("not told")
    logging.getLogger("gateway").error("told")
    assert first.getvalue() == ""
    assert second.getvalue() == "<3>gateway: told\n"


def test_the_journal_is_known_by_its_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipe"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        logs.configure("info", stream=stream)
        logging.getLogger("gateway").info("told")
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        logs.configure("info", stream=stream)
        logging.getLogger("gateway").info("told")
    plain, line = path.read_text().splitlines()
    assert plain == "<6>gateway: told"
    assert json.loads(line)["message"] == "told"
