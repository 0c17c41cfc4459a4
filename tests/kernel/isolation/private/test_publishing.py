"""Published ports: reached from everywhere they should be, and nobody else's."""

from __future__ import annotations

import pytest

from isolation.network.errors import PrivateNetworkError
from isolation.network.published import Publish
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import GATEWAY, Networks
from tests.kernel.isolation.private.outside import (
    HOST,
    REJECTED,
    WORLD,
    World,
    ask,
    ask_udp,
)


def test_a_published_port_is_reached_from_the_world_and_from_the_host(
    networks: Networks, world: World
) -> None:
    job = networks.job(publish=(Publish(None, 8080, 80),))
    with job.serving(80):
        assert world.inside(lambda: ask(HOST, 8080)) == WORLD
        assert ask(HOST, 8080) == HOST
        assert ask("127.0.0.1", 8080) == GATEWAY
        assert ask("127.0.0.2", 8080) == GATEWAY


def test_a_published_udp_port_answers(networks: Networks, world: World) -> None:
    job = networks.job(publish=(Publish(None, 5353, 53, "udp"),))
    with job.serving_udp(53, lambda asked, _: asked + b"!"):
        assert world.inside(lambda: ask_udp(HOST, 5353, b"hello")) == b"hello!"
        assert ask_udp("127.0.0.1", 5353, b"hello") == b"hello!"


def test_a_port_published_at_one_address_is_not_at_the_others(
    networks: Networks, world: World
) -> None:
    job = networks.job(publish=(Publish("127.0.0.1", 8080, 80),))
    with job.serving(80):
        assert ask("127.0.0.1", 8080) == GATEWAY
        refused = outside.refused_by(lambda: world.inside(lambda: ask(HOST, 8080)))
        assert refused == "Connection refused"


def test_what_is_not_published_is_not_reached(networks: Networks, world: World) -> None:
    job = networks.job(publish=(Publish(None, 8080, 80),))
    outside.run_inside(world.fd, "ip", "route", "add", "10.213.0.0/16", "via", HOST)
    with job.serving(80):
        assert outside.refused_by(lambda: world.inside(lambda: ask(job.address, 80))) == REJECTED


def test_a_port_that_a_program_has_is_refused_by_its_number(networks: Networks) -> None:
    with outside.tcp_server(8081), pytest.raises(PrivateNetworkError, match="8081/tcp") as caught:
        networks.job(publish=(Publish(None, 8080, 80), Publish(None, 8081, 80)))
    assert "a program on the host has it" in str(caught.value)
    # Nothing of the attempt is left: not even the port that was free.
    networks.job(publish=(Publish(None, 8080, 80),))


def test_a_port_that_another_job_has_is_refused_until_that_one_ends(networks: Networks) -> None:
    first = networks.job(publish=(Publish(None, 8080, 80),))
    with pytest.raises(PrivateNetworkError, match="another job has published it"):
        networks.job(publish=(Publish("127.0.0.1", 8080, 81),))
    networks.release(first)
    networks.job(publish=(Publish("127.0.0.1", 8080, 81),))


def test_nobody_else_gets_a_published_port(networks: Networks) -> None:
    networks.job(publish=(Publish(None, 8080, 80), Publish(None, 8080, 80, "udp")))
    with pytest.raises(OSError, match="in use"):
        outside.tcp_server(8080)
    with pytest.raises(OSError, match="in use"):
        outside.udp_socket(8080)


def test_an_address_that_is_not_the_hosts_is_refused(networks: Networks) -> None:
    with pytest.raises(PrivateNetworkError, match=r"198\.51\.100\.1 is not an address"):
        networks.job(publish=(Publish("198.51.100.1", 8080, 80),))
