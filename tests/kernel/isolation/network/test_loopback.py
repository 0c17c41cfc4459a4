"""Real network namespaces: their loopback works, the machine's is not in them, none stays."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from isolation import syscalls
from isolation.errors import NetworkError
from isolation.network.loopback import LoopbackNetworks
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 60.0


@pytest.fixture(autouse=True)
def imported() -> None:
    """Nothing is kept open, but what is imported may be opened once."""
    networks = LoopbackNetworks(ready=0)
    os.close(networks.take().result(SECONDS))
    networks.close()


@pytest.fixture
def networks() -> Iterator[LoopbackNetworks]:
    networks = LoopbackNetworks(ready=2)
    yield networks
    networks.close()


def inside(fd: int, look: Callable[[], object]) -> object:
    """Call `look` on a thread that entered the namespace."""
    found: list[object] = []

    def run() -> None:
        syscalls.setns(fd, CloneFlags.NEWNET)
        found.append(look())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SECONDS)
    return found[0]


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def echo_over_loopback() -> bytes:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=SECONDS) as client,
    ):
        peer, _ = server.accept()
        with peer:
            client.sendall(b"hello")
            return peer.recv(5)


def reach_outside() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


def test_a_namespace_has_a_working_loopback_and_nothing_else(networks: LoopbackNetworks) -> None:
    fd = networks.take().result(SECONDS)
    assert inside(fd, interfaces) == ["lo"]
    assert inside(fd, echo_over_loopback) == b"hello"
    assert inside(fd, reach_outside) is False
    os.close(fd)


def test_each_namespace_is_another_one_and_none_is_the_machines(networks: LoopbackNetworks) -> None:
    fds = [networks.take().result(SECONDS) for _ in range(5)]
    inodes = {os.fstat(fd).st_ino for fd in fds}
    assert len(inodes) == 5
    assert os.stat("/proc/self/ns/net").st_ino not in inodes
    for fd in fds:
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_the_thread_is_back_in_the_machines_network(networks: LoopbackNetworks) -> None:
    os.close(networks.take().result(SECONDS))
    networks.close()
    own = os.stat("/proc/self/ns/net").st_ino
    assert os.stat("/proc/thread-self/ns/net").st_ino == own


def test_a_coroutine_gets_a_namespace(networks: LoopbackNetworks) -> None:
    fd = asyncio.run(networks.acquire())
    assert inside(fd, interfaces) == ["lo"]
    os.close(fd)


def children() -> set[str]:
    """The pids of our own, those included that have ended and that nobody has waited for."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as file:
            # After the command's name, which may hold anything: the state, and the parent.
            if file.read().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(pid)
    return found


def test_no_process_is_made_for_it(networks: LoopbackNetworks) -> None:
    # Others may have left some of theirs to us.
    before = children()
    os.close(networks.take().result(SECONDS))
    assert children() <= before


def test_an_exhausted_machine_is_named_and_recovers() -> None:
    path = "/proc/sys/user/max_net_namespaces"
    with open(path) as file:
        before = file.read()
    networks = LoopbackNetworks(ready=0)
    try:
        with open(path, "w") as file:
            file.write("0")
        with pytest.raises(NetworkError, match=r"unshare\(CLONE_NEWNET\).*ENOSPC"):
            networks.take().result(SECONDS)
    finally:
        with open(path, "w") as file:
            file.write(before)
    os.close(networks.take().result(SECONDS))
    networks.close()
