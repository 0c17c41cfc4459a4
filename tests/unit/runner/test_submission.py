"""A submission becomes a job that is complete, or is refused by the field that is wrong."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from isolation.cgroups.limit_checks import needed
from isolation.cgroups.limit_kinds import IoLimit, JobLimits
from isolation.errors import LimitUnavailable
from runner import messages, records, submission
from runner import spec as specs
from runner.config import Config, JobsConfig, LogsConfig
from runner.parsing import parse
from runner.policy import Peer
from runner.queues import Rules, UserQuota
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.scheduling.kinds import Capacity, Needs, Queue, Quota
from runner.submission import Submissions, check_room, check_segment
from runner.users import Account, account_of

EVERY = JobLimits(
    memory_max_bytes=1,
    memory_high_bytes=1,
    memory_swap_max_bytes=1,
    oom_policy="continue",
    cpu_max_millicpus=1,
    cpu_weight=1,
    cpu_idle=True,
    cpu_set="0",
    pids_max=1,
    io=(IoLimit("8:0", 1),),
    io_weight=1,
)


@pytest.mark.parametrize("limit", sorted({limit for limit, _ in needed(EVERY)}))
def test_the_refusal_of_a_limit_names_the_field_of_the_request(limit: str) -> None:
    def refuse(_limits: JobLimits) -> None:
        raise LimitUnavailable(limit, why="it is not there", remedy="do this")

    tree: Any = SimpleNamespace(require=refuse)
    nothing: Any = None
    submissions = Submissions(Config(), None, tree, nothing, nothing, nothing)
    with pytest.raises(Refusal) as caught:
        submissions._check_enforceable({"limits": {}}, {})
    answer = caught.value.to_wire()
    assert answer["code"] == "limit-unavailable"
    name = answer["field"].removeprefix("limits.")
    assert getattr(EVERY, name)
    assert "do this" in answer["detail"]


def test_a_segment_may_be_as_large_as_what_is_kept_and_no_larger() -> None:
    config = Config(logs=LogsConfig(segment_bytes=4096, keep_bytes=8192))
    for size in (None, 4096, 8192):
        check_segment(size, config)
    with pytest.raises(Refusal) as caught:
        check_segment(8193, config)
    answer = caught.value.to_wire()
    assert (answer["code"], answer["field"]) == ("invalid-argument", "logs.segment_bytes")
    assert (answer["given"], answer["allowed"]) == ("8193", "at most 8192")
    assert "logs.keep_bytes" in answer["detail"]


@pytest.mark.parametrize(
    ("blocks", "files", "free_files", "lack"),
    [(100, 0, 0, ""), (100, 1000, 8, ""), (16, 0, 0, "no free space"), (0, 0, 0, "no free space"),
     (100, 1000, 7, "no room for more files")],
)  # fmt: skip
def test_a_job_whose_directory_has_no_room_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, blocks: int, files: int, free_files: int, lack: str
) -> None:
    found = SimpleNamespace(f_blocks=10**6, f_bfree=4096 + blocks, f_bavail=0, f_frsize=4096,
                            f_files=files, f_ffree=free_files)  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda _path: found)
    if not lack:
        check_room("/state", 1000)
        return
    with pytest.raises(Refusal) as caught:
        check_room("/state", 1000)
    answer = caught.value.to_wire()
    assert answer["code"] == "store-error"
    assert answer["detail"].startswith(f"{lack} in /state")
    assert "runctl prune" in answer["detail"]


def test_a_state_directory_that_is_gone_is_said() -> None:
    with pytest.raises(Refusal) as caught:
        check_room("/no/such/directory", 1)
    assert "/no/such/directory: No such file" in caught.value.to_wire()["detail"]


# From a request to a job


class Ground:
    """A host on which everything works; it says in which order it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submissions(self, rules: Rules, **config: Any) -> Submissions:
        paths: Any = SimpleNamespace(
            check_cwd=self._awaited("check_cwd", None),
            check_all=self._awaited("check_all", None),
            find_devices=self._awaited("devices", {}),
        )
        tree: Any = SimpleNamespace(require=lambda _limits: self.asked.append("require"))
        provisions: Any = SimpleNamespace(check=lambda _spec: self.asked.append("check"))
        whole = Config(state_dir="/", **config)
        return Submissions(whole, None, tree, paths, provisions, rules)

    def _awaited(self, name: str, answer: Any) -> Any:
        async def ask(*_args: Any) -> Any:
            self.asked.append(name)
            return answer

        return ask

    def find(self, ref: str) -> Any:
        self.asked.append(f"find {ref}")
        return SimpleNamespace(id=f"id of {ref}")


RULES = Rules(
    Capacity(4, Needs(2000, 2**33)),
    [Queue("night")],
    max_priorities={"night": 5},
    quota=UserQuota(Quota(None, None, 2**32)),
)
PEER = Peer(uid=os.getuid() or 65_534, gid=os.getgid(), groups=frozenset(), pid=1)


def prepared(ground: Ground, **fields: Any) -> NewJob:
    request = parse(messages.Submit, {"argv": ["true"], "cwd": "/", **fields})
    submissions = ground.submissions(RULES)
    return asyncio.run(submissions.prepare(request, PEER, ground.find))


