"""Private networks on a real kernel: the world, names, and the host that stays out of reach."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import GATEWAY, Networks
from tests.kernel.isolation.private.outside import (
    HOST,
    METADATA,
    REJECTED,
    WORLD,
    ask,
    ask_udp,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_job_reaches_the_world_under_the_hosts_address(networks: Networks) -> None:
    job = networks.job()
    assert job.inside(lambda: ask(WORLD, 80)) == HOST
    assert job.inside(socket.if_nameindex)[1][1] == "eth0"


def test_its_files_name_a_resolver_that_answers(networks: Networks) -> None:
    job = networks.job(hostname="builder")
    text = job.lease.files[b"/etc/resolv.conf"]
    assert text == f"nameserver {WORLD}\nsearch example.net\n".encode()
    assert f"{job.address} builder\n".encode() in job.lease.files[b"/etc/hosts"]
    answer = job.inside(lambda: ask_udp(WORLD, 53, outside.dns_query("example.org")))
    assert answer.endswith(socket.inet_aton(WORLD))


@pytest.mark.parametrize("listening", ["127.0.0.1", "127.0.0.54"])
def test_a_resolver_on_the_hosts_loopback_answers_through_the_gateway(
    networks: Networks, resolv_conf: Path, listening: str
) -> None:
    resolv_conf.write_text(f"nameserver {listening}\n")
    seen: list[str] = []

    def answer(query: bytes, name: tuple[str, int]) -> bytes:
        seen.append(name[0])
        return outside.dns_answer("198.51.100.9")(query, name)

    job = networks.job()
    assert job.lease.files[b"/etc/resolv.conf"] == f"nameserver {GATEWAY}\n".encode()
    server = outside.udp_socket(53, listening)
    stopping = outside.threading.Event()
    thread = outside.threading.Thread(
        target=lambda: outside.answer_datagrams(server, answer, stopping)
    )
    thread.start()
    try:
        found = job.inside(lambda: ask_udp(GATEWAY, 53, outside.dns_query("example.org")))
    finally:
        stopping.set()
        thread.join()
    assert found.endswith(socket.inet_aton("198.51.100.9"))
    # Many answer loopback alone.
    assert seen == ["127.0.0.1"]


def test_the_host_is_out_of_reach_but_for_an_echo(networks: Networks) -> None:
    job = networks.job()
    with outside.tcp_server(7777) as server:
        server.settimeout(5)
        for address in (HOST, GATEWAY):
            assert (
                outside.refused_by(lambda a=address: job.inside(lambda: ask(a, 7777))) == REJECTED
            )
        for name in ("127.0.0.1", "127.0.0.2"):
            assert not through_gateway(job.fd, name)
    outside.run_inside(job.fd, "ping", "-c1", "-W2", GATEWAY)


def through_gateway(fd: int, loopback_address: str) -> bool:
    """Whether a job can send to the host's loopback by a route for it."""
    for words in (
        ["addr", "flush", "dev", "lo"],
        ["link", "set", "lo", "down"],
        ["route", "replace", "127.0.0.0/8", "via", GATEWAY, "dev", "eth0", "onlink"],
    ):
        outside.run_inside(fd, "ip", *words)
    outside.run_inside(fd, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    failed = outside.refused_by(
        lambda: outside.inside(fd, lambda: ask(loopback_address, 7777, 0.5))
    )
    return failed == "it worked"


def test_credentials_of_the_machine_are_out_of_reach(networks: Networks) -> None:
    job = networks.job()
    assert outside.refused_by(lambda: job.inside(lambda: ask(METADATA, 80))) == REJECTED
