"""The floors: C programs that do the same system calls and nothing else, compiled when needed.

Their sources are in `floors/`. Static, so that they start as fast as anything can.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).with_name("floors")
_COMPILERS: Final = ("cc", "gcc", "clang")
NO_COMPILER: Final = "no C compiler: apt-get install gcc libc6-dev"


class FloorError(RuntimeError):
    """A floor cannot be had. The text says why."""


def arguments(compiler: str, source: Path, program: str) -> list[str]:
    """How one is compiled."""
    return [compiler, "-O2", "-std=gnu11", "-static", "-o", program, str(source)]


class Floors:
    """Compiled into a directory, each once."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)

    def program(self, name: str) -> str:
        """The path of a floor. Raises FloorError when there is no compiler, or it fails."""
        made = f"{self._directory}/{name}"
        if os.path.exists(made):
            return made
        if self._compiler is None:
            raise FloorError(NO_COMPILER)
        os.makedirs(self._directory, exist_ok=True)
        words = arguments(self._compiler, SOURCES / f"{name}.c", made)
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise FloorError(f"{self._compiler} cannot compile {name}.c: {done.stderr.strip()}")
        return made


def milliseconds(output: str) -> list[float]:
    """What a floor printed: nanoseconds, one a line. Raises FloorError when it is not that."""
    try:
        return [int(line) / 1e6 for line in output.split()]
    except ValueError:
        raise FloorError(f"a floor printed {output[:80]!r}") from None
