"""Which nameservers a job asks, from the host's files; and its own files."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network import resolver
from isolation.network.errors import PrivateNetworkError

GATEWAY = IPv4Address("10.213.0.1")
JOB = IPv4Address("10.213.0.2")


def servers(*texts: str) -> tuple[IPv4Address, ...]:
    return tuple(map(IPv4Address, texts))


def lines(*names: str) -> str:
    return "".join(f"nameserver {name}\n" for name in names)


def test_nameservers_that_a_job_can_reach_are_taken_over() -> None:
    text = "# a comment\n" + lines("192.0.2.53", "127.0.0.1", "2001:db8::1", "192.0.2.54")
    found = resolver.plan(text, "", ())
    assert (found.servers, found.forward_to) == (servers("192.0.2.53", "192.0.2.54"), None)


def test_behind_a_stub_are_those_that_it_asks() -> None:
    found = resolver.plan(lines("127.0.0.53"), lines("192.0.2.53"), ())
    assert (found.servers, found.forward_to) == (servers("192.0.2.53"), None)


@pytest.mark.parametrize(
    ("text", "forward_to"),
    [
        (lines("127.0.0.2"), "127.0.0.2"),
        (lines("::1", "0.0.0.0"), "127.0.0.1"),  # noqa: S104
        ("", "127.0.0.1"),
        ("search example.org\n", "127.0.0.1"),
    ],
)
def test_a_resolver_on_loopback_is_led_to(text: str, forward_to: str) -> None:
    found = resolver.plan(text, lines("127.0.0.3"), ())
    assert found.servers == ()
    assert found.forward_to == IPv4Address(forward_to)


def test_configured_ones_come_first() -> None:
    found = resolver.plan(lines("127.0.0.53"), lines("192.0.2.53"), ("198.51.100.1",))
    assert found.servers == servers("198.51.100.1")


def test_a_host_with_ipv6_nameservers_alone_is_refused_with_a_remedy() -> None:
    with pytest.raises(PrivateNetworkError, match=r"IPv6.*network\.nameservers"):
        resolver.plan(lines("2001:db8::1"), "", ())


@given(st.text(), st.text())
def test_any_file_makes_a_plan_or_a_refusal(text: str, behind: str) -> None:
    try:
        found = resolver.plan(text, behind, ())
    except PrivateNetworkError:
        return
    assert bool(found.servers) is (found.forward_to is None)
    assert len(found.servers) <= 3


def test_a_job_asks_the_gateway_or_the_servers_with_the_hosts_options() -> None:
    other = "search example.org\noptions ndots:2\n"
    forwarded = resolver.plan(lines("127.0.0.1") + other, "", ())
    assert resolver.resolv_conf(forwarded, GATEWAY).decode() == lines("10.213.0.1") + other
    direct = resolver.plan(lines("192.0.2.53") + other, "", ())
    assert resolver.resolv_conf(direct, GATEWAY).decode() == lines("192.0.2.53") + other


def test_hosts_name_the_job_and_what_it_may_connect_to() -> None:
    resolved = {"a.example": tuple(f"192.0.2.{n}" for n in range(9)), "b.example": ("192.0.2.99",)}
    text = resolver.hosts(JOB, "builder", resolved).decode()
    assert text.startswith("127.0.0.1 localhost\n::1 localhost\n10.213.0.2 builder\n")
    assert text.count("a.example") == 4
    assert text.endswith("192.0.2.99 b.example\n")
    assert "None" not in resolver.hosts(JOB, None, {}).decode()


def test_files_that_are_too_long_to_hand_over_are_refused() -> None:
    found = resolver.plan(lines("192.0.2.53"), "", ())
    resolved = {f"{'x' * 60}{n}.example": ("192.0.2.1",) for n in range(64)}
    with pytest.raises(PrivateNetworkError, match="allow fewer host names"):
        resolver.files(found, GATEWAY, JOB, None, resolved)


def test_names_are_asked_for_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)

    def answer(name: str, *rest: object) -> list[Any]:
        both.wait()
        found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
        return [found, found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    found = resolver.resolve(["a.example", "b.example"])
    assert found == {"a.example": ("192.0.2.1",), "b.example": ("192.0.2.1",)}


def test_an_unknown_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str, *rest: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PrivateNetworkError, match=r"a\.example: Name or service not known"):
        resolver.resolve(["a.example"])


def test_a_name_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def hangs(name: str, *rest: object) -> list[Any]:
        stop.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with pytest.raises(PrivateNetworkError, match=r"a\.example: no answer in time"):
        resolver.resolve(["a.example"], seconds=0.01)
    stop.set()
