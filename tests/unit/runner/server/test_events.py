"""`events`: who is sent what, from where on, and until when."""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.event_stream import BATCH_EVENTS, Bell
from runner.message_queue import Events
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.server.handlers.events import events
from runner.server.service import Service
from runner.server.stream import Stream
from runner.store import NewJob, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

ALICE, BOB, ADMIN = (
    Peer(uid=uid, gid=uid, groups=frozenset(), pid=os.getpid()) for uid in (1000, 1001, 0)
)


class Fixture:
    """A store, the daemon around it as the handler sees it, and what was sent."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(str(path / "runnerd.sqlite3"))
        self.sent: list[dict[str, Any]] = []
        self.reads = 0
        self.service: Any = SimpleNamespace(
            supervisor=SimpleNamespace(store=self.store),
            is_admin=lambda peer: peer.uid == 0,
            visible_to=lambda peer: None if peer.uid == 0 else peer.uid,
            admin_gid=None,
        )
        for name in ("find_target", "_references"):
            setattr(self.service, name, partial(getattr(Service, name), self.service))

    def submit(self, peer: Peer, count: int = 1) -> str:
        """The newest of so many new jobs."""
        job_id = ""
        for _ in range(count):
            new = NewJob(
                id=str(uuid.uuid4()), submitted_by_uid=peer.uid, uid=0, gid=0, name="build",
                spec=b"spec", submitted_ns=1,
            )  # fmt: skip
            job_id = self.store.insert(new).id
        return job_id

    def remove(self, job_id: str) -> None:
        self.store.mark_ended(job_id, 9, "stopped", b"result", is_ok=False)
        self.store.delete(job_id, 10, 0)

    def stream(self) -> Stream:
        def send_event(_id: int, _seq: int, event: dict[str, Any]) -> None:
            self.sent.append(event)

        async def writable() -> None:
            pass

        out: Any = SimpleNamespace(send_event=send_event, writable=writable, is_writable=True)
        return Stream(out, 1)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            self.service.bell = Bell()
            self.store.on_events = self.service.bell.ring
            async with asyncio.timeout(20):
                return await scenario()

        return asyncio.run(whole())

    def work(self, peer: Peer, stream: Stream, **args: Any) -> asyncio.Future[dict[str, Any]]:
        return asyncio.ensure_future(events(self.service, peer, parse(Events, args), stream))

    def ask(self, peer: Peer, **args: Any) -> list[int]:
        """The numbers of what was sent, once it has been answered with the last of them."""
        self.sent.clear()

        async def scenario() -> dict[str, Any]:
            return await self.work(peer, self.stream(), **{"credit": 1024, **args})

        self.next = self.run(scenario)["next"]
        return [event["seq"] for event in self.sent if "seq" in event]

    async def until(self, count: int) -> None:
        """Until so many were sent, and nothing more comes for a while."""
        while len(self.sent) < count:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(self.sent) == count


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.store.close()


def refused(call: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.to_wire()


def test_members_are_sent_what_happened_to_their_jobs_and_admins_everything(
    daemon: Fixture,
) -> None:
    daemon.submit(ALICE, 2)
    daemon.submit(BOB)
    assert daemon.ask(ALICE, since=0) == [1, 2]
    assert daemon.next == 3
    assert daemon.ask(BOB, since=0) == [3]
    assert daemon.ask(ADMIN, since=0) == [1, 2, 3]
    assert daemon.ask(ADMIN, since=2) == [3]
    assert daemon.ask(ADMIN, since=3) == []


def test_from_now_on_is_the_newest_number_and_needs_no_credit(daemon: Fixture) -> None:
    daemon.submit(ALICE, 2)
    assert daemon.ask(ALICE, credit=0) == []
    assert daemon.next == 2


def test_a_number_that_was_never_given_is_refused(daemon: Fixture) -> None:
    """It is of another store: to wait for it would miss what happens until then."""
    daemon.submit(ALICE)
    error = refused(lambda: daemon.ask(ALICE, since=2))
    assert error == {
        "code": "invalid-argument", "field": "since", "given": "2", "allowed": "0 to 1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "args", [{"since": -1}, {"since": 2**63}, {"credit": 1025}, {"follow": 1}, {"kind": "submit"}]
)
def test_what_is_out_of_bounds_or_unknown_is_refused(daemon: Fixture, args: dict[str, Any]) -> None:
    assert refused(lambda: daemon.ask(ADMIN, **args))["code"] == "invalid-argument"


def test_one_job_is_meant_by_its_name_id_or_prefix(daemon: Fixture) -> None:
    daemon.submit(ALICE)
    job = daemon.submit(ALICE)
    daemon.submit(BOB)
    for text in ("build", job, job[:8]):
        assert daemon.ask(ALICE, since=0, job=text) == [2]
    assert daemon.ask(ADMIN, since=0, job=job) == [2]


def test_a_removed_job_is_known_by_its_full_id(daemon: Fixture) -> None:
    job = daemon.submit(ALICE)
    daemon.remove(job)
    assert daemon.ask(ALICE, since=0, job=job) == [1, 2, 3]
    assert daemon.ask(ADMIN, since=0, job=job) == [1, 2, 3]
    # Nothing can come any more.
    assert daemon.ask(ALICE, since=3, job=job, follow=True) == []
    for peer, text in ((ALICE, job[:8]), (ALICE, "build"), (BOB, job), (ALICE, "\udcff" * 36)):
        error = refused(lambda: daemon.ask(peer, since=0, job=text))  # noqa: B023
        assert error["code"] == "no-such-job"


def test_somebody_elses_job_does_not_exist(daemon: Fixture) -> None:
    job = daemon.submit(ALICE)
    assert refused(lambda: daemon.ask(BOB, since=0, job=job))["code"] == "no-such-job"


def test_a_follower_is_sent_what_happens_until_it_is_cancelled(daemon: Fixture) -> None:
    daemon.submit(ALICE)

    async def scenario() -> None:
        work = daemon.work(ALICE, daemon.stream(), since=0, follow=True, credit=99)
        await daemon.until(1)
        daemon.submit(BOB)
        daemon.submit(ALICE)
        await daemon.until(2)
        daemon.submit(ALICE)
        await daemon.until(3)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    daemon.run(scenario)
    assert [event["seq"] for event in daemon.sent] == [1, 3, 4]


def test_one_user_has_sixteen_streams_at_once_and_others_theirs(daemon: Fixture) -> None:
    daemon.submit(BOB)

    async def scenario() -> None:
        works = [daemon.work(ALICE, daemon.stream(), follow=True) for _ in range(16)]
        await asyncio.sleep(0)
        for args in ({"follow": True}, {"since": 0}):
            with pytest.raises(Refusal) as caught:
                await daemon.work(ALICE, daemon.stream(), **args)
            assert caught.value.to_wire() == {
                "code": "too-many-requests", "allowed": "16 event streams at once",
            }  # fmt: skip
        for peer in (BOB, ADMIN):
            assert await daemon.work(peer, daemon.stream(), since=0, credit=9) == {"next": 1}
        works[0].cancel()
        await asyncio.gather(works[0], return_exceptions=True)
        assert await daemon.work(ALICE, daemon.stream(), since=0) == {"next": 1}
        for work in works:
            work.cancel()

    daemon.run(scenario)


def test_what_was_refused_holds_no_stream(daemon: Fixture) -> None:
    async def scenario() -> None:
        for _ in range(20):
            with pytest.raises(Refusal) as caught:
                await daemon.work(ALICE, daemon.stream(), job="nothing", follow=True)
            assert caught.value.code == "no-such-job"

    daemon.run(scenario)


def test_what_happens_between_two_looks_is_not_missed(daemon: Fixture) -> None:
    async def scenario() -> None:
        work = daemon.work(ALICE, daemon.stream(), follow=True, credit=1024)
        await asyncio.sleep(0)
        for number in range(1, 40):
            daemon.submit(ALICE)
            if number % 3:
                await asyncio.sleep(0)
        await daemon.until(39)
        work.cancel()

    daemon.run(scenario)
    assert [event["seq"] for event in daemon.sent] == list(range(1, 40))


def test_following_one_job_ends_with_its_removal(daemon: Fixture) -> None:
    job = daemon.submit(ALICE)

    async def scenario() -> dict[str, Any]:
        work = daemon.work(ALICE, daemon.stream(), since=0, job="build", follow=True, credit=99)
        await daemon.until(1)
        # The name means another job now.
        daemon.submit(ALICE)
        daemon.remove(job)
        return await work

    assert daemon.run(scenario) == {"next": 4}
    assert [event["kind"] for event in daemon.sent] == ["submit", "finish", "remove"]


def test_a_follower_that_was_slow_is_told_of_the_gap(daemon: Fixture) -> None:
    daemon.submit(ALICE, 3)

    async def scenario() -> None:
        stream = daemon.stream()
        work = daemon.work(ALICE, stream, since=0, follow=True, credit=0)
        await daemon.until(0)
        daemon.store.trim_events(1, 100)
        stream.grant(99)
        await daemon.until(2)
        work.cancel()

    daemon.run(scenario)
    assert daemon.sent[0] == {"gap": True, "since": 0, "oldest": 3}
    assert daemon.sent[1]["seq"] == 3


def test_nothing_is_read_that_may_not_be_sent(
    daemon: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a slow follower costs a batch at the most, however much there is."""
    daemon.submit(ALICE, 3 * BATCH_EVENTS)
    reads: list[int] = []
    since = Store.events_since

    def noted(store: Store, seq: int, *args: Any) -> Any:
        reads.append(seq)
        return since(store, seq, *args)

    monkeypatch.setattr(Store, "events_since", noted)

    async def scenario() -> None:
        stream = daemon.stream()
        work = daemon.work(ALICE, stream, since=0, follow=True, credit=0)
        await daemon.until(0)
        assert reads == []
        for granted, batches in ((1, 1), (BATCH_EVENTS - 1, 1), (1, 2), (2 * BATCH_EVENTS, 3)):
            stream.grant(granted)
            await daemon.until(min(len(daemon.sent) + granted, 3 * BATCH_EVENTS))
            assert len(reads) == batches
        work.cancel()

    daemon.run(scenario)
    assert [event["seq"] for event in daemon.sent] == list(range(1, 3 * BATCH_EVENTS + 1))
