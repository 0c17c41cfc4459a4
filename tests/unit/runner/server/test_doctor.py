"""`doctor`: figures of the disk and problems, and what of them a member may know."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import messages
from runner.disk_usage import RunningSizes, space, store_bytes, tree_bytes
from runner.policy import Peer
from runner.problems import Problems
from runner.rows import NewJob
from runner.store import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The package has the function of this name, too.
module: Any = import_module("runner.server.handlers.doctor")

ALICE, BOB, ROOT = (
    Peer(uid=uid, gid=uid, groups=frozenset(), pid=os.getpid()) for uid in (4100, 4200, 0)
)


class Host:
    """A store with jobs of two users, their directories, and a service around it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = Store.open(str(base / "db"))
        self.problems = Problems()
        self.draining = False
        self.why_no_native: str | None = None
        self._made = 0

    def job(self, uid: int, *, runs: bool = False, size: int = 0) -> str:
        self._made += 1
        job_id = f"{self._made:08x}-0000-4000-8000-000000000000"
        self.store.insert(NewJob(id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=None,
                                 spec=b"s", submitted_ns=1))  # fmt: skip
        if runs:
            self.store.mark_starting(job_id, 1, "boot")
            (self.base / "jobs" / job_id).mkdir(parents=True)
            (self.base / "jobs" / job_id / "log").write_bytes(os.urandom(size))
        else:
            self.store.mark_ended(job_id, 9, "exit", b"r", disk_bytes=size, is_ok=True)
        return job_id

    def ask(self, peer: Peer) -> dict[str, Any]:
        tree = SimpleNamespace(root="/nowhere", available=frozenset())
        supervisor = SimpleNamespace(
            tree=tree, store=self.store, draining=self.draining,
            sizes=RunningSizes(str(self.base / "jobs")),
        )  # fmt: skip
        service: Any = SimpleNamespace(
            name="runnerd 9", kernel="7", supervisor=supervisor, problems=self.problems,
            config=SimpleNamespace(state_dir=str(self.base)),
            provisions=SimpleNamespace(networks_unavailable=None),
            launchers=SimpleNamespace(why_no_native=self.why_no_native),
            visible_to=lambda peer: None if peer.uid == 0 else peer.uid,
        )  # fmt: skip
        nothing: Any = None
        answer: dict[str, Any] = asyncio.run(
            module.doctor(service, peer, messages.Doctor(), nothing)
        )
        return answer


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(module, "probe", lambda *_args: [])
    made = Host(tmp_path)
    yield made
    made.store.close()


def test_an_admin_sees_who_takes_how_much_the_most_first(host: Host) -> None:
    for size in (5000, 7000):
        host.job(ALICE.uid, size=size)
    running = host.job(BOB.uid, runs=True, size=300_000)
    disk = host.ask(ROOT)["disk"]
    size = tree_bytes(str(host.base / "jobs" / running))
    assert size > 300_000
    assert disk["users"] == [
        {"uid": BOB.uid, "user": str(BOB.uid), "jobs": 1, "bytes": size},
        {"uid": ALICE.uid, "user": str(ALICE.uid), "jobs": 2, "bytes": 12_000},
    ]
    assert disk["jobs_bytes"] == size + 12_000
    assert disk["store_bytes"] == store_bytes(host.store.path) > 0
    found = space(str(host.base))
    assert (disk["size_bytes"], disk["inodes"]) == (found.size_bytes, found.inodes)
    assert 0 < disk["free_bytes"] <= disk["size_bytes"]


def test_a_member_sees_nothing_of_what_others_take(host: Host) -> None:
    host.job(ALICE.uid, size=5000)
    running = host.job(ALICE.uid, runs=True, size=1000)
    host.job(BOB.uid, runs=True, size=300_000)
    host.job(BOB.uid, size=9000)
    size = 5000 + tree_bytes(str(host.base / "jobs" / running))
    disk = host.ask(ALICE)["disk"]
    assert disk["users"] == [{"uid": ALICE.uid, "user": str(ALICE.uid), "jobs": 2, "bytes": size}]
    assert disk["jobs_bytes"] == size
    assert disk["store_bytes"] is None


def test_who_has_no_jobs_takes_nothing(host: Host) -> None:
    disk = host.ask(ALICE)["disk"]
    assert disk["users"] == [{"uid": ALICE.uid, "user": str(ALICE.uid), "jobs": 0, "bytes": 0}]
    assert host.ask(ROOT)["disk"]["users"] == []


def test_a_member_is_told_of_problems_of_their_own_jobs_alone(host: Host) -> None:
    own, other = host.job(ALICE.uid), host.job(BOB.uid)
    host.problems.add("the disk is odd")
    host.problems.add("its record is odd", own)
    host.problems.add("this one's too", other)
    host.problems.add("it is gone", "00000000-0000-4000-8000-000000000000")
    assert host.ask(ALICE)["problems"] == [{"text": "its record is odd", "job": own}]
    assert [each["job"] for each in host.ask(ROOT)["problems"]] == [
        None, own, other, "00000000-0000-4000-8000-000000000000",
    ]  # fmt: skip


def test_it_says_who_starts_plain_jobs_to_everybody(host: Host) -> None:
    for peer in (ALICE, ROOT):
        assert host.ask(peer)["launcher"] == {"kind": "native", "why": None}
    host.why_no_native = "there is none"
    assert host.ask(ALICE)["launcher"] == {"kind": "python", "why": "there is none"}


def test_it_says_whether_jobs_are_taken(host: Host) -> None:
    assert host.ask(ALICE)["draining"] is False
    host.draining = True
    assert host.ask(ALICE)["draining"] is True


def test_it_answers_also_when_neither_store_nor_disk_can_be_read(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = host.job(ALICE.uid, size=5000)
    host.problems.add("odd", job)

    def fails(*_args: object) -> None:
        raise StoreError("damaged")

    def no_disk(_path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(host.store, "launched", fails)
    monkeypatch.setattr(host.store, "get", fails)
    monkeypatch.setattr(module.disk_usage, "space", no_disk)
    monkeypatch.setattr(module.disk_usage, "store_bytes", no_disk)
    for peer in (ALICE, ROOT):
        answer = host.ask(peer)
        assert answer["disk"]["size_bytes"] == 0
        assert answer["disk"]["jobs_bytes"] == 5000
    assert host.ask(ALICE)["problems"] == []
    assert len(host.ask(ROOT)["problems"]) == 1
