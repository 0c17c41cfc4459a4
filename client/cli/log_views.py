"""How `logs` shows output: what all views have in common, and the plain one, byte for byte.

Straight to the descriptors, as `client.cli.copy` does. On a terminal nothing that a job wrote
acts on it (`client.terminal`) unless that was asked for. Lines and JSON are
`client.cli.log_entries`'s; what is shown, and in which order, `client.cli.log_sources`'s.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import say
from client.cli.copy import STDERR_FD, Gaps, write_all, write_batch
from client.errors import ClientError
from client.terminal import RESET, Harmless

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from client.cli.log_sources import Log
    from client.logstream import LogChunk, LogGap

BOTH: Final = (1, STDERR_FD)
# How often a follower is told what is missing: removal may go on for as long as the job.
_GAP_SECONDS: Final = 1.0
_DIM: Final = b"\x1b[2m"


class Look(NamedTuple):
    """What was asked for: see the options of `logs`."""

    follow: bool
    raw: bool
    timestamps: bool
    pattern: re.Pattern[bytes] | None


class View(ABC):
    """What the three have in common. As a context manager it leaves the terminal as it was."""

    def __init__(self, look: Look) -> None:
        self._interval = _GAP_SECONDS if look.follow else 0.0
        self._gaps: dict[Log, Gaps] = {}
        # Whether a line on stderr would begin behind something else on the terminal.
        self._is_within_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
            return
        with suppress(OSError, ClientError):
            self.finish()

    @abstractmethod
    def write(self, log: Log, items: Sequence[LogChunk | LogGap]) -> None:
        """Show what was read together of one log."""

    def begin(self, log: Log, attempt: int) -> None:
        """What comes next is the output of another attempt: said to people alone."""
        self._gaps_of(log).flush()
        if os.isatty(STDERR_FD):
            name = f" of {log.label}" if log.label else ""
            self._mark(f"==> attempt {attempt}{name} <==".encode())

    def end(self, log: Log) -> None:
        """Show what was kept back of a log that is at its end."""
        self._gaps_of(log).flush()

    def finish(self) -> None:
        """Show what was kept back of all, and leave the terminal as it was."""
        for gaps in self._gaps.values():
            gaps.flush()

    def say(self, text: str) -> None:
        """A line on stderr, apart from the output. Threads may use it, too."""
        self._settle()
        say(text)

    def say_cursor(self, log: Log) -> None:
        """Where to go on: up to there everything was shown."""
        name = f" ({log.label})" if log.label else ""
        self._settle()
        put(STDERR_FD, f"-- cursor: {log.shown}{name}\n".encode())

    def _settle(self) -> None:
        """Have what follows on stderr stand on a line of its own."""
        if self._is_within_line:
            self._is_within_line = False
            put(STDERR_FD, b"\n")

    def _mark(self, text: bytes) -> None:
        """A dim line on the terminal."""
        self._settle()
        put(STDERR_FD, (_DIM + text + RESET if wants_colours() else text) + b"\n")

    def interrupted(self) -> None:
        """The user pressed Ctrl-C: what follows stands below what the terminal shows of that."""
        if os.isatty(STDERR_FD):
            self._is_within_line = True
            self._settle()

    def _gaps_of(self, log: Log) -> Gaps:
        if log not in self._gaps:
            name = f"{log.label}: " if log.label else ""
            self._gaps[log] = Gaps(lambda text: self.say(name + text), self._interval)
        return self._gaps[log]


class BytesView(View):
    """Byte for byte, the two streams to their descriptors; for one log."""

    def __init__(self, look: Look) -> None:
        super().__init__(look)
        terminals = () if look.raw else tuple(filter(os.isatty, BOTH))
        self._harmless = {fd: Harmless(utf8=is_utf8()) for fd in terminals}

    def write(self, log: Log, items: Sequence[LogChunk | LogGap]) -> None:
        """Write the bytes and say what is missing, in their order."""
        gaps = self._gaps_of(log)
        write_batch(items, gaps.add, self._write)
        gaps.tick()

    def finish(self) -> None:
        """The same, and no colour is left on."""
        for descriptor, harmless in self._harmless.items():
            self._put(descriptor, harmless.finish())
        super().finish()

    def _settle(self) -> None:
        """On a terminal also in no job's colour."""
        if STDERR_FD in self._harmless:
            self._put(STDERR_FD, b"".join({one.reset() for one in self._harmless.values()}))
        super()._settle()

    def _write(self, descriptor: int, data: bytes) -> None:
        harmless = self._harmless.get(descriptor)
        self._put(descriptor, harmless.feed(data) if harmless else data)

    def _put(self, descriptor: int, data: bytes) -> None:
        # First, because an interrupt may come with the first byte that is seen.
        if descriptor in self._harmless and (text := data.removesuffix(RESET)):
            self._is_within_line = not text.endswith(b"\n")
        if data:
            put(descriptor, data)


def put(descriptor: int, data: bytes) -> None:
    """Write everything. Raises BrokenPipeError, or ClientError that says what failed."""
    try:
        write_all(descriptor, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "stderr" if descriptor == STDERR_FD else "stdout"
        raise ClientError(f"cannot write to {name}: {error.strerror}") from error


def wants_colours() -> bool:
    """As no-color.org has it; and a dumb terminal shows no colours."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_utf8() -> bool:
    """Whether the terminal takes UTF-8, as far as the locale says."""
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")
