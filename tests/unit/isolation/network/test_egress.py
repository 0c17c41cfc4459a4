"""The words of --allow-egress: what they mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network.egress import Destination, Ports, host_names, parse, permissions

NETWORKS = st.builds(
    lambda number, length: IPv4Network((number >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
PORTS = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted)


@pytest.mark.parametrize(
    ("text", "network", "host", "ports"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", None, None),
        ("10.0.0.0/8:443", "10.0.0.0/8", None, Ports(443, 443)),
        ("192.0.2.7", "192.0.2.7/32", None, None),
        ("192.0.2.7:8000-8080/tcp", "192.0.2.7/32", None, Ports(8000, 8080, "tcp")),
        ("0.0.0.0/0:53/udp", "0.0.0.0/0", None, Ports(53, 53, "udp")),
        ("example.org", None, "example.org", None),
        ("Example.ORG.:443", None, "example.org", Ports(443, 443)),
        ("a-b.c_d.example", None, "a-b.c_d.example", None),
        ("1.example", None, "1.example", None),
    ],
)
def test_what_a_destination_means(
    text: str, network: str | None, host: str | None, ports: Ports | None
) -> None:
    expected = None if network is None else IPv4Network(network)
    assert parse(text) == Destination(expected, host, ports)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no valid host name"),
        (":443", "no valid host name"),
        ("10.0.0.1/8", "would be 10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "prefix length"),
        ("10.0.0.0/33", "no valid IPv4"),
        ("10.0.0", "no valid IPv4"),
        ("256.0.0.1", "no valid IPv4"),
        ("0x7f.1", "no valid IPv4"),
        ("example.org/24", "no valid IPv4"),
        ("2130706433", "no valid IPv4"),
        ("[2001:db8::]/32:443", "IPv4 only"),
        ("2001:db8::1", "IPv4 only"),
        ("*.example.org", "wildcard"),
        ("exa mple.org", "no valid host name"),
        ("-a.example", "no valid host name"),
        ("a..example", "no valid host name"),
        ("localhost", "the job itself"),
        ("a.localhost:80", "the job itself"),
        ("x" * 64, "no valid host name"),
        (".".join(["a" * 50] * 6), "no valid host name"),
        ("example.org:", "no valid port"),
        ("example.org:http", "no valid port"),
        ("example.org:1-", "no valid port"),
        ("example.org:0", "between 1 and 65535"),
        ("example.org:65536", "between 1 and 65535"),
        ("example.org:80-79", "low to high"),
        ("example.org:80/icmp", "neither tcp nor udp"),
        ("example.org:٤٤٣", "no valid port"),
        ('example.org"; flush ruleset', "no valid host name"),
        ("a.example\n", "no valid host name"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40))
def test_every_text_is_understood_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert (found.network is None) is not (found.host is None)


@given(NETWORKS, PORTS, st.sampled_from(["", "/tcp", "/udp"]))
def test_what_is_written_is_read(network: IPv4Network, ports: list[int], protocol: str) -> None:
    first, last = ports
    found = parse(f"{network}:{first}-{last}{protocol}")
    assert found == Destination(network, None, Ports(first, last, protocol[1:] or None))


def test_each_name_is_resolved_once_and_in_order() -> None:
    texts = ["b.example:1", "a.example", "10.0.0.0/8", "b.example:2"]
    assert host_names(map(parse, texts)) == ["b.example", "a.example"]


@given(st.lists(st.tuples(NETWORKS, st.sampled_from([None, Ports(1, 2), Ports(1, 2, "udp")]))))
def test_permissions_cover_what_was_asked_for_and_nothing_else(
    asked: list[tuple[IPv4Network, Ports | None]],
) -> None:
    found = permissions([Destination(network, None, ports) for network, ports in asked], {})
    for ports in {ports for _, ports in asked}:
        wanted = [network for network, each in asked if each == ports]
        (given,) = [each.networks for each in found if each.ports == ports]
        assert all(any(network.subnet_of(other) for other in given) for network in wanted)
        assert sum(n.num_addresses for n in given) <= sum(n.num_addresses for n in wanted)
        assert not any(a.overlaps(b) for a in given for b in given if a is not b)


def test_names_are_permitted_at_all_their_addresses() -> None:
    resolved = {"a.example": ("192.0.2.1", "198.51.100.1")}
    (found,) = permissions([parse("a.example:443")], resolved)
    assert IPv4Address("198.51.100.1") in found.networks[1]
    with pytest.raises(KeyError):
        permissions([parse("b.example")], resolved)
