"""Who may do what: each allowance with the denial beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.policy import (
    MAX_UID,
    Decision,
    Members,
    Peer,
    is_admin,
    may_control,
    may_have_priority,
    may_run_as,
    may_see,
    may_use_queue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ADMIN_GID = 70


def peer(uid: int = 1000, gid: int = 1000, groups: frozenset[int] = frozenset()) -> Peer:
    return Peer(uid=uid, gid=gid, groups=groups, pid=4321)


ADMIN = peer(groups=frozenset({4, ADMIN_GID}))
ROOT = peer(uid=0, gid=0)

users = st.integers(1, MAX_UID)
groups = st.frozensets(st.integers(0, MAX_UID), max_size=5)


def test_root_is_an_admin_with_or_without_an_admin_group() -> None:
    assert is_admin(ROOT, None)
    assert is_admin(ROOT, ADMIN_GID)


def test_a_member_of_the_admin_group_is_an_admin_by_either_kind_of_membership() -> None:
    assert is_admin(peer(gid=ADMIN_GID), ADMIN_GID)
    assert is_admin(ADMIN, ADMIN_GID)


@given(uid=users, gid=st.integers(0, MAX_UID), member_of=groups)
def test_nobody_but_root_is_an_admin_without_an_admin_group(
    uid: int, gid: int, member_of: frozenset[int]
) -> None:
    assert not is_admin(peer(uid, gid, member_of), None)


def test_roots_group_makes_nobody_an_admin() -> None:
    assert not is_admin(peer(gid=0, groups=frozenset({0})), ADMIN_GID)


@pytest.mark.parametrize("decide", [may_see, may_control])
def test_a_job_is_its_submitters_and_the_admins_alone(
    decide: Callable[[Peer, int, int | None], Decision],
) -> None:
    assert decide(peer(uid=1000), 1000, ADMIN_GID)
    assert decide(ADMIN, 1001, ADMIN_GID)
    assert decide(ROOT, 1001, None)
    refused = decide(peer(uid=1000), 1001, ADMIN_GID)
    assert not refused
    assert "1001" in refused.why


@given(uid=users, member_of=groups, owner=users)
def test_an_ordinary_user_reaches_exactly_their_own_jobs(
    uid: int, member_of: frozenset[int], owner: int
) -> None:
    someone = peer(uid, groups=member_of)
    assert bool(may_see(someone, owner, None)) == (uid == owner)
    assert bool(may_control(someone, owner, None)) == (uid == owner)


def test_a_group_in_common_with_the_owner_is_not_enough() -> None:
    assert not may_see(peer(uid=1000, gid=1001), 1001, ADMIN_GID)


@given(uid=users, target=st.integers(0, MAX_UID))
def test_an_ordinary_user_runs_jobs_only_as_themselves(uid: int, target: int) -> None:
    assert bool(may_run_as(peer(uid), target, ADMIN_GID)) == (uid == target)


def test_root_and_admins_run_jobs_as_anybody() -> None:
    assert may_run_as(ROOT, 1001, None)
    assert may_run_as(ADMIN, 1001, ADMIN_GID)
    assert may_run_as(ADMIN, 0, ADMIN_GID)
    assert not may_run_as(ADMIN, 1001, None)


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**32, 2**64])
def test_a_number_that_the_kernel_takes_for_no_change_is_nobodys_uid(number: int) -> None:
    decision = may_run_as(ROOT, number, None)
    assert not decision
    assert "not the number of a user" in decision.why


def test_a_decision_is_as_true_as_what_it_allows() -> None:
    assert Decision(allowed=True, why="")
    assert not Decision(allowed=False, why="because")


MEMBERS = Members(frozenset({1000}), frozenset({50}))


def test_a_queue_without_a_list_is_open_to_everybody() -> None:
    assert may_use_queue(peer(4000), "q", None, ADMIN_GID)
    assert not may_use_queue(peer(4000), "q", Members(frozenset(), frozenset()), ADMIN_GID)


@pytest.mark.parametrize(
    "someone",
    [peer(1000), peer(4000, gid=50), peer(4000, groups=frozenset({49, 50})), ADMIN, ROOT],
)
def test_who_is_named_may_use_a_queue_and_so_may_admins(someone: Peer) -> None:
    assert may_use_queue(someone, "q", MEMBERS, ADMIN_GID)


def test_others_may_not_and_are_told_which_key_says_so() -> None:
    refused = may_use_queue(peer(50, gid=1000, groups=frozenset({1000})), "gpu", MEMBERS, ADMIN_GID)
    assert not refused
    assert "queues.gpu.allow" in refused.why
    assert not may_use_queue(peer(4000, groups=frozenset({ADMIN_GID})), "q", MEMBERS, None)


@given(priority=st.integers(-1000, 1000), most=st.integers(-1000, 1000))
def test_a_member_may_have_any_priority_up_to_the_queues_and_none_above(
    priority: int, most: int
) -> None:
    decision = may_have_priority(peer(), "q", priority, most, ADMIN_GID)
    assert bool(decision) == (priority <= most)
    assert decision or ("queues.q.max_priority" in decision.why and str(most) in decision.why)
    assert may_have_priority(ROOT, "q", priority, most, None)
    assert may_have_priority(ADMIN, "q", priority, most, ADMIN_GID)
