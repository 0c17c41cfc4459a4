"""Who may drain, what is committed first, and when the answer comes."""

from __future__ import annotations

import asyncio
import errno
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from runner import messages
from runner.config import Config, JobsConfig
from runner.draining import Pulse
from runner.lifecycle import State
from runner.policy import Peer
from runner.refusal import Refusal
from runner.server.handlers.drain import drain

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.server.service import Service
    from runner.server.stream import Stream

ROOT = Peer(uid=0, gid=0, groups=frozenset(), pid=1)
ALICE = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
SOON = 0.02


class Jobs:
    """A supervisor with jobs that only count; `steps` is what it was told."""

    def __init__(self, running: int, *, obedient: bool = True) -> None:
        self.config = Config(jobs=JobsConfig(stop_grace_seconds=0))
        self.pulse = Pulse()
        self.store = SimpleNamespace(counts=lambda: {State.QUEUED: 3})
        self.under_way = running
        self.draining = False
        self.is_ending = False
        self.steps: list[str] = []
        self._obedient = obedient

    def drain(self, uid: int) -> None:
        self.steps.append(f"drain {uid}")
        self.draining = True

    def refuse_if_ending(self) -> None:
        if self.is_ending:
            raise Refusal("shutting-down")

    def take_again(self, uid: int) -> None:
        self.steps.append(f"take again {uid}")
        self.draining = False
        self.pulse.beat()

    def stop_all(self, uid: int) -> None:
        self.steps.append(f"stop {uid}")
        if self._obedient:
            asyncio.get_running_loop().call_soon(self.end, self.under_way)

    def end(self, count: int = 1) -> None:
        self.under_way -= count
        self.pulse.beat()


def answer(
    jobs: Jobs, *then: Callable[[], None], peer: Peer = ROOT, **asked: Any
) -> dict[str, Any]:
    """The answer; what is to happen meanwhile happens once it is waited for."""
    service = cast("Service", SimpleNamespace(is_admin=lambda who: who.uid == 0, supervisor=jobs))

    async def scenario() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        for number, step in enumerate(then, 1):
            loop.call_later(number * SOON, step)
        async with asyncio.timeout(20):
            return await drain(service, peer, messages.Drain(**asked), cast("Stream", None))

    return asyncio.run(scenario())


def test_only_admins_may() -> None:
    jobs = Jobs(1)
    with pytest.raises(Refusal) as caught:
        answer(jobs, peer=ALICE)
    assert caught.value.code == "not-permitted"
    assert jobs.steps == []


def test_who_only_waits_does_not_begin_again_what_somebody_cancelled() -> None:
    jobs = Jobs(1)
    assert not answer(jobs, begin=False)["draining"]
    assert jobs.steps == []


def test_with_nothing_that_runs_the_answer_comes_at_once() -> None:
    assert answer(Jobs(0)) == {"draining": True, "running": 0, "queued": 3}


def test_it_waits_until_the_last_job_has_ended_and_stops_none() -> None:
    jobs = Jobs(2)
    assert answer(jobs, jobs.end, jobs.end)["running"] == 0
    assert jobs.steps == ["drain 0"]


def test_at_the_deadline_it_says_how_many_run() -> None:
    jobs = Jobs(2)
    assert answer(jobs, jobs.end, timeout_seconds=5 * SOON) == {
        "draining": True, "running": 1, "queued": 3,
    }  # fmt: skip
    assert jobs.steps == ["drain 0"]


@pytest.mark.parametrize("seconds", [None, 0, 3 * SOON])
def test_a_stop_comes_at_the_deadline_and_its_end_is_waited_for(seconds: float | None) -> None:
    jobs = Jobs(2)
    assert answer(jobs, timeout_seconds=seconds, stop=True)["running"] == 0
    assert jobs.steps == ["drain 0", "stop 0"]


def test_jobs_that_end_before_the_deadline_are_not_stopped() -> None:
    jobs = Jobs(1)
    assert answer(jobs, jobs.end, timeout_seconds=10, stop=True)["running"] == 0
    assert jobs.steps == ["drain 0"]


def test_jobs_that_do_not_end_though_stopped_do_not_keep_it_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules[drain.__module__], "_LAST_SECONDS", SOON)
    assert answer(Jobs(2, obedient=False), stop=True)["running"] == 2


def test_who_waits_is_answered_when_somebody_cancels_and_nothing_is_stopped() -> None:
    jobs = Jobs(2)
    shown = answer(jobs, lambda: jobs.take_again(7), timeout_seconds=10, stop=True)
    assert shown == {"draining": False, "running": 2, "queued": 3}
    assert jobs.steps == ["drain 0", "take again 7"]


def test_cancelling_does_not_wait() -> None:
    jobs = Jobs(2)
    jobs.draining = True
    assert answer(jobs, cancel=True) == {"draining": False, "running": 2, "queued": 3}
    assert jobs.steps == ["take again 0"]


def test_a_daemon_that_ends_does_not_say_that_it_takes_jobs_again() -> None:
    jobs = Jobs(1)
    jobs.is_ending = jobs.draining = True
    with pytest.raises(Refusal) as caught:
        answer(jobs, cancel=True)
    assert (caught.value.code, jobs.draining, jobs.steps) == ("shutting-down", True, [])
    # To drain is as true as ever.
    assert answer(jobs, jobs.end)["running"] == 0


@pytest.mark.parametrize("more", [{"stop": True}, {"timeout_seconds": 1}])
def test_a_cancel_that_waits_or_stops_contradicts_itself(more: dict[str, Any]) -> None:
    jobs = Jobs(2)
    with pytest.raises(Refusal) as caught:
        answer(jobs, cancel=True, **more)
    assert (caught.value.code, caught.value.fields["field"]) == ("invalid-argument", "cancel")
    assert jobs.steps == []


@pytest.mark.parametrize("cancel", [False, True])
def test_a_mark_that_cannot_be_changed_is_refused_with_the_reason(*, cancel: bool) -> None:
    def fail(_uid: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    jobs = Jobs(0)
    cast("Any", jobs).drain = cast("Any", jobs).take_again = fail
    with pytest.raises(Refusal) as caught:
        answer(jobs, cancel=cancel)
    assert caught.value.code == "store-error"
    assert "Read-only file system" in caught.value.fields["detail"]
