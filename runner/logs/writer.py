"""Writes a job's log: appends to the newest segment, begins new ones, removes the oldest.

Runs in the monitor: lean imports, one thread, blocking files, a tiny memory budget. It
decides nothing about what to do when the disk is full; it only leaves the log as it was, so
that the monitor can wait and try again, or count what it drops. What is finished is compressed
by `runner.logs.sealing`. Reading is `runner.logs.reader`, in another process. A change here is
one to runner/native/log.c, which writes the same files.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from isolation.syscalls.mounts import sync_file_system
from runner.logs.format import (
    INDEX_RECORD,
    MOST_SEGMENTS,
    STDERR,
    STDOUT,
    ZSTD_SUFFIX,
    index_name,
    log_name,
)
from runner.logs.sealing import Sealer
from runner.logs.segment_files import (
    create_segment,
    remove_file,
    start_writing,
    sync_file,
    write_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A segment that is written no more: the sign that another may follow.
_FINAL_MODE: Final = 0o400
# One being written and one before it: else a reader would lose what it is about to read.
_FEWEST_SEGMENTS: Final = 2
_NAMES: Final = (log_name, index_name)
# More than any disk has files.
_ALL: Final = 2**62
# Where no number is asked for, segments become twice as large after each so many.
_SEGMENTS_OF_A_SIZE: Final = MOST_SEGMENTS // 8
_MOST_DOUBLINGS: Final = 7
# More unsynced segments than this are synced with all the file system, in one go: one by one,
# each waits for the journal and the disk's cache, and a job's end for thousands of them.
_MANY_UNSYNCED: Final = 32
# Each start is a write of its own, and a small log is written in no time at the end.
_EARLY_BYTES: Final = 4 * 1024 * 1024
# A start that takes longer has waited for the disk, which is slower than the output then.
_EARLY_PATIENCE_SECONDS: Final = 0.05


class SegmentWriter:
    """The log of one job in the directory that `dir_fd` (O_RDONLY) is open on.

    The caller keeps `dir_fd` open as long as the writer lives and closes it itself.

    - A read is never split: a new segment begins before an append when the present one
      already holds `segment_bytes`, so one is at most an append longer than that.
    - The newest `keep_bytes` always stay, and at most the rest of one segment besides; but
      there are never more than `keep_segments`, the one being written included.
    - There are never more than MOST_SEGMENTS. With a `keep_segments` beyond that segments become
      larger instead of too many; only gaps (skip), by the thousand, then push out the oldest.
    - The sizes count the index too (24 bytes an append): else a job that writes single bytes
      would take 25 times the disk that it was given. `keep_bytes` counts a segment as what it
      takes on the disk: less once it is compressed, so what stays then may be as much less as
      that saves. While it is being compressed both are there.

    The constructor creates the first segment and, with `sync_begin`, syncs the directory: once it
    returns, even a power cut leaves the sign that the job may have run. Appends are not synced,
    close() syncs everything: a crash of the process loses no append, one of the machine may.
    Nothing is synced of what is empty but its name, and of a log without output and gaps not even
    that. Large segments are on their way to the disk from their end on, so that close() waits for
    less.

    `compression` is "none" or "zstd"; then work() is to be called, and a segment that cannot
    be compressed stays as it is. Raises ValueError for a size below 1, fewer segments than 2
    or another compression, FileExistsError when the directory is not empty, OSError of open(2)
    and fsync(2); nothing is left behind then.
    """

    def __init__(
        self,
        dir_fd: int,
        *,
        segment_bytes: int,
        keep_bytes: int,
        keep_segments: int = _ALL,
        compression: str = "none",
        sync_begin: bool = True,
    ) -> None:
        if compression not in ("none", "zstd"):
            raise ValueError(f"{compression=}: none and zstd are allowed")
        self._sealer = Sealer(dir_fd) if compression == "zstd" else None
        self.retain(segment_bytes=segment_bytes, keep_bytes=keep_bytes, keep_segments=keep_segments)
        if os.listdir(dir_fd):
            raise FileExistsError("the log was already begun; its monitor alone may write it")
        self._dir_fd = dir_fd
        self.dropped_bytes = 0
        # What was dropped since the last append: the next one comes so many bytes later.
        self._skipped = 0
        # The bytes on disk of every finished segment that is still there, oldest first.
        self._finished: dict[int, int] = {}
        self._finished_bytes = 0
        self._sealed: set[int] = set()
        self._closed = False
        self._unsynced_names = not sync_begin
        # What is compressed goes soon.
        self._writes_early = self._sealer is None
        self._start = self._log_bytes = self._index_bytes = 0
        self._log_fd, self._index_fd = self._create(0)
        if sync_begin:
            self._sync_begin()

    @property
    def total_bytes(self) -> int:
        """The absolute offset of the next byte: all output so far, removed or dropped or not."""
        return self._start + self._log_bytes + self._skipped

    @property
    def has_work(self) -> bool:
        """Whether work() has something to do."""
        return self._sealer is not None and self._sealer.has_work

    def retain(self, *, segment_bytes: int, keep_bytes: int, keep_segments: int = _ALL) -> None:
        """Other sizes from the next append on; what was removed before stays removed."""
        if segment_bytes < 1 or keep_bytes < 1:
            raise ValueError(f"{segment_bytes=}, {keep_bytes=}: each must be at least 1")
        if keep_segments < _FEWEST_SEGMENTS:
            raise ValueError(f"{keep_segments=}: it must be at least {_FEWEST_SEGMENTS}")
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes
        self._keep_segments = keep_segments

    def skip(self, count: int) -> None:
        """`count` bytes of output were dropped: they take up offsets, and nothing else.

        The next append begins a segment that many bytes later, which shows readers the gap.
        Does no I/O and never fails; raises ValueError for a count below 0.
        """
        if count < 0:
            raise ValueError(f"{count=}: it must be at least 0")
        self._skipped += count
        self.dropped_bytes += count

    def work(self) -> bool:
        """Do a piece of what compression is due: some 256 KiB. Whether there is more.

        Once after each append it keeps pace with any output. The last piece of a segment waits
        for the disk. What fails leaves the segment plain; nothing is raised.
        """
        if self._sealer is None:
            return False
        sealed = self._sealer.work()
        if sealed is not None:
            self._finished_bytes += sealed.disk_bytes - self._finished[sealed.start]
            self._finished[sealed.start] = sealed.disk_bytes
            self._sealed.add(sealed.start)
        return self._sealer.has_work

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
        self._make_room(len(data) + INDEX_RECORD.size)
        record = INDEX_RECORD.pack(time_ns, self.total_bytes, len(data), stream)
        try:
            # The data first: a record must never point at bytes that are not there.
            write_at(self._log_fd, data, self._log_bytes)
            write_at(self._index_fd, record, self._index_bytes)
        except OSError:
            self._cut_back()
            raise
        self._log_bytes += len(data)
        self._index_bytes += len(record)

    def close(self) -> None:
        """Put everything on disk (data, index, names) and close the files. Again is harmless.

        What waits to be compressed stays plain: a job's end waits for no work. Raises OSError
        of fdatasync(2), fsync(2) or syncfs(2): something may not be on disk; the rest is. The
        files are closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        if self._sealer is not None:
            self._sealer.close()
        try:
            self._sync()
        finally:
            os.close(self._log_fd)
            os.close(self._index_fd)

    def _sync(self) -> None:
        # A compressed one is on disk already; one that was begun by a gap may be empty.
        unsynced = [
            start for start, size in self._finished.items() if size and start not in self._sealed
        ]
        if len(unsynced) > _MANY_UNSYNCED:
            sync_file_system(self._dir_fd)
            return
        steps: list[Callable[[], None]] = []
        if self._log_bytes:
            # Once the index has its place on the disk too, one commit of the journal takes both.
            start_writing(self._index_fd)
            steps = [partial(os.fdatasync, self._log_fd), partial(os.fdatasync, self._index_fd)]
        if self._unsynced_names and self.total_bytes:
            steps.append(partial(os.fsync, self._dir_fd))
        for start in unsynced:
            steps += [partial(sync_file, name(start), self._dir_fd) for name in _NAMES]
        _do_all(steps)

    def _sync_begin(self) -> None:
        try:
            os.fsync(self._dir_fd)
        except OSError:
            os.close(self._log_fd)
            os.close(self._index_fd)
            self._remove(0)
            raise

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
        is_due = held >= self._due_bytes() or self._skipped > 0
        # An empty one is not kept when the next one begins.
        adds_one = is_due and (self._log_bytes or not self._finished)
        room_for = min(self._keep_segments, MOST_SEGMENTS) - (2 if adds_one else 1)
        while self._finished:
            start, size = next(iter(self._finished.items()))
            kept = self._finished_bytes - size + held + more
            if kept < self._keep_bytes and len(self._finished) <= room_for:
                break
            self._remove(start)
            del self._finished[start]
            self._sealed.discard(start)
            self._finished_bytes -= size
            # What comes from now on may be gone before anything waits for it.
            self._writes_early = False
        if is_due:
            self._begin_segment()

    def _due_bytes(self) -> int:
        """How long a segment becomes before the next one begins."""
        if self._keep_segments <= MOST_SEGMENTS:
            return self._segment_bytes
        doublings = len(self._finished) // _SEGMENTS_OF_A_SIZE
        # The last ones are for gaps alone.
        return _ALL if doublings >= _MOST_DOUBLINGS else self._segment_bytes << doublings

    def _begin_segment(self) -> None:
        # First: readers who find neither the sign nor the next one at once look no further.
        os.fchmod(self._log_fd, _FINAL_MODE)
        start, log_bytes, index_bytes = self._start, self._log_bytes, self._index_bytes
        old = (self._log_fd, self._index_fd)
        beginning = self.total_bytes
        self._log_fd, self._index_fd = self._create(beginning)
        self._start = beginning
        self._log_bytes = self._index_bytes = self._skipped = 0
        self._unsynced_names = True
        self._write_early(old, log_bytes)
        for fd in old:
            os.close(fd)
        self._finish(start, log_bytes, index_bytes)

    def _write_early(self, fds: tuple[int, int], log_bytes: int) -> None:
        """Have close() find most of a large log on the disk.

        Where the device's queue is full this blocks, and the job with us: then no more is started.
        """
        if self._writes_early and log_bytes >= _EARLY_BYTES:
            began = time.monotonic()
            start_writing(*fds)
            self._writes_early = time.monotonic() - began < _EARLY_PATIENCE_SECONDS

    def _finish(self, start: int, log_bytes: int, index_bytes: int) -> None:
        if not log_bytes and self._finished:
            # Begun on a full disk, which then had no room for the data. Were it kept, a job that
            # drops its output for long would push out all that it wrote before.
            with suppress(OSError):
                self._remove(start)
                return
        self._finished[start] = log_bytes + index_bytes
        self._finished_bytes += log_bytes + index_bytes
        if self._sealer is not None:
            self._sealer.add(start, log_bytes, index_bytes)

    def _create(self, start: int) -> tuple[int, int]:
        return create_segment(self._dir_fd, start)

    def _remove(self, start: int) -> None:
        names = [log_name(start), index_name(start)]
        if self._sealer is not None:
            self._sealer.forget(start)
            # The plain files may be left beside the compressed ones.
            log, index = names
            names = [log, log + ZSTD_SUFFIX, index, index + ZSTD_SUFFIX]
        for name in names:
            remove_file(name, self._dir_fd)


def _do_all(steps: Iterable[Callable[[], None]]) -> None:
    """Each of them, whatever became of the others. Raises the last OSError."""
    failed: OSError | None = None
    for step in steps:
        try:
            step()
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed
