"""A world to talk to, private networks to talk from, and the proof that nothing stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation.network.private import NetworkSettings, PrivateNetworks
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import Networks
from tests.kernel.isolation.private.outside import WORLD, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BRIDGE_FILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@pytest.fixture(params=["0", "1"], ids=["bridged-frames-unseen", "bridged-frames-filtered"])
def bridge_filter(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hosts with a container engine show bridged frames to the rules for packets as well."""
    with open(BRIDGE_FILTER, "r+") as file:
        before = file.read()
        file.write(request.param)
    yield
    with open(BRIDGE_FILTER, "w") as file:
        file.write(before)


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """What is imported or loaded once stays, and is no leak."""
    assert PrivateNetworks(NetworkSettings("imported")).unavailable() is None


@pytest.fixture(autouse=True)
def nothing_stays(nothing_is_left: None) -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before


def everything() -> dict[str, str]:
    """What private networks could leave behind on the host."""
    with open("/proc/sys/net/ipv4/ip_forward") as file:
        forward = file.read()
    return {
        "rules": outside.run("nft", "list", "ruleset"),
        "links": outside.run("ip", "-o", "link"),
        "routes": outside.run("ip", "route", "show", "table", "all"),
        "neighbours": outside.run("ip", "neigh"),
        "forwarding": forward,
    }


@pytest.fixture
def resolv_conf(nothing_stays: None, tmp_path: Path) -> Iterator[Path]:
    """A resolv.conf of the test's own in the place of the host's."""
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {WORLD}\nsearch example.net\n")
    outside.run("mount", "--bind", str(path), "/etc/resolv.conf")
    yield path
    outside.run("umount", "/etc/resolv.conf")


@pytest.fixture
def world(resolv_conf: Path) -> Iterator[World]:
    world = World()
    world.serve(80, outside.tell_address)
    world.serve(443, outside.tell_address)
    world.serve_udp(53, outside.dns_answer(WORLD))
    yield world
    world.close()


@pytest.fixture
def networks(world: World, bridge_filter: None) -> Iterator[Networks]:
    networks = Networks()
    yield networks
    networks.close()
