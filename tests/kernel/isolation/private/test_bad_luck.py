"""Hosts that are in the way: what cannot be made is refused, and what was dropped comes back."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from ipaddress import IPv4Address

import pytest

from isolation.network.errors import PrivateNetworkError
from isolation.network.published import Publish
from isolation.network.rule_tables import RuleTables
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import Networks
from tests.kernel.isolation.private.outside import (
    HOST,
    REJECTED,
    UNREACHABLE,
    WORLD,
    World,
    ask,
)


def test_a_subnet_that_the_host_has_a_route_to_is_refused(world: World) -> None:
    outside.run("ip", "route", "add", "10.0.0.0/8", "via", WORLD)
    networks = Networks()
    try:
        with pytest.raises(PrivateNetworkError, match=r"10\.0\.0\.0/8 on up0.*network\.subnet"):
            networks.job()
    finally:
        networks.close()
        outside.run("ip", "route", "del", "10.0.0.0/8")


def test_a_full_subnet_is_refused_and_freed_by_the_end_of_a_job(world: World) -> None:
    networks = Networks(subnet="10.213.0.0/29")
    jobs = [networks.job() for _ in range(5)]
    assert len({job.address for job in jobs}) == 5
    with pytest.raises(PrivateNetworkError, match="all 5 addresses"):
        networks.job()
    networks.release(jobs[2])
    assert networks.job().address == jobs[2].address
    networks.close()


def test_without_namespaces_nothing_is_left_of_the_attempt(networks: Networks) -> None:
    networks.job()
    before = outside.run("nft", "list", "ruleset")
    path = "/proc/sys/user/max_net_namespaces"
    with open(path) as file:
        most = file.read()
    try:
        with open(path, "w") as file:
            file.write("0")
        with pytest.raises(PrivateNetworkError, match="max_net_namespaces"):
            networks.job(publish=(Publish(None, 8080, 80),))
    finally:
        with open(path, "w") as file:
            file.write(most)
    assert outside.run("nft", "list", "ruleset") == before
    networks.job(publish=(Publish(None, 8080, 80),))


def test_without_rights_the_reason_and_a_remedy_are_given() -> None:
    program = (
        "from isolation.network.private import *\n"
        "print(PrivateNetworks(NetworkSettings('x')).unavailable())"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups",
         os.sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert "EPERM" in done.stdout or "not permitted" in done.stdout
    assert "CAP_NET_ADMIN" in done.stdout


def test_rules_that_somebody_dropped_are_written_again(networks: Networks) -> None:
    restricted = networks.job(allow_egress=(f"{WORLD}:80",))
    outside.run("nft", "flush", "ruleset")
    free = networks.job()
    for job in (restricted, free):
        assert job.inside(lambda: ask(WORLD, 80)) == HOST
    assert outside.refused_by(lambda: restricted.inside(lambda: ask(WORLD, 443))) == REJECTED
    outside.run("nft", "flush", "ruleset")
    host = networks.networks._host
    assert host is not None
    host.verify()
    assert free.inside(lambda: ask(WORLD, 443)) == HOST


def refuse(_: RuleTables, script: str) -> None:
    raise PrivateNetworkError(errno.EIO, "change or read the rules", f"not now: {script[:9]}")


def test_a_job_whose_rules_stay_gives_back_all_else(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = networks.job()
    web = (Publish(None, 8080, 80),)
    before = interfaces()
    gone = networks.job(publish=web, egress_bits=10**7, allow_egress=())
    made = interfaces() - before
    assert len(made) == 2  # its port of the bridge and the device that limits its egress
    with monkeypatch.context() as patch:
        patch.setattr(RuleTables, "run", refuse)
        with pytest.raises(PrivateNetworkError, match="not now"):
            networks.release(gone)
        networks.do(networks.networks.release(gone.id))
        with pytest.raises(PrivateNetworkError, match="not now"):
            networks.job()
    assert f"{gone.address} " in outside.run("nft", "list", "ruleset")
    assert interfaces() == before
    fresh = networks.job(publish=web)
    assert f"{gone.address} " not in outside.run("nft", "list", "ruleset")
    for job in (other, fresh):
        assert job.inside(lambda: ask(WORLD, 443)) == HOST


def test_a_link_that_is_somebodys_is_not_removed(networks: Networks) -> None:
    job = networks.job()
    host = networks.networks._host
    assert host is not None
    host._pool.give_back(IPv4Address(job.address))
    host._pool._next = (host._pool._next - 1) % host._pool._count
    with pytest.raises(PrivateNetworkError, match="EEXIST"):
        networks.job()
    assert job.inside(lambda: ask(WORLD, 80)) == HOST


def test_the_host_does_not_become_a_router(networks: Networks, world: World) -> None:
    networks.job()
    outside.run("ip", "link", "add", "spare", "type", "dummy")
    try:
        outside.run("ip", "addr", "add", "198.51.100.1/24", "dev", "spare")
        outside.run("ip", "link", "set", "spare", "up")
        # The next job lets answers in by the new interface too.
        networks.job()
        outside.run_inside(world.fd, "ip", "route", "add", "198.51.100.0/24", "via", HOST)
        before = transmitted("spare")
        refused = outside.refused_by(lambda: world.inside(lambda: ask("198.51.100.7", 80, 0.5)))
        assert refused in UNREACHABLE
        assert transmitted("spare") == before
    finally:
        outside.run("ip", "link", "del", "spare")


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def transmitted(interface: str) -> int:
    with open(f"/sys/class/net/{interface}/statistics/tx_packets") as file:
        return int(file.read())
