"""`submit_array`, `submit_flow`: one group for one key, all its jobs within the quotas or none."""

from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
import pytest

from runner import submission_queue
from runner.config import Config, JobsConfig
from runner.lifecycle import State
from runner.parsing import parse
from runner.policy import Peer, may_control
from runner.queues import UserQuota
from runner.refusal import Refusal
from runner.server import preparing
from runner.server.handlers import HANDLERS
from runner.server.preparing import MOST_PREPARED, Preparing
from runner.server.service import FEATURES
from runner.store import Store
from runner.users import Account
from tests.unit.runner.test_submission import PEER as ALICE
from tests.unit.runner.test_submission import RULES, Ground
from tests.unit.runner.test_taking_up import IDS, new_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.group_rows import Group, NewGroup
    from runner.rows import NewJob

BOB = Peer(uid=ALICE.uid - 1, gid=1, groups=frozenset(), pid=2)
ACCOUNT = Account(uid=ALICE.uid, gid=ALICE.gid, groups=(1,), name="alice")
JOB: dict[str, Any] = {"argv": ["true"], "cwd": "/"}
STREAM: Any = None


class Daemon:
    """As much of the daemon as these handlers meet; jobs are in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ground = Ground()
        self.quota = UserQuota()
        self.refusal: Refusal | None = None
        self.may: object = None
        submissions = self.ground.submissions(RULES)
        supervisor = SimpleNamespace(
            store=store, submit_group=self._submit, refuse_unless_open=self._refuse_unless_open
        )
        self.service: Any = SimpleNamespace(
            config=Config(jobs=JobsConfig(max_array=20, max_queued=30)),
            submissions=submissions,
            supervisor=supervisor,
            find_target=self._find,
            preparing=Preparing(),
        )

    def _refuse_unless_open(self, uid: int, more: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        submission_queue.check_all_queued(30, self.queued, more)
        submission_queue.check_queued(self.quota, self.store.queued_of(uid), more)

    def _submit(self, new: NewGroup, jobs: list[NewJob]) -> Group:
        self._refuse_unless_open(new.submitted_by_uid, len(jobs))
        return self.store.insert_group(new, jobs)

    def _find(self, _peer: Peer, ref: str, may: object) -> Any:
        self.may = may
        return SimpleNamespace(id=f"id of {ref}")

    @property
    def queued(self) -> int:
        return self.store.counts()[State.QUEUED]

    async def ask(self, peer: Peer, op: str, args: dict[str, Any]) -> dict[str, Any]:
        kind, handler = HANDLERS[op]
        answer: dict[str, Any] = await handler(self.service, peer, parse(kind, args), STREAM)
        return answer

    def array(self, last: int, peer: Peer = ALICE, **fields: Any) -> dict[str, Any]:
        args = {"submit": {**JOB, **fields}, "array": {"ranges": [[0, last, 1]]}}
        return asyncio.run(self.ask(peer, "submit_array", args))

    def flow(self, *names: str, peer: Peer = ALICE, **fields: Any) -> dict[str, Any]:
        return asyncio.run(self.ask(peer, "submit_flow", flow_of(*names, **fields)))


def flow_of(*names: str, **fields: Any) -> dict[str, Any]:
    steps = [msgpack.packb({"name": name, "submit": JOB}) for name in names]
    return {"name": "ci", "steps": steps, **fields}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with closing(Store.open(str(tmp_path / "db"))) as store:
        yield Daemon(store)


def refused(daemon: Daemon, op: str, *args: Any, **fields: Any) -> dict[str, Any]:
    before = daemon.queued
    with pytest.raises(Refusal) as caught:
        getattr(daemon, op)(*args, **fields)
    assert daemon.queued == before
    return caught.value.to_wire()


def test_what_is_submitted_as_one_thing_is_there_as_a_whole(daemon: Daemon) -> None:
    array, flow = daemon.array(4), daemon.flow("a", "b")
    assert array == {"group": array["group"], "kind": "array", "jobs": 5, "existing": False}
    assert flow == {"group": flow["group"], "kind": "flow", "jobs": 2, "existing": False}
    assert daemon.queued == 7
    found = daemon.store.group(flow["group"])
    assert found is not None
    assert [step.name for step in daemon.store.group_about(found).steps] == ["a", "b"]
    assert {"arrays", "flows"} <= set(FEATURES)


def test_a_key_gives_the_same_group_again_and_another_user_another(daemon: Daemon) -> None:
    first = daemon.array(4, idempotency_key="k")
    assert daemon.array(4, idempotency_key="k", name="n") == {**first, "existing": True}
    assert daemon.array(4, BOB, idempotency_key="k")["existing"] is False
    flow = daemon.flow("a", idempotency_key="f")
    assert daemon.flow("a", idempotency_key="f") == {**flow, "existing": True}
    assert daemon.queued == 11


def test_a_key_is_answered_for_beyond_the_quota_and_while_nothing_is_taken(daemon: Daemon) -> None:
    first = daemon.array(4, idempotency_key="k")
    daemon.quota = UserQuota(max_queued=5)
    daemon.refusal = Refusal("draining")
    assert daemon.array(4, idempotency_key="k") == {**first, "existing": True}


def test_the_key_of_another_group_or_of_a_job_is_in_use(daemon: Daemon) -> None:
    daemon.array(4, idempotency_key="k")
    assert refused(daemon, "array", 3, idempotency_key="k")["code"] == "key-in-use"
    assert refused(daemon, "flow", "a", idempotency_key="k")["code"] == "key-in-use"
    job = msgspec.structs.replace(new_job(IDS[0]), submitted_by_uid=ALICE.uid, idempotency_key="j")
    daemon.store.insert(job)
    for op, given in (("array", 3), ("flow", "a")):
        answer = refused(daemon, op, given, idempotency_key="j")
        assert answer["code"] == "key-in-use"
        assert f"job {job.id}, which is no group" in answer["detail"]


def test_of_several_at_once_with_one_key_one_is_made(daemon: Daemon) -> None:
    args = flow_of("a", "b", idempotency_key="k")

    async def together() -> list[dict[str, Any]]:
        return await asyncio.gather(*(daemon.ask(ALICE, "submit_flow", args) for _ in range(5)))

    answers = asyncio.run(together())
    assert len({answer["group"] for answer in answers}) == 1
    assert sorted(answer["existing"] for answer in answers) == [False, *[True] * 4]
    assert daemon.queued == 2


def test_quotas_count_every_job_and_are_asked_before_the_host_is(daemon: Daemon) -> None:
    daemon.quota = UserQuota(max_queued=6)
    daemon.array(3)
    asked = list(daemon.ground.asked)
    answer = refused(daemon, "array", 2)
    assert (answer["code"], answer["given"]) == ("quota-exceeded", "4 queued jobs and 3 more")
    assert refused(daemon, "flow", "a", "b", "c")["code"] == "quota-exceeded"
    assert daemon.ground.asked == asked
    daemon.flow("a", "b")


class Slow:
    """Groups that are prepared for as long as they are kept waiting; whose are, is counted."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.go = daemon, asyncio.Event()
        self.now: list[int] = []
        self._prepare = daemon.service.submissions.prepare
        daemon.service.submissions.prepare = self._slowly

    async def _slowly(self, request: Any, peer: Peer, *how: Any) -> Any:
        self.now.append(peer.uid)
        await self.go.wait()
        self.now.remove(peer.uid)
        return await self._prepare(request, peer, *how)

    def ask(self, uid: int) -> asyncio.Task[dict[str, Any]]:
        peer = Peer(uid=uid, gid=uid, groups=frozenset(), pid=1)
        return asyncio.ensure_future(self.daemon.ask(peer, "submit_flow", flow_of("a")))


