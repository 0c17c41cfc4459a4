"""Bandwidth of private networks, measured over TCP between a job and the world."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from isolation.network.errors import PrivateNetworkError
from tests.kernel.harness import wait_until
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.outside import WORLD, World
from tests.kernel.rates import is_held

if TYPE_CHECKING:
    import socket

    from tests.kernel.isolation.private.jobs import Job, Networks

MBIT = 1_000_000
CHUNK = bytes(65536)
SINK = 7001
SOURCE = 7002
# A frame of 1514 bytes carries 1448 of a TCP stream.
OVERHEAD = 1514 / 1448


def swallow(peer: socket.socket, name: Any) -> None:
    """Read everything; at the end say how many bytes, and how long it took after the first."""
    total, started = 0, None
    while data := peer.recv(1 << 20):
        started = started or time.monotonic()
        total += len(data)
    seconds = time.monotonic() - (started or 0)
    peer.sendall(f"{total} {seconds}".encode())


def pour(peer: socket.socket, name: Any) -> None:
    """Write for as long as somebody reads."""
    while True:
        peer.sendall(CHUNK)


@pytest.fixture(params=[10, 100])
def megabits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def servers(world: World) -> None:
    world.serve(SINK, swallow)
    world.serve(SOURCE, pour)


def uploaded(job: Job, seconds: float) -> float:
    """What a job sends, in bits a second on the wire."""

    def send() -> str:
        with outside.socket.create_connection((WORLD, SINK), timeout=outside.SECONDS) as client:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                client.sendall(CHUNK)
            client.shutdown(outside.socket.SHUT_WR)
            return client.recv(100).decode()

    total, took = job.inside(send).split()
    return int(total) * 8 * OVERHEAD / float(took)


def downloaded(job: Job, seconds: float) -> float:
    """What a job receives, in bits a second on the wire."""

    def receive() -> float:
        with outside.socket.create_connection((WORLD, SOURCE), timeout=outside.SECONDS) as client:
            client.recv(1 << 20)
            started, total = time.monotonic(), 0
            while (now := time.monotonic()) < started + seconds:
                total += len(client.recv(1 << 20))
            return total * 8 / (now - started)

    return job.inside(receive) * OVERHEAD


def test_what_a_job_sends_is_limited_within_a_tenth(networks: Networks, megabits: int) -> None:
    job = networks.job(egress_bits=megabits * MBIT)
    is_held(megabits * MBIT, lambda: uploaded(job, 3))
    wait_until(lambda: downloaded(job, 0.5) > 1.5 * megabits * MBIT)


def test_what_a_job_receives_is_limited_within_a_tenth(networks: Networks, megabits: int) -> None:
    job = networks.job(ingress_bits=megabits * MBIT)
    is_held(megabits * MBIT, lambda: downloaded(job, 3))
    wait_until(lambda: uploaded(job, 0.5) > 1.5 * megabits * MBIT)


def test_limits_are_changed_and_lifted_while_a_job_runs(networks: Networks) -> None:
    job = networks.job()

    def change(egress: int | None, ingress: int | None) -> tuple[int | None, int | None]:
        return networks.do(networks.networks.set_bandwidth(job.id, egress, ingress))

    assert change(20 * MBIT, 8 * MBIT) == (20 * MBIT, 8 * MBIT)
    is_held(8 * MBIT, lambda: downloaded(job, 2))
    is_held(20 * MBIT, lambda: uploaded(job, 2))
    assert change(8 * MBIT, None) == (8 * MBIT, None)
    is_held(8 * MBIT, lambda: uploaded(job, 2))
    wait_until(lambda: downloaded(job, 0.5) > 30 * MBIT)
    assert change(None, None) == (None, None)
    wait_until(lambda: uploaded(job, 0.5) > 30 * MBIT)


@pytest.mark.parametrize("bits", [8_000, 12_345_678, 10**12])
def test_every_rate_that_may_be_asked_for_reads_back(networks: Networks, bits: int) -> None:
    job = networks.job(egress_bits=bits, ingress_bits=bits)
    read = networks.do(networks.networks.set_bandwidth(job.id, bits, bits))
    assert read == (bits // 8 * 8, bits // 8 * 8)


def test_a_failed_change_leaves_both_limits_as_they_were(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = networks.job(egress_bits=16 * MBIT, ingress_bits=16 * MBIT)
    host = networks.networks._host
    assert host is not None
    offset = host._jobs[job.id].port.offset
    outside.run("ip", "link", "set", "lo", "up")
    with pytest.raises((PrivateNetworkError, ValueError)):
        networks.do(networks.networks.set_bandwidth(job.id, 8 * MBIT, 4))
    assert host._bandwidth.read(offset) == (16 * MBIT, 16 * MBIT)


def test_a_job_without_a_network_has_no_bandwidth_to_change(networks: Networks) -> None:
    networks.job()
    with pytest.raises(PrivateNetworkError, match="no private network"):
        networks.do(networks.networks.set_bandwidth("another", MBIT, None))
