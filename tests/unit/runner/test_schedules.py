"""The runs of schedules: each time once, whatever the store, the clock and people do meanwhile."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from runner import schedule_template
from runner.policy import Peer
from runner.refusal import Refusal
from runner.rows import Job, NewJob
from runner.schedule_rows import NewSchedule, Schedule
from runner.schedules import Schedules, calendar_of
from runner.store import Store, StoreError
from runner.store_schedules import run_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from runner.messages import Submit

SECOND_NS = 1_000_000_000
START = 1_800_000_000 * SECOND_NS
PEER = Peer(uid=1000, gid=100, groups=frozenset(), pid=1)


class Host:
    """A store, a clock that is set, and a daemon that takes jobs or not."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = START
        self.takes = True
        self.refusal: Refusal | None = None
        self.asked = 0

    async def accept(self, peer: Peer, request: Submit) -> Job:
        self.asked += 1
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        key = request.idempotency_key
        if key is not None and (found := self.store.keyed(peer.uid, key)) is not None:
            return found
        new = NewJob(
            id=str(uuid.uuid4()), submitted_by_uid=peer.uid, uid=peer.uid, gid=peer.gid, name=None,
            spec=b"", submitted_ns=self.now, idempotency_key=key, labels=request.labels,
        )  # fmt: skip
        return self.store.insert(new)

    def make(self, every: str = "@every 10s", **more: Any) -> Schedule:
        request = schedule_template.read({"argv": ["true"], "cwd": "/"})
        given: dict[str, Any] = {
            "id": str(uuid.uuid4()), "submitted_by_uid": 1000, "name": None, "every": every,
            "zone": None, "missed": "once", "overlap": "allow", "paused": False,
            "created_ns": START, "template": schedule_template.pack(request, PEER),
        }  # fmt: skip
        return self.store.insert_schedule(NewSchedule(**{**given, **more}))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Schedules]:
        schedules = Schedules(self.store, self.accept, lambda: self.takes)
        schedules.begin()
        try:
            yield schedules
        finally:
            await schedules.close()

    def shown(self, schedule: Schedule) -> Schedule:
        found = self.store.get_schedule(schedule.id)
        assert found is not None
        return found

    def times(self, schedule: Schedule) -> list[int]:
        """Seconds after the start that were run."""
        jobs, _ = self.store.list_jobs(
            submitted_by_uid=None, include_ended=True, limit=1000, before=None
        )
        keys = [job.idempotency_key or "" for job in jobs]
        own = [key for key in keys if key.startswith(f"schedule:{schedule.id}:")]
        return sorted((int(key.rpartition(":")[2]) - START) // SECOND_NS for key in own)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr("runner.schedules._LOOK_SECONDS", 0.001)
    monkeypatch.setattr(
        schedule_template, "peer_now", lambda uid, gid, groups: Peer(uid, gid, groups, 1)
    )
    with closing(Store.open(str(tmp_path / "store"))) as store:
        made = Host(store)
        monkeypatch.setattr(time, "time_ns", lambda: made.now)
        yield made


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def looks(host: Host) -> None:
    """Let it look at the clock some times."""
    del host
    await asyncio.sleep(0.02)


def test_a_schedule_is_run_when_its_time_has_come(host: Host) -> None:
    async def go() -> None:
        schedule = host.make()
        async with host.running() as schedules:
            await looks(host)
            assert host.asked == 0
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).runs == 1)
            assert schedules.next_times(host.shown(schedule), 2) == [
                START + 20 * SECOND_NS, START + 30 * SECOND_NS,
            ]  # fmt: skip
        assert host.times(schedule) == [10]
        assert host.shown(schedule).last_ns == START + 10 * SECOND_NS

    asyncio.run(go())


def test_one_that_is_made_later_is_run_as_well_and_a_removed_one_no_more(host: Host) -> None:
    async def go() -> None:
        async with host.running() as schedules:
            schedule = host.make()
            schedules.put(schedule)
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).runs == 1)
            host.store.remove_schedule(schedule.id)
            schedules.drop(schedule.id)
            host.now += 10 * SECOND_NS
            await looks(host)
            assert host.asked == 1
            assert schedules.next_times(schedule, 1) == []

    asyncio.run(go())


def test_a_run_that_was_not_noted_is_not_made_again(host: Host) -> None:
    async def go() -> None:
        schedule = host.make(overlap="skip")
        # A crash after the job was committed.
        first = START + 10 * SECOND_NS
        request = schedule_template.read({"argv": ["true"], "cwd": "/"})
        key = run_key(schedule.id, first)
        job = await host.accept(PEER, schedule_template.run_of(request, schedule, key))
        host.now = first
        async with host.running():
            await until(lambda: host.shown(schedule).runs == 1)
            assert host.shown(schedule).last_job == job.id
            # It goes on, so the next time passes.
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).skipped == 1)
        assert host.times(schedule) == [10]

    asyncio.run(go())


