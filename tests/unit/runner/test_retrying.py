"""Whether a job is tried again: never too often, never against anybody's word, never for less."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import outcome, retrying
from runner.message_kinds import PIB
from runner.outcome import Outcome
from runner.retrying import Again, backoff_seconds, is_failure, next_attempt, with_its_limits

REASONS = ("exit", "signal", "oom", "timeout", "cpu-time", "output-limit", "launch-error",
           "log-error", "lost")  # fmt: skip
GIB = 2**30
SECOND = 10**9
NOW = 1_800_000_000 * SECOND
YEARS = 315_360_000


def policy_of(limit: int = 3, **more: Any) -> dict[str, Any]:
    usual = {"backoff_seconds": 0.0, "backoff_max_seconds": None, "on": list(REASONS), "rules": []}
    return {"limit": limit, **usual, **more}


def rule_of(reason: str, **more: Any) -> dict[str, Any]:
    names = ("limit", "memory_factor", "memory_max_bytes", "timeout_factor", "timeout_max_seconds")
    return {"reason": reason, **dict.fromkeys(names), **more}


def ended(reason: str, code: int = 1) -> Outcome:
    return Outcome(reason, code if reason == "exit" else None, None, code)


def decide(
    policy: dict[str, Any] | None,
    verdict: Outcome,
    *earlier: str,
    limits: dict[str, Any] | None = None,
    deadline_ns: int | None = None,
) -> Again | None:
    return next_attempt(
        policy, len(earlier) + 1, earlier, verdict, limits or {}, NOW, deadline_ns=deadline_ns
    )


# --- whether ---


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert decide(None, ended("exit")) is None


@pytest.mark.parametrize("reason", REASONS)
def test_each_failure_that_is_named_is_tried_again_and_no_other(reason: str) -> None:
    assert decide(policy_of(on=[reason]), ended(reason)) == Again(None, {})
    others = [other for other in REASONS if other != reason]
    assert decide(policy_of(on=others), ended(reason)) is None


def test_a_success_is_never_tried_again() -> None:
    assert not is_failure(ended("exit", 0))
    assert decide(policy_of(), ended("exit", 0)) is None


@pytest.mark.parametrize("reason", ["stopped", "deadline", "dependency"])
@pytest.mark.parametrize("code", [0, 3])
def test_what_somebody_wanted_is_never_tried_again_whatever_a_record_says(
    reason: str, code: int
) -> None:
    assert decide(policy_of(on=[*REASONS, reason]), ended(reason, code)) is None


def test_every_reason_is_either_a_failure_or_not_by_itself() -> None:
    assert {*REASONS, "stopped", "deadline", "dependency"} == set(outcome.REASONS)


def test_after_so_many_retries_it_has_ended() -> None:
    policy = policy_of(2)
    assert decide(policy, ended("exit")) is not None
    assert decide(policy, ended("exit"), "exit") is not None
    assert decide(policy, ended("exit"), "exit", "oom") is None


def test_a_reason_may_have_a_limit_of_its_own() -> None:
    policy = policy_of(9, rules=[rule_of("oom", limit=1), rule_of("lost", limit=0)])
    assert decide(policy, ended("oom"), "exit", "exit") is not None
    assert decide(policy, ended("oom"), "oom", "exit") is None
    assert decide(policy, ended("exit"), "oom", "oom") is not None
    assert decide(policy, ended("lost")) is None


def test_attempts_that_the_store_has_lost_count_all_the_same() -> None:
    assert next_attempt(policy_of(2), 3, [], ended("exit"), {}, NOW) is None


def test_a_wait_that_lasts_to_the_deadline_is_none() -> None:
    policy = policy_of(backoff_seconds=10.0)
    assert decide(policy, ended("exit"), deadline_ns=NOW + 10 * SECOND) is None
    found = decide(policy, ended("exit"), deadline_ns=NOW + 10 * SECOND + 1)
    assert found == Again(NOW + 10 * SECOND, {})
    assert decide(policy_of(), ended("exit"), deadline_ns=NOW) is None


# --- when ---


def test_the_wait_is_doubled_up_to_its_bound() -> None:
    policy = policy_of(9, backoff_seconds=5.0, backoff_max_seconds=60.0)
    assert [backoff_seconds(policy, number) for number in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert decide(policy, ended("exit"), "exit") == Again(NOW + 10 * SECOND, {})


def test_a_bound_below_the_first_wait_holds_from_the_beginning() -> None:
    policy = policy_of(backoff_seconds=5.0, backoff_max_seconds=2.0)
    assert backoff_seconds(policy, 1) == 2.0


@given(
    first=st.floats(0, YEARS),
    bound=st.none() | st.floats(0, YEARS),
    count=st.integers(1, 200),
)
def test_waits_never_become_shorter_and_never_pass_the_bound(
    first: float, bound: float | None, count: int
) -> None:
    policy = policy_of(200, backoff_seconds=first, backoff_max_seconds=bound)
    waits = [backoff_seconds(policy, number) for number in range(1, count + 1)]
    assert all(before <= after for before, after in pairwise(waits))
    assert waits[-1] <= (YEARS if bound is None else bound)
    # It fits a column of the store.
    assert NOW + round(waits[-1] * SECOND) < 2**63


# --- with what ---


def test_a_rule_multiplies_memory_up_to_its_bound() -> None:
    rules = [rule_of("oom", memory_factor=1.5, memory_max_bytes=4 * GIB)]
    limits = {"memory_max_bytes": 2 * GIB, "cpu_weight": 7}
    sizes = []
    for _ in range(4):
        found = decide(policy_of(rules=rules), ended("oom"), limits=limits)
        assert found is not None
        limits = found.limits
        assert limits["cpu_weight"] == 7
        sizes.append(limits["memory_max_bytes"])
    assert sizes == [3 * GIB, 4 * GIB, 4 * GIB, 4 * GIB]


def test_a_rule_is_for_its_reason_alone() -> None:
    rules = [rule_of("oom", memory_factor=2.0), rule_of("timeout", timeout_factor=2.0)]
    limits = {"memory_max_bytes": GIB, "timeout_seconds": 10.0}
    after = {
        reason: decide(policy_of(rules=rules), ended(reason), limits=limits)
        for reason in ("oom", "timeout", "exit")
    }
    assert after == {
        "oom": Again(None, {"memory_max_bytes": 2 * GIB, "timeout_seconds": 10.0}),
        "timeout": Again(None, {"memory_max_bytes": GIB, "timeout_seconds": 20.0}),
        "exit": Again(None, limits),
    }


def test_what_is_not_limited_stays_so() -> None:
    rules = [rule_of("oom", memory_factor=2.0, timeout_factor=2.0)]
    assert decide(policy_of(rules=rules), ended("oom")) == Again(None, {})


def test_memory_high_grows_in_proportion_and_swap_stays() -> None:
    rule = rule_of("oom", memory_factor=1.5)
    limits = {"memory_max_bytes": 1000, "memory_high_bytes": 800, "memory_swap_max_bytes": 5}
    assert retrying.with_more(limits, rule) == {
        "memory_max_bytes": 1500, "memory_high_bytes": 1200, "memory_swap_max_bytes": 5,
    }  # fmt: skip


@given(
    memory=st.integers(2**22, PIB),
    high=st.integers(2**22, PIB),
    seconds=st.floats(0.001, YEARS),
    factor=st.floats(1, 1000),
    most=st.none() | st.integers(2**22, PIB),
    longest=st.none() | st.floats(0.001, YEARS),
)
def test_no_limit_shrinks_and_none_passes_its_bound(
    memory: int,
    high: int,
    seconds: float,
    factor: float,
    most: int | None,
    longest: float | None,
) -> None:
    limits = {
        "memory_max_bytes": memory,
        "memory_high_bytes": min(high, memory),
        "timeout_seconds": seconds,
    }
    rule = rule_of("oom", memory_factor=factor, memory_max_bytes=most, timeout_factor=factor,
                   timeout_max_seconds=longest)  # fmt: skip
    new = retrying.with_more(limits, rule)
    assert all(new[name] >= limits[name] for name in limits)
    assert new["memory_max_bytes"] <= max(memory, most or PIB)
    assert new["memory_high_bytes"] <= new["memory_max_bytes"]
    assert new["timeout_seconds"] <= max(seconds, longest or YEARS)


def test_what_followed_a_limit_goes_with_it_and_what_was_asked_for_stays() -> None:
    old = {"memory_max_bytes": 2 * GIB, "timeout_seconds": 10.0}
    new = {"memory_max_bytes": 3 * GIB, "timeout_seconds": 15.5}
    both = {"reserved_memory_bytes": 3 * GIB, "time_limit_ms": 16_500}
    assert with_its_limits(2 * GIB, 11_000, old, new) == both
    assert with_its_limits(GIB, None, old, new) == {}
    assert with_its_limits(2 * GIB, 11_000, old, old) == {}


@pytest.mark.parametrize(("most", "becomes"), [(3 * GIB, 3 * GIB), (5 * GIB, 4 * GIB)])
def test_no_more_is_reserved_than_can_ever_be_promised(most: int, becomes: int) -> None:
    old, new = {"memory_max_bytes": 2 * GIB}, {"memory_max_bytes": 4 * GIB}
    found = with_its_limits(2 * GIB, None, old, new, most)
    assert found == {"reserved_memory_bytes": becomes}


def test_a_reservation_that_is_all_there_is_stays() -> None:
    old, new = {"memory_max_bytes": 2 * GIB}, {"memory_max_bytes": 4 * GIB}
    assert with_its_limits(GIB, None, old, new, GIB) == {}


# --- all together ---

rules = st.lists(
    st.builds(rule_of, st.sampled_from(REASONS), limit=st.none() | st.integers(0, 5)),
    max_size=9, unique_by=lambda rule: rule["reason"],
)  # fmt: skip


@given(
    limit=st.integers(1, 100),
    on=st.lists(st.sampled_from(REASONS), min_size=1, unique=True),
    rules=rules,
    ends=st.lists(st.sampled_from(outcome.REASONS), max_size=120),
)
def test_whatever_happens_there_are_never_more_retries_than_were_asked_for(
    limit: int, on: list[str], rules: list[dict[str, Any]], ends: list[str]
) -> None:
    policy = policy_of(limit, on=on, rules=rules)
    earlier: list[str] = []
    for reason in ends:
        if decide(policy, ended(reason), *earlier) is None:
            break
        # Nothing follows what somebody wanted.
        assert reason in on
        assert reason not in {"stopped", "deadline", "dependency"}
        earlier.append(reason)
    assert len(earlier) <= limit
    for rule in rules:
        if rule["limit"] is not None:
            assert earlier.count(rule["reason"]) <= rule["limit"]
