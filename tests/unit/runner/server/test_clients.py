"""How many may be connected, of all users and of each, and what they may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config_gateway import ClientsConfig
from runner.refusal import Refusal
from runner.server.clients import MAX_HELD_BYTES, Clients

if TYPE_CHECKING:
    from runner.server.connection import Connection

ROOT, ALICE, BOB, GATEWAY = 0, 1000, 1001, 990


def connection() -> Connection:
    """Only which one it is counts."""
    return cast("Connection", object())


def bounded(*, all_: int = 100, each: int = 100) -> Clients:
    return Clients(ClientsConfig(max_connections=all_, max_connections_per_user=each))


def test_a_user_has_so_many_connections_and_takes_none_from_others() -> None:
    clients = bounded(each=2)
    first = connection()
    clients.admit(first, ALICE)
    clients.admit(connection(), ALICE)
    with pytest.raises(Refusal) as caught:
        clients.admit(connection(), ALICE)
    assert caught.value.to_wire() == {
        "code": "too-many-requests", "allowed": "2 connections of one user",
    }  # fmt: skip
    clients.admit(connection(), BOB)
    clients.forget(first)
    clients.admit(connection(), ALICE)


def test_one_that_was_turned_away_frees_no_place_when_it_goes() -> None:
    clients = bounded(each=1)
    clients.admit(connection(), ALICE)
    turned_away = connection()
    for _ in range(3):
        with pytest.raises(Refusal):
            clients.admit(turned_away, ALICE)
        clients.forget(turned_away)


def test_all_users_together_have_so_many_connections_and_root_always_one_more() -> None:
    clients = bounded(all_=2)
    for uid in (1, 2):
        clients.admit(connection(), uid)
    with pytest.raises(Refusal, match="2 connections"):
        clients.admit(connection(), ALICE)
    for _ in range(3):
        clients.admit(connection(), ROOT)


def test_a_job_may_not_use_the_daemon_unless_that_is_configured() -> None:
    with pytest.raises(Refusal) as caught:
        bounded().admit(connection(), ROOT, is_job=True)
    assert caught.value.code == "not-permitted"
    Clients(ClientsConfig(allow_jobs=True)).admit(connection(), ALICE, is_job=True)


def test_the_connections_of_root_take_nobodys_place() -> None:
    clients = bounded(all_=1)
    for _ in range(3):
        clients.admit(connection(), ROOT)
    clients.admit(connection(), ALICE)


def test_half_frames_of_one_user_hold_so_much_and_no_more_until_they_are_given_back() -> None:
    clients = bounded()
    clients.hold(1000, MAX_HELD_BYTES)
    with pytest.raises(Refusal) as caught:
        clients.hold(1000, 1)
    assert caught.value.code == "too-many-requests"
    clients.hold(1001, MAX_HELD_BYTES)
    clients.hold(1000, -1 - MAX_HELD_BYTES)
    clients.hold(1000, MAX_HELD_BYTES)


# From one user to another


def test_a_connection_that_moves_frees_a_place_of_the_one_and_takes_one_of_the_other() -> None:
    clients = bounded(each=1)
    first = connection()
    clients.admit(first, GATEWAY)
    clients.move(first, ALICE, 0)
    second = connection()
    clients.admit(second, GATEWAY)
    with pytest.raises(Refusal, match="1 connections of one user"):
        clients.move(second, ALICE, 0)
    # It is the gateway's still.
    with pytest.raises(Refusal):
        clients.admit(connection(), GATEWAY)
    clients.move(second, BOB, 0)
    clients.forget(first)
    clients.admit(connection(), ALICE)


def test_those_that_moved_and_those_of_the_user_itself_count_together() -> None:
    clients = bounded(each=2)
    clients.admit(connection(), ALICE)
    remote = connection()
    clients.admit(remote, GATEWAY)
    clients.move(remote, ALICE, 0)
    with pytest.raises(Refusal):
        clients.admit(connection(), ALICE)


def test_moving_changes_nothing_of_how_many_there_are_in_all() -> None:
    clients = bounded(all_=2)
    for uid in (ALICE, BOB):
        one = connection()
        clients.admit(one, GATEWAY)
        clients.move(one, uid, 0)
    with pytest.raises(Refusal, match="2 connections"):
        clients.admit(connection(), GATEWAY)


def test_what_a_connection_holds_moves_with_it_or_it_does_not_move() -> None:
    clients = bounded()
    clients.hold(ALICE, MAX_HELD_BYTES - 10)
    one = connection()
    clients.admit(one, GATEWAY)
    clients.hold(GATEWAY, 11)
    with pytest.raises(Refusal, match="half frames"):
        clients.move(one, ALICE, 11)
    clients.hold(ALICE, -1)
    clients.move(one, ALICE, 11)
    clients.hold(GATEWAY, MAX_HELD_BYTES)
    with pytest.raises(Refusal):
        clients.hold(ALICE, 1)


@given(st.lists(st.tuples(st.sampled_from(["in", "move", "out"]), st.integers(0, 3)), max_size=40))
def test_whatever_comes_and_goes_nobody_has_more_than_the_bounds_and_nothing_is_left(
    steps: list[tuple[str, int]],
) -> None:
    clients = bounded(all_=4, each=2)
    uids: dict[Connection, int] = {}
    for what, number in steps:
        uid = ALICE + number
        try:
            if what == "in":
                clients.admit(one := connection(), uid)
                uids[one] = uid
            elif uids:
                one = next(iter(uids))
                if what == "move":
                    clients.move(one, uid, 0)
                    uids[one] = uid
                else:
                    clients.forget(one)
                    del uids[one]
        except Refusal:
            pass
        assert clients.all() == list(uids) or set(clients.all()) == set(uids)
        assert len(uids) <= 4
        assert all(list(uids.values()).count(uid) <= 2 for uid in uids.values())
    for one in uids:
        clients.forget(one)
    for uid in (1, 2):
        clients.admit(connection(), uid)
        clients.admit(connection(), uid)
