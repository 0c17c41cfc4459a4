"""What is asked of a launcher, and who waits for its answers: one timer for them all.

The process itself, and how it is asked, is `runner.launcher_client`'s. For the event loop's thread.
"""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from runner import records

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from runner.handles import Given

_logger: Final = logging.getLogger(__name__)


class LaunchError(Exception):
    """The launcher could not fork a monitor. The text says why.

    `number` is an errno where the native launcher gave one, else 0.
    """

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class LauncherGoneError(Exception):
    """No whole answer came: whether a monitor was forked, or which, is not known."""


class Launched(NamedTuple):
    """A monitor: its pid as the host sees it, and a descriptor that tells when it ends.

    The middle process of an exec has no such descriptor: -1.
    """

    pid: int
    pidfd: int


# Who asked is given one of these, once.
Answer: TypeAlias = Launched | Exception
Done: TypeAlias = "Callable[[Answer], None]"


class Answers:
    """Who waits for which answer of one launcher. `on_late` is called when one is overdue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._waiting: dict[int, tuple[float, Done]] = {}
        # When these are looked at; never: nobody waits.
        self._look_at = math.inf

    def add(self, seq: int, seconds: float, done: Done) -> None:
        """`done` waits for the answer to a request, so long and no longer."""
        until = self._loop.time() + seconds
        self._waiting[seq] = until, done
        self._look_by(until)

    def give(self, seq: int, answer: Answer) -> None:
        """Tell who waits for this one; nobody any more: its process is let go of."""
        _, done = self._waiting.pop(seq, (0.0, let_go))
        _tell(done, answer)

    def forget(self, seq: int) -> None:
        """Nobody waits for this one any more."""
        self._waiting.pop(seq, None)

    def take_all(self) -> list[Done]:
        """Those that wait, who are told otherwise."""
        waiting, self._waiting = self._waiting, {}
        return [done for _, done in waiting.values()]

    def _look_by(self, when: float) -> None:
        if when < self._look_at:
            self._look_at = when
            self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._look_at, now = math.inf, self._loop.time()
        late = [seq for seq, (until, _) in self._waiting.items() if until <= now]
        dones = [self._waiting.pop(seq)[1] for seq in late]
        if dones:
            self._on_late()
        self._look_by(min((until for until, _ in self._waiting.values()), default=math.inf))
        tell_all(dones, "it did not answer in time")


def launch_request(
    job_id: str, given: Given | None, native: Mapping[str, Any] | None, *, sync_begin: bool
) -> dict[str, Any]:
    """What is asked of a launcher for a job: as `LauncherClient.launch` has it."""
    request: dict[str, Any] = {
        "kind": records.LAUNCH_MONITOR, "job": job_id, "sync_begin": sync_begin,
        "files": {} if given is None else dict(given.files),
        "ids": None if given is None else given.ids,
    }  # fmt: skip
    if native is not None:
        request["native"] = native
    return request


def _tell(done: Done, answer: Answer) -> None:
    try:
        done(answer)
    except Exception:
        # Of one job: the launcher goes on for the others.
        _logger.exception("a defect in the launch of a job")


def tell_all(dones: list[Done], why: str) -> None:
    """Nobody knows what became of what these asked for."""
    for done in dones:
        _tell(done, LauncherGoneError(why))


def let_go(answer: Answer) -> None:
    """Of an asker who was cancelled; reconciliation finds the monitor by its cgroup."""
    if isinstance(answer, Launched) and answer.pidfd >= 0:
        os.close(answer.pidfd)
