"""The world outside of the host under test: a network namespace with servers, joined by a link.

Also calls functions inside of a job's namespace: in threads of this process, no program of
the job is needed. What the tests make on the host is removed with the namespace.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from isolation import syscalls
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SECONDS = 20.0
HOST = "192.0.2.1"
WORLD = "192.0.2.2"
SECOND = "192.0.2.3"
METADATA = "169.254.169.254"

# A program hears at once that it may not; where this is expected, somebody listens.
REJECTED = "Connection refused"
# No route, no answer, or no such address: nothing arrives.
UNREACHABLE = {"Network is unreachable", "TimeoutError", "TimeoutError late"}


def inside(fd: int, call: Callable[[], T]) -> T:
    """What `call` returns or raises on a thread in the namespace."""
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            syscalls.setns(fd, CloneFlags.NEWNET)
            found.append(call())
        except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SECONDS * 3)
    assert not thread.is_alive(), "it hangs"
    if raised:
        raise raised[0]
    return found[0]


def new_namespace() -> int:
    def make() -> int:
        syscalls.unshare(CloneFlags.NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(make()))
    thread.start()
    thread.join()
    return found[0]


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


def run_inside(fd: int, *words: str) -> str:
    """A program in the namespace of the descriptor."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{fd}", *words],
        check=True,
        capture_output=True,
        text=True,
        pass_fds=(fd,),
    )
    return done.stdout


class World:
    """A machine at the other end of the host's only wire. It has no route to jobs."""

    def __init__(self) -> None:
        self.fd = new_namespace()
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "wire")
        pid_path = f"/proc/{os.getpid()}/fd/{self.fd}"
        run("ip", "link", "set", "wire", "netns", pid_path)
        run("ip", "addr", "add", f"{HOST}/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", WORLD)
        for words in (
            ["addr", "add", f"{WORLD}/24", "dev", "wire"],
            ["addr", "add", f"{SECOND}/24", "dev", "wire"],
            ["addr", "add", f"{METADATA}/32", "dev", "wire"],
            ["link", "set", "wire", "up"],
            ["link", "set", "lo", "up"],
        ):
            run_inside(self.fd, "ip", *words)

    def close(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(SECONDS)
        run("ip", "link", "del", "up0")
        os.close(self.fd)

    def inside(self, call: Callable[[], T]) -> T:
        return inside(self.fd, call)

    def serve(self, port: int, answer: Callable[[socket.socket, Any], None]) -> None:
        """A TCP server; `answer` gets each connection and who it is from."""
        self._serve(self.inside(lambda: tcp_server(port)), answer)

    def serve_udp(self, port: int, answer: Callable[[bytes, Any], bytes]) -> None:
        server = self.inside(lambda: udp_socket(port))
        self._start(lambda: answer_datagrams(server, answer, self.stopping))

    def _serve(self, server: socket.socket, answer: Callable[[socket.socket, Any], None]) -> None:
        self._start(lambda: accept_all(server, answer, self.stopping))

    def _start(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=call)
        thread.start()
        self.threads.append(thread)


def tcp_server(port: int, address: str = "") -> socket.socket:
    server = socket.create_server((address, port), backlog=16)
    server.settimeout(0.05)
    return server


def udp_socket(port: int, address: str = "") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    made.settimeout(0.05)
    return made


def accept_all(
    server: socket.socket,
    answer: Callable[[socket.socket, Any], None],
    stopping: threading.Event,
) -> None:
    with server:
        while not stopping.is_set():
            with suppress(TimeoutError):
                peer, name = server.accept()
                peer.settimeout(SECONDS)
                with peer, suppress(OSError):
                    answer(peer, name)


def answer_datagrams(
    server: socket.socket, answer: Callable[[bytes, Any], bytes], stopping: threading.Event
) -> None:
    with server:
        while not stopping.is_set():
            with suppress(TimeoutError):
                asked, name = server.recvfrom(4096)
                server.sendto(answer(asked, name), name)


def tell_address(peer: socket.socket, name: Any) -> None:
    """Say where the connection comes from."""
    peer.sendall(name[0].encode())


def ask(address: str, port: int, seconds: float = 5.0) -> str:
    """What a TCP server says."""
    with socket.create_connection((address, port), timeout=seconds) as client:
        return client.makefile("rb").read().decode()


def ask_udp(address: str, port: int, text: bytes = b"?", seconds: float = 5.0) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect((address, port))
        client.send(text)
        return client.recv(4096)


def refused_by(call: Callable[[], object]) -> str:
    """How a call that must not work fails: the error's class, and whether that takes long.

    A refusal that is late on a busy machine is not late each time.
    """
    for _ in range(3):
        found = _refused_once(call)
        if found != f"{REJECTED} late":
            break
    return found


def _refused_once(call: Callable[[], object]) -> str:
    started = time.monotonic()
    try:
        call()
    except OSError as error:
        took = time.monotonic() - started
        name = type(error).__name__ if error.errno is None else os.strerror(error.errno)
        return f"{name}{'' if took < 1 else ' late'}"
    return "it worked"


def refused_datagram(fd: int, address: str, port: int) -> str:
    """A connected datagram socket hears of a refusal, as one error or another."""
    failed = refused_by(lambda: inside(fd, lambda: ask_udp(address, port, seconds=2)))
    return "refused" if failed in {"No route to host", "Connection refused"} else failed


def dns_answer(address: str) -> Callable[[bytes, Any], bytes]:
    """A nameserver that knows one address for every name."""

    def answer(query: bytes, name: Any) -> bytes:
        end = query.index(b"\0", 12) + 5
        (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
        count = 1 if kind == 1 else 0
        header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
        return header + query[12:end] + record * count

    return answer


def dns_query(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
