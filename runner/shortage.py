"""Whether jobs are started while the host lacks what every launch needs: room, descriptors, memory.

In the event loop's thread. It decides nothing of a job: one whose launch failed so waits on
(`runner.supervisor`), and which failures are the host's `runner.launching` says. What is stored
of each try takes room too, so tries become rarer, and there is none while the disk is seen full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.refusal import Refusal
from runner.submission import check_room
from runner.work import RETRY_SECONDS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from runner.problems import Problems

# Twice as long after each try in vain, up to this.
_MOST_SECONDS: Final = 60.0


class Shortage:
    """What the host lacks. `wake` is called when launches are worth a try again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        state_dir: str,
        problems: Problems,
        wake: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._state_dir = state_dir
        self._problems = problems
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None
        self._delay = 0.0
        self._said: str | None = None

    @property
    def lasts(self) -> bool:
        """Whether nothing is to be started for now."""
        return self._timer is not None

    def found(self, why: str) -> None:
        """A launch has failed for it."""
        self._say(f"queued jobs wait, because none can be started: {why}")
        # Those that were under way with the first one that failed were no further try.
        if self._timer is None:
            self._delay = min(2 * self._delay, _MOST_SECONDS) or RETRY_SECONDS
            self._wait(self._delay)

    def over(self) -> None:
        """A launch has worked."""
        self._delay = 0.0
        self._say(None)

    def _say(self, text: str | None) -> None:
        if text != self._said:
            if self._said is not None:
                self._problems.withdraw(self._said)
            if text is not None:
                self._problems.add(text)
            self._said = text

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        try:
            check_room(self._state_dir, 0)
        except Refusal:
            self._wait(RETRY_SECONDS)
        else:
            self._timer = None
            self._wake()