def test_a_job_that_asks_for_nothing_has_nothing_special_in_its_row() -> None:
    job = prepared(Ground())
    spec = records.unpack(job.spec)
    assert (job.id, job.submitted_by_uid, job.uid) == (spec["job"], PEER.uid, PEER.uid)
    assert msgspec.structs.replace(job, id="", spec=b"", submitted_ns=0) == NewJob(
        id="", submitted_by_uid=PEER.uid, uid=PEER.uid, gid=PEER.gid, name=None, spec=b"",
        submitted_ns=0,
    )  # fmt: skip


def test_a_job_has_all_that_was_asked_of_the_queue_in_its_row() -> None:
    ground = Ground()
    begun = time.time_ns()
    job = prepared(
        ground, name="n", queue="night", priority=5, labels={"a": "b"}, delay_seconds=60,
        deadline_seconds=120, hold=True, reserve={"millicpus": 1500}, idempotency_key="k",
        limits={"memory_max_bytes": 2**32, "timeout_seconds": 2},
        after=[{"job": "x"}, {"job": "y", "on": "fail"}], retry={"limit": 3},
    )  # fmt: skip
    assert (job.queue, job.priority, job.labels) == ("night", 5, {"a": "b"})
    assert job.held_by_uid == PEER.uid
    assert (job.reserved_millicpus, job.reserved_memory_bytes) == (1500, 2**32)
    assert job.time_limit_ms == 12_000
    assert job.idempotency_key == "k"
    assert job.after == (("id of x", "ok"), ("id of y", "fail"))
    assert job.not_before_ns == job.submitted_ns + 60 * 10**9
    assert job.deadline_ns == job.submitted_ns + 120 * 10**9
    assert begun <= job.submitted_ns <= time.time_ns()
    spec = records.unpack(job.spec)
    assert (spec["deadline_ns"], spec["retry"]["limit"]) == (job.deadline_ns, 3)


def test_other_jobs_are_looked_for_after_all_that_has_to_be_waited_for() -> None:
    ground = Ground()
    prepared(ground, after=[{"job": "x"}])
    assert ground.asked[-1] == "find x"
    assert set(ground.asked) == {"check_cwd", "check_all", "devices", "require", "check", "find x"}


@pytest.mark.parametrize(
    ("known", "fields", "is_waited_for"),
    [(True, {}, False), (False, {}, True), (True, {"user": PEER.uid}, True),
     (True, {"group": PEER.gid}, True)],
)  # fmt: skip
def test_the_user_database_is_waited_for_in_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, *, known: bool, fields: dict[str, Any], is_waited_for: bool
) -> None:
    loops, account = [], account_of(PEER)

    def look_up(_peer: Peer) -> Account:
        loops.append(threading.current_thread() is threading.main_thread())
        return account

    monkeypatch.setattr(submission, "remembered_account", lambda _peer: account if known else None)
    monkeypatch.setattr("runner.users.account_of", look_up)
    assert prepared(Ground(), **fields).uid == PEER.uid
    assert loops == ([False] if is_waited_for else [])


@pytest.mark.parametrize(
    ("fields", "is_plain"),
    [({}, True), ({"sandbox": {"devices": ["all"]}}, False), ({"sandbox": {"userns": True}}, False),
     ({"sandbox": {"capabilities": ["KILL"]}}, False), ({"network": "private"}, False),
     ({"sandbox": {"report_denied": True}}, False)],
)  # fmt: skip
def test_what_is_tried_out_on_the_host_is_not_tried_in_the_loop(
    fields: dict[str, Any], *, is_plain: bool
) -> None:
    request = parse(messages.Submit, {"argv": ["true"], "cwd": "/", **fields})
    account = Account(1000, 1000, (), "alice")
    assert submission._is_plain(specs.build("x", request, account, Config())) is is_plain


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"queue": "day"}, "no-such-queue", "queue"),
        ({"queue": "night", "priority": 6}, "not-permitted", "priority"),
        ({"priority": 1}, "not-permitted", "priority"),
        ({"not_before_ns": 5}, "invalid-argument", "not_before_ns"),
        ({"deadline_ns": 5}, "invalid-argument", "deadline_ns"),
        ({"delay_seconds": 5, "deadline_seconds": 5}, "invalid-argument", "delay_seconds"),
        ({"reserve": {"millicpus": 2001}}, "invalid-argument", "reserve.millicpus"),
        ({"reserve": {"memory_bytes": 2**33}}, "quota-exceeded", "reserve.memory_bytes"),
        (
            {"retry": {"limit": 1, "rules": [{"reason": "oom", "memory_factor": 2}]}},
            "invalid-argument", "retry.rules[0].memory_factor",
        ),
    ],
)  # fmt: skip
def test_what_the_queue_cannot_give_is_refused_before_the_host_is_asked(
    asked: dict[str, Any], code: str, field: str
) -> None:
    ground = Ground()
    with pytest.raises(Refusal) as caught:
        prepared(ground, **asked)
    assert (caught.value.code, caught.value.fields["field"]) == (code, field)
    assert ground.asked == []


def test_a_default_limit_is_promised_and_may_grow() -> None:
    ground = Ground()
    rule = {"reason": "oom", "memory_factor": 2}
    args = {"argv": ["true"], "cwd": "/", "retry": {"limit": 1, "rules": [rule]}}
    submissions = ground.submissions(RULES, jobs=JobsConfig(default_memory_max=2**30))
    prepare = submissions.prepare(parse(messages.Submit, args), PEER, ground.find)
    assert asyncio.run(prepare).reserved_memory_bytes == 2**30
