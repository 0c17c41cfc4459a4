"""What jobs ask of the queue follows from the seed, and comes after jobs that it can know."""

from __future__ import annotations

import pytest

from runner import messages, parsing
from tests.torture import plan, submitting, wishes
from tests.torture.wishes import Wishes

SEED = 5
PLANS = [plan.job_plan(SEED, number) for number in range(800)]


def test_jobs_come_after_earlier_ones_of_the_same_block_and_user() -> None:
    after = [(job, number) for job in PLANS for number, _ in job.wishes.after]
    assert after
    for job, number in after:
        assert number < job.number
        assert number // wishes.BLOCK == job.number // wishes.BLOCK
        assert PLANS[number].user == job.user


def test_nobody_comes_after_a_job_that_waits_for_a_time() -> None:
    targets = {number for job in PLANS for number, _ in job.wishes.after}
    assert not any(PLANS[number].wishes.is_timed for number in targets)
    assert not any(PLANS[number].wishes.again for number in targets)


def test_who_waits_for_a_time_is_waited_for_by_nobody_and_a_key_stays_in_use() -> None:
    assert all(job.care == plan.LATER for job in PLANS if job.wishes.is_timed)
    assert not any(job.remove for job in PLANS if job.wishes.twins)


def test_a_batch_does_not_go_beyond_its_block() -> None:
    assert all(job.batch <= wishes.rest_of_block(job.number) for job in PLANS)


def test_every_wish_comes_up() -> None:
    every = [job.wishes for job in PLANS]
    assert {on for each in every for _, on in each.after} == {"ok", "any", "fail", "started"}
    assert {each.queue for each in every} == {*wishes.QUEUES, wishes.LATE}
    for name in ("held", "root_holds", "delay_seconds", "retry", "failures", "again", "reserve"):
        assert any(getattr(each, name) for each in every), name
    assert {each.twins for each in every} == {0, 1, 2, 3}


def test_runnerd_takes_every_request() -> None:
    for job in PLANS:
        ids = {number: f"{number:08x}" for number, _ in job.wishes.after}
        request = parsing.parse(messages.Submit, submitting.submission(job, "/share", ids))
        assert len(request.after) == len(job.wishes.after)


def test_a_job_whose_target_was_not_taken_does_not_come_after_it() -> None:
    job = Wishes(after=((1, "ok"), (2, "any")))
    assert wishes.request(job, "t", {2: "abc"})["after"] == [{"job": "abc", "on": "any"}]
    assert "after" not in wishes.request(job, "t", {})


@pytest.mark.parametrize(
    ("attempt", "reason", "code", "again"),
    [
        (1, "exit", 1, True), (2, "exit", 1, True), (3, "exit", 1, False), (1, "exit", 0, False),
        (1, "lost", None, True), (1, "stopped", None, False), (1, "output-limit", None, False),
    ],
)  # fmt: skip
def test_an_attempt_is_followed_by_another_as_the_policy_says(
    attempt: int, reason: str, code: int | None, *, again: bool
) -> None:
    job = Wishes(retry={"limit": 2, "backoff_seconds": 0.0})
    assert job.is_retried(attempt, {"reason": reason, "exit_code": code}) is again
    assert not Wishes().is_retried(attempt, {"reason": reason, "exit_code": code})
