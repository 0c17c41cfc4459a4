"""What the lane says to people, how it runs the machine's tools, and how it is ended.

Everything goes to standard error: standard output belongs to the command in the guest.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LaneError(Exception):
    """The lane cannot do what was asked; the text says why and what to do."""


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt, it is no error
    """A signal asked the lane to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let a signal unwind the stack, so that no guest, build or directory is left."""
    interrupted = False

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # The first one cleans up; a second would cut that short.
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def tool_path() -> str:
    """Where to look for programs: an unprivileged user's PATH lacks the last two."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a tool of the machine, quietly, and return its output.

    `env` is added to the environment. Raises LaneError with the end of what the tool
    printed when it fails.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "PATH": tool_path(), **(env or {})},
            check=False,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError as error:
        raise LaneError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise LaneError(f"`{words}` failed with status {done.returncode}:\n{tail(done.stdout)}")
    return done.stdout


def tail(text: str, lines: int = 15) -> str:
    """The last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
