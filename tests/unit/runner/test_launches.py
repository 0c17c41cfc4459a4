"""Launches that are under way: how many at a time, who is told what came of each, and the end."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import launches
from runner.launch_answers import Launched, LauncherGoneError, LaunchError
from runner.launches import AT_ONCE, Launches
from runner.launching import CannotLaunchError, HostShortError, Started
from runner.store_file import StoreError
from runner.work import Work
from tests.unit.runner.promising import Ground
from tests.unit.runner.removal import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.launching import Begun

Test = "Callable[[Host], Awaitable[None]]"


class Host:
    """Everything that launches tell of what came of them, and the launching itself."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        parts: Any = self
        self.work = Work(pool)
        self.store = self
        self.ground = Ground()
        self.settling = self.ground.settling
        self.labels_of: dict[str, dict[str, str]] = {}
        self.labelled: list[dict[str, str]] = []
        self.asked: dict[str, Callable[[Begun], None]] = {}
        self.slow: set[str] = set()
        self.told: list[tuple[str, ...]] = []
        self.launches = Launches(
            parts, parts, running=parts, ending=parts, restart=parts, shortage=parts
        )

    # As the store
    def attached(self, job: Any) -> Any:
        if job.id == "lost":
            raise StoreError("it cannot be read")
        return SimpleNamespace(labels=job.id in self.labels_of)

    def labels(self, ids: list[str]) -> dict[str, dict[str, str]]:
        return {job_id: self.labels_of[job_id] for job_id in ids}

    # As the launching
    def begin(self, job: Any, labels: Any, _group: None, done: Callable[[Begun], None]) -> bool:
        if job.id in self.slow:
            return False
        self.labelled.append(labels)
        self.asked[job.id] = done
        return True

    async def launch(self, job: Any, labels: Any, _group: None) -> Started:
        self.labelled.append(labels)
        self.told.append(("slowly", job.id))
        return started()

    async def take_back(self, _job: Any, error: Exception) -> Exception:
        return CannotLaunchError(str(error)) if isinstance(error, LaunchError) else error

    # As whom the outcome is for
    def begin_now(self, job_id: str, _pid: int, pidfd: int, _limits: bytes, _begun_ns: int) -> None:
        os.close(pidfd)
        self.told.append(("runs", job_id))

    def end(self, job_id: str, verdict: Any, _facts: Any) -> None:
        self.told.append(("ended", job_id, verdict.detail))

    def over(self) -> None:
        pass

    def found(self, why: str) -> None:
        self.told.append(("short", why))

    def mark_requeued(self, job_id: str, _time_ns: int, _why: str) -> None:
        self.told.append(("not asked for", job_id))

    async def requeue(self, job_id: str, _why: str) -> None:
        self.told.append(("queued", job_id))

    async def settle(self, job: Any, *, may_requeue: bool = True) -> None:
        self.told.append(("settled", job.id, str(may_requeue)))


def started() -> Started:
    return Started(Launched(7, os.open("/", os.O_RDONLY)), b"", 5)


def job(number: int) -> Any:
    return SimpleNamespace(id=str(number), group_id=None)


def play(test: Test) -> None:
    async def whole() -> None:
        before = set(os.listdir("/proc/self/fd"))
        with ThreadPoolExecutor(1) as pool:
            await asyncio.wait_for(test(Host(pool)), 20)
        assert set(os.listdir("/proc/self/fd")) <= before

    asyncio.run(whole())


def test_a_plain_job_is_asked_for_at_once_and_runs_when_the_answer_comes() -> None:
    async def test(host: Host) -> None:
        host.launches.begin(job(1))
        host.asked["1"](started())
        assert host.told == [("runs", "1")]
        await host.launches.close()

    play(test)


def test_of_many_some_are_asked_for_and_one_more_with_each_answer_in_their_order() -> None:
    async def test(host: Host) -> None:
        for number in range(AT_ONCE + 3):
            host.launches.begin(job(number))
        assert list(host.asked) == [str(number) for number in range(AT_ONCE)]
        for more in range(3):
            host.asked[str(more)](started())
            await until(lambda: len(host.asked) == AT_ONCE + more + 1)  # noqa: B023
        assert list(host.asked) == [str(number) for number in range(AT_ONCE + 3)]
        for number in range(3, AT_ONCE + 3):
            host.asked[str(number)](started())
        assert len(host.told) == AT_ONCE + 3
        await host.launches.close()

    play(test)


def test_a_launch_is_told_the_labels_that_the_directory_is_to_keep() -> None:
    async def test(host: Host) -> None:
        host.labels_of = {"1": {"team": "blue"}, "2": {"team": "red"}}
        host.slow = {"2"}
        for number in range(3):
            host.launches.begin(job(number))
        host.launches.begin(SimpleNamespace(id="lost", group_id=None))  # type: ignore[arg-type]
        await until(lambda: len(host.labelled) == 4)
        assert host.labelled == [{}, {"team": "blue"}, {}, {"team": "red"}]
        for job_id in ("0", "1", "lost"):
            host.asked[job_id](started())
        await host.launches.close()

    play(test)


def test_what_has_to_be_waited_for_keeps_no_place_of_another() -> None:
    async def test(host: Host) -> None:
        host.slow = {str(number) for number in range(1000)}
        for number in range(1000):
            host.launches.begin(job(number))
        host.launches.begin(job(1000))
        assert list(host.asked) == ["1000"]
        await until(lambda: len(host.told) == 2000)
        host.asked["1000"](started())
        await host.launches.close()

    play(test)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LaunchError("no clone"), [("ended", "1", "no clone")]),
        (HostShortError("no room"), [("short", "no room"), ("queued", "1")]),
        (LauncherGoneError("it hung"), [("settled", "1", "True")]),
        (ZeroDivisionError("a defect"), [("settled", "1", "False")]),
    ],
)
def test_what_a_failure_means_is_told_whom_it_concerns(
    error: Exception, told: list[tuple[str, ...]]
) -> None:
    async def test(host: Host) -> None:
        host.launches.begin(job(1))
        host.asked["1"](error)
        await until(lambda: len(host.told) == len(told))
        assert host.told == told
        await host.launches.close()

    play(test)


