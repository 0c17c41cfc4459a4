"""Jobs among themselves: strangers out of reach by whatever trick, members of a network not."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from isolation.network.addresses import hardware_address
from isolation.network.published import Publish
from tests.kernel.harness import wait_until
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import GATEWAY, Job, Networks
from tests.kernel.isolation.private.outside import HOST, REJECTED, WORLD, World, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address

ETH_P_ALL = 3
ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def pair(networks: Networks) -> tuple[Job, Job]:
    return networks.job(), networks.job()


def test_strangers_do_not_reach_each_other(pair: tuple[Job, Job]) -> None:
    mine, other = pair
    with other.serving(80):
        assert refused(mine, other.address, 80) == REJECTED
        # Not by a route of its own making either.
        outside.run_inside(mine.fd, "ip", "route", "add", other.address, "dev", "eth0")
        assert refused(mine, other.address, 80) in {REJECTED, "TimeoutError late"}


def refused(job: Job, address: str, port: int) -> str:
    return outside.refused_by(lambda: job.inside(lambda: ask(address, port, 2)))


def test_a_published_port_is_not_a_way_to_another_job(networks: Networks) -> None:
    mine, other = networks.job(), networks.job(publish=(Publish(None, 8080, 80),))
    with other.serving(80):
        for address in (HOST, GATEWAY):
            assert refused(mine, address, 8080) == REJECTED


def test_members_of_one_network_reach_each_other_and_nobody_else(networks: Networks) -> None:
    first, second = networks.job(name="1000/db"), networks.job(name="1000/db")
    stranger, other = networks.job(), networks.job(name="1001/db")
    with first.serving(80):
        assert second.inside(lambda: ask(first.address, 80)) == second.address
        assert refused(stranger, first.address, 80) == REJECTED
        assert refused(other, first.address, 80) == REJECTED
        assert first.inside(lambda: ask(first.address, 80)) == first.address
    with stranger.serving(80):
        assert refused(first, stranger.address, 80) == REJECTED


def test_a_restricted_member_reaches_its_network(networks: Networks) -> None:
    first, second = networks.job(name="n"), networks.job(name="n", allow_egress=())
    with first.serving(80):
        assert second.inside(lambda: ask(first.address, 80)) == second.address
    assert refused(second, WORLD, 80) == REJECTED


def test_the_next_owner_of_an_address_is_no_member(networks: Networks) -> None:
    first, second = networks.job(name="n"), networks.job(name="n")
    networks.release(second)
    host = networks.networks._host
    assert host is not None
    host._pool._next = host._pool.offset(address_of(second)) - 2
    stranger = networks.job()
    assert stranger.address == second.address
    with stranger.serving(80):
        assert refused(first, stranger.address, 80) == REJECTED
    with first.serving(80):
        assert refused(stranger, first.address, 80) == REJECTED


def address_of(job: Job) -> IPv4Address:
    from ipaddress import IPv4Address

    return IPv4Address(job.address)


# Frames that no job of an ordinary user could send; root's could.


def hardware(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return hardware(target) + hardware(source) + struct.pack("!H", kind) + payload


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def datagram(source: str, target: str, port: int, text: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram without a checksum."""
    udp = struct.pack("!HHHH", 4321, port, 8 + len(text), 0) + text
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def arp(operation: int, source: str, source_ip: str, target: str, target_ip: str) -> bytes:
    head = struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, operation)
    return (
        head
        + hardware(source)
        + socket.inet_aton(source_ip)
        + hardware(target)
        + socket.inet_aton(target_ip)
    )


class Wire:
    """Raw frames in and out of a job's interface."""

    def __init__(self, job: Job) -> None:
        self.socket = job.inside(self._open)

    def _open(self) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind(("eth0", 0))
        made.settimeout(0.3)
        return made

    def received(self, mark: bytes) -> bool:
        """Whether a frame with the mark comes in, before none comes for a while."""
        while True:
            try:
                data, name = self.socket.recvfrom(65536)
            except TimeoutError:
                return False
            if name[2] != socket.PACKET_OUTGOING and mark in data:
                return True


@pytest.fixture
def wires(pair: tuple[Job, Job]) -> Iterator[tuple[Wire, Wire]]:
    made = Wire(pair[0]), Wire(pair[1])
    yield made
    for wire in made:
        wire.socket.close()


def mac(address: str) -> str:
    from ipaddress import IPv4Address

    return hardware_address(IPv4Address(address))


def dropped(networks: Networks) -> int:
    """Frames that were dropped for what they said of their sender."""
    host = networks.networks._host
    assert host is not None
    listed = outside.run("nft", "list", "table", "bridge", host._names.table)
    return int(listed.partition("counter packets ")[2].split()[0])


