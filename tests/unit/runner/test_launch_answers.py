"""Answers of a launcher: each to who asked, once, in time or not at all, and nothing is kept."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from runner.handles import Given
from runner.launch_answers import (
    Answer,
    Answers,
    Launched,
    LauncherGoneError,
    LaunchError,
    launch_request,
    let_go,
    tell_all,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

SECONDS = 20.0
LONG = 1000.0


class Desk:
    """Answers, who was told what, and when one was overdue."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Answer]] = []
        self.late: list[list[str]] = []
        self.answers = Answers(asyncio.get_running_loop(), self._on_late)

    def _on_late(self) -> None:
        self.late.append([name for name, _ in self.told])

    def asks(self, name: str, seq: int, seconds: float = LONG) -> None:
        self.answers.add(seq, seconds, lambda answer: self.told.append((name, answer)))

    async def until_told(self, *names: str) -> None:
        async with asyncio.timeout(SECONDS):
            while [name for name, _ in self.told] != list(names):
                await asyncio.sleep(0.001)


def at_a_desk(scenario: Callable[[Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario(Desk())

    asyncio.run(run())


def a_pidfd() -> int:
    return os.pidfd_open(os.getpid())


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_each_answer_is_given_once_to_who_asked_in_whatever_order_they_come() -> None:
    async def scenario(desk: Desk) -> None:
        desk.asks("a", 1)
        desk.asks("b", 2)
        failed = LaunchError("no", 12)
        desk.answers.give(2, failed)
        desk.answers.give(1, Launched(7, -1))
        desk.answers.give(1, Launched(8, -1))
        assert desk.told == [("b", failed), ("a", Launched(7, -1))]
        assert failed.number == 12
        assert LaunchError("why").number == 0

    at_a_desk(scenario)


def test_what_nobody_waits_for_is_let_go_of() -> None:
    """The monitor goes on: reconciliation finds it by its cgroup."""

    async def scenario(desk: Desk) -> None:
        desk.asks("a", 1)
        desk.answers.forget(1)
        pidfds = [a_pidfd(), a_pidfd()]
        for seq, pidfd in enumerate(pidfds, 1):
            desk.answers.give(seq, Launched(7, pidfd))
        assert not any(map(is_open, pidfds))
        assert desk.told == []

    at_a_desk(scenario)
    let_go(Launched(7, -1))
    let_go(LaunchError("why"))


def test_what_is_overdue_is_told_and_its_launcher_is_late_and_others_wait_on() -> None:
    async def scenario(desk: Desk) -> None:
        desk.asks("patient", 1, 0.1)
        desk.asks("one", 2, 0.0)
        desk.asks("two", 3, 0.0)
        await desk.until_told("one", "two")
        # Before anybody is told: what they do next finds a launcher that is being ended.
        assert desk.late == [[]]
        await desk.until_told("one", "two", "patient")
        assert desk.late == [[], ["one", "two"]]
        for _, answer in desk.told:
            assert isinstance(answer, LauncherGoneError)
            assert "in time" in str(answer)
        pidfd = a_pidfd()
        desk.answers.give(2, Launched(7, pidfd))
        assert not is_open(pidfd)

    at_a_desk(scenario)


def test_who_is_answered_in_time_is_never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        timers: list[float] = []
        call_at = loop.call_at

        def counted(when: float, call: Any, *asked: Any, **more: Any) -> asyncio.TimerHandle:
            if call == desk.answers._look:
                timers.append(when)
            return call_at(when, call, *asked, **more)

        monkeypatch.setattr(loop, "call_at", counted)
        for seq in range(100):
            desk.asks("many", seq, 0.01)
            desk.answers.give(seq, Launched(seq, -1))
        assert len(timers) == 1
        desk.asks("last", 100, 0.02)
        # The timer of those that were answered is over by then, and has found this one waiting.
        await desk.until_told(*["many"] * 100, "last")
        assert len(timers) == 2
        assert len(desk.late) == 1

    at_a_desk(scenario)


def test_all_are_told_when_their_launcher_has_gone() -> None:
    async def scenario(desk: Desk) -> None:
        desk.asks("a", 1)
        desk.asks("b", 2)
        tell_all(desk.answers.take_all(), "it ended")
        assert [(name, str(answer)) for name, answer in desk.told] == [
            ("a", "it ended"),
            ("b", "it ended"),
        ]
        assert desk.answers.take_all() == []
        desk.answers.give(1, Launched(7, -1))
        assert len(desk.told) == 2

    at_a_desk(scenario)


def test_a_defect_of_one_who_is_told_keeps_no_other_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(desk: Desk) -> None:
        def fail(_answer: Answer) -> None:
            raise ZeroDivisionError

        desk.answers.add(1, LONG, fail)
        desk.asks("b", 2)
        tell_all(desk.answers.take_all(), "it ended")
        assert [name for name, _ in desk.told] == ["b"]

    at_a_desk(scenario)
    assert "a defect in the launch of a job" in caplog.text


def test_a_request_says_what_is_given_and_only_the_native_launcher_is_told_more() -> None:
    assert launch_request("j", None, None, sync_begin=True) == {
        "kind": "monitor", "job": "j", "sync_begin": True, "files": {}, "ids": None,
    }  # fmt: skip
    given = Given(files={b"/etc/hosts": b"x"}, ids=(5, 6))
    asked = launch_request("j", given, {"own_network": True}, sync_begin=False)
    assert (asked["files"], asked["ids"]) == ({b"/etc/hosts": b"x"}, (5, 6))
    assert asked["native"] == {"own_network": True}
    assert not asked["sync_begin"]
