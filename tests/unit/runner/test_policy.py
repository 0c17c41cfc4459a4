"""Who may do what: each allowance with the denial beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.policy import (
    MAX_UID,
    Decision,
    Gateway,
    Members,
    Peer,
    is_admin,
    may_act,
    may_act_for,
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


# Acting for others

STAFF = 50
GATEWAY = Gateway(uid=990, members=Members(uids=frozenset({1005}), gids=frozenset({STAFF})))
FOR_ADMINS = Gateway(uid=990, members=GATEWAY.members, allow_admins=True)
ITSELF = Gateway(uid=990, members=Members(uids=frozenset({990, 0}), gids=frozenset({STAFF})))
THE_GATEWAY = peer(990, 990, frozenset({990, STAFF}))
MEMBER = peer(groups=frozenset({1000, STAFF}))


@pytest.mark.parametrize(
    ("asks", "gateway", "allowed"),
    [
        (THE_GATEWAY, GATEWAY, True),
        (THE_GATEWAY, None, False),
        (MEMBER, GATEWAY, False),
        (ADMIN, GATEWAY, False),
        (ROOT, GATEWAY, False),
        (ROOT, None, False),
        # Its group is not it.
        (peer(1000, 990, frozenset({990})), GATEWAY, False),
        # Who is acted for does not act for others, whoever it is.
        (msgspec.structs.replace(THE_GATEWAY, origin="CN=x"), GATEWAY, False),
        # Nor does a job of its user, where jobs may connect.
        (msgspec.structs.replace(THE_GATEWAY, is_job=True), GATEWAY, False),
    ],
)
def test_only_the_gateway_of_the_configuration_may_act_for_anybody(
    asks: Peer, gateway: Gateway | None, *, allowed: bool
) -> None:
    assert bool(may_act(asks, gateway)) == allowed
    assert bool(may_act_for(asks, MEMBER, gateway, ADMIN_GID)) == allowed


@pytest.mark.parametrize(
    ("target", "gateway", "why"),
    [
        (MEMBER, GATEWAY, None),
        (peer(gid=STAFF), GATEWAY, None),
        (peer(1005), GATEWAY, None),
        (peer(1006), GATEWAY, "names neither uid 1006"),
        # The number of a group is not that of a user, nor the other way round.
        (peer(STAFF), GATEWAY, "names neither"),
        (peer(groups=frozenset({1005})), GATEWAY, "names neither"),
        (peer(0, 0, frozenset({STAFF})), GATEWAY, "never acts for root"),
        (peer(0, 0), ITSELF, "never acts for root"),
        (peer(0, STAFF, frozenset({ADMIN_GID})), FOR_ADMINS, "never acts for root"),
        (peer(MAX_UID + 1, STAFF), GATEWAY, "not the number of a user"),
        (THE_GATEWAY, GATEWAY, "its own user"),
        (THE_GATEWAY, ITSELF, "its own user"),
        (peer(groups=frozenset({STAFF, ADMIN_GID})), GATEWAY, "gateway.allow_admins"),
        (peer(1005, ADMIN_GID), GATEWAY, "gateway.allow_admins"),
        (peer(groups=frozenset({STAFF, ADMIN_GID})), FOR_ADMINS, None),
        # allow_admins adds nobody who is not named.
        (ADMIN, FOR_ADMINS, "names neither"),
    ],
)
def test_for_whom_the_gateway_may_act(target: Peer, gateway: Gateway, why: str | None) -> None:
    decision = may_act_for(THE_GATEWAY, target, gateway, ADMIN_GID)
    assert bool(decision) == (why is None)
    assert why is None or why in decision.why


members = st.builds(Members, uids=groups, gids=groups)
gateways = st.builds(
    Gateway, uid=st.integers(0, MAX_UID), members=members, allow_admins=st.booleans()
)
targets = st.builds(peer, st.integers(0, MAX_UID + 1), st.integers(0, MAX_UID), groups)


@given(uid=st.integers(0, MAX_UID), target=targets, gateway=gateways, data=st.data())
def test_whatever_is_configured_nobody_is_acted_for_beyond_it(
    uid: int, target: Peer, gateway: Gateway, data: st.DataObject
) -> None:
    asks = peer(data.draw(st.sampled_from([uid, gateway.uid])))
    # So that most of what is drawn is about somebody who is named.
    named = gateway.members.gids | target.groups
    if data.draw(st.booleans()):
        gateway = Gateway(gateway.uid, Members(gateway.members.uids, named), gateway.allow_admins)
    if may_act_for(asks, target, gateway, ADMIN_GID):
        assert asks.uid == gateway.uid
        assert 0 < target.uid <= MAX_UID
        assert target.uid != gateway.uid
        groups_of_it = {target.gid, *target.groups}
        assert target.uid in gateway.members.uids or groups_of_it & gateway.members.gids
        assert gateway.allow_admins or not is_admin(target, ADMIN_GID)
