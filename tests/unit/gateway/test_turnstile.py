"""How many may come in, and how fast: gateway.turnstile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.turnstile import DoorBounds, Turnstile, neighbourhood

FEW = DoorBounds(
    connections=4, handshakes=3, handshakes_by_address=2, rate_by_address=1, burst_by_address=5,
    by_subject=2,
)  # fmt: skip


def test_handshakes_of_one_address_are_bounded_and_others_have_theirs() -> None:
    gate = Turnstile(FEW)
    assert [gate.arrive("192.0.2.1", 0) for _ in range(3)] == [None, None, "address-busy"]
    assert gate.arrive("192.0.2.2", 0) is None


def test_all_handshakes_together_are_bounded() -> None:
    gate = Turnstile(FEW)
    assert [gate.arrive(f"192.0.2.{last}", 0) for last in range(4)] == [None, None, None, "busy"]


def test_all_connections_together_are_bounded_also_after_their_handshakes() -> None:
    gate = Turnstile(FEW)
    for last in range(4):
        assert gate.arrive(f"192.0.2.{last}", 0) is None
        gate.settle(f"192.0.2.{last}")
    assert gate.arrive("192.0.2.9", 0) == "busy"
    gate.leave(None)
    assert gate.arrive("192.0.2.9", 0) is None


def test_a_rate_is_refilled_by_time() -> None:
    gate = Turnstile(FEW._replace(handshakes_by_address=99, handshakes=99, connections=99))
    assert [gate.arrive("192.0.2.1", 0) for _ in range(6)] == [None] * 5 + ["address-rate"]
    assert gate.arrive("192.0.2.1", 1.5) is None
    assert gate.arrive("192.0.2.1", 1.6) == "address-rate"


def test_a_clock_that_goes_back_gives_nothing() -> None:
    gate = Turnstile(FEW._replace(burst_by_address=1))
    assert gate.arrive("192.0.2.1", 100) is None
    assert gate.arrive("192.0.2.1", 0) == "address-rate"


def test_an_identity_has_so_many_connections() -> None:
    gate = Turnstile(FEW)
    assert [gate.enter("alice") for _ in range(3)] == [None, None, "subject-busy"]
    assert gate.enter("bob") is None
    gate.leave("alice")
    assert gate.enter("alice") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("unknown", "unknown"),
    ],
)
def test_who_counts_as_one(one: str, other: str) -> None:
    assert neighbourhood(one) == neighbourhood(other)


def test_other_networks_are_others() -> None:
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8:0:2::1")
    assert neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")


def test_a_million_addresses_are_not_all_remembered() -> None:
    gate = Turnstile(DoorBounds(connections=1, handshakes=1))
    for number in range(20_000):
        gate.arrive(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", number)
    assert len(gate._buckets) <= 8192


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["in", "settle", "out"]))))
def test_the_counts_are_those_of_who_is_inside(moves: list[tuple[str, str]]) -> None:
    """Whatever the order of coming and going, nothing is left over when all have left."""
    gate, shaking, inside = Turnstile(FEW._replace(rate_by_address=1e9)), [], []
    for now, (who, move) in enumerate(moves):
        if move == "in" and gate.arrive(who, now) is None:
            shaking.append(who)
        elif move == "settle" and shaking:
            gate.settle(shaking[0])
            entered = gate.enter(shaking[0]) is None
            (inside.append(shaking[0]) if entered else gate.leave(None))
            del shaking[0]
        elif move == "out" and inside:
            gate.leave(inside.pop())
        assert gate.handshakes == len(shaking) <= FEW.handshakes
        assert gate.connections == len(shaking) + len(inside) <= FEW.connections
        assert all(inside.count(name) <= FEW.by_subject for name in inside)
    for who in shaking:
        gate.settle(who)
        gate.leave(None)
    for who in inside:
        gate.leave(who)
    assert (gate.connections, gate.handshakes) == (0, 0)
    assert not gate._by_address
    assert not gate._by_subject