def test_a_job_whose_group_is_lost_is_not_launched() -> None:
    async def test(host: Host) -> None:
        store: Any = SimpleNamespace(group=lambda _id: None)
        host.launches._store = store
        host.launches.begin(SimpleNamespace(id="1", group_id="g"))  # type: ignore[arg-type]
        await until(lambda: host.told != [])
        assert host.told == [("ended", "1", "its group g is lost")]
        assert host.asked == {}
        await host.launches.close()

    play(test)


def test_the_end_waits_for_what_is_under_way_and_for_what_is_next() -> None:
    async def test(host: Host) -> None:
        for number in range(AT_ONCE + 1):
            host.launches.begin(job(number))
        end = asyncio.ensure_future(host.launches.close())
        for number in range(AT_ONCE):
            host.asked[str(number)](started())
        await until(lambda: len(host.asked) == AT_ONCE + 1)
        assert not end.done()
        host.asked[str(AT_ONCE)](started())
        await end
        assert len(host.told) == AT_ONCE + 1

    play(test)


def test_an_answer_after_the_end_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_SETTLE_SECONDS", 0.01)

    async def test(host: Host) -> None:
        host.launches.begin(job(1))
        await host.launches.close()
        host.asked["1"](started())
        assert host.told == []

    play(test)


def test_one_that_failed_within_the_call_makes_room_for_the_next() -> None:
    async def test(host: Host) -> None:
        def begin(_job: Any, _labels: Any, _group: None, done: Callable[[Begun], None]) -> bool:
            done(LaunchError("no room"))
            return True

        host.begin = begin  # type: ignore[method-assign]
        for number in range(AT_ONCE * 3):
            host.launches.begin(job(number))
        await until(lambda: len(host.told) == AT_ONCE * 3)
        await host.launches.close()

    play(test)


def test_what_goes_wrong_with_one_that_began_keeps_no_place_of_another() -> None:
    async def test(host: Host) -> None:
        def begin_now(_job_id: str, _pid: int, pidfd: int, _limits: bytes, _begun_ns: int) -> None:
            os.close(pidfd)
            raise ZeroDivisionError

        for number in range(AT_ONCE * 2):
            host.launches.begin(job(number))
        host.begin_now = begin_now  # type: ignore[method-assign]
        for number in range(AT_ONCE):
            with pytest.raises(ZeroDivisionError):
                host.asked[str(number)](started())
        await until(lambda: len(host.asked) == AT_ONCE * 2)
        del host.begin_now
        for number in range(AT_ONCE, AT_ONCE * 2):
            host.asked[str(number)](started())
        await host.launches.close()

    play(test)


def test_a_defect_before_anybody_is_asked_keeps_no_place_of_another() -> None:
    async def test(host: Host) -> None:
        def begin(_job: Any, _labels: Any, _group: None, _done: Callable[[Begun], None]) -> bool:
            raise ZeroDivisionError

        host.begin = begin  # type: ignore[method-assign]
        for number in range(AT_ONCE * 3):
            host.launches.begin(job(number))
        await until(lambda: len(host.told) == AT_ONCE * 3)
        assert {told[0] for told in host.told} == {"settled"}
        await host.launches.close()

    play(test)


def test_who_has_not_been_asked_for_at_the_end_is_queued_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launches, "_SETTLE_SECONDS", 0.01)

    async def test(host: Host) -> None:
        for number in range(AT_ONCE + 2):
            host.launches.begin(job(number))
        await host.launches.close()
        assert host.told == [("not asked for", str(AT_ONCE)), ("not asked for", str(AT_ONCE + 1))]
        assert len(host.asked) == AT_ONCE

    play(test)


def test_none_is_asked_for_before_what_was_promised_is_on_disk() -> None:
    async def test(host: Host) -> None:
        host.launches.begin(job(0))
        host.ground.promise()
        for number in range(1, AT_ONCE + 1):
            host.launches.begin(job(number))
        # Nor where another one has made room.
        host.asked["0"](started())
        await asyncio.sleep(0)
        assert list(host.asked) == ["0"]
        host.ground.rest()
        assert list(host.asked) == [str(number) for number in range(AT_ONCE + 1)]
        assert host.ground.done == ["sync"]
        for number in range(1, AT_ONCE + 1):
            host.asked[str(number)](started())
        await host.launches.close()

    play(test)


def test_the_end_waits_for_those_that_wait_for_the_disk() -> None:
    async def test(host: Host) -> None:
        host.ground.promise()
        host.launches.begin(job(1))
        end = asyncio.ensure_future(host.launches.close())
        await asyncio.sleep(0)
        host.ground.rest()
        host.asked["1"](started())
        await end
        assert host.told == [("runs", "1")]

    play(test)


def test_who_waits_for_a_disk_that_failed_is_asked_for_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launches, "_SETTLE_SECONDS", 0.01)

    async def test(host: Host) -> None:
        host.ground.promise()
        host.ground.is_failing = True
        host.launches.begin(job(1))
        host.ground.rest()
        await host.launches.close()
        assert (host.asked, host.told) == ({}, [("not asked for", "1")])

    play(test)
