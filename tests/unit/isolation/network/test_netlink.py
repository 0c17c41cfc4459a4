"""Frames of netlink messages, and a socket that works without any right."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network import netlink
from isolation.network.netlink import Message, Netlink, NetlinkRefusedError

ATTRIBUTES = st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40))


@given(ATTRIBUTES)
def test_attributes_read_back(wanted: dict[int, bytes]) -> None:
    data = b"".join(netlink.attribute(kind, payload) for kind, payload in wanted.items())
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == wanted


@given(st.binary(max_size=200))
def test_broken_attributes_end_the_reading(data: bytes) -> None:
    assert sum(map(len, netlink.attributes(data).values())) <= len(data)


@given(st.integers(16, 100), st.binary(max_size=40))
def test_a_message_has_its_length(kind: int, body: bytes) -> None:
    length, found, _, _, _ = struct.unpack_from("=IHHII", netlink.message(kind, 0, body))
    assert (length, found) == (16 + len(body), kind)


def test_interfaces_are_listed_without_any_right() -> None:
    with Netlink() as socket:
        assert list(socket.dump(18, bytes(16)))
        assert list(socket.dump(18, bytes(16)))


def test_a_refusal_names_the_message_and_holds_nothing_up() -> None:
    # An interface with this number is in no namespace.
    gone = netlink.message(17, 0, struct.pack("=BxHiII", 0, 0, 2**31 - 1, 0, 0))
    with Netlink() as socket:
        with pytest.raises(NetlinkRefusedError) as caught:
            socket.send(Message("remove the first", gone), Message("remove the second", gone))
        assert caught.value.what == "remove the first"
        assert caught.value.errno in {errno.ENODEV, errno.EPERM}
        assert list(socket.dump(18, bytes(16)))
