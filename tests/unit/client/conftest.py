"""A daemon that is only a wire: one real Unix socket, scripted answers, no jobs."""

from __future__ import annotations

import copy
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from client import protocol
from client.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_SECONDS = 20.0
JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
OTHER_ID = "77aa81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"

RESULT: dict[str, Any] = {
    "reason": "exit",
    "exit_code": 0,
    "signal": None,
    "exit_status": 0,
    "detail": None,
    "stopped_by_uid": None,
    "wall_ns": 12_345_000_000,
    "cpu_usec": 2_500_000,
    "cpu_user_usec": 2_000_000,
    "cpu_system_usec": 500_000,
    "memory_peak_bytes": 256 * 1024 * 1024,
    "oom_kills": 0,
    "pids_peak": 7,
    "pids_max_hits": 0,
    "io_read_bytes": None,
    "io_write_bytes": 4096,
    "log_bytes": 12,
}
JOB: dict[str, Any] = {
    "job": JOB_ID,
    "name": "build",
    "state": "running",
    "uid": 1000,
    "gid": 1000,
    "user": "alice",
    "submitted_by_uid": 1000,
    "argv": ["make", "-j2", "a b"],
    "cwd": "/home/alice",
    "network": "none",
    "limits": {"memory_max_bytes": 256 * 1024 * 1024},
    "pid": 4242,
    "submitted_ns": 1_763_810_000_000_000_000,
    "started_ns": 1_763_810_001_000_000_000,
    "ended_ns": None,
    "usage": None,
    "result": None,
}


class Session:
    """One connection, as the daemon sees it."""

    def __init__(self, daemon: FakeDaemon, sock: socket.socket) -> None:
        self.daemon = daemon
        self.sock = sock
        self.file = sock.makefile("rb")
        self.closed = False

    def serve(self) -> None:
        with suppress(OSError):
            while not self.closed and (request := self.read()) is not None:
                self.daemon.note(request)
                self.daemon.handlers[request["op"]](self, request)
        self.close()

    def read(self) -> dict[str, Any] | None:
        header = self.file.read(4)
        if len(header) < 4:
            return None
        return protocol.decode_body(self.file.read(protocol.frame_length(header)))

    def send(self, message: dict[str, Any]) -> None:
        self.sock.sendall(protocol.encode_frame(message))

    def ok(self, request: dict[str, Any], value: object) -> None:
        self.send({"id": request["id"], "ok": value})

    def refuse(self, request: dict[str, Any], code: str, **data: object) -> None:
        self.send({"id": request["id"], "error": {"code": code, **data}})

    def event(self, request: dict[str, Any], seq: int, event: dict[str, Any]) -> None:
        self.send({"id": request["id"], "seq": seq, "event": event})

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.file.close()
        self.sock.close()


class FakeDaemon:
    """Answers with `handlers[op](session, request)`; `seen` are all requests so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: list[dict[str, Any]] = []
        self.handlers: dict[str, Callable[[Session, dict[str, Any]], None]] = {
            "hello": lambda session, request: session.ok(request, HELLO),
            "credit": lambda _session, _request: None,
        }
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._sessions: list[Session] = []
        self._listener: socket.socket | None = None

    def start(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """As when the process is killed: the socket's file stays, connections end."""
        if self._listener is not None:
            # shutdown wakes accept(2); close alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for session in self._sessions:
            with suppress(OSError):
                session.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(DEADLINE_SECONDS)
                assert not thread.is_alive()
        self._threads.clear()
        self._sessions.clear()

    def answer(self, op: str, value: object) -> None:
        self.handlers[op] = lambda session, request: session.ok(request, value)

    def refuse(self, op: str, code: str, **data: object) -> None:
        self.handlers[op] = lambda session, request: session.refuse(request, code, **data)

    def note(self, request: dict[str, Any]) -> None:
        with self._changed:
            self.seen.append(request)
            self._changed.notify_all()

    def args(self, op: str) -> list[dict[str, Any]]:
        return [request["args"] for request in self.seen if request["op"] == op]

    def wait_for(self, op: str, count: int = 1) -> dict[str, Any]:
        """The arguments of the `count`th request of that kind, once it has come."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.args(op)) >= count, DEADLINE_SECONDS)
        assert came, f"{op} was not asked {count} times: {[item['op'] for item in self.seen]}"
        return self.args(op)[count - 1]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            session = Session(self, sock)
            self._sessions.append(session)
            self._spawn(session.serve)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


HELLO: dict[str, Any] = {
    "protocol": 1,
    "server": "runnerd 9.9.9",
    "features": ["logs.follow"],
    "uid": 1000,
    "admin": False,
    "max_frame_bytes": protocol.MAX_FRAME_BYTES,
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(str(tmp_path / "runnerd.sock"))
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def make_job() -> Callable[..., dict[str, Any]]:
    """A job's status; `result=` ends it, with the fields that differ from a plain exit."""

    def make(*, result: dict[str, Any] | None = None, **changes: object) -> dict[str, Any]:
        job = copy.deepcopy(JOB) | changes
        if result is not None:
            job |= {"state": "ended", "result": RESULT | result, "pid": None}
            job["ended_ns"] = job["started_ns"] + RESULT["wall_ns"]
        return job

    return make


@pytest.fixture
def runctl(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs runctl in this process: exit status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["--socket", daemon.path, *arguments])
        out, err = capfd.readouterr()
        status = exit_.value.code
        assert isinstance(status, int)
        return status, out, err

    return run


@pytest.fixture
def submit(
    daemon: FakeDaemon, runctl: Callable[..., tuple[int, str, str]]
) -> Callable[..., dict[str, Any]]:
    """What `runctl run -d` with these arguments asks for."""
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})

    def run(*arguments: str) -> dict[str, Any]:
        status, out, err = runctl("run", "-d", *arguments)
        assert (status, out, err) == (0, f"{JOB_ID}\n", "")
        return daemon.args("submit")[-1]

    return run
