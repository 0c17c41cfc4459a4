"""Schedules by the protocol: whose they are, how many, and what is refused before any is kept."""

from __future__ import annotations

import asyncio
from contextlib import closing
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import message_schedules, schedule_template
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.schedules import Schedules
from runner.server.handlers import HANDLERS
from runner.server.handlers.schedule import MOST_SCHEDULES
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADMINS = 50
ALICE = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
BOB = Peer(uid=1001, gid=1001, groups=frozenset(), pid=2)
ADMIN = Peer(uid=1002, gid=ADMINS, groups=frozenset(), pid=3)
SUBMIT = {"argv": ["make", "report"], "cwd": "/", "env": {"TOKEN": "hunter2"}}
STREAM: Any = None


class Daemon:
    """As much of the daemon as these handlers meet."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.refusal: Refusal | None = None
        self.prepared: list[Peer] = []
        self.jobs: list[Peer] = []
        self.loop = asyncio.new_event_loop()
        self.schedules = self.loop.run_until_complete(self._schedules())

    async def _schedules(self) -> Schedules:
        return Schedules(self.store, self._accept, lambda: False)

    async def _accept(self, peer: Peer, _request: Any) -> Any:
        self.jobs.append(peer)
        return SimpleNamespace(id=f"job-{len(self.jobs)}")

    async def _prepare(self, _request: Any, peer: Peer, _find: Any) -> None:
        self.prepared.append(peer)
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal

    @property
    def service(self) -> Any:
        return SimpleNamespace(
            supervisor=SimpleNamespace(store=self.store, refuse_if_ending=lambda: None),
            submissions=SimpleNamespace(prepare=self._prepare),
            schedules=self.schedules,
            find_job=print,
            admin_gid=ADMINS,
            visible_to=lambda peer: None if peer.gid == ADMINS else peer.uid,
        )

    def ask(self, peer: Peer, op: str, args: dict[str, Any] | None = None, **more: Any) -> Any:
        kind, handler = HANDLERS[op]
        request = parse(kind, {**(args or {}), **more})
        return self.loop.run_until_complete(handler(self.service, peer, request, STREAM))

    def refused(self, peer: Peer, op: str, **args: Any) -> dict[str, Any]:
        with pytest.raises(Refusal) as caught:
            self.ask(peer, op, **args)
        return caught.value.to_wire()

    def make(self, peer: Peer = ALICE, **more: Any) -> str:
        schedule: str = self.ask(peer, "schedule", {"every": "@daily", "submit": SUBMIT, **more})[
            "schedule"
        ]
        return schedule


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr(
        schedule_template, "peer_now", lambda uid, gid, groups: Peer(uid, gid, groups, 9)
    )
    with closing(Store.open(str(tmp_path / "store"))) as store:
        made = Daemon(store)
        yield made
        made.loop.close()


def test_a_schedule_is_made_shown_and_listed(daemon: Daemon) -> None:
    made = daemon.ask(ALICE, "schedule", every="@hourly", submit=SUBMIT, zone="UTC", name="report")
    assert not made["paused"]
    assert made["next_ns"] % (3600 * 10**9) == 0
    (listed,) = daemon.ask(ALICE, "schedules")["schedules"]
    shown = daemon.ask(ALICE, "schedule_status", schedule="report")
    assert listed.items() <= shown.items()
    assert listed["argv"] == ["make", "report"]
    assert shown["next_times_ns"][0] == made["next_ns"] == listed["next_ns"]
    assert len(shown["next_times_ns"]) == 5
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"every": ""}, "every"),
        ({"every": "x" * 257}, "every"),
        ({"every": "* * * * 9"}, "every"),
        ({"every": None}, "every"),
        ({"zone": "a b"}, "zone"),
        ({"zone": "Europe/Nowhere"}, "zone"),
        ({"missed": "x"}, "missed"),
        ({"overlap": "x"}, "overlap"),
        ({"name": "-x"}, "name"),
        ({"paused": 1}, "paused"),
        ({"submit": "make"}, "submit"),
        ({"submit": {}}, "submit.argv"),
        ({"submit": {**SUBMIT, "queue": "-"}}, "submit.queue"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field_and_nothing_is_kept(
    daemon: Daemon, fields: dict[str, Any], field: str
) -> None:
    error = daemon.refused(ALICE, "schedule", **{"every": "@daily", "submit": SUBMIT, **fields})
    assert error["code"] == "invalid-argument"
    assert error["field"] == field
    assert daemon.ask(ALICE, "schedules") == {"schedules": [], "next": None}
    assert daemon.prepared == []


def test_what_its_runs_would_be_refused_for_is_refused_at_once(daemon: Daemon) -> None:
    daemon.refusal = Refusal("no-such-queue", field="queue", given="x")
    error = daemon.refused(ALICE, "schedule", every="@daily", submit=SUBMIT)
    assert (error["code"], error["field"]) == ("no-such-queue", "submit.queue")
    assert [peer.uid for peer in daemon.prepared] == [ALICE.uid]
    assert daemon.ask(ALICE, "schedules")["schedules"] == []


def test_a_name_is_given_once_also_by_two_at_the_same_time(daemon: Daemon) -> None:
    async def both() -> list[Any]:
        kind, handler = HANDLERS["schedule"]
        request = parse(kind, {"every": "@daily", "submit": SUBMIT, "name": "n"})
        work = (handler(daemon.service, ALICE, request, STREAM) for _ in range(2))
        return await asyncio.gather(*work, return_exceptions=True)

    answers = daemon.loop.run_until_complete(both())
    (refusal,) = (answer for answer in answers if isinstance(answer, Refusal))
    assert refusal.fields["field"] == "name"
    daemon.make(BOB, name="n")


def test_a_user_has_so_many_and_no_more(daemon: Daemon) -> None:
    for _ in range(MOST_SCHEDULES):
        daemon.make(paused=True)
    error = daemon.refused(ALICE, "schedule", every="@daily", submit=SUBMIT)
    assert error["code"] == "quota-exceeded"
    daemon.make(BOB)


@pytest.mark.parametrize(
    "op",
    ["schedule_status", "schedule_pause", "schedule_resume", "schedule_run", "schedule_remove"],
)
def test_those_of_others_are_as_if_they_were_not_there_but_for_admins(
    daemon: Daemon, op: str
) -> None:
    schedule = daemon.make(name="report")
    nothing = daemon.refused(BOB, op, schedule="0" * 36)
    for text in (schedule, schedule[:4], "report"):
        error = daemon.refused(BOB, op, schedule=text)
        assert error == {**nothing, "given": f"'{text}'"}
        assert error["code"] == "no-such-schedule"
    assert daemon.ask(BOB, "schedules")["schedules"] == []
    assert daemon.ask(ADMIN, op, schedule="report")["schedule"] == schedule


def test_ones_own_name_comes_before_that_of_another(daemon: Daemon) -> None:
    daemon.make(name="report")
    own = daemon.make(ADMIN, name="report")
    assert daemon.ask(ADMIN, "schedule_pause", schedule="report")["schedule"] == own


def test_several_that_match_are_told(daemon: Daemon) -> None:
    made = [daemon.make(ALICE, name="x"), daemon.make(BOB, name="x")]
    error = daemon.refused(ADMIN, "schedule_remove", schedule="x")
    assert error["code"] == "ambiguous-schedule"
    assert sorted(error["candidates"]) == sorted(made)


def test_it_rests_and_goes_on(daemon: Daemon) -> None:
    schedule = daemon.make()
    paused = {"schedule": schedule, "paused": True, "next_ns": None}
    assert daemon.ask(ALICE, "schedule_pause", schedule=schedule) == paused
    assert daemon.ask(ALICE, "schedule_pause", schedule=schedule) == paused
    resumed = daemon.ask(ALICE, "schedule_resume", schedule=schedule)
    assert resumed == daemon.ask(ALICE, "schedule_resume", schedule=schedule)
    assert resumed["next_ns"] is not None


def test_an_admin_runs_it_as_its_own_user(daemon: Daemon) -> None:
    schedule = daemon.make(paused=True)
    answer = daemon.ask(ADMIN, "schedule_run", schedule=schedule)
    assert answer == {"schedule": schedule, "job": "job-1"}
    assert [peer.uid for peer in daemon.jobs] == [ALICE.uid]


def test_a_page_holds_what_one_frame_can(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [daemon.make() for _ in range(5)]
    # The package has the handler under the module's name.
    module = import_module("runner.server.handlers.schedules")
    monkeypatch.setattr(module, "PAGE_BYTES", 1)
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = daemon.ask(ALICE, "schedules", after=after, limit=2)
        assert len(page["schedules"]) == 1
        found += [each["schedule"] for each in page["schedules"]]
        after = page["next"]
    assert found == made


def test_what_a_schedule_runs_is_in_no_log() -> None:
    request = parse(message_schedules.MakeSchedule, {"every": "@daily", "submit": SUBMIT})
    assert "hunter2" not in repr(request)
