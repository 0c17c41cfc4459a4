"""Who may do what: each allowance with the denial beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.policy import MAX_UID, Decision, Peer, is_admin, may_control, may_run_as, may_see

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
