"""The gateway's own log on standard error: JSON lines, plain ones for the journal and for people.

One line is one record whatever is in it: what somebody sent cannot begin another. Text is bounded,
and keys in PEM are never shown. What was asked by whom is the audit log's (`gateway.audit`); here
is what happened to the gateway.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from typing import TextIO

Kind = Literal["json", "journal", "terminal"]

# What `extra` of a call of logging may add to a line, and nothing else of it.
EXTRAS: Final = ("request", "trace", "subject", "serial", "remote", "api", "verb", "code")
_MOST_CHARS: Final = 8192
_KEY: Final = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(-----END \1PRIVATE KEY-----|\Z)",
                         re.DOTALL)  # fmt: skip
# sd-daemon(3): the numbers of syslog(3).
_PRIORITIES: Final = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
_DEBUG_PRIORITY: Final = 7
# They tell of each malformed header that anybody sends.
_TALKATIVE: Final = ("opentelemetry", "aiohttp.server", "aiohttp.access")


def configure(level: str = "info", kind: Kind | None = None, stream: TextIO | None = None) -> None:
    """Log from now on, our own lines from `level` on, libraries' from warnings on.

    `kind` None: `journal` where standard error goes to the journal, `terminal` where somebody
    looks at it, else `json`. Called again, it takes the place of what was before.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_FORMATTERS[kind or _kind_of(stream)]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("gateway", "client"):
        logging.getLogger(name).setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


class JsonLines(logging.Formatter):
    """One object of JSON a record, ASCII: time (UTC), level, logger, message, EXTRAS, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shown(record.getMessage()),
            **_extras(record),
        }
        if (exception := _exception(self, record)) is not None:
            line["exception"] = exception
        return json.dumps(line)


class JournalLines(logging.Formatter):
    """A priority that the journal takes off again, and the message: sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: what cannot be printed, ends of lines too, is shown escaped."""
        priority = _PRIORITIES.get(record.levelno, _DEBUG_PRIORITY)
        return f"<{priority}>{_plain(self, record)}"


class TerminalLines(logging.Formatter):
    """Local time, level and message, as runnerd's own lines are."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, as for the journal."""
        when = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        return f"{when} {record.levelname:<7} {_plain(self, record)}"


_FORMATTERS: Final[dict[Kind, type[logging.Formatter]]] = {
    "json": JsonLines, "journal": JournalLines, "terminal": TerminalLines,
}  # fmt: skip


def shown(text: str) -> str:
    """As it may stand in a log: no private keys, and not longer than 8,192 characters."""
    if "PRIVATE KEY" in text:
        text = _KEY.sub("(a private key)", text)
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def _plain(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    texts = [f"{record.name}: {shown(record.getMessage())}"]
    texts += [f"{name}={value}" for name, value in _extras(record).items()]
    if (exception := _exception(formatter, record)) is not None:
        texts.append(exception)
    return _printable(" ".join(texts))


def _printable(text: str) -> str:
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def _extras(record: logging.LogRecord) -> dict[str, str]:
    given = {name: getattr(record, name, None) for name in EXTRAS}
    return {name: shown(str(value)) for name, value in given.items() if value is not None}


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """The end of a long one says more than its beginning."""
    if not record.exc_info or record.exc_info[0] is None:
        return None
    # Keys first: what is cut within one is not recognized any more.
    text = _KEY.sub("(a private key)", formatter.formatException(record.exc_info))
    return text if len(text) <= _MOST_CHARS else f"…{text[-_MOST_CHARS:]}"


def _kind_of(stream: TextIO) -> Kind:
    if _is_journal(stream):
        return "journal"
    return "terminal" if stream.isatty() else "json"


def _is_journal(stream: TextIO) -> bool:
    """Whether it is the pipe that $JOURNAL_STREAM names: systemd.exec(5)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