async def breath() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_of_one_user_one_flow_is_prepared_at_once_and_of_all_so_many(daemon: Daemon) -> None:
    async def together() -> None:
        slow = Slow(daemon)
        first = [slow.ask(ALICE.uid) for _ in range(5)]
        await breath()
        assert slow.now == [ALICE.uid]
        others = [slow.ask(ALICE.uid) for _ in range(20)]
        gone = first.pop()
        gone.cancel()
        slow.go.set()
        await asyncio.gather(*first, *others)
        assert (gone.cancelled(), daemon.queued) == (True, 24)

    asyncio.run(together())


def test_slow_flows_of_many_users_keep_others_from_theirs_for_so_long_but_not_root(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("runner.submission.account_for", lambda *_about: ACCOUNT)
    monkeypatch.setattr("runner.submission.with_group", lambda account, *_about: account)

    async def together() -> None:
        slow = Slow(daemon)
        held = [slow.ask(20_000 + number) for number in range(MOST_PREPARED)]
        await breath()
        assert len(slow.now) == MOST_PREPARED
        with pytest.raises(Refusal, match="too-many-requests"):
            await asyncio.wait_for(slow.ask(ALICE.uid), 10)
        roots = slow.ask(0)
        await breath()
        assert 0 in slow.now
        slow.go.set()
        await asyncio.gather(*held, roots)
        assert (await slow.ask(ALICE.uid))["existing"] is False

    asyncio.run(together())


def test_what_the_daemon_takes_counts_for_all_users_together(daemon: Daemon) -> None:
    daemon.array(19, BOB)
    assert refused(daemon, "array", 10)["code"] == "too-many-jobs"
    daemon.array(9)


def test_quotas_hold_for_those_that_come_at_once_too(daemon: Daemon) -> None:
    daemon.quota = UserQuota(max_queued=5)
    args = flow_of("a", "b")

    async def together() -> list[dict[str, Any] | BaseException]:
        work = (daemon.ask(ALICE, "submit_flow", args) for _ in range(4))
        return await asyncio.gather(*work, return_exceptions=True)

    answers = asyncio.run(together())
    assert [isinstance(each, Refusal) for each in answers].count(True) == 2
    assert daemon.queued == 4


def test_nothing_is_looked_at_while_nothing_is_taken(daemon: Daemon) -> None:
    daemon.refusal = Refusal("draining")
    assert refused(daemon, "array", 2)["code"] == "draining"
    assert refused(daemon, "flow", "a")["code"] == "draining"
    assert daemon.ground.asked == []


def test_an_array_beyond_the_configuration_is_refused_at_once(daemon: Daemon) -> None:
    answer = refused(daemon, "array", 999_999_999)
    assert (answer["code"], answer["field"]) == ("invalid-argument", "array.ranges")
    assert answer["detail"].startswith("at most 20 are allowed (jobs.max_array in ")


def test_one_wrong_step_and_there_is_no_flow(daemon: Daemon) -> None:
    assert refused(daemon, "flow", "a", "b", "a")["field"] == "steps[2].name"


def test_what_is_waited_for_must_be_what_the_peer_controls(daemon: Daemon) -> None:
    group = daemon.array(1, after=[{"job": "x"}])["group"]
    assert daemon.may is may_control
    jobs, _ = daemon.store.members(group, -1, 10)
    assert [[each.on_id for each in daemon.store.dependencies(job.id)] for job in jobs] == [
        ["id of x"], ["id of x"],
    ]  # fmt: skip
