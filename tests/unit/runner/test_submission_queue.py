"""What is asked of the queue, held against the rules: taken, or refused with the field."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from runner import messages, parsing, spec, submission_queue
from runner.config import Config
from runner.message_queue import AfterRequest, ReserveRequest
from runner.policy import Members, Peer
from runner.queues import Rules, UserQuota
from runner.refusal import Refusal
from runner.scheduling.kinds import Capacity, Needs, Queue, Quota
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
NOW = 1_700_000_000_000_000_000
SECOND = 10**9
RULES = Rules(
    Capacity(4, Needs(2000, 8 * GIB)),
    [Queue("gpu"), Queue("night", -5)],
    members={"gpu": Members(frozenset({1000}), frozenset())},
    max_priorities={"night": -2},
    quota=UserQuota(Quota(None, 1500, 4 * GIB), 3, 2**20),
)
ALICE = Peer(uid=1000, gid=1, groups=frozenset(), pid=1)
BOB = Peer(uid=1001, gid=1, groups=frozenset(), pid=1)
ROOT = Peer(uid=0, gid=0, groups=frozenset(), pid=1)


def refused(ask: Callable[..., object], *args: Any, **kwargs: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        ask(*args, **kwargs)
    answer = caught.value.to_wire()
    protocol.encode_frame(answer)
    return answer


def request(**fields: object) -> messages.Submit:
    return parsing.parse(messages.Submit, {"argv": ["true"], "cwd": "/", **fields})


# Queues


def test_a_job_that_names_no_queue_waits_in_the_usual_one() -> None:
    assert submission_queue.queue_for(RULES, BOB, None) == "default"
    assert submission_queue.queue_for(RULES, ALICE, "gpu") == "gpu"
    assert submission_queue.queue_for(RULES, ROOT, "gpu") == "gpu"


def test_an_unknown_queue_is_refused_with_those_that_the_peer_may_use() -> None:
    assert refused(submission_queue.queue_for, RULES, BOB, "Night") == {
        "code": "no-such-queue", "field": "queue", "given": "'Night'", "allowed": "default, night",
    }  # fmt: skip
    assert refused(submission_queue.queue_for, RULES, ALICE, "x")["allowed"] == (
        "default, gpu, night"
    )


def test_a_queue_of_others_is_refused_with_the_key_that_says_so() -> None:
    answer = refused(submission_queue.queue_for, RULES, BOB, "gpu")
    assert (answer["code"], answer["field"], answer["given"]) == ("not-permitted", "queue", "'gpu'")
    assert "queues.gpu.allow" in answer["detail"]


def test_a_priority_above_the_queues_is_refused_unless_an_admin_asks() -> None:
    submission_queue.check_priority(RULES, BOB, "night", -2)
    submission_queue.check_priority(RULES, ROOT, "night", 1000)
    answer = refused(submission_queue.check_priority, RULES, BOB, "night", -1)
    assert (answer["code"], answer["field"], answer["given"]) == ("not-permitted", "priority", "-1")
    assert "queues.night.max_priority" in answer["detail"]


# Times


def test_spans_are_counted_from_now_and_times_are_taken_as_they_are() -> None:
    assert submission_queue.times(request(), NOW) == (None, None)
    spans = request(delay_seconds=1.5, deadline_seconds=3)
    assert submission_queue.times(spans, NOW) == (NOW + 1_500_000_000, NOW + 3 * SECOND)
    exact = request(not_before_ns=NOW + 1, deadline_ns=NOW + 2)
    assert submission_queue.times(exact, NOW) == (NOW + 1, NOW + 2)
    assert submission_queue.times(request(delay_seconds=0), NOW) == (NOW, None)


@pytest.mark.parametrize("field", ["not_before_ns", "deadline_ns"])
def test_a_time_that_is_past_is_refused_but_for_a_second(field: str) -> None:
    asked = request(**{field: NOW - SECOND})
    assert getattr(submission_queue.times(asked, NOW), field) == NOW - SECOND
    answer = refused(submission_queue.times, request(**{field: NOW - SECOND - 1}), NOW)
    assert (answer["code"], answer["field"]) == ("invalid-argument", field)
    assert answer["given"] == str(NOW - SECOND - 1)
    assert str(NOW) in answer["allowed"]
    assert refused(submission_queue.times, request(**{field: 0}), NOW)["field"] == field


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"not_before_ns": NOW + 5, "deadline_ns": NOW + 4}, "not_before_ns"),
        ({"not_before_ns": NOW + 4, "deadline_ns": NOW + 4}, "not_before_ns"),
        ({"not_before_ns": NOW + 2 * SECOND, "deadline_seconds": 1}, "not_before_ns"),
        ({"delay_seconds": 5, "deadline_seconds": 5}, "delay_seconds"),
        ({"delay_seconds": 5, "deadline_ns": NOW + SECOND}, "delay_seconds"),
    ],
)
def test_a_job_that_could_only_start_after_its_deadline_is_refused(
    asked: dict[str, Any], field: str
) -> None:
    assert refused(submission_queue.times, request(**asked), NOW)["field"] == field


@given(now=st.integers(0, 2**63 - 1), seconds=st.floats(0, 315_360_000))
def test_a_time_always_fits_into_the_store(now: int, seconds: float) -> None:
    found = submission_queue.times(request(delay_seconds=seconds), now).not_before_ns
    assert found is not None
    assert now <= found <= 2**63 - 1


# What is promised


def needs(limits: dict[str, Any], uid: int = 0, **reserve: int | None) -> Needs:
    return submission_queue.needs(ReserveRequest(**reserve), limits, RULES, uid)


def test_a_job_is_promised_what_it_reserves_else_what_its_limits_let_it_use() -> None:
    limits = {"cpu_max_millicpus": 500, "memory_max_bytes": GIB}
    assert needs({}) == Needs(0, 0)
    assert needs(limits) == Needs(500, GIB)
    assert needs(limits, millicpus=0) == Needs(0, GIB)
    assert needs(limits, memory_bytes=2 * GIB) == Needs(500, 2 * GIB)
    assert needs({"cpu_max_millicpus": 64_000, "memory_max_bytes": 2**45}) == Needs(2000, 8 * GIB)
    assert needs({}, millicpus=2000, memory_bytes=8 * GIB) == Needs(2000, 8 * GIB)


def test_what_nobody_could_ever_have_cannot_be_reserved() -> None:
    answer = refused(needs, {}, millicpus=2001)
    assert (answer["code"], answer["field"]) == ("invalid-argument", "reserve.millicpus")
    assert (answer["given"], answer["allowed"]) == ("2001", "at most 2000")
    assert "capacity.cpus" in answer["detail"]
    answer = refused(needs, {}, memory_bytes=8 * GIB + 1)
    assert answer["field"] == "reserve.memory_bytes"
    assert "capacity.memory" in answer["detail"]


@pytest.mark.parametrize(
    ("limits", "reserve", "field", "key"),
    [
        ({}, {"millicpus": 1501}, "reserve.millicpus", "quotas.max_cpus"),
        ({"cpu_max_millicpus": 9000}, {}, "limits.cpu_max_millicpus", "quotas.max_cpus"),
        ({}, {"memory_bytes": 4 * GIB + 1}, "reserve.memory_bytes", "quotas.max_memory"),
        ({"memory_max_bytes": 5 * GIB}, {}, "limits.memory_max_bytes", "quotas.max_memory"),
    ],
)
def test_a_job_that_its_users_quota_would_hold_back_for_ever_is_refused(
    limits: dict[str, Any], reserve: dict[str, int], field: str, key: str
) -> None:
    answer = refused(needs, limits, 1000, **reserve)
    assert (answer["code"], answer["field"]) == ("quota-exceeded", field)
    assert key in answer["detail"]
    needs(limits, 0, **reserve)


def test_a_job_may_be_promised_all_of_its_users_quota() -> None:
    assert needs({}, 1000, millicpus=1500, memory_bytes=4 * GIB) == Needs(1500, 4 * GIB)


# Quotas of jobs that wait and of output


def test_one_queued_job_more_than_the_quota_is_refused() -> None:
    submission_queue.check_queued(RULES.quota_of(1000), 2)
    submission_queue.check_queued(RULES.quota_of(0), 10**6)
    answer = refused(submission_queue.check_queued, RULES.quota_of(1000), 3)
    assert (answer["code"], answer["allowed"]) == ("quota-exceeded", "at most 3")
    assert "quotas.max_queued" in answer["detail"]


def test_many_jobs_at_once_count_as_many() -> None:
    quota = UserQuota(max_queued=10)
    submission_queue.check_queued(quota, 3, 7)
    answer = refused(submission_queue.check_queued, quota, 3, 8)
    assert answer["code"] == "quota-exceeded"
    assert (answer["given"], answer["allowed"]) == ("3 queued jobs and 8 more", "at most 10")


def test_what_the_daemon_takes_in_all_is_bounded() -> None:
    submission_queue.check_all_queued(10, 9)
    submission_queue.check_all_queued(10, 0, 10)
    for queued, more in ((10, 1), (0, 11)):
        answer = refused(submission_queue.check_all_queued, 10, queued, more)
        assert answer == {"code": "too-many-jobs", "allowed": "10 queued jobs"}


def test_output_beyond_the_quota_keeps_jobs_out() -> None:
    submission_queue.check_log_bytes(RULES.quota_of(1000), 2**20 - 1)
    submission_queue.check_log_bytes(RULES.quota_of(0), 2**50)
    answer = refused(submission_queue.check_log_bytes, RULES.quota_of(1000), 2**20)
    assert answer["code"] == "quota-exceeded"
    assert "quotas.max_log_bytes" in answer["detail"]
    assert "runctl prune" in answer["detail"]


# Dependencies

IDS = {"a": "id-a", "build": "id-a", "b": "id-b"}


def find(ref: str) -> Any:
    if ref not in IDS:
        raise Refusal("no-such-job", field="job", given=ref)
    return SimpleNamespace(id=IDS[ref])


def dependencies(*args: Any) -> Any:
    return asyncio.run(submission_queue.dependencies(*args))


def after(*entries: tuple[str, Any]) -> list[AfterRequest]:
    return [AfterRequest(job=job, on=on) for job, on in entries]


def test_dependencies_are_by_id() -> None:
    assert dependencies(after(("build", "ok"), ("b", "started")), find) == (
        ("id-a", "ok"), ("id-b", "started"),
    )  # fmt: skip
    assert dependencies([], find) == ()


def test_others_have_their_turn_while_many_are_looked_up() -> None:
    turns, entries = [0], after(*((f"job{n}", "ok") for n in range(64)))
    found: list[int] = []

    def find_slowly(ref: str) -> Any:
        found.append(turns[0])
        return SimpleNamespace(id=ref)

    async def both() -> None:
        looking = asyncio.ensure_future(submission_queue.dependencies(entries, find_slowly))
        while not looking.done():
            await asyncio.sleep(0)
            turns[0] += 1

    asyncio.run(both())
    assert max(found.count(turn) for turn in set(found)) == 16


def test_a_job_that_the_peer_has_no_say_in_cannot_be_waited_for() -> None:
    entries = after(("a", "ok"), ("theirs", "ok"))
    assert refused(dependencies, entries, find) == {
        "code": "no-such-job", "field": "after[1].job", "given": "theirs",
    }  # fmt: skip


def test_the_same_job_under_two_names_is_refused() -> None:
    entries = after(("b", "ok"), ("a", "ok"), ("build", "any"))
    answer = refused(dependencies, entries, find)
    assert (answer["code"], answer["field"]) == ("invalid-argument", "after[2].job")
    assert "id-a" in answer["allowed"]


# Retries


@pytest.mark.parametrize(
    ("rule", "limits", "field"),
    [
        ({"memory_factor": 2}, {}, "memory_factor"),
        ({"timeout_factor": 2}, {"memory_max_bytes": GIB}, "timeout_factor"),
        ({"memory_factor": 2, "memory_max_bytes": GIB}, {"memory_max_bytes": 2 * GIB},
         "memory_max_bytes"),
        ({"timeout_factor": 2, "timeout_max_seconds": 5}, {"timeout_seconds": 5.5},
         "timeout_max_seconds"),
    ],
)  # fmt: skip
def test_only_a_limit_that_is_there_can_grow_and_only_up_to_more(
    rule: dict[str, Any], limits: dict[str, Any], field: str
) -> None:
    rules = [{"reason": "exit", "limit": 1}, {"reason": "oom", **rule}]
    retry = request(retry={"limit": 2, "rules": rules}).retry
    answer = refused(submission_queue.check_growth, retry, limits)
    assert (answer["code"], answer["field"]) == ("invalid-argument", f"retry.rules[1].{field}")


def test_a_limit_that_is_there_grows() -> None:
    rule = {
        "reason": "oom", "memory_factor": 1.5, "memory_max_bytes": GIB, "timeout_factor": 1,
    }  # fmt: skip
    retry = request(retry={"limit": 2, "rules": [rule]}).retry
    limits = {"memory_max_bytes": GIB, "timeout_seconds": 5}
    submission_queue.check_growth(retry, limits)
    submission_queue.check_growth(None, {})


# Keys


def submitted(job_id: str, **fields: object) -> Any:
    built = spec.build(job_id, request(**fields), Account(1, 2, (), "x"), Config())
    return SimpleNamespace(
        id=job_id, uid=1, gid=2, spec=spec.pack(built), group_id=None, deadline_ns=None
    )


def test_the_same_key_with_the_same_command_is_the_same_job() -> None:
    job = submitted("j", argv=["a", b"\xff"])
    again = request(argv=[b"a", b"\xff"], idempotency_key="k", priority=-7)
    assert submission_queue.same_job(job, again) is job


@pytest.mark.parametrize("argv", [["a"], ["a", "c"], ["a", "b", ""]])
def test_a_key_that_another_command_has_is_refused(argv: list[str]) -> None:
    job = submitted("j", argv=["a", "b"])
    asked = request(argv=argv, idempotency_key="k")
    answer = refused(submission_queue.same_job, job, asked)
    assert (answer["code"], answer["field"], answer["given"]) == (
        "key-in-use", "idempotency_key", "'k'",
    )  # fmt: skip
    assert "job j " in answer["detail"]


def test_a_key_of_a_job_whose_spec_is_damaged_is_in_use() -> None:
    job = submitted("j")
    job.spec = job.spec[:-1]
    asked = request(idempotency_key="k")
    assert refused(submission_queue.same_job, job, asked)["code"] == "key-in-use"


@pytest.mark.parametrize(
    ("uid", "more", "own", "total"),
    [(7, 1, 50_000, 50_000), (7, 200, 49_801, 60_000), (7, 1, 0, 200_000), (0, 1, 0, 200_000)],
)
def test_beyond_what_may_be_waited_for_in_all_a_job_is_refused(
    uid: int, more: int, own: int, total: int
) -> None:
    answer = refused(submission_queue.check_unmet, uid, more, own, total)
    assert (answer["code"], answer["field"]) == ("quota-exceeded", "after")
    assert answer["allowed"] in {"at most 50000", "at most 200000"}


@pytest.mark.parametrize(
    ("uid", "more", "own", "total"),
    [(7, 1, 49_999, 199_999), (7, 0, 50_001, 200_001), (0, 256, 60_000, 60_000)],
)
def test_up_to_there_it_is_taken_and_without_any_at_all_times(
    uid: int, more: int, own: int, total: int
) -> None:
    submission_queue.check_unmet(uid, more, own, total)
