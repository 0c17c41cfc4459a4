"""Figures: how long calls took, what a process takes, and somebody who asks all the time."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

_PAUSE_SECONDS: Final = 0.25
Given = TypeVar("Given")


def say(line: str) -> None:
    """One line for people, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Memory(NamedTuple):
    """What a process has in memory, in KiB: now, and at most so far (proc(5): VmRSS, VmHWM)."""

    now: int
    most: int


def memory(pid: int) -> Memory:
    """Of a process that lives."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.split(":", 1) for line in file)
    return Memory(int(fields["VmRSS"].split()[0]), int(fields["VmHWM"].split()[0]))


def timed(call: Callable[[], Given]) -> tuple[Given, float]:
    """What a call gives, and how many milliseconds it took."""
    begun = time.monotonic()
    given = call()
    return given, (time.monotonic() - begun) * 1e3


def spread(took: Sequence[float]) -> str:
    """Milliseconds, for people."""
    if not took:
        return "never asked"
    return f"median {statistics.median(took):.1f} ms, at most {max(took):.0f} ms"


class Onlooker:
    """Somebody who asks each question in turn, and pauses, while it is entered."""

    def __init__(
        self, questions: dict[str, Callable[[], object]], pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._questions = questions
        self._pause_seconds = pause_seconds
        self.took: dict[str, list[float]] = {name: [] for name in questions}
        self._over = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._ask, name="onlooker")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._over.set()
        self._thread.join()
        if error is None and self._failed is not None:
            raise self._failed

    def _ask(self) -> None:
        try:
            while not self._over.is_set():
                for name, question in self._questions.items():
                    self.took[name].append(timed(question)[1])
                self._over.wait(self._pause_seconds)
        except Exception as error:  # noqa: BLE001 - raised by whoever looks on
            self._failed = error

    def report(self) -> str:
        """A line for each question."""
        return "\n".join(f"    {name:<10} {spread(took)}" for name, took in self.took.items())