def test_what_cannot_be_noted_is_tried_again_and_run_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        schedule = host.make()
        record, failures = host.store.record_progress, [StoreError("full")] * 3

        def failing(schedule_id: str, progress: Any) -> Schedule:
            if failures:
                raise failures.pop()
            return record(schedule_id, progress)

        monkeypatch.setattr(host.store, "record_progress", failing)
        async with host.running():
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).runs == 1)
        assert host.asked == 4
        assert host.times(schedule) == [10]

    asyncio.run(go())


def test_all_that_were_missed_are_run_in_their_order(host: Host) -> None:
    async def go() -> None:
        schedule = host.make(missed="all")
        host.now += 60 * SECOND_NS
        async with host.running():
            await until(lambda: host.shown(schedule).runs == 6)
        assert host.times(schedule) == [10, 20, 30, 40, 50, 60]

    asyncio.run(go())


def test_a_refusal_is_noted_and_the_next_time_is_tried(host: Host) -> None:
    async def go() -> None:
        schedule = host.make()
        host.refusal = Refusal("quota-exceeded", given="5 jobs \u2026", allowed="at most 5")
        async with host.running():
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).failed == 1)
            error = host.shown(schedule).last_error or ""
            assert error.startswith("quota-exceeded; given: 5 jobs")
            assert error.isascii()
            host.refusal = None
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).runs == 1)
            assert host.shown(schedule).last_error is None

    asyncio.run(go())


@pytest.mark.parametrize("code", ["draining", "shutting-down", "store-error"])
def test_what_is_only_so_now_is_no_fault_of_the_schedule(host: Host, code: str) -> None:
    async def go() -> None:
        schedule = host.make()
        host.refusal = Refusal(code)
        async with host.running():
            host.now += 10 * SECOND_NS
            await until(lambda: host.asked >= 2)
            host.refusal = None
            await until(lambda: host.shown(schedule).runs == 1)
            assert host.shown(schedule).failed == 0

    asyncio.run(go())


def test_while_nothing_is_taken_nothing_is_asked(host: Host) -> None:
    async def go() -> None:
        schedule = host.make()
        host.takes = False
        async with host.running():
            host.now += 35 * SECOND_NS
            await looks(host)
            assert host.asked == 0
            host.takes = True
            await until(lambda: host.shown(schedule).runs == 1)
            assert host.shown(schedule).skipped == 2

    asyncio.run(go())


def test_a_schedule_whose_zone_is_gone_is_kept_and_not_run(host: Host) -> None:
    async def go() -> None:
        schedule = host.make("* * * * *", zone="Europe/Nowhere")
        other = host.make()
        host.now += 3600 * SECOND_NS
        async with host.running() as schedules:
            await until(lambda: host.shown(other).runs == 1)
            assert host.shown(schedule).runs == 0
            assert schedules.next_times(schedule, 1) == []

    asyncio.run(go())


def test_run_by_hand_it_is_for_no_time_and_changes_none(host: Host) -> None:
    async def go() -> None:
        schedule = host.make(paused=True)
        async with host.running() as schedules:
            job = await schedules.run_now(schedule)
        found = host.shown(schedule)
        assert (found.last_job, found.last_ns, found.runs) == (job.id, None, 1)
        assert found.handled_ns == schedule.handled_ns
        assert job.idempotency_key is None

    asyncio.run(go())


def test_a_run_by_hand_that_is_refused_says_so_by_the_field(host: Host) -> None:
    async def go() -> None:
        schedule = host.make()
        host.refusal = Refusal("invalid-argument", field="cwd", given="/gone")
        async with host.running() as schedules:
            with pytest.raises(Refusal) as caught:
                await schedules.run_now(schedule)
        assert caught.value.fields["field"] == "submit.cwd"
        assert host.shown(schedule).last_error is None

    asyncio.run(go())


def test_a_run_is_asked_for_as_its_user(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        asked = []

        async def accept(peer: Peer, request: Submit) -> Job:
            asked.append((peer.uid, dict(request.labels)))
            return await Host.accept(host, peer, request)

        monkeypatch.setattr(host, "accept", accept)
        schedule = host.make(name="backup")
        async with host.running():
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(schedule).runs == 1)
        assert asked == [(1000, {"schedule": "backup"})]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("every", "zone", "field"),
    [("* * *", None, "every"), ("@daily", "Nowhere", "zone"), ("@every 1ms", "UTC", "every")],
)
def test_times_that_cannot_be_read_are_refused_by_their_field(
    every: str, zone: str | None, field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        calendar_of(every, zone, START)
    assert caught.value.code == "invalid-argument"
    assert caught.value.fields["field"] == field


def test_one_users_submissions_that_take_long_hold_nobody_else_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        for _ in range(20):
            host.make()
        other = host.make(submitted_by_uid=1001)
        answered = asyncio.Event()

        async def accept(peer: Peer, request: Submit) -> Job:
            if peer.uid == 1000:
                await answered.wait()
            return await Host.accept(host, peer, request)

        monkeypatch.setattr(host, "accept", accept)
        async with host.running():
            host.now += 10 * SECOND_NS
            await until(lambda: host.shown(other).runs == 1)
            assert host.asked == 1

    asyncio.run(go())