def test_no_frame_goes_from_job_to_job(
    networks: Networks, pair: tuple[Job, Job], wires: tuple[Wire, Wire]
) -> None:
    mine, other = pair
    text = b"straight to you"
    for target in (mac(other.address), BROADCAST, "33:33:00:00:00:01", "01:80:c2:00:00:0e"):
        packet = datagram(mine.address, other.address, 9, text)
        for kind, payload in (
            (ETH_P_IP, packet),
            (ETH_P_ARP, arp(1, mac(mine.address), mine.address, target, other.address) + text),
            (ETH_P_IPV6, bytes(40) + text),
            (0x88B5, text),
        ):
            wires[0].socket.send(frame(mac(mine.address), target, kind, payload))
    assert not wires[1].received(text)


@pytest.mark.parametrize("lie", ["address", "hardware", "both"])
def test_a_frame_with_another_sender_is_dropped(
    networks: Networks, world: World, pair: tuple[Job, Job], wires: tuple[Wire, Wire], lie: str
) -> None:
    mine, other = pair
    seen: list[bytes] = []
    world.serve_udp(9, lambda text, _: seen.append(text) or text)
    source = other.address if lie != "hardware" else mine.address
    sender = mac(other.address if lie != "address" else mine.address)
    before = dropped(networks)
    wires[0].socket.send(frame(sender, mac(GATEWAY), ETH_P_IP, datagram(source, WORLD, 9, b"lie")))
    wait_until(lambda: dropped(networks) == before + 1)
    truth = datagram(mine.address, WORLD, 9, b"truth")
    wires[0].socket.send(frame(mac(mine.address), mac(GATEWAY), ETH_P_IP, truth))
    wait_until(lambda: bool(seen))
    assert seen == [b"truth"]


def test_nobody_takes_over_the_gateway_or_a_neighbour_by_arp(
    networks: Networks, pair: tuple[Job, Job], wires: tuple[Wire, Wire]
) -> None:
    mine, other = pair
    before = outside.run("ip", "neigh"), outside.run_inside(other.fd, "ip", "neigh")
    bridge = outside.run("bridge", "fdb")
    for claimed in (GATEWAY, other.address):
        lie = arp(2, mac(mine.address), claimed, BROADCAST, claimed)
        wires[0].socket.send(frame(mac(mine.address), BROADCAST, ETH_P_ARP, lie))
        # As if the neighbour's hardware address were at this port.
        wires[0].socket.send(frame(mac(claimed), BROADCAST, ETH_P_ARP, lie))
    wait_until(lambda: dropped(networks) >= 4)
    assert (outside.run("ip", "neigh"), outside.run_inside(other.fd, "ip", "neigh")) == before
    assert outside.run("bridge", "fdb") == bridge
    assert other.inside(lambda: ask(WORLD, 80)) == HOST


def test_an_address_given_to_oneself_leads_nowhere(pair: tuple[Job, Job]) -> None:
    mine, other = pair
    outside.run_inside(mine.fd, "ip", "addr", "add", f"{other.address}/32", "dev", "eth0")

    def from_the_other() -> None:
        with socket.create_connection((WORLD, 80), 1, source_address=(other.address, 0)):
            pass

    assert outside.refused_by(lambda: mine.inside(from_the_other)) == "TimeoutError late"


def test_ipv6_does_not_exist(pair: tuple[Job, Job]) -> None:
    for job in pair:
        addresses = outside.run_inside(job.fd, "ip", "-6", "addr", "show", "dev", "eth0")
        assert addresses == ""
    # Nor does it when the job switches it on.
    mine, other = pair
    for job in pair:
        outside.run_inside(job.fd, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        outside.run_inside(
            job.fd, "ip", "addr", "add", f"fe80::{job.fd:x}/64", "dev", "eth0", "nodad"
        )

    def connect() -> None:
        with socket.socket(socket.AF_INET6) as client:
            client.settimeout(1)
            index = socket.if_nametoindex("eth0")
            client.connect((f"fe80::{other.fd:x}", 80, 0, index))

    server = other.inside(lambda: socket.create_server(("::", 80), family=socket.AF_INET6))
    with server:
        assert "late" in outside.refused_by(lambda: mine.inside(connect))


def test_ordinary_users_may_ping_and_have_every_port(networks: Networks) -> None:
    job = networks.job()
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    outside.run_inside(job.fd, *as_nobody, "ping", "-c1", "-W2", WORLD)
    listen = "import socket; socket.create_server(('', 80)).close()"
    outside.run_inside(job.fd, *as_nobody, os.sys.executable, "-c", listen)
