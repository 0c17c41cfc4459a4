"""Published ports: one owner each, whoever else there is."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from isolation.network.errors import PrivateNetworkError
from isolation.network.published import Publish, PublishedPorts

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ports() -> Iterator[PublishedPorts]:
    with closing(PublishedPorts()) as ports:
        yield ports


@pytest.fixture
def free() -> int:
    """A port that nobody has, which stays so with some luck."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def at(port: int, address: str | None = "127.0.0.1", protocol: str = "tcp") -> Publish:
    return Publish(address, port, 80, protocol)


def is_free(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_port_is_shown_as_it_is_asked_for() -> None:
    assert str(Publish(None, 8080, 80)) == "8080/tcp"
    assert str(Publish("0.0.0.0", 8080, 80)) == "8080/tcp"  # noqa: S104
    assert str(Publish("192.0.2.1", 53, 53, "udp")) == "192.0.2.1:53/udp"


def test_a_reserved_port_is_taken_until_it_is_released(ports: PublishedPorts, free: int) -> None:
    ports.reserve("job", [at(free), at(free, protocol="udp")])
    assert not is_free(free)
    assert not is_free(free, socket.SOCK_DGRAM)
    ports.release("job")
    ports.release("job")
    assert is_free(free)


@pytest.mark.parametrize(("mine", "other"), [(None, "127.0.0.1"), ("127.0.0.1", None)])
def test_two_jobs_cannot_have_one_port(
    ports: PublishedPorts, free: int, mine: str | None, other: str | None
) -> None:
    ports.reserve("job", [at(free, mine)])
    with pytest.raises(PrivateNetworkError, match=f"{free}/tcp.*another job") as caught:
        ports.reserve("other", [at(free, other)])
    assert caught.value.errno == errno.EADDRINUSE
    assert "choose another port" in str(caught.value)


def test_two_addresses_and_two_protocols_are_different_ports(
    ports: PublishedPorts, free: int
) -> None:
    ports.reserve("job", [at(free)])
    ports.reserve("other", [at(free, "127.0.0.2"), at(free, protocol="udp")])


def test_all_or_none_are_reserved(ports: PublishedPorts, free: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(PrivateNetworkError, match=f"{taken}/tcp.*a program on the host"):
            ports.reserve("job", [at(free), at(taken)])
    assert is_free(free)
    with pytest.raises(PrivateNetworkError, match="asked for twice"):
        ports.reserve("job", [at(free), at(free, None)])


def test_a_foreign_address_is_refused(ports: PublishedPorts, free: int) -> None:
    with pytest.raises(PrivateNetworkError, match=r"192\.0\.2\.1 is not an address of this host"):
        ports.reserve("job", [at(free, "192.0.2.1")])


def test_after_a_restart_a_lost_port_is_told_and_still_the_jobs(
    ports: PublishedPorts, free: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert ports.adopt("job", [at(free), at(taken)]) == [at(taken)]
    with pytest.raises(PrivateNetworkError, match="another job"):
        ports.reserve("other", [at(taken)])
    assert not is_free(free)
