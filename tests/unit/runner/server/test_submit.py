"""`submit`: one job for one key, quotas before anything is asked of the host."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runner import messages, spec
from runner.config import Config
from runner.lifecycle import State
from runner.parsing import parse
from runner.policy import Peer, may_control
from runner.queues import Rules, UserQuota
from runner.refusal import Refusal
from runner.rows import Total
from runner.scheduling.kinds import Capacity, Needs
from runner.server.handlers.submit import submit
from runner.users import Account

PEER = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
STREAM: Any = None


class Daemon:
    """As much of the daemon as a submission meets; what is queued is in `jobs`."""

    def __init__(self, quota: UserQuota | None = None) -> None:
        self.jobs: list[Any] = []
        self.prepared = 0
        self.ended_bytes = 0
        self.tried: dict[str, int] = {}
        self.running = {"mine": 1000, "theirs": 1001}
        self.may: object = None
        self.flow_key: tuple[int, str] | None = None
        capacity = Capacity(1, Needs(1000, 2**30))
        self.rules = Rules(capacity, quota=quota or UserQuota())

    @property
    def service(self) -> Any:
        store = SimpleNamespace(
            keyed=self._keyed,
            keyed_group=self._keyed_group,
            launched_of=lambda uid: [i for i, owner in self.running.items() if owner == uid],
            tried_bytes=lambda uid: dict(self.tried) if uid == 1000 else {},
            ended=SimpleNamespace(total=lambda _uid: Total(1, self.ended_bytes)),
        )
        supervisor = SimpleNamespace(
            store=store,
            submit=self._submit,
            queued_of=lambda uid: sum(job.submitted_by_uid == uid for job in self.jobs),
            sizes=SimpleNamespace(of=self._sizes),
        )
        submissions = SimpleNamespace(rules=self.rules, prepare=self._prepare)
        return SimpleNamespace(
            supervisor=supervisor, submissions=submissions, find_target=self._find
        )

    def _keyed(self, uid: int, key: str) -> Any:
        owned = (job for job in self.jobs if job.submitted_by_uid == uid)
        return next((job for job in owned if job.idempotency_key == key), None)

    def _keyed_group(self, uid: int, key: str) -> Any:
        return SimpleNamespace(kind="flow", id="ci") if (uid, key) == self.flow_key else None

    def _find(self, peer: Peer, ref: str, may: object) -> Any:
        self.may = may
        return f"{ref} of {peer.uid}"

    async def _sizes(self, ids: list[str]) -> dict[str, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(ids, 100)

    async def _prepare(self, request: messages.Submit, peer: Peer, find: Any) -> Any:
        self.prepared += 1
        # Others have their turn while the host is asked.
        await asyncio.sleep(0)
        job_id = f"job-{self.prepared}"
        built = spec.build(job_id, request, Account(1, 2, (), "x"), Config())
        return SimpleNamespace(
            id=job_id, uid=1, gid=2, spec=spec.pack(built), submitted_by_uid=peer.uid,
            idempotency_key=request.idempotency_key, state=State.QUEUED, group_id=None,
            deadline_ns=None,
            after=[find(entry.job) for entry in request.after],
        )  # fmt: skip

    def _submit(self, new: Any) -> Any:
        self.jobs.append(new)
        return new

    async def ask(self, peer: Peer = PEER, **fields: Any) -> dict[str, Any]:
        request = parse(messages.Submit, {"argv": ["true"], "cwd": "/", **fields})
        return await submit(self.service, peer, request, STREAM)


def test_a_job_without_a_key_is_a_job_each_time() -> None:
    daemon = Daemon()
    first, second = (asyncio.run(daemon.ask()) for _ in range(2))
    assert first == {"job": "job-1", "state": "queued", "existing": False}
    assert second["job"] == "job-2"


def test_a_key_gives_the_same_job_again_and_says_so() -> None:
    daemon = Daemon()
    first = asyncio.run(daemon.ask(idempotency_key="k"))
    daemon.jobs[0].state = State.RUNNING
    again = asyncio.run(daemon.ask(idempotency_key="k", name="other"))
    assert again == {"job": first["job"], "state": "running", "existing": True}
    assert (len(daemon.jobs), daemon.prepared) == (1, 1)


def test_two_at_once_with_one_key_are_one_job() -> None:
    daemon = Daemon()

    async def both() -> list[dict[str, Any]]:
        return await asyncio.gather(*(daemon.ask(idempotency_key="k") for _ in range(5)))

    answers = asyncio.run(both())
    assert len(daemon.jobs) == 1
    assert daemon.prepared == 5
    assert {answer["job"] for answer in answers} == {daemon.jobs[0].id}
    assert sorted(answer["existing"] for answer in answers) == [False] + [True] * 4


def test_the_key_of_another_user_is_another_key() -> None:
    daemon = Daemon()
    other = Peer(uid=1001, gid=1, groups=frozenset(), pid=1)
    asyncio.run(daemon.ask(idempotency_key="k"))
    assert asyncio.run(daemon.ask(other, idempotency_key="k"))["existing"] is False
    assert len(daemon.jobs) == 2


def test_a_key_that_another_command_has_queues_nothing() -> None:
    daemon = Daemon()
    asyncio.run(daemon.ask(idempotency_key="k"))
    with pytest.raises(Refusal) as caught:
        asyncio.run(daemon.ask(idempotency_key="k", argv=["false"]))
    assert caught.value.code == "key-in-use"
    assert len(daemon.jobs) == 1


def test_a_key_that_a_flow_has_is_no_jobs_but_another_users_may_be() -> None:
    daemon = Daemon()
    daemon.flow_key = (1000, "k")
    with pytest.raises(Refusal) as caught:
        asyncio.run(daemon.ask(idempotency_key="k"))
    assert caught.value.code == "key-in-use"
    assert "flow ci, which is no job" in caught.value.fields["detail"]
    assert daemon.prepared == 0
    daemon.flow_key = (1001, "k")
    assert asyncio.run(daemon.ask(idempotency_key="k"))["existing"] is False


def test_at_most_as_many_wait_as_the_quota_says_also_of_those_that_come_at_once() -> None:
    daemon = Daemon(UserQuota(max_queued=2))

    async def many() -> list[dict[str, Any] | BaseException]:
        return await asyncio.gather(*(daemon.ask() for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(many())
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert (len(daemon.jobs), len(refused)) == (2, 3)
    assert {refusal.code for refusal in refused} == {"quota-exceeded"}
    asked = daemon.prepared
    with pytest.raises(Refusal):
        asyncio.run(daemon.ask())
    assert daemon.prepared == asked


def test_a_key_is_answered_for_beyond_the_quota_too() -> None:
    daemon = Daemon(UserQuota(max_queued=1))
    asyncio.run(daemon.ask(idempotency_key="k"))
    assert asyncio.run(daemon.ask(idempotency_key="k"))["existing"] is True


def test_output_of_ended_and_of_running_jobs_counts_the_users_own_alone() -> None:
    daemon = Daemon(UserQuota(max_log_bytes=4096))
    daemon.ended_bytes = 4096 - 101
    asyncio.run(daemon.ask())
    daemon.ended_bytes = 4096 - 100
    with pytest.raises(Refusal) as caught:
        asyncio.run(daemon.ask())
    assert caught.value.code == "quota-exceeded"
    assert caught.value.fields["given"] == "4096 bytes of output"
    assert len(daemon.jobs) == 1


def test_output_of_a_job_that_waits_for_another_attempt_counts_and_none_counts_twice() -> None:
    daemon = Daemon(UserQuota(max_log_bytes=4096))
    daemon.tried = {"again": 3000, "mine": 4000}
    asyncio.run(daemon.ask())
    daemon.tried["again"] = 4000
    with pytest.raises(Refusal):
        asyncio.run(daemon.ask())


def test_jobs_that_are_waited_for_must_be_those_that_the_peer_controls() -> None:
    daemon = Daemon()
    asyncio.run(daemon.ask(after=[{"job": "a"}]))
    assert daemon.jobs[0].after == ["a of 1000"]
    assert daemon.may is may_control
