"""What is taken of a disk, and what is free: a job's directory, the store, the file system.

Looks only, follows no symbolic link and enters no mount. The functions wait for the disk, so
they are called in threads; `RunningSizes` does so for the event loop. Who is told is
`runner.server.handlers.doctor`'s.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import attemptdirs
from runner.message_logs import MOST_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Of st_blocks, whatever the file system's own are: stat(2), inode(7).
_BLOCK_BYTES: Final = 512
# A segment is two files, twice as many for a moment while it is compressed; and as much again.
MOST_ENTRIES: Final = 8 * MOST_SEGMENTS
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# SQLite's: the write-ahead log beside the database, and the log's index.
_STORE_SUFFIXES: Final = ("", "-wal", "-shm")
# Of directories that are alike.
_MOST_SHAPES: Final = 256
_SHAPE_SECONDS: Final = 60.0
# A size of a directory that is written to is true for a moment anyway.
_FRESH_SECONDS: Final = 5.0


class Space(NamedTuple):
    """A file system: bytes and inodes in all, and what an ordinary user may still take.

    No inodes in all: it makes them as it needs them.
    """

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


def space(path: str) -> Space:
    """The file system that `path` is on. Raises OSError (statvfs(3))."""
    found = os.statvfs(path)
    return Space(
        found.f_blocks * found.f_frsize,
        found.f_bavail * found.f_frsize,
        found.f_files,
        found.f_favail,
    )


def tree_bytes(path: str, most: int = MOST_ENTRIES) -> int:
    """What a directory takes with all that it holds; 0 when it is not there.

    What goes away meanwhile is left out, and so is what comes after `most` entries. Raises
    OSError.
    """
    total, left = 0, most
    device: int | None = None
    waiting = [path]
    while waiting and left > 0:
        place = waiting.pop()
        try:
            fd = os.open(place, _DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            here = os.fstat(fd)
            device = here.st_dev if device is None else device
            if here.st_dev != device:
                continue
            total += here.st_blocks * _BLOCK_BYTES
            for name in os.listdir(fd)[:left]:
                left -= 1
                size, is_directory = _entry(fd, name)
                total += size
                if is_directory:
                    waiting.append(f"{place}/{name}")
        finally:
            os.close(fd)
    return total


def job_bytes(path: str, attempt: int | None = None) -> int:
    """What a job's directory takes, each of its attempts as much as a job may have.

    `attempt` is its newest, which is found out without. 0 when it is not there. Raises OSError.
    """
    if attempt is not None:
        return tree_bytes(path, attempt * MOST_ENTRIES)
    attempts = 1
    with suppress(FileNotFoundError), _opened(path) as fd:
        attempts += len(attemptdirs.later(fd))
    return tree_bytes(path, attempts * MOST_ENTRIES)


class UsualBytes:
    """What directories of jobs take that are alike, without a look at each.

    Files of the same lengths take the same room below one directory. That is looked at now and
    then, for what else an administrator may have changed about it.
    """

    def __init__(self) -> None:
        # Bytes, and until when that is known (monotonic seconds).
        self._known: dict[tuple[int, ...], tuple[int, float]] = {}

    def of(self, path: str, lengths: Iterable[int]) -> int:
        """`job_bytes` of a first attempt with files of these lengths. Raises OSError."""
        # Some file systems keep the shortest with their inodes, counted in these blocks.
        shape = tuple([-(-length // _BLOCK_BYTES) for length in lengths])
        size, until = self._known.get(shape, (0, 0.0))
        now = time.monotonic()
        if now >= until:
            size = job_bytes(path, 1)
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            self._known[shape] = size, now + _SHAPE_SECONDS
        return size


def store_bytes(path: str) -> int:
    """What the store's files take. Raises OSError."""
    total = 0
    for suffix in _STORE_SUFFIXES:
        with suppress(FileNotFoundError):
            total += os.lstat(path + suffix).st_blocks * _BLOCK_BYTES
    return total


class RunningSizes:
    """What the directories of jobs that run take: each measured now and then, however often asked.

    One thread at a time, whoever asks and goes away again. For the event loop's thread.
    """

    def __init__(self, directories: str) -> None:
        self._directories = directories
        # Bytes, and until when that is good enough (monotonic seconds).
        self._known: dict[str, tuple[int, float]] = {}
        self._turn = asyncio.Lock()
        self._under_way: asyncio.Future[None] | None = None

    async def of(self, ids: Iterable[str]) -> dict[str, int]:
        """Their bytes; 0 for one that cannot be measured."""
        wanted = list(ids)
        if self._due(wanted):
            async with self._turn:
                # Of somebody who has gone away.
                if self._under_way is not None:
                    await asyncio.shield(self._under_way)
                if due := self._due(wanted):
                    self._under_way = asyncio.ensure_future(self._measure(due))
                    await asyncio.shield(self._under_way)
        return {job_id: self._known.get(job_id, (0, 0.0))[0] for job_id in wanted}

    def _due(self, ids: list[str]) -> list[str]:
        now = time.monotonic()
        self._known = {job_id: kept for job_id, kept in self._known.items() if kept[1] > now}
        return [job_id for job_id in ids if job_id not in self._known]

    async def _measure(self, ids: list[str]) -> None:
        try:
            sizes = await asyncio.to_thread(self._sizes, ids)
            until = time.monotonic() + _FRESH_SECONDS
            self._known |= {job_id: (size, until) for job_id, size in sizes.items()}
        finally:
            self._under_way = None

    def _sizes(self, ids: list[str]) -> dict[str, int]:
        return {job_id: self._size(job_id) for job_id in ids}

    def _size(self, job_id: str) -> int:
        with suppress(OSError):
            return job_bytes(os.path.join(self._directories, job_id))
        return 0


def _entry(dir_fd: int, name: str) -> tuple[int, bool]:
    """What something takes by itself, and whether it is a directory, which counts itself."""
    try:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return 0, False
    if stat.S_ISDIR(found.st_mode):
        return 0, True
    return found.st_blocks * _BLOCK_BYTES, False


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
