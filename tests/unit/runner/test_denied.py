"""Refused system calls: the listener is taken, calls are answered, and what goes wrong is quiet."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from runner import denied as module
from runner.denied import Denied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Listener:
    """Stands in for `Denials`: answers what the test says."""

    made: Listener

    def __init__(self, listener: int, program: bytes) -> None:
        Listener.made = self
        self.fd, self.program = listener, program
        self.answers: list[bool | OSError] = [True]
        self.refused = [{"number": 165, "count": 3}, {"number": 41, "count": 2**40}]
        self.closed = False

    def fileno(self) -> int:
        return self.fd

    def on_readable(self) -> bool:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def counts(self) -> list[dict[str, int]]:
        return self.refused

    def close(self) -> None:
        self.closed = True
        os.close(self.fd)


class Bench:
    """What a run loop lends."""

    def __init__(self, path: Path) -> None:
        (path / "filter").write_bytes(b"program.")
        self.program_fd = os.open(path / "filter", os.O_RDONLY)
        self.ready: dict[int, Callable[[], None]] = {}
        self.denied = Denied(self.program_fd, self._watch, self.ready.pop)  # type: ignore[arg-type]
        self.channel = socket.socket(fileno=self.denied.expect())

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self.ready[fd] = action

    def turn(self) -> None:
        for action in list(self.ready.values()):
            action()

    def hand_over(self) -> None:
        listener = os.open(os.devnull, os.O_RDONLY)
        socket.send_fds(self.channel, [b"\0"], [listener])
        os.close(listener)
        self.turn()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "Denials", Listener)
    before = set(os.listdir("/proc/self/fd"))
    made = Bench(tmp_path)
    yield made
    made.channel.close()
    os.close(made.program_fd)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_listener_is_answered_until_nothing_more_comes(bench: Bench) -> None:
    bench.hand_over()
    assert list(bench.ready) == [Listener.made.fd]
    assert Listener.made.program == b"program."
    Listener.made.answers = [True, True, False]
    for _ in range(3):
        bench.turn()
    assert Listener.made.closed
    assert bench.ready == {}
    assert bench.denied.counts() == [[165, 3], [41, 2**32 - 1]]


def test_a_set_up_that_fails_before_its_filter_leaves_nothing_to_watch(bench: Bench) -> None:
    bench.channel.close()
    bench.turn()
    assert bench.ready == {}
    assert bench.denied.counts() == []


def test_a_listener_that_fails_is_let_go(bench: Bench) -> None:
    bench.hand_over()
    Listener.made.answers = [OSError(22, "Invalid argument")]
    bench.turn()
    assert Listener.made.closed
    assert bench.ready == {}


def test_a_record_counts_no_more_kinds_than_it_has_room_for(bench: Bench) -> None:
    bench.hand_over()
    Listener.made.refused = [{"number": number, "count": 1} for number in range(100)]
    pairs: Any = bench.denied.counts()
    assert len(pairs) == 64
    Listener.made.answers = [False]
    bench.turn()
