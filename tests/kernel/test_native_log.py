"""The log in C beside the one in Python, each on a disk of its own that becomes full."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.unit.native.conftest import driver  # noqa: F401 - a fixture
from tests.unit.native.frames import Driver
from tests.unit.native.test_log import Call, Faults, NativeLog, PythonLog, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ALL = 2**62


@contextmanager
def disks(parent: Path) -> Iterator[tuple[list[str], Callable[[str], None]]]:
    """Two file systems of 40 KiB, and what changes their size."""
    paths = [str(parent / name) for name in ("python", "native")]

    def resize(size: str) -> None:
        for path in paths:
            subprocess.run(["mount", "-o", f"remount,size={size}", path], check=True)

    with ExitStack() as cleanup:
        for path in paths:
            os.mkdir(path)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", path], check=True)
            cleanup.callback(subprocess.run, ["umount", "--lazy", path], check=True)
        yield paths, resize


@pytest.mark.parametrize("keep_bytes", [ALL, 30_000])
@pytest.mark.parametrize("segment_bytes", [1, 8000, ALL])
def test_what_finds_no_room_fails_alike_and_is_written_once_there_is_some(
    driver: Callable[..., str],  # noqa: F811
    tmp_path: Path,
    segment_bytes: int,
    keep_bytes: int,
) -> None:
    chance = random.Random(segment_bytes + keep_bytes)
    patch = pytest.MonkeyPatch()
    with disks(tmp_path) as (paths, resize), Driver(driver("log")) as process:
        python = PythonLog(paths[0], Faults(patch))
        native = NativeLog(paths[1], process)
        errors = []

        def both(call: Call) -> None:
            answer = python.call(call)
            assert native.call(call) == answer
            assert files(paths[1]) == files(paths[0])
            errors.append(answer.error)

        both(Call("b", (segment_bytes, keep_bytes, ALL)))
        for number in range(120):
            if number == 90:
                resize("400k")
            append = Call("a", (chance.choice([1, 2]), chance.choice([9, 900, 5000]), number))
            both(append)
            if errors[-1] and number % 5 == 0:
                both(Call("s", (append.numbers[1], 0, 0)))
        both(Call("c"))
        python.close()
        patch.undo()
    assert set(errors) <= {0, errno.ENOSPC}
    assert errors[-1] == 0
    # Else removing the oldest makes room.
    if keep_bytes == ALL:
        assert errno.ENOSPC in errors
