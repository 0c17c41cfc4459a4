"""Compresses the finished segments of a log, a block at a time, in the monitor.

Lean, one thread. It takes nothing away before what replaces it is on disk: who looks for the
compressed form first finds a whole one, whatever a power cut made of the plain files, which are
not synced and may come back torn beside it. It never fails: a segment that cannot be compressed
stays as it is. Which segments there are, and which are to go, is `runner.logs.writer`'s;
`runner.logs.compressed` reads what is made here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.logs.format import (
    FRAME_BYTES,
    MOST_FRAMES,
    TEMPORARY_SUFFIX,
    ZSTD_SUFFIX,
    index_name,
    log_name,
    seek_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# O_NONBLOCK: opening a FIFO that lies in its place would wait for a writer.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MODE: Final = 0o600
# Text shrinks to a fifth at 400 MB/s and more; higher levels cost the job more than they give.
_LEVEL: Final = 1


class Sealed(NamedTuple):
    """The segment at `start` was compressed and takes `disk_bytes` now."""

    start: int
    disk_bytes: int


class Sealer:
    """The finished segments of the directory `dir_fd` that wait to be compressed, oldest first.

    zstd is loaded when the first one comes: a job with little output never pays for it (some
    10 ms and 2 MiB). When it cannot be, or runs out of memory, every segment stays plain.
    """

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._waiting: dict[int, tuple[int, int]] = {}
        self._current: _Segment | None = None
        self._compress: Callable[[bytes], bytes] | None = None
        self._broken = False

    @property
    def has_work(self) -> bool:
        """Whether a call of work() has something to do."""
        return self._current is not None or bool(self._waiting)

    def add(self, start: int, log_bytes: int, index_bytes: int) -> None:
        """A segment was finished. One that is empty or immense stays plain."""
        largest = max(log_bytes, index_bytes)
        if log_bytes and largest <= FRAME_BYTES * MOST_FRAMES and not self._broken:
            self._waiting[start] = (log_bytes, index_bytes)

    def forget(self, start: int) -> None:
        """The segment is about to be removed."""
        self._waiting.pop(start, None)
        if self._current is not None and self._current.start == start:
            self._drop()

    def work(self) -> Sealed | None:
        """Compress FRAME_BYTES, less than twice that at the most; one segment at the most.

        The last call for a segment also waits until it is on disk (fdatasync(2), fsync(2)).
        """
        try:
            return self._work()
        # Whatever it is (no room, no memory, no library, a defect of ours): the plain segment
        # is there, and a job must not end because its log is large.
        except Exception:  # noqa: BLE001
            self._drop()
            return None

    def close(self) -> None:
        """Leave everything that waits as it is. Again is harmless."""
        self._waiting.clear()
        self._drop()

    def _work(self) -> Sealed | None:
        segment = self._current or self._next()
        budget = FRAME_BYTES
        while segment is not None and budget > 0:
            done = segment.step()
            if not done:
                self._current = None
                return segment.finish()
            budget -= done
        return None

    def _next(self) -> _Segment | None:
        start = next(iter(self._waiting), None)
        if start is None:
            return None
        if self._compress is None:
            # Not again for each segment when it fails.
            self._broken = True
            self._compress = _compressor()
            self._broken = False
        sizes = self._waiting.pop(start)
        self._current = _Segment(self._dir_fd, start, sizes, self._compress)
        return self._current

    def _drop(self) -> None:
        if self._broken:
            self._waiting.clear()
        if self._current is not None:
            self._current.discard()
            self._current = None


class _Segment:
    """A segment that is being compressed: its index, then its data, under temporary names."""

    def __init__(
        self, dir_fd: int, start: int, sizes: tuple[int, int], compress: Callable[[bytes], bytes]
    ) -> None:
        self.start = start
        self._dir_fd = dir_fd
        self._plain_bytes = sum(sizes)
        self._files: list[_File] = []
        log_bytes, index_bytes = sizes
        try:
            for name, size in ((index_name(start), index_bytes), (log_name(start), log_bytes)):
                self._files.append(_File(dir_fd, name, size, compress))
        except BaseException:
            self.discard()
            raise

    def step(self) -> int:
        """Compress one block. Its plain bytes; 0 when there is no more."""
        return next(filter(None, (file.step() for file in self._files)), 0)

    def finish(self) -> Sealed | None:
        """Put it in the place of the plain one, once it is on disk. None when it is no smaller."""
        try:
            size = sum(file.finish() for file in self._files)
            if size >= self._plain_bytes:
                self.discard()
                return None
            # The index first: who finds the data finds its index too.
            for file in self._files:
                file.publish()
            # A power cut must not bring what follows without the new names.
            os.fsync(self._dir_fd)
        except BaseException:
            self.discard()
            raise
        for file in reversed(self._files):
            file.remove_plain()
        return Sealed(self.start, size)

    def discard(self) -> None:
        """Leave the plain segment alone: the data first, for who reads it just now."""
        for file in reversed(self._files):
            file.discard()


class _File:
    """One plain file on its way to a compressed one."""

    def __init__(
        self, dir_fd: int, name: str, size: int, compress: Callable[[bytes], bytes]
    ) -> None:
        self._dir_fd = dir_fd
        self._name = name
        self._size = size
        self._compress = compress
        self._position = 0
        self._frames: list[tuple[int, int]] = []
        self._fds = [os.open(name, _READ, dir_fd=dir_fd)]
        try:
            self._fds.append(os.open(self._temporary, _CREATE, _MODE, dir_fd=dir_fd))
        except BaseException:
            self._close()
            raise

    @property
    def _final(self) -> str:
        return self._name + ZSTD_SUFFIX

    @property
    def _temporary(self) -> str:
        return self._final + TEMPORARY_SUFFIX

    def step(self) -> int:
        """Compress the next block. Its plain bytes; 0 when there is no more."""
        wanted = min(FRAME_BYTES, self._size - self._position)
        if wanted == 0:
            return 0
        plain, temporary = self._fds
        block = os.pread(plain, wanted, self._position)
        if len(block) < wanted:
            raise EOFError(f"{self._name} is shorter than what was written to it")
        frame = self._compress(block)
        _write_all(temporary, frame)
        self._frames.append((len(frame), wanted))
        self._position += wanted
        return wanted

    def finish(self) -> int:
        """Write the table and wait for the disk. How long the compressed file is."""
        table = seek_table(self._frames)
        _write_all(self._fds[1], table)
        os.fdatasync(self._fds[1])
        self._close()
        return len(table) + sum(size for size, _ in self._frames)

    def publish(self) -> None:
        """Give it its name."""
        os.rename(self._temporary, self._final, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)

    def remove_plain(self) -> None:
        """The compressed file is on disk. Should this fail, there are two of it."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._dir_fd)

    def discard(self) -> None:
        """Remove what was made, under whichever name it is."""
        self._close()
        for name in (self._final, self._temporary):
            with suppress(OSError):
                os.unlink(name, dir_fd=self._dir_fd)

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def _compressor() -> Callable[[bytes], bytes]:
    """Makes one frame of one block, with its plain size and a checksum in it."""
    zstd: Any
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: _LEVEL, parameter.checksum_flag: 1}
    compressor = zstd.ZstdCompressor(options=options)

    def compress(block: bytes) -> bytes:
        frame: bytes = compressor.compress(block, compressor.FLUSH_FRAME)
        return frame

    return compress


def _write_all(fd: int, data: bytes) -> None:
    """write(2) stops short where a disk or limit is full; the next one says why."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
