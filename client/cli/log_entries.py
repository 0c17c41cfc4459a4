"""Views of `logs` that show items: lines with names and times, or JSON objects.

An item knows its log and its time, so that those of several logs can be merged. The plain
view, and what they have in common, is `client.cli.log_views`'s; what a line is,
`client.cli.log_lines`'s.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import write_json
from client.cli.copy import STDERR_FD
from client.cli.log_lines import Line, Lines
from client.cli.log_times import Stamps
from client.cli.log_views import BOTH, Look, View, is_utf8, put, wants_colours
from client.logstream import LogChunk, LogGap
from client.protocol import STDERR
from client.terminal import RESET, harmless_line
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from client.cli.log_sources import Log

# Cyan, yellow, green, magenta and blue, then the bright ones: red is for errors.
_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_WRITE_BYTES: Final = 64 * 1024


class Entry(NamedTuple):
    """Something to show of a log, with the Unix time by which those of several are merged."""

    time_ns: int
    log: Log
    item: Line | LogChunk | LogGap | None


class EntryView(View):
    """One that shows items, so that those of several logs can be merged."""

    @abstractmethod
    def take(self, log: Log, items: Sequence[LogChunk | LogGap]) -> Iterator[Entry]:
        """What there is to show for them now."""

    @abstractmethod
    def rest(self, log: Log) -> Iterator[Entry]:
        """What was kept back of a log that is at its end."""

    @abstractmethod
    def show(self, entries: Iterable[Entry]) -> None:
        """Show them, in this order."""

    def write(self, log: Log, items: Sequence[LogChunk | LogGap]) -> None:
        """Show what was read together of one log."""
        self.show(self.take(log, items))
        self._gaps_of(log).tick()

    def end(self, log: Log) -> None:
        """Show what was kept back of a log that is at its end."""
        self.show(self.rest(log))
        super().end(log)


class LineView(EntryView):
    """Whole lines: after a job's name, with a time, only those that match, as asked for."""

    def __init__(self, look: Look) -> None:
        super().__init__(look)
        self._pattern = look.pattern
        self._stamps = Stamps() if look.timestamps else None
        self._is_terminal = {fd: os.isatty(fd) for fd in BOTH}
        self._utf8 = is_utf8()
        self._lines: dict[Log, Lines] = {}
        self._names: dict[tuple[Log, int], bytes] = {}
        # A message may come from another thread.
        self._lock = Lock()

    def name(self, logs: Sequence[Log]) -> None:
        """Have each line begin with its job's label: of these jobs."""
        columns = max((len(log.label) for log in logs), default=0)
        for index, log in enumerate(logs):
            name = f"{log.label:<{columns}} | ".encode()
            colour = b"\x1b[%dm" % _COLOURS[index % len(_COLOURS)]
            for descriptor in BOTH:
                is_coloured = self._is_terminal[descriptor] and wants_colours()
                shown = colour + name + RESET if is_coloured else name
                self._names[log, descriptor] = shown

    def begin(self, log: Log, attempt: int) -> None:
        """The same, after lines without an end: none goes on in another attempt."""
        self.show(self.rest(log))
        super().begin(log, attempt)

    def take(self, log: Log, items: Sequence[LogChunk | LogGap]) -> Iterator[Entry]:
        """The lines that are complete and match."""
        lines = self._lines.setdefault(log, Lines())
        for item in items:
            if isinstance(item, LogGap):
                yield from self._entries(log, lines.finish())
                yield Entry(lines.last_ns, log, item)
            else:
                yield from self._entries(log, lines.feed(item))

    def rest(self, log: Log) -> Iterator[Entry]:
        """Lines without an end."""
        yield from self._entries(log, self._lines.setdefault(log, Lines()).finish())

    def show(self, entries: Iterable[Entry]) -> None:
        """Write the lines, many at once."""
        pending = _Pending(self._lock)
        for entry in entries:
            if isinstance(entry.item, LogGap):
                pending.flush()
                self._gaps_of(entry.log).add(entry.item)
            elif isinstance(entry.item, Line):
                descriptor = _descriptor(entry.item.stream)
                pending.add(descriptor, self._shown(entry.log, entry.item, descriptor))
        pending.flush()

    def finish(self) -> None:
        """Lines without an end, then what is missing."""
        for log in self._lines:
            self.show(self.rest(log))
        super().finish()

    def say(self, text: str) -> None:
        """Between two lines."""
        with self._lock:
            super().say(text)

    def _mark(self, text: bytes) -> None:
        with self._lock:
            super()._mark(text)

    def _entries(self, log: Log, lines: Iterable[Line]) -> Iterator[Entry]:
        search = self._pattern.search if self._pattern else None
        for line in lines:
            if search is None or search(line.text):
                yield Entry(line.completed_ns, log, line)

    def _shown(self, log: Log, line: Line, descriptor: int) -> bytes:
        name = self._names.get((log, descriptor), b"")
        stamp = self._stamps.show(line.begun_ns) + b" " if self._stamps else b""
        is_terminal = self._is_terminal[descriptor]
        text = harmless_line(line.text, utf8=self._utf8) if is_terminal else line.text
        return name + stamp + text + b"\n"


class JsonView(EntryView):
    """One object an item; at the end of each log one with the cursor and the job.

    With `named` each object has its job, too.
    """

    def __init__(self, look: Look, *, named: bool) -> None:
        super().__init__(look)
        self._named = named

    def begin(self, log: Log, attempt: int) -> None:
        """An object, too: offsets begin anew."""
        self._gaps_of(log).flush()
        write_json(self._job(log) | {"attempt": attempt}, line=True)

    def take(self, log: Log, items: Sequence[LogChunk | LogGap]) -> Iterator[Entry]:
        """Every item."""
        for item in items:
            log.last_ns = max(log.last_ns, item.time_ns if isinstance(item, LogChunk) else 0)
            yield Entry(log.last_ns, log, item)

    def rest(self, log: Log) -> Iterator[Entry]:
        """The last object, of a log that was not cut short."""
        if log.stream.status is not None:
            yield Entry(log.last_ns, log, None)

    def show(self, entries: Iterable[Entry]) -> None:
        """Write the objects, each at once."""
        for entry in entries:
            write_json(self._job(entry.log) | _object(entry), line=True)

    def _job(self, log: Log) -> dict[str, object]:
        return {"job": log.job} if self._named else {}


class _Pending:
    """Neighbouring lines of one descriptor, written together."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._descriptor = 1
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, descriptor: int, data: bytes) -> None:
        if descriptor != self._descriptor or self._size >= _WRITE_BYTES:
            self.flush()
            self._descriptor = descriptor
        self._parts.append(data)
        self._size += len(data)

    def flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts, self._size = [], 0
            with self._lock:
                put(self._descriptor, data)


def _object(entry: Entry) -> dict[str, object]:
    item = entry.item
    if isinstance(item, LogGap):
        return {"offset": item.offset, "gap_bytes": item.gap_bytes, "why": printable(item.why)}
    if isinstance(item, LogChunk):
        return {
            "offset": item.offset,
            "stream": "stderr" if item.stream == STDERR else "stdout",
            "time_ns": item.time_ns,
            **_data(item.data),
        }
    stream = entry.log.stream
    return {"cursor": stream.cursor, "attempt": stream.attempt, "status": stream.status}


def _data(data: bytes) -> Mapping[str, str]:
    """Under "text" when it is UTF-8 (a chunk may end within a character), else "base64"."""
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"base64": b64encode(data).decode("ascii")}


def _descriptor(stream: int) -> int:
    return STDERR_FD if stream == STDERR else 1
