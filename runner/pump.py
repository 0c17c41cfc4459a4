"""Moves a job's output from its pipes into its log. Part of the monitor; lean.

When the log has no room (a full disk), nothing more is read, so the job blocks in its write
as on any full pipe, and the same bytes are tried again until there is room; only the end of
the job bounds that patience. Or, where its `on_full` says so, what finds no room is dropped
and counted. A job may have a limit of its own on all of its output: what is beyond it stays
in the pipe, or is thrown away and told (`excess`). Who ends the job is the run loop. A change
here is one to runner/native/pump.c.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.logs.format import MOST_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.logs.writer import SegmentWriter

_PIPE_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_RETRY_SECONDS: Final = 0.25
_SEGMENTS_KEPT: Final = 4
# Half: `segment_bytes` counts indexes too, which are not output. (The writer keeps the bound.)
_SEGMENTS_FILLED: Final = MOST_SEGMENTS // 2
# More than any output, or any number of segments: nothing is removed.
_ALL: Final = 2**62

# What becomes of output that finds no room on the disk.
_WAIT: Final = "wait"
_END: Final = "end"


class OutputPlan(NamedTuple):
    """What becomes of a job's output.

    At most `most` bytes are stored in all (None: no end); what comes after them is thrown
    away where `discards`, else left unread. The log keeps its newest `keep_bytes`, and at
    most `keep_segments` segments of `segment_bytes`. `on_full`: wait, drop or end.
    """

    most: int | None
    discards: bool
    segment_bytes: int
    keep_bytes: int
    keep_segments: int
    on_full: str = _WAIT


def plan_output(spec: Mapping[str, Any], limits: Mapping[str, Any]) -> OutputPlan:
    """The plan for a job's limits as they are now (docs/PROTOCOL.md, `output_policy`)."""
    logs = spec["logs"]
    keep, segments, on_full = logs["keep_bytes"], logs["keep_segments"], logs["on_full"]
    segment = min(logs["segment_bytes"], keep)
    most, policy = limits.get("output_max_bytes"), limits.get("output_policy")
    if most is None:
        return OutputPlan(None, discards=False, segment_bytes=segment, keep_bytes=keep,
                          keep_segments=segments, on_full=on_full)  # fmt: skip
    if policy in {"end", "block"}:
        # All of it is promised, so nothing is removed; larger segments bound their number.
        segment = max(segment, -(-most // _SEGMENTS_FILLED))
        return OutputPlan(most, policy == "end", segment, _ALL, _ALL, on_full)
    # The oldest go a segment at a time: at most half as much again is on the disk.
    segment = min(logs["segment_bytes"], max(1, most // _SEGMENTS_KEPT))
    return OutputPlan(None, discards=False, segment_bytes=segment, keep_bytes=most,
                      keep_segments=segments, on_full=on_full)  # fmt: skip


class Pump:
    """The output side of a run loop, which lends its `watch` and `unwatch`."""

    def __init__(
        self,
        log: SegmentWriter,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._log = log
        self._watch = watch
        self._unwatch = unwatch
        self._streams: dict[int, int] = {}
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        self._plan = OutputPlan(None, discards=False, segment_bytes=_READ_BYTES,
                                keep_bytes=_ALL, keep_segments=_ALL)  # fmt: skip
        self._is_watching = True
        self.retry_at: float | None = None
        # Why output was lost that should not have been; 0: none was.
        self.lost_errno = 0
        # Whether there was more output than the plan lets be stored.
        self.excess = False
        self._full_errno = 0
        self._drop_until: float | None = None
        self._pending = (0, 0, 0)  # stream, bytes in the buffer, Unix time in ns

    def follow(self, plan: OutputPlan) -> None:
        """Do as this plan says from now on; the log's own sizes included."""
        self._plan = plan
        self._log.retain(
            segment_bytes=plan.segment_bytes,
            keep_bytes=plan.keep_bytes,
            keep_segments=plan.keep_segments,
        )
        self._watch_or_not()

    def add(self, fd: int, stream: int) -> None:
        """Take over the read end of a pipe."""
        os.set_blocking(fd, False)
        # Best effort: the kernel grants less to a user who holds many pipes (pipe(7)).
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._streams[fd] = stream
        if self._is_watching:
            self._resume(fd)

    def on_time(self, now: float) -> None:
        """Try again to write what found no room."""
        if self.retry_at is not None and now >= self.retry_at:
            self._store()

    def drain(self, deadline: float) -> None:
        """The job is gone: store what is left in the pipes, then close them.

        What the job wrote is in the pipe now, and no more is read: a process outside that
        got hold of the other end could go on writing for ever. Bytes for which there is no
        room before `deadline` (monotonic seconds) are dropped, and `lost_errno` says why.
        What the plan has no room for is thrown away, and `excess` says so.
        """
        for fd in list(self._streams):
            self._empty(fd, deadline)
            self._forget(fd)
        self._wait_for_room(deadline)

    def _empty(self, fd: int, deadline: float) -> None:
        left = _buffered_bytes(fd)
        while left > 0:
            if not self._wait_for_room(deadline):
                self._skip(left)
                return
            count = self._read(fd, left)
            if count == 0:
                return
            left -= count

    def _wait_for_room(self, deadline: float) -> bool:
        while self.retry_at is not None:
            now = time.monotonic()
            if now >= deadline:
                self._give_up()
                return False
            time.sleep(max(0.0, min(self.retry_at, deadline) - now))
            self._store()
        return True

    def _read(self, fd: int, most: int = _READ_BYTES) -> int:
        """Move one buffer. The bytes moved: 0 when the pipe is empty or at its end."""
        room = self._room()
        # An append is never split, so a read is no longer than a segment.
        longest = min(most, self._plan.segment_bytes)
        try:
            count = os.readv(fd, [self._view[: min(longest, room) if room else most]])
        except BlockingIOError:
            return 0
        if count == 0:
            self._forget(fd)
            return 0
        if room == 0:
            self.excess = True
        elif self._drop_until is not None and time.monotonic() < self._drop_until:
            self._log.skip(count)
            self._watch_or_not()
        else:
            self._pending = (self._streams[fd], count, time.time_ns())
            self._store()
        return count

    def _room(self) -> int:
        """How many bytes may still be stored; those that were dropped count as stored."""
        most = self._plan.most
        return _ALL if most is None else max(0, most - self._log.total_bytes)

    def _store(self) -> None:
        """Append what the buffer holds; when that fails, the same again later, or never."""
        stream, count, time_ns = self._pending
        try:
            self._log.append(stream, self._view[:count], time_ns)
        except OSError as error:
            self._on_no_room(error.errno or errno.EIO)
        else:
            self.retry_at = self._drop_until = None
            self._log.work()
            self._watch_or_not()

    def _on_no_room(self, why: int) -> None:
        again = time.monotonic() + _RETRY_SECONDS
        if self._plan.on_full == _WAIT:
            self._full_errno = why
            self.retry_at = again
            self._watch_or_not()
            return
        # Not at every read: a disk that is full would be asked as fast as the job can write.
        self._drop_until = again
        self._log.skip(self._pending[1])
        self._watch_or_not()
        if self._plan.on_full == _END:
            self.lost_errno = self.lost_errno or why

    def _give_up(self) -> None:
        """Drop what has waited for room until the end."""
        self.lost_errno = self._full_errno
        self.retry_at = None
        self._skip(self._pending[1])

    def _skip(self, count: int) -> None:
        """Count as dropped what the plan would have had room for."""
        self._log.skip(min(count, self._room()))

    def _watch_or_not(self) -> None:
        """A pipe that is not to be read now must not wake the loop either."""
        may_read = self._plan.discards or self._room() > 0
        wanted = may_read and self.retry_at is None
        if wanted != self._is_watching:
            self._is_watching = wanted
            for fd in self._streams:
                (self._resume if wanted else self._unwatch)(fd)

    def _resume(self, fd: int) -> None:
        self._watch(fd, lambda: self._on_readable(fd))

    def _on_readable(self, fd: int) -> None:
        # Both pipes may be ready in one round, and the first may have found no more room.
        if self._is_watching and fd in self._streams:
            self._read(fd)

    def _forget(self, fd: int) -> None:
        if fd in self._streams:
            if self._is_watching:
                self._unwatch(fd)
            del self._streams[fd]
            os.close(fd)


def _buffered_bytes(fd: int) -> int:
    """What a pipe holds: FIONREAD, pipe(7)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
