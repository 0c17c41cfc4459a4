"""Runs commands and times them, with as little of our own in between as Python allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NULL: Final = "/dev/null"


class CommandError(RuntimeError):
    """A command that was measured failed. The text says which."""


def spawn(words: Sequence[str], stderr: str = _NULL) -> int:
    """Start a command with nothing but the null device; its pid. posix_spawn(3): no fork of us."""
    program = _found(words[0])
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, _NULL, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, _NULL, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    return os.posix_spawn(program, list(words), os.environ, file_actions=actions)


@cache
def _found(name: str) -> str:
    """Looked for once: a search of PATH would be counted as the peer's."""
    program = shutil.which(name)
    if program is None:
        raise CommandError(f"there is no {name}")
    return program


def timed(words: Sequence[str]) -> float:
    """Milliseconds from the start of a command to its end. Raises CommandError if it fails."""
    began = time.perf_counter()
    _pid, status = os.waitpid(spawn(words), 0)
    took = (time.perf_counter() - began) * 1e3
    require_success(words, status)
    return took


def require_success(words: Sequence[str], status: int) -> None:
    """Raises CommandError for a wait status that is not 0."""
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise CommandError(f"{' '.join(words)[:100]} ended with {code}")


def a_second(line: Callable[[int], Sequence[str]], count: int, in_flight: int) -> float:
    """How many commands a second end, when so many run at once; `line` gives the words of each."""
    running: dict[int, Sequence[str]] = {}
    lines = [line(number) for number in range(count)]
    began = time.perf_counter()
    for words in lines:
        if len(running) >= in_flight:
            _reap(running)
        running[spawn(words)] = words
    while running:
        _reap(running)
    return count / (time.perf_counter() - began)


def _reap(running: dict[int, Sequence[str]]) -> None:
    pid, status = os.wait()
    # A runnerd of ours is a child too; it ends only when it is told to.
    words = running.pop(pid, None)
    if words is not None:
        require_success(words, status)


def output(words: Sequence[str], seconds: float = 120) -> str:
    """What a command prints. Raises CommandError when it fails."""
    done = subprocess.run(
        list(words), check=False, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=seconds,
    )  # fmt: skip
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-200:]
        raise CommandError(f"{' '.join(words)[:100]} ended with {done.returncode}: {said}")
    return done.stdout
