"""Calls of hooks are made once, by turns of users, whatever the store and the daemon do."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from runner import hook_calls
from runner.hook_calls import HookCalls
from runner.hook_template import new_hooks
from runner.lifecycle import State
from runner.messages import Submit
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.rows import Job, NewJob
from runner.store import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

ALICE, BOB = 1000, 1001


class Host:
    """A store, and a daemon that takes jobs or not."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.takes = True
        self.refusals: dict[int, Exception] = {}
        self.stuck: set[int] = set()
        self.has_ended = False
        self.submitted: list[tuple[int, str | None, bool]] = []

    def owner(self, *events: str, by: int = ALICE, url: str | None = None) -> str:
        """A job of a user that has begun and ended well."""
        what: dict[str, Any] = {"argv": ["true"]} if url is None else {"url": url}
        hooks = [{"on": list(events), **what}]
        request = parse(Submit, {"argv": ["true"], "cwd": "/", "hooks": hooks})
        peer = Peer(uid=by, gid=by, groups=frozenset(), pid=1)
        job = self.store.insert(
            self.new(by, hooks=new_hooks(request.hooks, request, peer), name="build")
        )
        self.store.mark_starting(job.id, 2, "boot")
        self.store.mark_running(job.id, 7, 3, None)
        self.store.mark_ended(job.id, 4, "exit", b"", is_ok=True)
        return job.id

    def new(self, by: int, **more: Any) -> NewJob:
        return NewJob(
            id=str(uuid.uuid4()), submitted_by_uid=by, uid=by, gid=by, spec=b"", submitted_ns=1,
            **{"name": None, **more},
        )  # fmt: skip

    async def prepare(self, peer: Peer, request: Submit, is_address: bool) -> NewJob:  # noqa: FBT001
        await asyncio.sleep(0)
        while peer.uid in self.stuck:
            await asyncio.sleep(0.001)
        if peer.uid in self.refusals:
            raise self.refusals[peer.uid]
        self.submitted.append((peer.uid, request.name, is_address))
        return self.new(
            peer.uid, name=request.name, labels=request.labels,
            idempotency_key=request.idempotency_key,
        )  # fmt: skip

    def insert(self, new: NewJob, call_seq: int) -> Job:
        if not self.takes:
            raise Refusal("draining")
        return self.store.insert(new, call_seq=call_seq)

    async def ended(self, _job_id: str) -> None:
        while not self.has_ended:
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HookCalls]:
        calls = HookCalls(self.store, self.prepare, self.insert, self.ended, lambda: self.takes)
        calls.begin()
        try:
            yield calls
        finally:
            await calls.close()

    def names(self, by: int = ALICE) -> list[str | None]:
        return [name for uid, name, _ in self.submitted if uid == by]

    def waiting(self) -> int:
        return len(self.store.calls(0, 1000))

    def events(self) -> list[dict[str, str | int]]:
        return [each.data for each in self.store.events_since(0, 1000) if each.kind == "hook"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(hook_calls, "_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(hook_calls, "peer_now", lambda uid, gid, groups: Peer(uid, gid, groups, 1))
    with closing(Store.open(str(tmp_path / "store"))) as store:
        yield Host(store)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def a_while() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


def test_a_call_is_made_when_it_becomes_due_and_once(host: Host) -> None:
    async def scenario() -> None:
        async with host.running():
            await a_while()
            assert host.submitted == []
            owner = host.owner("started", "ok")
            await until(lambda: host.waiting() == 0)
            assert host.names() == ["hook.build.started", "hook.build.ok"]
        (first, *_), _ = host.store.list_jobs(
            submitted_by_uid=ALICE, include_ended=False, limit=10, before=None
        )
        assert isinstance(first, Job)
        assert first.idempotency_key == f"hook:{owner}:0:000000000002"
        assert host.store.labels([first.id])[first.id] == {"hook": owner[:8]}

    asyncio.run(scenario())


def test_calls_of_the_last_daemon_are_made_by_the_next(host: Host) -> None:
    async def scenario() -> None:
        host.owner("started", "ok")
        async with host.running():
            await until(lambda: host.waiting() == 0)
        async with host.running():
            await a_while()
        assert host.names() == ["hook.build.started", "hook.build.ok"]

    asyncio.run(scenario())


def test_a_call_whose_job_is_there_already_is_forgotten(host: Host) -> None:
    async def scenario() -> None:
        owner = host.owner("ok")
        host.store.insert(host.new(ALICE, idempotency_key=f"hook:{owner}:0:000000000001"))
        async with host.running():
            await until(lambda: host.waiting() == 0)
        assert host.store.counts()[State.QUEUED] == 1
        assert host.events() == []

    asyncio.run(scenario())


def test_what_is_refused_for_good_is_said_and_the_next_is_made(host: Host) -> None:
    async def scenario() -> None:
        host.owner("ok")
        host.refusals[ALICE] = Refusal("invalid-argument", field="cwd", given="'/gone'")
        async with host.running():
            await until(lambda: host.waiting() == 0)
            (event,) = host.events()
            assert event["event"] == "ok"
            assert "/gone" in str(event["refused"])
            del host.refusals[ALICE]
            host.owner("ok")
            await until(lambda: host.waiting() == 0)
        assert host.names() == ["hook.build.ok"]

    asyncio.run(scenario())


@pytest.mark.parametrize("code", ["draining", "shutting-down", "store-error", "too-many-jobs"])
def test_what_is_refused_for_now_is_tried_again(host: Host, code: str) -> None:
    async def scenario() -> None:
        host.owner("ok")
        host.refusals[ALICE] = Refusal(code)
        async with host.running():
            await a_while()
            assert host.waiting() == 1
            del host.refusals[ALICE]
            await until(lambda: host.waiting() == 0)
        assert host.events() == []

    asyncio.run(scenario())


def test_a_daemon_that_drains_keeps_calls(host: Host) -> None:
    async def scenario() -> None:
        host.takes = False
        async with host.running():
            host.owner("started", "ok")
            await a_while()
            assert (host.waiting(), host.submitted) == (2, [])
            host.takes = True
            await until(lambda: host.waiting() == 0)

    asyncio.run(scenario())


def test_a_store_that_cannot_be_written_loses_no_call(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        host.owner("ok")
        insert, is_full = host.store.insert, True

        def full(new: NewJob, met: Any = (), call_seq: int | None = None) -> Job:
            if is_full:
                raise StoreError("the disk is full")
            return insert(new, met, call_seq)

        monkeypatch.setattr(host.store, "insert", full)
        async with host.running():
            await a_while()
            assert host.waiting() == 1
            is_full = False
            await until(lambda: host.waiting() == 0)

    asyncio.run(scenario())


def test_one_users_dead_path_holds_up_nobody_elses_hooks(host: Host) -> None:
    async def scenario() -> None:
        host.stuck.add(ALICE)
        host.owner("ok")
        host.owner("ok", by=BOB)
        async with host.running():
            await until(lambda: host.names(BOB) == ["hook.build.ok"])
            assert host.waiting() == 1
            host.stuck.clear()
            await until(lambda: host.waiting() == 0)

    asyncio.run(scenario())


def test_so_many_jobs_of_one_users_hooks_are_there_at_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(hook_calls, "MOST_AT_ONCE", 3)
        for _ in range(5):
            host.owner("ok")
        host.owner("ok", by=BOB)
        async with host.running():
            await until(lambda: len(host.names()) == 3 and host.waiting() == 2)
            await a_while()
            assert len(host.names()) == 3
            assert len(host.names(BOB)) == 1
            host.has_ended = True
            await until(lambda: host.waiting() == 0)
            assert len(host.names()) == 5

    asyncio.run(scenario())


def test_a_defect_drops_the_call_and_not_the_user(host: Host) -> None:
    async def scenario() -> None:
        host.owner("ok")
        host.refusals[ALICE] = RuntimeError("a defect")
        async with host.running():
            await until(lambda: host.waiting() == 0)
            assert "defect" in str(host.events()[0]["refused"])
            host.refusals.clear()
            host.owner("ok")
            await until(lambda: len(host.names()) == 1)

    asyncio.run(scenario())


def test_a_call_that_is_damaged_is_forgotten(host: Host) -> None:
    async def scenario() -> None:
        host.owner("ok")
        host.store._db.execute("UPDATE hook_calls SET template = x'c1'")
        async with host.running():
            await until(lambda: host.waiting() == 0)
        assert "damaged" in str(host.events()[0]["refused"])

    asyncio.run(scenario())


def test_whether_it_is_an_address_is_told_to_who_prepares_it(host: Host) -> None:
    async def scenario() -> None:
        host.owner("ok", url="https://example.org/")
        async with host.running():
            await until(lambda: host.waiting() == 0)
        assert host.submitted == [(ALICE, "hook.build.ok", True)]

    asyncio.run(scenario())


def test_who_is_no_user_any_more_runs_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        def gone(uid: int, _gid: int, _groups: frozenset[int]) -> Peer:
            raise Refusal("not-permitted", detail=f"uid {uid} is no user of this host")

        monkeypatch.setattr(hook_calls, "peer_now", gone)
        host.owner("ok")
        async with host.running():
            await until(lambda: host.waiting() == 0)
        assert "no user" in str(host.events()[0]["refused"])

    asyncio.run(scenario())
