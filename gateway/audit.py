"""The audit log: one line of JSON for what was asked and what was decided. Fails closed.

It writes what it is given and decides nothing. A line is one write(2) to a file opened with
O_APPEND, so lines of several processes do not mix; it is ASCII, for JSON escapes the rest, and of
bounded length. Nothing of an environment or of arguments but the first word ever comes here.
That it cannot be written, and that it can again, is said once in the gateway's own log.
Not fsync(2)'ed: a power cut may take the last seconds.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE_BYTES: Final = 16 * 1024
# What whoever asks is told; where the log is concerns nobody outside.
NO_AUDIT: Final = "the gateway's audit log cannot be written, and nothing is done without it"
MODE: Final = 0o640
_STDERR: Final = 2
# At first as much as people want to see; where that is too long, what surely fits.
_TEXT_CHARS: Final = (256, 64, 8)
# Whoever asks chooses other texts, and must not thereby shorten these.
_WHO: Final = frozenset({"subject", "serial", "user"})
_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)
_logger: Final = logging.getLogger(__name__)


class AuditError(Exception):
    """The log cannot be opened or written: on what, and why. Nothing may be done without it."""


class Audit:
    """The log at `path`; "-" is stderr. Raises AuditError.

    `problem` says why the last line could not be written, and is None where it could.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = _opened(path)
        # Whether the last line is there in part only.
        self._is_torn = False
        self.problem: str | None = None
        # How many lines it lacks.
        self._lost = 0

    def write(self, entry: Mapping[str, Any]) -> None:
        """One line. Raises AuditError when it is not written whole."""
        try:
            self._write(rendered(entry))
        except AuditError as error:
            self._lost += 1
            if self.problem is None:
                _logger.error("nothing is done without the audit log: %s", error)  # noqa: TRY400
            self.problem = str(error)
            raise
        if self.problem is not None:
            _logger.info("%s can be written again; it lacks %d lines", self.path, self._lost)
            self.problem, self._lost = None, 0

    def retry(self) -> None:
        """Where it could not be written: try a line that says so, and how many it lacks."""
        if self.problem is None:
            return
        lost, why = self._lost, self.problem
        try:
            self.write({"time_ns": time.time_ns(), "verb": None, "why": why, "left_out": lost})
        except AuditError:
            self._lost = lost

    def _write(self, line: bytes) -> None:
        data = b"\n" + line if self._is_torn else line
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise AuditError(f"{self.path} cannot be written: {error.strerror}") from None
        self._is_torn = written < len(data)
        if self._is_torn:
            raise AuditError(f"{self.path} cannot be written: there is no room for a whole line")

    def reopen(self) -> None:
        """Go on in the file that has the name now (logrotate).

        Raises AuditError and goes on in the old one where there is none to be opened.
        """
        new = _opened(self.path)
        self.close()
        self._fd, self._is_torn = new, False

    def close(self) -> None:
        """Close it; repeating is harmless, writing is not."""
        if self._fd > _STDERR:
            os.close(self._fd)
        self._fd = -1


def rendered(entry: Mapping[str, Any]) -> bytes:
    """An entry as its line: shortened where it would be longer than MAX_LINE_BYTES."""
    for most in _TEXT_CHARS:
        fields = {
            name: _cut(value, _TEXT_CHARS[0] if name in _WHO else most)
            for name, value in entry.items()
            if value is not None
        }
        line = json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
        if len(line) <= MAX_LINE_BYTES:
            return line
    raise AuditError("an entry of the audit log has too many fields")


def _cut(value: Any, most: int) -> Any:  # noqa: ANN401  what JSON knows
    if isinstance(value, bytes):
        value = value[: most + 1].decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value if len(value) <= most else value[:most] + "..."
    # nan and infinity are none of JSON's.
    if isinstance(value, float):
        return round(value, 6) if abs(value) < 1e18 else None  # noqa: PLR2004
    return value if isinstance(value, int | None) else str(type(value).__name__)


def _opened(path: str) -> int:
    if path == "-":
        return _STDERR
    try:
        fd = os.open(path, _FLAGS, MODE)
    except OSError as error:
        raise AuditError(f"{path} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AuditError(f"{path} is no regular file")
    return fd
