"""Writes a job's log: appends to the newest segment, begins new ones, removes the oldest.

Runs in the monitor: lean imports, one thread, blocking files, a tiny memory budget. It
decides nothing about what to do when the disk is full; it only leaves the log as it was, so
that the monitor can wait and try again. Reading is `runner.logs.reader`, in another process.
"""

from __future__ import annotations

import os
from typing import Final

from runner.logs.format import INDEX_RECORD, STDERR, STDOUT, index_name, log_name

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SYNC: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE: Final = 0o600


class SegmentWriter:
    """The log of one job in the directory that `dir_fd` (O_RDONLY) is open on.

    The caller keeps `dir_fd` open as long as the writer lives and closes it itself.

    - A read is never split: a new segment begins before an append when the present one
      already holds `segment_bytes`, so one is at most an append longer than that.
    - The newest `keep_bytes` always stay, and at most the rest of one segment besides.
    - Both count the index too (24 bytes an append): else a job that writes single bytes
      would take 25 times the disk that it was given.

    The constructor creates the first segment and syncs the directory: once it returns, even
    a power cut leaves the sign that the job may have run. Appends are not synced, close()
    syncs everything: a crash of the process loses no append, one of the machine may.

    Raises ValueError for a size below 1, FileExistsError when the directory is not empty,
    OSError of open(2) and fsync(2); nothing is left behind then.
    """

    def __init__(self, dir_fd: int, *, segment_bytes: int, keep_bytes: int) -> None:
        _check_sizes(segment_bytes, keep_bytes)
        if os.listdir(dir_fd):
            raise FileExistsError("the log was already begun; its monitor alone may write it")
        self._dir_fd = dir_fd
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes
        # (start, bytes on disk) of every finished segment that is still there, oldest first.
        self._finished: list[tuple[int, int]] = []
        self._finished_bytes = 0
        self._closed = False
        self._unsynced_names = False
        self._start = self._log_bytes = self._index_bytes = 0
        self._log_fd, self._index_fd = self._create(0)
        try:
            os.fsync(dir_fd)
        except OSError:
            os.close(self._log_fd)
            os.close(self._index_fd)
            self._remove(0)
            raise

    @property
    def total_bytes(self) -> int:
        """The absolute offset of the next byte: all output so far, what was removed included."""
        return self._start + self._log_bytes

    def retain(self, *, segment_bytes: int, keep_bytes: int) -> None:
        """Other sizes from the next append on; what was removed before stays removed."""
        _check_sizes(segment_bytes, keep_bytes)
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes

    def append(self, stream: int, data: bytes | bytearray | memoryview, time_ns: int) -> None:
        """Append what one read gave (a memoryview must be of bytes); readers see all or nothing.

        Empty data is ignored. Raises OSError (ENOSPC, EDQUOT, EFBIG, EIO …) with nothing of
        `data` visible and the log as it was: call again with the same arguments, any number of
        times, and no byte is lost or repeated. Raises ValueError for another stream.
        """
        if stream not in (STDOUT, STDERR):
            raise ValueError(f"stream {stream}; {STDOUT} and {STDERR} are allowed")
        if not data:
            return
        record = INDEX_RECORD.pack(time_ns, self.total_bytes, len(data), stream)
        self._make_room(len(data) + len(record))
        try:
            # The data first: a record must never point at bytes that are not there.
            _write_at(self._log_fd, data, self._log_bytes)
            _write_at(self._index_fd, record, self._index_bytes)
        except OSError:
            self._cut_back()
            raise
        self._log_bytes += len(data)
        self._index_bytes += len(record)

    def close(self) -> None:
        """Put everything on disk (data, index, names) and close the files. Again is harmless.

        Raises OSError of fdatasync(2) or fsync(2): something may not be on disk. The files are
        closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._sync()
        finally:
            os.close(self._log_fd)
            os.close(self._index_fd)

    def _sync(self) -> None:
        """Finished segments are opened again: fdatasync flushes the file, whoever wrote it."""
        for start, _ in self._finished:
            for name in (log_name(start), index_name(start)):
                fd = os.open(name, _SYNC, dir_fd=self._dir_fd)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)
        os.fdatasync(self._log_fd)
        os.fdatasync(self._index_fd)
        if self._unsynced_names:
            os.fsync(self._dir_fd)

    def _cut_back(self) -> None:
        """Drop what a failed append left, so that the raw file holds output and nothing else.

        Should this fail too, no reader is misled: the index does not cover those bytes, and
        the next append writes over them.
        """
        os.ftruncate(self._log_fd, self._log_bytes)
        os.ftruncate(self._index_fd, self._index_bytes)

    def _make_room(self, more: int) -> None:
        """Before `more` bytes: remove what is too old, then begin a segment if it is time.

        In this order, because on a full disk removing is what lets the rest succeed.
        """
        held = self._log_bytes + self._index_bytes
        while self._finished:
            start, size = self._finished[0]
            if self._finished_bytes - size + held + more < self._keep_bytes:
                break
            self._remove(start)
            del self._finished[0]
            self._finished_bytes -= size
        if held >= self._segment_bytes:
            self._begin_segment()

    def _begin_segment(self) -> None:
        old = (self._log_fd, self._index_fd)
        start, held = self._start, self._log_bytes + self._index_bytes
        self._log_fd, self._index_fd = self._create(self.total_bytes)
        self._start = self.total_bytes
        self._log_bytes = self._index_bytes = 0
        self._finished.append((start, held))
        self._finished_bytes += held
        self._unsynced_names = True
        for fd in old:
            os.close(fd)

    # A segment is there for readers when its .log is. So the index is created before it and
    # removed after it, and a .log without an index is never seen, even after a crash between.

    def _create(self, start: int) -> tuple[int, int]:
        index_fd = os.open(index_name(start), _CREATE, _MODE, dir_fd=self._dir_fd)
        try:
            return os.open(log_name(start), _CREATE, _MODE, dir_fd=self._dir_fd), index_fd
        except OSError:
            os.close(index_fd)
            _unlink(index_name(start), self._dir_fd)
            raise

    def _remove(self, start: int) -> None:
        _unlink(log_name(start), self._dir_fd)
        _unlink(index_name(start), self._dir_fd)


def _check_sizes(segment_bytes: int, keep_bytes: int) -> None:
    if segment_bytes < 1 or keep_bytes < 1:
        raise ValueError(f"{segment_bytes=}, {keep_bytes=}: each must be at least 1")


def _unlink(name: str, dir_fd: int) -> None:
    """Absent is well: an earlier try may have removed the one file and failed at the other."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def _write_at(fd: int, data: bytes | bytearray | memoryview, position: int) -> None:
    """Write all of `data` at `position`. pwrite(2) stops short where a disk or limit is full.

    A position and not O_APPEND, so that a try after a failure overwrites instead of repeating.
    """
    written = os.pwrite(fd, data, position)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], position + written)
