"""Commands as a reader of the tour sees them: each is shown, then runs, its output live."""

from __future__ import annotations

import os
import selectors
import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from tour.host import User

COPY_BYTES = 65536
END_SECONDS = 20.0


class Failed(Exception):  # noqa: N818 - the word for it
    """A command did not do what it is there for. The text says which and how."""


class Done(NamedTuple):
    """What a command did."""

    status: int
    stdout: bytes
    stderr: bytes


def say(text: str) -> None:
    """A heading."""
    print(f"\n==> {text}", flush=True)


def announce(prompt: str, command: str) -> None:
    """The command that runs next."""
    print(f"{prompt} {command}", flush=True)


def succeed(command: Sequence[str], *, shown: str, statuses: Container[int] = (0,)) -> int:
    """Run a tool of this project with our own output. Raises Failed for another status."""
    announce("$", shown)
    with _ended_with_us(subprocess.Popen(command)) as process:
        status = process.wait()
    if status not in statuses:
        raise Failed(f"`{shown}` ended with {status}")
    return status


def run_as(
    user: User, words: Sequence[str], environment: Mapping[str, str], cwd: Path, *, live: bool
) -> Done:
    """Run a command as a user; with `live` its output comes out here as it is written."""
    process = subprocess.Popen(
        words,
        user=user.uid, group=user.gid, extra_groups=(),
        env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with _ended_with_us(process):
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101
        stdout, stderr = _copy(process.stdout, process.stderr, live=live)
        return Done(process.wait(), stdout, stderr)


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is asked to end, and waited for, when we are interrupted."""
    with process:
        try:
            yield process
        except BaseException:
            process.terminate()
            process.wait(END_SECONDS)
            raise


def _copy(stdout: IO[bytes], stderr: IO[bytes], *, live: bool) -> tuple[bytes, bytes]:
    taken = {1: b"", 2: b""}
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ, 1)
        selector.register(stderr, selectors.EVENT_READ, 2)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, COPY_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                taken[key.data] += data
                if live:
                    os.write(key.data, data)
    return taken[1], taken[2]
