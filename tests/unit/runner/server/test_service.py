"""What a peer may find, who may connect, and the table of operations."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from client import protocol
from runner import messages
from runner.config import Config
from runner.policy import Decision, Peer, may_control, may_see
from runner.problems import Problems
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.server import service as server_service
from runner.server.handlers import HANDLERS
from runner.server.service import Service
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.server.connection import Connection
    from runner.server.stream import Stream

ADMINS = 77


def peer_with(uid: int, *groups: int) -> Peer:
    return Peer(uid=uid, gid=uid, groups=frozenset({uid, *groups}), pid=os.getpid())


ALICE = peer_with(1000)
BOB = peer_with(1001)
ADMIN = peer_with(1002, ADMINS)
ROOT = peer_with(0)

JOB = "3f2a0000-0000-4000-8000-000000000001"
TWIN = "3f2a0000-0000-4000-8000-000000000002"
OTHER = "3f2b0000-0000-4000-8000-000000000003"


def new_job(job_id: str, uid: int, name: str | None = None) -> NewJob:
    return NewJob(
        id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=name, spec=b"", submitted_ns=1
    )


def service_on(store: Store | None, config: Config | None = None) -> Service:
    supervisor: Any = SimpleNamespace(store=store, draining=False)
    nothing: Any = None
    return Service(
        config or Config(), supervisor, nothing, nothing, nothing, nothing, ADMINS,
        problems=Problems(), pruning=nothing, searches=nothing, bell=nothing,
    )  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    store = Store.open(str(tmp_path / "db"))
    store.insert(new_job(JOB, ALICE.uid, "build"))
    yield service_on(store)
    store.close()


def refusal_of(service: Service, peer: Peer, text: str) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        service.find_job(peer, text)
    return caught.value.to_wire()


@pytest.mark.parametrize("peer", [ALICE, ADMIN, ROOT])
@pytest.mark.parametrize("text", [JOB, JOB[:4], "build"])
def test_a_job_is_found_by_its_submitter_by_admins_and_by_root(
    service: Service, peer: Peer, text: str
) -> None:
    assert service.find_job(peer, text).id == JOB


@pytest.mark.parametrize("text", [JOB, JOB[:4], JOB[:35], "build"])
def test_somebody_elses_job_is_refused_exactly_as_one_that_does_not_exist(
    service: Service, text: str
) -> None:
    found = refusal_of(service, BOB, text)
    assert found == {"code": "no-such-job", "field": "job", "given": repr(text)}
    service.supervisor.store.mark_ended(JOB, 1, "lost", b"", is_ok=False)
    service.supervisor.store.delete(JOB, 2, 0)
    assert refusal_of(service, BOB, text) == found


def test_the_admins_group_must_be_a_group_of_the_peer_and_not_its_uid(service: Service) -> None:
    not_admin = Peer(uid=ADMINS, gid=5, groups=frozenset({5}), pid=os.getpid())
    assert refusal_of(service, not_admin, JOB)["code"] == "no-such-job"


def test_a_store_that_finds_too_much_does_not_give_it_away(service: Service) -> None:
    """The decision is made on the job itself and not only by the query."""
    job = service.find_job(ALICE, JOB)
    found: Any = {"find": lambda *_about: [job], "find_groups": lambda *_about: []}
    careless = service_on(cast("Store", SimpleNamespace(**found)))
    assert refusal_of(careless, BOB, JOB)["code"] == "no-such-job"
    assert careless.find_job(ALICE, JOB) == job


def test_a_prefix_of_several_names_those_that_the_peer_may_see_and_no_other(
    service: Service,
) -> None:
    store = service.supervisor.store
    store.insert(new_job(TWIN, ALICE.uid))
    store.insert(new_job(TWIN[:-1] + "9", BOB.uid))
    answer = refusal_of(service, ALICE, "3f2a")
    assert answer["code"] == "ambiguous-job"
    assert sorted(answer["candidates"]) == [JOB, TWIN]
    assert service.find_job(BOB, "3f2a").id == TWIN[:-1] + "9"
    assert len(refusal_of(service, ADMIN, "3f2a")["candidates"]) == 3


def test_a_name_means_the_newest_job_of_it_that_the_peer_may_see(service: Service) -> None:
    store = service.supervisor.store
    store.insert(new_job(TWIN, ALICE.uid, "build"))
    store.insert(new_job(OTHER, BOB.uid, "build"))
    assert service.find_job(ALICE, "build").id == TWIN
    assert service.find_job(ROOT, "build").id == OTHER


@pytest.mark.parametrize("text", ["", "3f2", "*", "%", "3F2A", "buil", "\0", "é", "\ud800"])
def test_what_means_no_job_is_refused(service: Service, text: str) -> None:
    assert refusal_of(service, ALICE, text)["code"] == "no-such-job"


def test_only_root_and_the_admin_group_see_everybodys_jobs(service: Service) -> None:
    assert [service.visible_to(peer) for peer in (ALICE, BOB, ADMIN, ROOT)] == [
        1000, 1001, None, None,
    ]  # fmt: skip


def test_a_name_means_ones_own_job_first_even_for_who_sees_all(service: Service) -> None:
    """Otherwise anybody could put a job of theirs where root expects its own."""
    store = service.supervisor.store
    store.insert(new_job(TWIN, ROOT.uid, "build"))
    store.insert(new_job(OTHER, BOB.uid, "build"))
    assert service.find_job(ROOT, "build").id == TWIN
    assert service.find_job(ADMIN, "build").id == OTHER
    assert service.find_job(ROOT, OTHER).id == OTHER


# Connections


def connection_of() -> Connection:
    class One:
        closed = False

        def close(self) -> None:
            self.closed = True

    return cast("Connection", One())


def test_closing_ends_every_connection() -> None:
    service = service_on(None)
    connections: list[Any] = [connection_of(), connection_of()]
    for connection in connections:
        service.clients.admit(connection, ALICE.uid)
    service.close()
    assert all(connection.closed for connection in connections)


class Busy:
    """A connection with one request, which somebody answers later."""

    def __init__(self, work: asyncio.Task[None]) -> None:
        self._work = work

    def requests(self) -> list[asyncio.Task[None]]:
        return [self._work]


def test_what_is_in_flight_is_waited_for_while_there_is_time() -> None:
    async def scenario(seconds: float) -> bool:
        service = service_on(None)
        go_on = asyncio.Event()

        async def answer() -> None:
            await go_on.wait()

        work = asyncio.ensure_future(answer())
        service.clients.admit(cast("Connection", Busy(work)), ALICE.uid)
        if seconds:
            asyncio.get_running_loop().call_soon(go_on.set)
        await service.settle(seconds)
        done = work.done()
        work.cancel()
        return done

    assert asyncio.run(scenario(10.0))
    assert not asyncio.run(scenario(0))


def test_with_nothing_in_flight_there_is_no_wait() -> None:
    asyncio.run(asyncio.wait_for(service_on(None).settle(100.0), 5))


# Operations


@pytest.mark.parametrize(("peer", "admin"), [(ALICE, False), (ADMIN, True), (ROOT, True)])
def test_a_greeting_says_who_the_peer_is(peer: Peer, *, admin: bool) -> None:
    answer = service_on(None).greet(peer)
    assert (answer["uid"], answer["admin"]) == (peer.uid, admin)
    assert answer["protocol"] == protocol.PROTOCOL_VERSION
    assert answer["max_frame_bytes"] == protocol.MAX_FRAME_BYTES
    assert answer["server"].startswith("runnerd ")


@pytest.mark.parametrize("draining", [False, True])
def test_a_greeting_says_whether_the_daemon_is_being_drained(*, draining: bool) -> None:
    service = service_on(None)
    cast("Any", service.supervisor).draining = draining
    assert service.greet(ALICE)["draining"] is draining


@pytest.mark.parametrize("version", [0, 2, -1, 2**63])
def test_another_protocol_is_refused_with_the_one_that_is_spoken(version: int) -> None:
    with pytest.raises(Refusal) as caught:
        service_on(None).check_version(messages.Hello(protocol=version))
    assert caught.value.to_wire() == {
        "code": "unsupported-protocol", "field": "protocol", "given": str(version), "allowed": "1",
    }  # fmt: skip


NO_STREAM = cast("Stream", None)


def test_an_unknown_operation_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Refusal) as caught:
        service_on(None).read("destroy", {})
    answer = caught.value.to_wire()
    assert (answer["code"], answer["given"]) == ("unknown-op", "'destroy'")
    assert answer["allowed"].split(", ") == sorted(HANDLERS)


@pytest.mark.parametrize("op", sorted(HANDLERS))
def test_every_operation_refuses_a_field_that_it_does_not_know(op: str) -> None:
    with pytest.raises(Refusal) as caught:
        service_on(None).read(op, {"bogus": 1})
    assert caught.value.code == "invalid-argument"


def test_the_operations_are_those_of_the_protocol() -> None:
    assert set(HANDLERS) == {
        "submit", "list", "status", "logs", "stop", "wait", "remove", "doctor",
        "pause", "resume", "update", "exec", "drain", "locate", "prune", "hold", "release", "move",
        "retry", "why", "events", "queues", "queue", "stop_many", "schedule", "schedules",
        "schedule_status", "schedule_pause", "schedule_resume", "schedule_run", "schedule_remove",
        "submit_array", "submit_flow", "group", "stop_group", "retry_group", "wait_group",
        "hold_group", "update_group", "remove_group", "stats",
    }  # fmt: skip


def test_what_the_rule_forbids_is_answered_as_if_there_were_no_such_job(service: Service) -> None:
    asked: list[tuple[Peer, int, int | None]] = []

    def nobody_may(*about: Any) -> Decision:
        asked.append(about)
        return Decision(allowed=False, why="nobody may")

    with pytest.raises(Refusal) as caught:
        service.find_job(ALICE, JOB, nobody_may)
    assert caught.value.to_wire() == refusal_of(service, BOB, JOB)
    assert asked == [(ALICE, ALICE.uid, ADMINS)]


class Asked(Exception):  # noqa: N818  it carries an answer
    pass


class Asking(Service):
    def find_job(self, _peer: Any, _text: Any, may: Any = may_see, field: str = "job") -> Any:  # noqa: ARG002
        raise Asked(may)

    find_group: Any = find_job


CHANGES: dict[str, dict[str, Any]] = {
    "pause": {},
    "resume": {},
    "remove": {},
    "stop": {},
    "update": {"limits": {"pids_max": 1}},
    "exec": {"argv": ["true"]},
    "hold": {},
    "release": {},
    "move": {"top": True},
    "retry": {},
}


GROUP_CHANGES = ("stop_group", "retry_group", "hold_group", "update_group", "remove_group")


@pytest.mark.parametrize(
    "op", ["logs", "status", "wait", "why", "group", "wait_group", *CHANGES, *GROUP_CHANGES]
)
def test_changing_ending_and_removing_ask_for_more_than_seeing(op: str) -> None:
    nothing: Any = None
    service = Asking(
        Config(), nothing, nothing, nothing, nothing, nothing, ADMINS,
        problems=nothing, pruning=nothing, searches=nothing, bell=nothing,
    )  # fmt: skip
    with pytest.raises(Asked) as caught:
        args = {"group" if "group" in op else "job": JOB, **CHANGES.get(op, {})}
        work = service.handle(ALICE, op, service.read(op, args), NO_STREAM)
        asyncio.run(work() if callable(work) else work)  # type: ignore[arg-type]
    assert caught.value.args == (may_control if op in {*CHANGES, *GROUP_CHANGES} else may_see,)


def test_a_refusal_names_the_field_that_the_job_was_in(service: Service) -> None:
    with pytest.raises(Refusal) as caught:
        service.find_job(BOB, JOB, may_control, field="before")
    assert caught.value.fields["field"] == "before"


@pytest.mark.parametrize(
    ("asked", "kill", "grace"),
    [(None, False, 10), (3.0, False, 3), (3.0, True, 0), (None, True, 0)],
)
def test_the_grace_of_a_stop_is_what_was_asked_for_or_the_usual_one(
    asked: float | None, grace: float, *, kill: bool
) -> None:
    assert service_on(None).grace(asked, kill=kill) == grace


def test_of_more_attempts_than_a_status_holds_the_newest_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_service, "ATTEMPTS_BYTES", 4096)
    store = Store.open(str(tmp_path / "db"))
    job = store.insert(new_job(JOB, ALICE.uid))
    for number in range(40):
        store.mark_ended(JOB, number, "exit", b"torn", is_ok=True)
        job = store.mark_retried(JOB, number, by_uid=ALICE.uid)
    nothing: Any = None
    service: Any = service_on(store)
    service.supervisor.cause_of = lambda _job_id: None
    service.supervisor.tree = nothing
    service.provisions = SimpleNamespace(address_of=lambda _job_id: None)
    shown = [each["attempt"] for each in service.show(job)["attempts"]]
    store.close()
    assert 1 < len(shown) < 40
    assert shown == list(range(41 - len(shown), 41))
