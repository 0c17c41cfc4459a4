"""The program of the native launcher: where it is, and whether it is this runnerd's.

It is built when runnerd is installed, where there is a C compiler (setup.py). What it does is
told in `runner/native/native.h`; which jobs it gets `runner.native_jobs` decides.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final

from runner.launcher_client import PASSING, Program, UnfitError
from runner.native_jobs import VERSION

PATH: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native", "runnerd-launch")
_ANSWER_SECONDS: Final = 5.0
_MOST_SHOWN: Final = 40


def program(path: str = PATH) -> Program:
    """What `runner.launcher_client` starts. Looked at anew each time: an upgrade may replace it."""

    def command(socket_fd: int) -> list[str]:
        check(path)
        return [path, str(socket_fd)]

    return Program("native launcher", command, is_needed=False)


def check(path: str) -> None:
    """Raises UnfitError, with what to do, unless the program is there and of our version.

    OSError when the host is short of what any process takes.
    """
    if not os.path.lexists(path):
        raise UnfitError(
            f"there is no {path}: no C compiler was there when runnerd was installed; "
            "install one, then runnerd again"
        )
    found = _version(path)
    if found != VERSION:
        shown = ascii(found[:_MOST_SHOWN])
        raise UnfitError(
            f"{path} is of version {shown}, this runnerd needs {VERSION!r}; install runnerd again"
        )


def _version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, env={}, cwd="/",
            timeout=_ANSWER_SECONDS, check=False, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnfitError(f"{path} does not say its version; install runnerd again") from None
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise UnfitError(f"{path} cannot be executed: {error.strerror}") from None
    if done.returncode != 0:
        raise UnfitError(
            f"{path} --version ended with status {done.returncode}; install runnerd again"
        )
    return done.stdout.removesuffix("\n")
