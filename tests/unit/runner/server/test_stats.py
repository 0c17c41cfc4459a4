"""`stats`: who is told, and what."""

from __future__ import annotations

import asyncio
import os
import typing
from collections import Counter
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from client import records
from isolation.cgroups.tree import CgroupTree
from runner import messages
from runner.lifecycle import State
from runner.outcome import REASONS
from runner.policy import Peer
from runner.problems import Problems
from runner.refusal import Refusal
from runner.rows import Launch, NewJob
from runner.running_usage import RunningUsage
from runner.scheduling.kinds import Capacity, Needs, Waiting
from runner.scheduling.scheduler import Scheduler
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The package has the function of this name, too.
module: Any = import_module("runner.server.handlers.stats")

MEMBER, ADMIN, GATEWAY, ROOT = (
    Peer(uid=uid, gid=uid, groups=frozenset(), pid=os.getpid()) for uid in (4100, 4200, 4300, 0)
)
JOB = "3f2a0000-0000-4000-8000-000000000001"


class Host:
    """A store, a scheduler and cgroups, and a service around them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = Store.open(str(base / "db"))
        self.scheduler = Scheduler(Capacity(4, Needs(8000, 2**30)))
        self.problems = Problems()
        self.refusals: Counter[str] = Counter()

    def ask(self, peer: Peer = ROOT) -> dict[str, Any]:
        supervisor = SimpleNamespace(
            tree=CgroupTree(str(self.base)), store=self.store, draining=False,
            queueing=SimpleNamespace(scheduler=self.scheduler),
        )  # fmt: skip
        service: Any = SimpleNamespace(
            supervisor=supervisor, problems=self.problems, refusals=self.refusals, connected=3,
            is_admin=lambda peer: peer in {ADMIN, ROOT},
            acting=SimpleNamespace(is_gateway=lambda peer: peer == GATEWAY),
        )  # fmt: skip
        nothing: Any = None
        answer: dict[str, Any] = asyncio.run(module.stats(service, peer, messages.Stats(), nothing))
        return answer


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.store.close()


def a_job() -> NewJob:
    return NewJob(id=JOB, submitted_by_uid=1000, uid=1000, gid=1000, name=None, spec=b"s",
                  submitted_ns=1)  # fmt: skip


@pytest.mark.parametrize("peer", [ADMIN, GATEWAY, ROOT])
def test_admins_and_the_gateway_are_told(host: Host, peer: Peer) -> None:
    assert host.ask(peer)["connections"] == 3


def test_others_are_not_told_the_totals_of_all_users(host: Host) -> None:
    with pytest.raises(Refusal) as caught:
        host.ask(MEMBER)
    assert caught.value.code == "not-permitted"


def test_every_field_of_the_record_is_there_and_no_other(host: Host) -> None:
    answer = host.ask()
    assert set(answer) == set(typing.get_type_hints(records.Stats))
    for name in ("queue_wait", "launch"):
        assert set(answer[name]) == set(typing.get_type_hints(records.Histogram))
    assert set(answer["store"]) == set(typing.get_type_hints(records.StoreStats))
    assert set(answer["jobs"]) == {state.value for state in State}
    assert set(answer["ends"]) == set(REASONS)


def test_a_job_is_counted_wherever_it_is(host: Host) -> None:
    host.store.insert(a_job(), launch=Launch(2, "boot"))
    (host.base / f"job-{JOB}" / "payload").mkdir(parents=True)
    (host.base / f"job-{JOB}" / "cpu.stat").write_text("usage_usec 9\n")
    (host.base / f"job-{JOB}" / "payload" / "memory.current").write_text("4096\n")
    host.scheduler.add(Waiting("waits", 1, "nowhere", 0, 1))
    host.refusals["no-such-job"] += 2
    host.problems.add("something is wrong")
    answer = host.ask()
    assert (answer["jobs"]["starting"], answer["submitted"], answer["starts"]) == (1, 1, 1)
    assert (answer["cpu_usec"], answer["memory_bytes"]) == (9, 4096)
    assert answer["waiting"] == {"no-queue": 1}
    assert answer["refusals"] == {"no-such-job": 2}
    assert answer["problems"] == 1
    assert answer["store"]["rows"] == 1
    assert answer["store"]["bytes"] > 0


def test_what_an_attempt_used_stays_when_it_is_over(host: Host) -> None:
    host.store.insert(a_job(), launch=Launch(2, "boot"))
    host.store.stats.use(70, 5)
    host.store.mark_ended(JOB, 9, "exit", b"r", is_ok=True)
    answer = host.ask()
    assert (answer["cpu_usec"], answer["log_bytes"], answer["memory_bytes"]) == (70, 5, 0)
    assert answer["ends"]["exit"] == 1


def test_what_ends_while_it_is_asked_is_not_counted_twice(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_meanwhile(_tree: CgroupTree, _ids: list[str]) -> RunningUsage:
        host.store.stats.use(70, 0)
        return RunningUsage(70, 0)

    monkeypatch.setattr(module, "used_by", ends_meanwhile)
    assert host.ask()["cpu_usec"] == 70


def test_a_store_that_cannot_be_measured_takes_nothing_else_away(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_path: str) -> int:
        raise OSError("the disk is gone")

    monkeypatch.setattr(module, "store_bytes", failing)
    assert host.ask()["store"] == {"rows": 0, "bytes": 0}
