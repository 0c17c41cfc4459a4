"""A client that costs little: several requests in flight on one connection, frames only counted.

`client.api` waits for each answer, as programs do; figures with many in flight would measure its
threads. Nothing is measured here.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from client import protocol
from client.protocol import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

_READ_BYTES: Final = 1 << 20
# 300 s.
_PATIENCE: Final = struct.pack("ll", 300, 0)
_HELLO: Final = {"protocol": protocol.PROTOCOL_VERSION, "client": "bench"}
# An event is a map of three (id, seq, event), an answer one of two.
_EVENT: Final = 0x83
_CREDIT: Final = 512


class WireError(RuntimeError):
    """The server answered with an error, or not at all."""


def request(request_id: int, op: str, args: dict[str, Any]) -> bytes:
    """One frame."""
    return protocol.encode_frame({"id": request_id, "op": op, "args": args})


def spans(buffer: bytearray) -> tuple[list[tuple[int, int]], int]:
    """Where the bodies of the whole frames in a buffer begin and end, and where the last ends."""
    found, at = [], 0
    while at + HEADER.size <= len(buffer):
        begin = at + HEADER.size
        end = begin + HEADER.unpack_from(buffer, at)[0]
        if end > len(buffer):
            break
        found.append((begin, end))
        at = end
    return found, at


class Wire:
    """One blocking connection, greeted."""

    def __init__(self, path: str, *, greet: bool = True) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        # Not settimeout: Python would ask poll(2) before each call.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        self._socket.connect(path)
        self._buffer = bytearray()
        # Kept: as much anew for each answer would be mapped and unmapped.
        self._room = memoryview(bytearray(_READ_BYTES))
        if greet:
            self.ask(1, "hello", _HELLO)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, frames: bytes) -> None:
        """Frames that are ready."""
        self._socket.sendall(frames)

    def ask(self, request_id: int, op: str, args: dict[str, Any]) -> dict[str, Any]:
        """A request and its answer, nothing else being in flight."""
        self.send(request(request_id, op, args))
        return self.answers()[0][1]

    def answers(self) -> list[tuple[int, dict[str, Any]]]:
        """What has come, at least one: id and `ok`. Raises WireError for an error."""
        found: list[tuple[int, dict[str, Any]]] = []
        while not found:
            self._more()
            frames, end = spans(self._buffer)
            for begin, stop in frames:
                message = protocol.decode_body(bytes(self._buffer[begin:stop]))
                if "ok" not in message:
                    raise WireError(f"runnerd answered {message}")
                found.append((message["id"], message["ok"]))
            del self._buffer[:end]
        return found

    def count(self, least: int) -> int:
        """How many frames have come, at least so many; nobody looks into them."""
        seen = 0
        while seen < least:
            self._more()
            frames, end = spans(self._buffer)
            seen += len(frames)
            del self._buffer[:end]
        return seen

    def _more(self) -> None:
        count = self._socket.recv_into(self._room)
        if not count:
            raise WireError("the server hung up")
        self._buffer += self._room[:count]


def run_jobs(wire: Wire, submission: dict[str, Any], count: int, in_flight: int) -> None:
    """Submit so many jobs and wait for each, so many at once. Raises WireError if one fails."""
    # Ids of submissions are odd, of the wait that follows it even.
    begun, ended = min(in_flight, count), 0
    wire.send(b"".join(request(2 * n + 1, "submit", submission) for n in range(begun)))
    while ended < count:
        out = []
        for request_id, ok in wire.answers():
            if request_id % 2:
                args = {"job": ok["job"], "timeout_seconds": None}
                out.append(request(request_id + 1, "wait", args))
                continue
            _require_success(ok)
            ended += 1
            if begun < count:
                out.append(request(2 * begun + 1, "submit", submission))
                begun += 1
        wire.send(b"".join(out))


def submit_many(wire: Wire, submission: dict[str, Any], count: int, in_flight: int) -> list[str]:
    """Submit so many jobs, so many requests at once; their ids. Raises WireError."""
    sent, jobs = 0, list[str]()
    while len(jobs) < count:
        begun = min(count, len(jobs) + in_flight)
        wire.send(b"".join(request(n + 1, "submit", submission) for n in range(sent, begun)))
        sent = max(sent, begun)
        jobs += [ok["job"] for _id, ok in wire.answers()]
    return jobs


def _require_success(ok: dict[str, Any]) -> None:
    if ok["result"]["exit_status"] != 0:
        raise WireError(f"job {ok['job']} ended with {ok['result']}")


def pump(wire: Wire, frames: Sequence[bytes], count: int, in_flight: int) -> None:
    """Send `count` requests, always so many in flight, and count the answers.

    `frames` are used in turn: more of them than in flight, so that no id is used twice.
    """
    sent = min(in_flight, count)
    wire.send(b"".join(frames[n % len(frames)] for n in range(sent)))
    done = 0
    while done < count:
        done += wire.count(1)
        more = min(count - sent, done + in_flight - sent)
        wire.send(b"".join(frames[n % len(frames)] for n in range(sent, sent + more)))
        sent += more


class Followers:
    """Connections that each follow a job's log to its end, in one thread."""

    def __init__(self, path: str, jobs: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        for job in jobs:
            self._follow(path, job)

    def _follow(self, path: str, job: str) -> None:
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        args = {"job": job, "follow": True, "credit": _CREDIT}
        one.sendall(request(1, "hello", _HELLO) + request(2, "logs", args))
        self._selector.register(one, selectors.EVENT_READ, Following(one))

    def drain(self) -> int:
        """Read until every log has ended; how many bytes came. Raises WireError."""
        total = 0
        while self._selector.get_map():
            for key, _mask in self._selector.select(60):
                following: Following = key.data
                total += following.read()
                if following.ended:
                    self._selector.unregister(key.fileobj)
                    following.socket.close()
        self._selector.close()
        return total


class Following:
    """One of them: counts events, and grants as many again."""

    def __init__(self, one: socket.socket) -> None:
        self.socket = one
        self.ended = False
        self._buffer = bytearray()
        self._answers = 0
        self._events = 0

    def read(self) -> int:
        """What has come, in bytes."""
        data = os.read(self.socket.fileno(), _READ_BYTES)
        if not data:
            raise WireError("runnerd hung up on a follower")
        self._buffer += data
        frames, end = spans(self._buffer)
        events = sum(1 for begin, _stop in frames if self._buffer[begin] == _EVENT)
        self._events += events
        self._answers += len(frames) - events
        del self._buffer[:end]
        # The greeting, and the end of the log.
        self.ended = self._answers == 2
        if self._events >= _CREDIT // 2 and not self.ended:
            self.socket.sendall(request(2, "credit", {"events": self._events}))
            self._events = 0
        return len(data)
