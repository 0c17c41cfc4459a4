"""Addresses and names: each one's own, round and round, never lost and never given twice."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from isolation.network.addresses import (
    AddressPool,
    PoolExhaustedError,
    hardware_address,
    names_for,
)

OFFSETS = st.integers(0, 2**24 - 1)
SMALL = IPv4Network("192.0.2.0/28")


@given(st.text(), OFFSETS)
def test_every_name_fits_an_interface_and_tells_its_offset(identity: str, offset: int) -> None:
    names = names_for(identity)
    for name in (names.port(offset), names.shaper(offset)):
        assert len(name) <= 15
        assert names.offset_of(name) == offset
        assert name.startswith(names.stem)


@given(st.text(max_size=16))
def test_no_other_interface_is_taken_for_ours(name: str) -> None:
    names = names_for("one")
    offset = names.offset_of(name)
    assert offset is None or name in {names.port(offset), names.shaper(offset)}


@pytest.mark.parametrize("tail", ["", "v", "v 1", "v0x1", "v1_0", "v01", "V1", "w1", "v1g"])
def test_a_name_that_only_looks_like_ours_is_not(tail: str) -> None:
    names = names_for("one")
    assert names.offset_of(names.stem + tail) is None
    assert names_for("two").offset_of(names.port(1)) is None


@given(st.text(), st.text())
def test_two_daemons_have_two_names(one: str, other: str) -> None:
    assert (names_for(one) == names_for(other)) is (one == other)


def test_a_hardware_address_is_unicast_and_local() -> None:
    text = hardware_address(IPv4Address("10.213.0.2"))
    assert text == "0a:72:0a:d5:00:02"
    assert int(text[:2], 16) & 0b11 == 0b10


@pytest.mark.parametrize("subnet", ["0.0.0.0/0", "10.0.0.0/7", "10.0.0.0/30", "10.0.0.1/32"])
def test_a_subnet_of_an_impossible_size_is_refused(subnet: str) -> None:
    with pytest.raises(ValueError, match="/8 and a /29"):
        AddressPool(IPv4Network(subnet, strict=False))


def test_the_ends_and_the_gateway_are_nobodys() -> None:
    pool = AddressPool(IPv4Network("192.0.2.8/29"))
    assert str(pool.gateway) == "192.0.2.9"
    assert [str(pool.take()) for _ in range(5)] == [f"192.0.2.{n}" for n in range(10, 15)]
    with pytest.raises(PoolExhaustedError, match=r"all 5 addresses of 192\.0\.2\.8/29"):
        pool.take()


@given(st.integers(0, 10**9))
def test_a_free_address_rests_as_long_as_possible(start: int) -> None:
    pool = AddressPool(SMALL, start)
    first = pool.take()
    pool.give_back(first)
    others = [pool.take() for _ in range(12)]
    assert first not in others
    assert pool.take() == first


def test_only_what_is_free_and_inside_can_be_claimed() -> None:
    pool = AddressPool(SMALL)
    assert pool.claim(5) == IPv4Address("192.0.2.5")
    for offset in (5, 0, 1, 15, 16, -1):
        assert pool.claim(offset) is None
    assert IPv4Address("192.0.2.5") not in {pool.take() for _ in range(12)}


class Pool(RuleBasedStateMachine):
    """Any order of taking, claiming and giving back."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(SMALL)
        self.taken: set[IPv4Address] = set()

    @rule()
    def take(self) -> None:
        if len(self.taken) == 13:
            with pytest.raises(PoolExhaustedError):
                self.pool.take()
            return
        address = self.pool.take()
        assert address not in self.taken
        self.taken.add(address)

    @rule(offset=st.integers(0, 20))
    def claim(self, offset: int) -> None:
        address = self.pool.claim(offset)
        if address is not None:
            assert address not in self.taken
            assert self.pool.offset(address) == offset
            self.taken.add(address)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.taken:
            address = data.draw(st.sampled_from(sorted(self.taken)))
            self.pool.give_back(address)
            self.pool.give_back(address)
            self.taken.discard(address)

    @invariant()
    def all_are_inside(self) -> None:
        assert all(address in SMALL and address != self.pool.gateway for address in self.taken)


TestPool = Pool.TestCase
