"""Moves a job's output from its pipes into its log. Part of the monitor; lean.

Lossless: when the log has no room (a full disk), nothing more is read, so the job blocks
in its write as on any full pipe, and the same bytes are tried again until there is room.
Only the end of the job bounds that patience.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.logs.writer import SegmentWriter

_PIPE_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_RETRY_SECONDS: Final = 0.25


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
        self.retry_at: float | None = None
        self.lost_errno = 0
        self._full_errno = 0
        self._pending = (0, 0, 0)  # stream, bytes in the buffer, Unix time in ns

    def add(self, fd: int, stream: int) -> None:
        """Take over the read end of a pipe."""
        os.set_blocking(fd, False)
        # Best effort: the kernel grants less to a user who holds many pipes (pipe(7)).
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._streams[fd] = stream
        self._resume(fd)

    def on_time(self, now: float) -> None:
        """Try again to write what found no room."""
        if self.retry_at is not None and now >= self.retry_at:
            self._store()

    def drain(self, deadline: float) -> None:
        """The job is gone: store what is left in the pipes, then close them.

        What the job wrote is in the pipe now, and no more is read: a process outside that
        got hold of the other end could go on writing for ever. Bytes for which there is no
        room before `deadline` (monotonic seconds) are given up, and `lost_errno` says why.
        """
        for fd in list(self._streams):
            left = _buffered_bytes(fd)
            while left > 0 and self._wait_for_room(deadline):
                count = self._read(fd, left)
                if count == 0:
                    break
                left -= count
            self._forget(fd)
        self._wait_for_room(deadline)

    def _wait_for_room(self, deadline: float) -> bool:
        while self.retry_at is not None:
            now = time.monotonic()
            if now >= deadline:
                self.lost_errno = self._full_errno
                return False
            time.sleep(max(0.0, min(self.retry_at, deadline) - now))
            self._store()
        return True

    def _read(self, fd: int, most: int = _READ_BYTES) -> int:
        """Move one buffer. The bytes moved: 0 when the pipe is empty or at its end."""
        try:
            count = os.readv(fd, [self._view[:most]])
        except BlockingIOError:
            return 0
        if count == 0:
            self._forget(fd)
            return 0
        self._pending = (self._streams[fd], count, time.time_ns())
        self._store()
        return count

    def _store(self) -> None:
        """Append what the buffer holds; when that fails, the same again later."""
        stream, count, time_ns = self._pending
        try:
            self._log.append(stream, self._view[:count], time_ns)
        except OSError as error:
            self._pause(error.errno or errno.EIO)
        else:
            self._resume_all()

    def _pause(self, why: int) -> None:
        if self.retry_at is None:
            for fd in self._streams:
                self._unwatch(fd)
        self._full_errno = why
        self.retry_at = time.monotonic() + _RETRY_SECONDS

    def _resume_all(self) -> None:
        if self.retry_at is not None:
            self.retry_at = None
            for fd in self._streams:
                self._resume(fd)

    def _resume(self, fd: int) -> None:
        self._watch(fd, lambda: self._on_readable(fd))

    def _on_readable(self, fd: int) -> None:
        # Both pipes may be ready in one round, and the first may have found the disk full.
        if self.retry_at is None and fd in self._streams:
            self._read(fd)

    def _forget(self, fd: int) -> None:
        if fd in self._streams:
            if self.retry_at is None:
                self._unwatch(fd)
            del self._streams[fd]
            os.close(fd)


def _buffered_bytes(fd: int) -> int:
    """What a pipe holds: FIONREAD, pipe(7)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
