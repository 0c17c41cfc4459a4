"""What the tests of the log share: logs made and read whole, and a proof that nothing leaks."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import pytest

import runner
from runner.logs.reader import Chunk, Gap, LogReader
from runner.logs.writer import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = _descriptors()
    yield
    assert _descriptors() == before


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def open_writer() -> Callable[..., AbstractContextManager[SegmentWriter]]:
    """A writer on a directory, in a context at whose end it is closed."""

    @contextlib.contextmanager
    def open_writer(
        path: Path | str, segment_bytes: int = 2**30, keep_bytes: int = 2**40, **other: Any
    ) -> Iterator[SegmentWriter]:
        dir_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            writer = SegmentWriter(
                dir_fd, segment_bytes=segment_bytes, keep_bytes=keep_bytes, **other
            )
            try:
                yield writer
            finally:
                writer.close()
        finally:
            os.close(dir_fd)

    return open_writer


@pytest.fixture(scope="session")
def read_all() -> Callable[..., list[Chunk | Gap]]:
    """Everything from a cursor to the visible end, with a new reader."""

    def read_all(path: Path | str, cursor: int = 0, max_bytes: int = 2**30) -> list[Chunk | Gap]:
        found: list[Chunk | Gap] = []
        with LogReader(path) as reader:
            while (part := reader.read(cursor, max_bytes)) is not None:
                found.append(part)
                cursor = part.offset if isinstance(part, Gap) else part.offset + len(part.data)
            return found

    return read_all


@pytest.fixture(scope="session")
def descriptors_left() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which so many descriptors can still be opened: the kernel says EMFILE."""

    @contextlib.contextmanager
    def descriptors_left(count: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = [os.dup(2) for _ in range(count + 1)]
        for fd in free:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    return descriptors_left


@pytest.fixture(scope="session")
def spawn() -> Callable[..., AbstractContextManager[Popen[bytes]]]:
    """A Python process with pipes that runs a script of ours; killed at the end."""

    @contextlib.contextmanager
    def spawn(script: str, *args: str) -> Iterator[Popen[bytes]]:
        root = os.path.dirname(next(iter(runner.__path__)))
        environment = {**os.environ, "PYTHONPATH": root}
        command = [sys.executable, "-c", script, *args]
        with Popen(command, env=environment, stdin=PIPE, stdout=PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    return spawn
