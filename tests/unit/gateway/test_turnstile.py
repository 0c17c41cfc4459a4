"""How many may come in, and how fast: gateway.turnstile."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.turnstile import SENTENCES, DoorBounds, Turnstile, neighbourhood

if TYPE_CHECKING:
    from collections.abc import Hashable

FEW = DoorBounds(
    connections=4, connections_by_address=3, handshakes=3, handshakes_by_address=2,
    rate_by_address=1, burst_by_address=5,
)  # fmt: skip
OTHERS = count()


def arrive(gate: Turnstile, address: str, now: float = 0) -> str | None:
    """Somebody whom nobody has to know afterwards."""
    return gate.arrive(next(OTHERS), address, now)


def test_handshakes_of_one_address_are_bounded_and_others_have_theirs() -> None:
    gate = Turnstile(FEW)
    assert [arrive(gate, "192.0.2.1") for _ in range(3)] == [None, None, "address-busy"]
    assert arrive(gate, "192.0.2.2") is None


def test_of_all_handshakes_together_the_oldest_gives_way_and_counts_no_more() -> None:
    ended: list[Hashable] = []
    gate = Turnstile(FEW, ended.append)
    assert [gate.arrive(last, f"192.0.2.{last}", 0) for last in range(5)] == [None] * 5
    assert ended == [0, 1]
    assert (gate.handshakes, gate.connections) == (3, 3)
    gate.settle(0)
    gate.leave(0)
    assert (gate.handshakes, gate.connections) == (3, 3)


def test_connections_of_one_address_are_bounded_also_after_their_handshakes() -> None:
    gate = Turnstile(FEW)
    for number in range(3):
        assert gate.arrive(number, "192.0.2.1", 0) is None
        gate.settle(number)
    assert arrive(gate, "192.0.2.1") == "address-connections"
    assert arrive(gate, "192.0.2.2") is None
    gate.leave(1)
    assert arrive(gate, "192.0.2.1") is None


def test_all_connections_together_are_bounded_also_after_their_handshakes() -> None:
    gate = Turnstile(FEW)
    for last in range(4):
        assert gate.arrive(last, f"192.0.2.{last}", 0) is None
        gate.settle(last)
    assert arrive(gate, "192.0.2.9") == "busy"
    gate.leave(3)
    assert arrive(gate, "192.0.2.9") is None


def test_each_word_has_a_sentence() -> None:
    assert {"address-rate", "address-busy", "address-connections", "busy", "gave-way"} == {
        *SENTENCES
    }


def test_a_rate_is_refilled_by_time() -> None:
    gate = Turnstile(
        FEW._replace(
            handshakes_by_address=99, handshakes=99, connections=99, connections_by_address=99
        )
    )
    assert [arrive(gate, "192.0.2.1") for _ in range(6)] == [None] * 5 + ["address-rate"]
    assert arrive(gate, "192.0.2.1", 1.5) is None
    assert arrive(gate, "192.0.2.1", 1.6) == "address-rate"


def test_a_clock_that_goes_back_gives_nothing() -> None:
    gate = Turnstile(FEW._replace(burst_by_address=1))
    assert arrive(gate, "192.0.2.1", 100) is None
    assert arrive(gate, "192.0.2.1", 0) == "address-rate"


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
        arrive(gate, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", number)
    assert len(gate._buckets) <= 8192
    assert gate.connections == len(gate._by_address) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["in", "settle", "out"]))))
def test_the_counts_are_those_of_who_is_inside(moves: list[tuple[str, str]]) -> None:
    """Whatever the order of coming and going, nothing is left over when all have left."""
    shaking: dict[Hashable, str] = {}
    inside: dict[Hashable, str] = {}
    gate = Turnstile(FEW._replace(rate_by_address=1e9), shaking.__delitem__)
    for now, (who, move) in enumerate(moves):
        if move == "in":
            if gate.arrive(now, who, now) is None:
                shaking[now] = who
        elif move == "settle" and shaking:
            one = next(iter(shaking))
            gate.settle(one)
            inside[one] = shaking.pop(one)
        elif move == "out" and (inside or shaking):
            among = inside or shaking
            gate.leave(one := next(iter(among)))
            del among[one]
        everybody = [*shaking.values(), *inside.values()]
        assert gate.handshakes == len(shaking) <= FEW.handshakes
        assert gate.connections == len(everybody) <= FEW.connections
        assert all(everybody.count(name) <= FEW.connections_by_address for name in "abc")
    for one in [*shaking, *inside]:
        gate.leave(one)
    assert (gate.connections, gate.handshakes) == (0, 0)
    assert not gate._by_address
    assert not gate._shaking_by_address
