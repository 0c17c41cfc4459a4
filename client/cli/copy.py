"""A job's output written to our own stdout and stderr, byte for byte and at once.

Straight to the descriptors: Python's buffers would delay it and mix the two streams. What
it means that a reader is gone is for the verb to decide.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from client import protocol
from client.logstream import LogChunk, LogGap
from client.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STDERR_FD: Final = 2


def write_batch(
    batch: Sequence[LogChunk | LogGap],
    on_gap: Callable[[LogGap], None],
    write: Callable[[int, bytes], None],
) -> None:
    """Give the batch's bytes to `write(descriptor, data)` in their order, gaps to `on_gap`."""
    for item in _merged(batch):
        if isinstance(item, LogGap):
            on_gap(item)
        else:
            stream, data = item
            write(STDERR_FD if stream == protocol.STDERR else 1, data)


def _merged(batch: Sequence[LogChunk | LogGap]) -> Iterator[LogGap | tuple[int, bytes]]:
    """Neighbours of one stream joined: a log of single letters is not written letter by letter."""
    stream, parts = 0, list[bytes]()
    for item in batch:
        if isinstance(item, LogChunk) and item.stream == stream:
            parts.append(item.data)
            continue
        if parts:
            yield stream, b"".join(parts)
        if isinstance(item, LogGap):
            stream, parts = 0, []
            yield item
        else:
            stream, parts = item.stream, [item.data]
    if parts:
        yield stream, b"".join(parts)


_WHY: Final = {
    "removed": "of older output was removed by retention",
    "dropped": "of output was dropped because the disk was full",
    "damaged": "of output is damaged and cannot be shown",
}


class Gaps:
    """Says how much output is missing and why: the sum, at most once in `interval` seconds.

    The first gap is said at once, and `flush` says the rest.
    """

    def __init__(self, say: Callable[[str], None], interval: float = 0.0) -> None:
        self._say = say
        self._interval = interval
        self._next = 0.0
        self._missing: dict[str, int] = {}

    def add(self, gap: LogGap) -> None:
        """Output is missing here."""
        self._missing[gap.why] = self._missing.get(gap.why, 0) + gap.gap_bytes
        self.tick()

    def tick(self) -> None:
        """Say what was added, if it is time."""
        if self._missing and time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Say what was added, now."""
        missing, self._missing = self._missing, {}
        for why, size in missing.items():
            self._say(f"{format_size(size)} {_WHY.get(why, f'of output is missing ({why})')}")
        self._next = time.monotonic() + self._interval


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also to a pipe or terminal that somebody made non-blocking.

    Raises OSError: EPIPE for a reader that is gone, EIO for a terminal that is, ENOSPC.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait_writable(descriptor)


def _wait_writable(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
