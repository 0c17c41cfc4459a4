"""The host's routes, as /proc shows them, and what is made of them."""

from __future__ import annotations

import sys
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network import host_network
from isolation.network.host_network import Route

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
OURS = IPv4Network("10.213.0.0/16")


def line(interface: str, network: IPv4Network) -> str:
    order = "little" if sys.byteorder == "little" else "big"
    address = int.from_bytes(network.network_address.packed, order)  # type: ignore[arg-type]
    mask = int.from_bytes(network.netmask.packed, order)  # type: ignore[arg-type]
    return f"{interface}\t{address:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n"


NETWORKS = st.builds(
    lambda number, length: IPv4Network((number >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(NETWORKS))
def test_routes_are_read_as_they_were_written(networks: list[IPv4Network]) -> None:
    text = HEAD + "".join(line(f"eth{n}", network) for n, network in enumerate(networks))
    found = host_network.parse_routes(text)
    assert found == [Route(f"eth{n}", network) for n, network in enumerate(networks)]


def test_this_hosts_routes_can_be_read() -> None:
    assert all(route.interface for route in host_network.routes())


@pytest.mark.parametrize(
    ("network", "collides"),
    [
        ("10.0.0.0/8", True),
        ("10.213.7.0/24", True),
        ("10.213.0.0/16", True),
        ("10.212.0.0/16", False),
        ("0.0.0.0/0", False),
        ("0.0.0.0/1", True),
    ],
)
def test_a_route_that_overlaps_collides_unless_it_is_the_default(
    network: str,
    collides: bool,  # noqa: FBT001
) -> None:
    route = Route("eth0", IPv4Network(network))
    assert (host_network.colliding([route], OURS, "rd0") is route) is collides
    assert host_network.colliding([Route("rd0", OURS)], OURS, "rd0") is None


def test_uplinks_are_all_but_loopback_and_our_own() -> None:
    table = [Route(name, OURS) for name in ("eth0", "lo", "rd0", "eth1", "eth0")]
    assert host_network.uplinks(table, "rd0") == ["eth0", "eth1"]


def test_packets_are_no_larger_than_the_way_out_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Route("no such interface", IPv4Network("0.0.0.0/0"))
    assert host_network.mtu([]) == 1500
    assert host_network.mtu([default]) == 1500


def test_a_switch_that_a_kernel_has_not_is_left_alone() -> None:
    host_network.write_if_there("ipv6/conf/no-such-interface/disable_ipv6", "1")
    with pytest.raises(FileNotFoundError):
        host_network.write("ipv6/conf/no-such-interface/disable_ipv6", "1")
    assert not host_network.forwards("no-such-interface")
