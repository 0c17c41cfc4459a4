"""What a hostile or an unlucky client does: raw frames on connections of any user.

And what a daemon must never show of it: memory that stays, a traceback, a line that says
"defect". Polite clients are `client.api`'s.
"""

from __future__ import annotations

import os
import pwd
import re
import select
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import msgpack
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client import protocol
    from tests.kernel.harness import Daemon

_SECONDS = 20.0
_BAD_SIGNS = re.compile(r"Traceback|defect|Exception ignored|never (retrieved|awaited)")
_MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_defect_in_the_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Whatever a test did to its daemon, the daemon's log shows no failure of its own.

    Set up first, so looked at last: after `own_daemon` has ended.
    """
    shared = "daemon" in request.fixturenames
    log: Path = request.getfixturevalue("shared_daemon").log if shared else tmp_path / "runnerd.log"
    seen = log.stat().st_size if log.exists() else 0
    yield
    text = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else ""
    found = _BAD_SIGNS.search(text)
    assert not found, text[max(0, found.start() - 500) : found.start() + 3000]


@contextmanager
def as_user(name: str) -> Iterator[None]:
    """What this process does meanwhile, it does with a user's effective ids and groups."""
    entry = pwd.getpwnam(name)
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(name, entry.pw_gid))
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def connected(daemon: Daemon, user: str) -> socket.socket:
    """A bare connection: the kernel tells the daemon that it is this user's."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_SECONDS)
    try:
        with as_user(user):
            sock.connect(daemon.socket)
    except OSError:
        sock.close()
        raise
    return sock


class Wire:
    """One connection that sends what it is told, and reads frames."""

    def __init__(self, daemon: Daemon, user: str = "alice", *, greet: bool = True) -> None:
        self._take(connected(daemon, user), greet=greet)

    @classmethod
    def over(cls, sock: socket.socket) -> Self:
        """On a connection that was made in some way of its own."""
        wire = cls.__new__(cls)
        wire._take(sock, greet=True)
        return wire

    def _take(self, sock: socket.socket, *, greet: bool) -> None:
        self.socket = sock
        self._last_id = 1
        if greet:
            self.send({"id": 1, "op": "hello", "args": {"protocol": 1}})
            assert "ok" in (self.receive() or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, message: Any) -> None:
        self.send_body(msgpack.packb(message, use_bin_type=True))

    def send_body(self, body: bytes) -> None:
        """A frame with a true length, whatever is in it."""
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def receive(self) -> protocol.Message | None:
        """The next frame; None when the daemon has closed the connection."""
        header = self._read(4)
        if header is None:
            return None
        body = self._read(struct.unpack(">I", header)[0])
        assert body is not None, "the daemon closed within a frame"
        message: protocol.Message = msgpack.unpackb(body, strict_map_key=False)
        return message

    def _read(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            data += piece
        return data

    def request(self, op: str, args: Any = None, **more: Any) -> Any:
        """The whole answer to one request."""
        self._last_id += 1
        self.send({"id": self._last_id, "op": op, "args": {**(args or {}), **more}})
        answer = self.receive()
        assert answer is not None, f"dropped at {op}"
        assert answer["id"] in (self._last_id, 0), answer
        return answer

    def ok(self, op: str, args: Any = None, **more: Any) -> Any:
        """The answer of a request that is granted."""
        answer = self.request(op, args, **more)
        assert "ok" in answer, answer
        return answer["ok"]

    def error(self, op: str, args: Any = None, **more: Any) -> Any:
        """The answer of a request that is refused."""
        answer = self.request(op, args, **more)
        assert "error" in answer, answer
        return answer["error"]

    def is_readable(self, seconds: float) -> bool:
        """Whether something, be it the end, comes within that time."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def last_words(self) -> list[protocol.Message]:
        """Everything until the daemon closes the connection, which it must."""
        messages = []
        while (message := self.receive()) is not None:
            messages.append(message)
        return messages


def submission(*argv: str, **more: Any) -> dict[str, Any]:
    """The arguments of a plain `submit`."""
    env = {"PATH": "/usr/bin:/bin"}
    return {"argv": list(argv) or ["true"], "cwd": "/", "env": env, **more}


def memory_bytes(daemon: Daemon, field: str = "VmRSS") -> int:
    """What the daemon holds now (VmRSS), or held at most (VmHWM)."""
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024


@contextmanager
def memory_grows_less_than(daemon: Daemon, mib: int) -> Iterator[None]:
    """At no moment meanwhile does the daemon hold so much more."""
    # 5 resets the peak to what is held now: proc(5), clear_refs.
    with open(f"/proc/{daemon.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = memory_bytes(daemon)
    yield
    grown = memory_bytes(daemon, "VmHWM") - before
    assert grown < mib * _MIB, f"runnerd grew by {grown / _MIB:.0f} MiB from {before / _MIB:.0f}"


def existing(daemon: Daemon) -> tuple[list[str], list[str], int]:
    """What there is of jobs: directories, cgroups, rows of the store."""
    with daemon.client() as client:
        rows = len(list(client.jobs(ended=True)))
    jobs = f"{daemon.state_dir}/jobs"
    cgroups = [name for name in os.listdir(daemon.cgroup_root) if name.startswith("job-")]
    return sorted(os.listdir(jobs)), sorted(cgroups), rows
