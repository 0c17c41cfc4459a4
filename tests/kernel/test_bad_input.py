"""Input that nobody should send: each time refused or dropped, alone, with nothing left of it."""

from __future__ import annotations

import array
import math
import os
import random
import resource
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from client.errors import RequestRefused
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    connected,
    existing,
    memory_grows_less_than,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.traces import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

MIB = 1024 * 1024


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def with_args(args: bytes) -> bytes:
    """A frame of a request whose arguments are these bytes."""
    return framed(b"\x83\xa2id\x07\xa2op\xa4list\xa4args" + args)


@pytest.fixture
def bystander(daemon: Daemon) -> Iterator[Wire]:
    """Another user's connection, which must not notice anything."""
    with Wire(daemon, "bob") as wire:
        yield wire
        assert wire.ok("list") == {"jobs": [], "next": None}


# --- frames ---

NO_FRAMES = {
    "noise": random.Random(1).randbytes(4096),
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length of zero": struct.pack(">I", 0) + b"\x80",
    "a length of 4 GiB": struct.pack(">I", 2**32 - 1) + b"\x80" * 100,
    "a length of 4 MiB and one": struct.pack(">I", 4 * MIB + 1) + b"\x80",
    "an array": framed(packed([1, 2])),
    "a number": framed(b"\x07"),
    "a map that is cut off": framed(packed({"id": 2, "op": "list"})[:-3]),
    "a map with something behind it": framed(packed({"id": 2, "op": "list"}) + b"\x01"),
    "a byte that msgpack does not use": framed(b"\xc1"),
    "10,000 nested arrays": with_args(b"\x91" * 10_000 + b"\xc0"),
    "10,000 nested maps": with_args(b"\x81\xa1x" * 10_000 + b"\xc0"),
    "nesting of 40": with_args(b"\x91" * 40 + b"\xc0"),
    "an array of 8,193": with_args(b"\xdc\x20\x01" + b"\xc0" * 8193),
    "a map of 4,097": with_args(
        b"\xde\x10\x01" + b"".join(b"\xcd" + struct.pack(">H", n) + b"\xc0" for n in range(4097))
    ),
    "an array that claims 4 billion items": with_args(b"\xdd\xff\xff\xff\xff"),
    "a map that claims 4 billion items": with_args(b"\xdf\xff\xff\xff\xff"),
    "text that claims 4 GiB": with_args(b"\xdb\xff\xff\xff\xff"),
    "bytes that claim 4 GiB": with_args(b"\xc6\xff\xff\xff\xff"),
    "an extension that claims 4 GiB": with_args(b"\xc9\xff\xff\xff\xff\x01"),
    "an extension": with_args(b"\xd4\x05\x00"),
    "a timestamp": with_args(b"\xd6\xff\x00\x00\x00\x00"),
    "a key that is a map": with_args(b"\x81\x80\xc0"),
    "a key that is an array": with_args(b"\x81\x90\xc0"),
    "text that is not UTF-8": with_args(b"\x81\xa1x\xa2\xff\xfe"),
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("data", NO_FRAMES.values(), ids=NO_FRAMES.keys())
def test_who_sends_what_is_no_frame_is_told_so_and_dropped_alone(
    daemon: Daemon, data: bytes
) -> None:
    with memory_grows_less_than(daemon, 16), Wire(daemon) as wire, Wire(daemon) as sibling:
        wire.socket.sendall(data)
        (error,) = wire.last_words()
        assert error["id"] == 0
        assert error["error"]["code"] == "bad-frame"
        assert error["error"]["detail"]
        assert "ok" in sibling.request("list")


@pytest.mark.usefixtures("bystander")
def test_a_greeting_is_no_condition_for_being_dropped(daemon: Daemon) -> None:
    for data in NO_FRAMES.values():
        with Wire(daemon, greet=False) as wire:
            wire.socket.sendall(data)
            assert wire.last_words()[-1]["error"]["code"] == "bad-frame"


def test_what_was_asked_before_the_bad_frame_is_still_answered(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        wire.socket.sendall(framed(packed({"id": 5, "op": "nothing"})) + framed(b"\xc1"))
        first, second = wire.last_words()
        assert (first["id"], first["error"]["code"]) == (5, "unknown-op")
        assert (second["id"], second["error"]["code"]) == (0, "bad-frame")


BOMBS = {
    "empty maps": b"\xdc\x20\x00" + b"\x80" * 8192,
    "empty arrays": b"\xdc\x20\x00" + b"\x90" * 8192,
    "short text": b"\xdc\x20\x00" + b"\xa2ab" * 8192,
    "floats": b"\xdc\x20\x00" + (b"\xcb" + struct.pack(">d", 0.1)) * 8192,
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("inner", BOMBS.values(), ids=BOMBS.keys())
def test_a_frame_within_all_bounds_that_unpacks_to_millions_of_objects_costs_nothing(
    daemon: Daemon, inner: bytes
) -> None:
    count = (4 * MIB - 64) // len(inner)
    bomb = framed(b"\x81\xa1x\xdc" + struct.pack(">H", count) + inner * count)
    with memory_grows_less_than(daemon, 48), Wire(daemon) as wire:
        wire.socket.sendall(bomb)
        answer = wire.receive()
        assert answer is not None
        assert answer["error"]["code"] in ("bad-frame", "bad-request")


def test_a_text_of_four_mebibytes_is_refused_and_not_sent_back(daemon: Daemon) -> None:
    text = "x" * (4 * MIB - 100)
    for args in ({text: 1}, {"job": text}):
        with memory_grows_less_than(daemon, 48), Wire(daemon) as wire:
            error = wire.error("status", args)
            assert error["code"] == "invalid-argument"
            assert len(repr(error)) < 1000


# --- frames that are no requests ---

NO_REQUESTS: dict[str, tuple[Any, int, str, str]] = {
    "id 0": ({"id": 0, "op": "list"}, 0, "bad-request", "id"),
    "id below 0": ({"id": -1, "op": "list"}, 0, "bad-request", "id"),
    "id of 33 bits": ({"id": 2**32, "op": "list"}, 0, "bad-request", "id"),
    "id of text": ({"id": "7", "op": "list"}, 0, "bad-request", "id"),
    "id with decimals": ({"id": 7.0, "op": "list"}, 0, "bad-request", "id"),
    "id true": ({"id": True, "op": "list"}, 0, "bad-request", "id"),
    "no id": ({"op": "list"}, 0, "bad-request", "id"),
    "nothing": ({}, 0, "bad-request", "id"),
    "no op": ({"id": 7}, 7, "bad-request", "op"),
    "op of bytes": ({"id": 7, "op": b"list"}, 7, "bad-request", "op"),
    "unknown op": ({"id": 7, "op": "shutdown"}, 7, "unknown-op", "op"),
    "op of Python": ({"id": 7, "op": "__class__"}, 7, "unknown-op", "op"),
    "args of an array": ({"id": 7, "op": "list", "args": []}, 7, "bad-request", "args"),
    "args of nil": ({"id": 7, "op": "list", "args": None}, 7, "bad-request", "args"),
    "args with numbers": ({"id": 7, "op": "list", "args": {1: 2}}, 7, "bad-request", "args"),
    "unknown member": ({"id": 7, "op": "list", "uid": 0}, 7, "bad-request", "'uid'"),
    "unknown argument": (
        {"id": 7, "op": "list", "args": {"uid": 0}}, 7, "invalid-argument", "uid",
    ),
    "wrong type": (
        {"id": 7, "op": "list", "args": {"limit": "9"}}, 7, "invalid-argument", "limit",
    ),
    "out of bounds": (
        {"id": 7, "op": "list", "args": {"limit": 1001}}, 7, "invalid-argument", "limit",
    ),
    "cursor below 0": (
        {"id": 7, "op": "logs", "args": {"job": "x" * 8, "cursor": -1}},
        7, "invalid-argument", "cursor",
    ),
    "grace not a number": (
        {"id": 7, "op": "stop", "args": {"job": "x" * 8, "grace_seconds": math.nan}},
        7, "invalid-argument", "grace_seconds",
    ),
    "wait for ever and a day": (
        {"id": 7, "op": "wait", "args": {"job": "x" * 8, "timeout_seconds": math.inf}},
        7, "invalid-argument", "timeout_seconds",
    ),
    "no job": ({"id": 7, "op": "status", "args": {}}, 7, "invalid-argument", "job"),
    "empty job": ({"id": 7, "op": "status", "args": {"job": ""}}, 7, "invalid-argument", "job"),
    "a job with NUL": (
        {"id": 7, "op": "status", "args": {"job": "a\0b\n\x1b[2J"}}, 7, "no-such-job", "job",
    ),
    "a pattern": ({"id": 7, "op": "status", "args": {"job": "%%%%"}}, 7, "no-such-job", "job"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("message", "answered", "code", "field"), NO_REQUESTS.values(), ids=NO_REQUESTS.keys()
)
def test_a_wrong_request_is_answered_with_its_field_and_the_connection_goes_on(
    daemon: Daemon, message: Any, answered: int, code: str, field: str
) -> None:
    with Wire(daemon) as wire:
        wire.send(message)
        answer = wire.receive()
        assert answer is not None
        assert (answer["id"], answer["error"]["code"]) == (answered, code), answer
        assert answer["error"]["field"] == field
        assert wire.ok("list")["jobs"] == []


def test_nothing_is_answered_before_the_greeting(daemon: Daemon) -> None:
    with Wire(daemon, greet=False) as wire:
        for op, args in (("list", {}), ("submit", submission()), ("doctor", {})):
            assert wire.error(op, args)["code"] == "hello-required"
        error = wire.error("hello", protocol=99)
        assert (error["code"], error["allowed"]) == ("unsupported-protocol", "1")
        assert wire.error("list")["code"] == "hello-required"
        wire.ok("hello", protocol=1)
        assert wire.ok("list")["jobs"] == []


def test_the_65th_request_in_flight_is_refused_and_one_answered_makes_room(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        job = wire.ok("submit", submission("sleep", "1000"))["job"]
        for number in range(100, 164):
            wire.send({"id": number, "op": "wait", "args": {"job": job}})
        wire.send({"id": 164, "op": "wait", "args": {"job": job}})
        refused = wire.receive() or {}
        assert refused["id"] == 164
        assert refused["error"] == {"code": "too-many-requests", "allowed": "64 in flight"}
        wire.send({"id": 100, "op": "status", "args": {"job": job}})
        doubled = wire.receive() or {}
        assert (doubled["id"], doubled["error"]["code"]) == (100, "bad-request")
        wire.send({"id": 100, "op": "cancel", "args": {}})
        assert (wire.receive() or {})["error"]["code"] == "cancelled"
        wire.send({"id": 165, "op": "stop", "args": {"job": job, "kill": True}})
        answers = [wire.receive() or {} for _ in range(64)]
        assert {answer["id"] for answer in answers} == {*range(101, 164), 165}


def test_credit_and_cancel_for_requests_that_do_not_exist_are_ignored(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        for number in (1, 77, 2**32 - 1):
            wire.send({"id": number, "op": "credit", "args": {"events": 5}})
            wire.send({"id": number, "op": "cancel", "args": {}})
        assert wire.ok("list")["jobs"] == []
        assert wire.error("credit", events=0)["field"] == "events"
        assert wire.error("cancel", now=True)["field"] == "now"


# --- many, slow, and deaf clients ---


def test_2000_idle_connections_of_one_user_leave_room_for_the_others(
    daemon: Daemon, bystander: Wire
) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    turned_away: list[Any] = []
    with memory_grows_less_than(daemon, 20):
        # Those that are let in have said hello: else they are sent away for that after ten seconds.
        idle = [Wire(daemon, greet=number < 128) for number in range(2000)]
        try:
            for wire in idle:
                wire.socket.settimeout(0)
            wait_until(lambda: _count_ends(idle, turned_away) == 2000 - 128)
            assert {error["error"]["code"] for error in turned_away} == {"too-many-requests"}
            assert {error["error"]["allowed"] for error in turned_away} == {
                "128 connections of one user"
            }
            assert bystander.ok("list")["jobs"] == []
            with Wire(daemon, "bob") as another, Wire(daemon, "root") as root:
                assert "ok" in another.request("list")
                assert "ok" in root.request("list")
        finally:
            for wire in idle:
                wire.socket.close()
    wait_until(lambda: _can_ask(daemon))


def _count_ends(idle: list[Wire], turned_away: list[Any]) -> int:
    """Read what is there; how many were told something by now."""
    for wire in idle:
        try:
            message = wire.receive()
        except BlockingIOError:
            continue
        if message is not None:
            turned_away.append(message)
    return len(turned_away)


def _can_ask(daemon: Daemon) -> bool:
    with Wire(daemon, greet=False) as wire:
        return "ok" in wire.request("hello", protocol=1)


def test_a_client_that_never_reads_its_answers_is_not_read_any_more(
    daemon: Daemon, bystander: Wire
) -> None:
    with Wire(daemon) as wire, memory_grows_less_than(daemon, 20):
        wide = submission("true", "x" * 100_000, "y" * 100_000)
        job = wire.ok("submit", wide)["job"]
        wire.ok("wait", job=job)
        wire.socket.settimeout(1)
        try:
            # 1 GB of answers; a daemon that goes on reading takes all the questions.
            for number in range(5000):
                wire.send({"id": 100 + number, "op": "status", "args": {"job": job}})
        except TimeoutError:
            pass
        assert bystander.ok("list")["jobs"] == []


def test_a_follower_that_never_reads_is_not_sent_more_than_fits(
    daemon: Daemon, bystander: Wire
) -> None:
    with Wire(daemon) as wire, Wire(daemon) as deaf, memory_grows_less_than(daemon, 20):
        job = wire.ok("submit", submission("head", "-c", "60000000", "/dev/zero"))["job"]
        deaf.send({"id": 2, "op": "logs", "args": {"job": job, "follow": True, "credit": 1024}})
        assert wire.ok("wait", job=job)["result"]["log_bytes"] == 60_000_000
        assert bystander.ok("list")["jobs"] == []


def test_without_credit_nothing_is_sent_and_with_one_just_one_event(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        job = wire.ok("submit", submission("head", "-c", "600000", "/dev/zero"))["job"]
        wire.ok("wait", job=job)
        wire.send({"id": 9, "op": "logs", "args": {"job": job, "credit": 0}})
        assert not wire.is_readable(0.3)
        wire.send({"id": 9, "op": "credit", "args": {"events": 1}})
        assert (wire.receive() or {})["seq"] == 1
        assert not wire.is_readable(0.3)
        wire.send({"id": 9, "op": "cancel", "args": {}})
        assert (wire.receive() or {})["error"]["code"] == "cancelled"


def test_half_frames_of_one_user_do_not_add_up(daemon: Daemon, bystander: Wire) -> None:
    half = struct.pack(">I", 4 * MIB) + bytes(4 * MIB - 1000)
    with memory_grows_less_than(daemon, 64):
        wires = [Wire(daemon) for _ in range(60)]
        try:
            for wire in wires:
                _send_as_far_as_taken(wire, half)
            assert bystander.ok("list")["jobs"] == []
        finally:
            for wire in wires:
                wire.socket.close()


def _send_as_far_as_taken(wire: Wire, data: bytes) -> None:
    wire.socket.settimeout(1)
    try:
        wire.socket.sendall(data)
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        return


def test_half_a_frame_is_waited_for_ten_seconds_but_a_busy_client_for_as_long_as_it_sends(
    daemon: Daemon, bystander: Wire
) -> None:
    request = packed({"id": 7, "op": "list", "args": {}})
    frame = framed(request)
    with (
        Wire(daemon) as silent, Wire(daemon) as loris, Wire(daemon) as busy,
        Wire(daemon, greet=False) as nameless,
    ):  # fmt: skip
        started = time.monotonic()
        silent.socket.sendall(frame[:10])
        loris.socket.sendall(struct.pack(">I", 4 * MIB))
        busy.socket.sendall(frame[:10])
        while time.monotonic() < started + 11.5:
            if time.monotonic() < started + 9:
                loris.socket.sendall(b"\x80")
                assert not silent.is_readable(0)
            # The end of one request and the beginning of the next in one piece.
            busy.socket.sendall(frame[10:] + frame[:10])
            assert (busy.receive() or {}).get("ok") == {"jobs": [], "next": None}
            bystander.is_readable(0.1)
        for wire in (silent, loris):
            (error,) = wire.last_words()
            assert error["error"]["code"] == "bad-frame"
            assert "10 s" in error["error"]["detail"]
        assert nameless.is_readable(0), "it never greeted, and is still there"


def test_a_client_that_ends_its_side_and_goes_leaves_no_connection(daemon: Daemon) -> None:
    before = descriptors(daemon.pid)
    for _ in range(20):
        with Wire(daemon) as wire:
            wire.send({"id": 2, "op": "doctor", "args": {}})
            wire.socket.shutdown(socket.SHUT_WR)
            wire.last_words()
    wait_until(lambda: descriptors(daemon.pid) == before, explain=lambda: descriptors(daemon.pid))


def test_clients_that_vanish_while_they_wait_leave_nothing(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        job = wire.ok("submit", submission("sleep", "1000"))["job"]
        wait_until(lambda: wire.ok("status", job=job)["state"] == "running")
        before = descriptors(daemon.pid)
        for _ in range(20):
            with Wire(daemon) as other:
                other.send({"id": 2, "op": "wait", "args": {"job": job}})
                other.send({"id": 3, "op": "logs", "args": {"job": job, "follow": True}})
                other.send({"id": 4, "op": "submit", "args": {"argv": []}})
                other.receive()
        wait_until(
            lambda: descriptors(daemon.pid) == before, explain=lambda: descriptors(daemon.pid)
        )


def test_descriptors_that_a_client_sends_along_are_not_kept(daemon: Daemon) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    rights = array.array("i", [null] * 200)
    try:
        with Wire(daemon) as wire:
            before = descriptors(daemon.pid)
            frame = framed(packed({"id": 7, "op": "list"}))
            for _ in range(5):
                wire.socket.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                assert "ok" in (wire.receive() or {})
            assert descriptors(daemon.pid) == before
    finally:
        os.close(null)


def test_requests_cancelled_in_the_middle_of_a_path_check_leave_no_trace(daemon: Daemon) -> None:
    slow = "/" + "./" * 2000
    with Wire(daemon) as wire:
        for number in range(100):
            args = submission(cwd=f"{slow}nowhere")
            wire.send({"id": 100 + number, "op": "submit", "args": args})
            wire.send({"id": 100 + number, "op": "cancel", "args": {}})
        codes = {(wire.receive() or {})["error"]["code"] for _ in range(100)}
        assert codes <= {"cancelled", "invalid-argument"}
    for _ in range(20):
        with Wire(daemon) as gone:
            gone.send({"id": 2, "op": "submit", "args": submission(cwd=f"{slow}nowhere")})
    # A thread waits some seconds for another question of its user before it ends.
    wait_until(lambda: _threads_as_users(daemon) == 0)
    assert existing(daemon) == ([], [], 0)


def _threads_as_users(daemon: Daemon) -> int:
    names = []
    for task in os.listdir(f"/proc/{daemon.pid}/task"):
        try:
            with open(f"/proc/{daemon.pid}/task/{task}/status", encoding="ascii") as file:
                names += [line for line in file if line.startswith("Uid:")]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sum(1 for name in names if name.split()[4] != "0")


# --- submissions that ask for the impossible ---

MIB_4 = 4 * MIB
PIB = 2**50
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is asked for, (field, a part of given, a part of allowed)
    "unknown field": ({"nice": 5}, "nice", "unknown field", "argv"),
    "unknown limit": ({"limits": {"mem": 1}}, "limits.mem", "unknown", "memory_max_bytes"),
    "unknown io field": (
        {"limits": {"io": [{"path": "/", "iops": 5}]}},
        "limits.io[0].iops", "unknown", "read_bytes_per_second",
    ),
    "1K of memory": ({"limits": {"memory_max_bytes": 1024}},
                     "limits.memory_max_bytes", "1024", f"{MIB_4} to {PIB}"),
    "memory beyond any": ({"limits": {"memory_max_bytes": 2**63}},
                          "limits.memory_max_bytes", str(2**63), f"{MIB_4} to {PIB}"),
    "memory in words": ({"limits": {"memory_max_bytes": "256M"}},
                        "limits.memory_max_bytes", "256M", f"{MIB_4} to {PIB}"),
    "memory with decimals": ({"limits": {"memory_max_bytes": 1e9}},
                             "limits.memory_max_bytes", "1000000000.0", f"{MIB_4} to {PIB}"),
    "no CPU": ({"limits": {"cpu_max_millicpus": 0}}, "limits.cpu_max_millicpus", "0", "10 to"),
    "no process": ({"limits": {"pids_max": 0}}, "limits.pids_max", "0", "1 to 4194304"),
    "a negative timeout": ({"limits": {"timeout_seconds": -5}},
                           "limits.timeout_seconds", "-5", "0.001 to 315360000"),
    "a timeout that is no number": ({"limits": {"timeout_seconds": math.nan}},
                                    "limits.timeout_seconds", "nan", "0.001 to"),
    "a timeout without end": ({"limits": {"timeout_seconds": math.inf}},
                              "limits.timeout_seconds", "inf", "0.001 to"),
    "limits of an array": ({"limits": []}, "limits", "[]", "object"),
    "io without a rate": ({"limits": {"io": [{"path": "/"}]}}, "limits.io[0]", "no rate", "rate"),
    "io below a page": (
        {"limits": {"io": [{"path": "/", "read_bytes_per_second": 1}]}},
        "limits.io[0].read_bytes_per_second", "1", "4096 to",
    ),
    "io by a relative path": (
        {"limits": {"io": [{"path": "srv", "read_bytes_per_second": 4096}]}},
        "limits.io[0].path", "srv", "absolute",
    ),
    "io on what is not there": (
        {"limits": {"io": [{"path": "/nowhere", "read_bytes_per_second": 4096}]}},
        "limits.io[0].path", "/nowhere", "alice",
    ),
    "io on 17 paths": (
        {"limits": {"io": [{"path": "/", "read_bytes_per_second": 4096}] * 17}},
        "limits.io", "[", "16",
    ),
    "a missing directory": ({"cwd": "/nowhere/at/all"}, "cwd", "/nowhere", "alice"),
    "a file for a directory": ({"cwd": "/etc/passwd"}, "cwd", "/etc/passwd", "alice"),
    "a closed directory": ({"cwd": "/root/x"}, "cwd", "/root", "alice"),
    "a relative directory": ({"cwd": "tmp"}, "cwd", "tmp", "absolute path"),
    "an empty directory": ({"cwd": ""}, "cwd", "", "absolute path"),
    "a directory with NUL": ({"cwd": "/tmp\0x"}, "cwd", r"\x00", "without NUL"),
    "a directory of 5,000 bytes": ({"cwd": "/" * 5000}, "cwd", "/", "4095"),
    "a number for a directory": ({"cwd": 7}, "cwd", "7", "text"),
    "an empty command": ({"argv": []}, "argv", "[]", "length >= 1"),
    "a command without a name": ({"argv": [""]}, "argv[0]", "''", "a command"),
    "a command of text": ({"argv": "make"}, "argv", "make", "array"),
    "no command": ({"argv": None}, "argv", "None", "array"),
    "an argument of a number": ({"argv": ["make", 2]}, "argv[1]", "2", "text"),
    "an argument with NUL": ({"argv": ["echo", "a\0b"]}, "argv[1]", r"\x00", "without NUL"),
    "an argument of 128 KiB": ({"argv": ["echo", "x" * 131_072]}, "argv[1]", "131072", "131071"),
    "4,097 arguments": ({"argv": ["x"] * 4097}, "argv", "[", "4096"),
    "a megabyte of arguments": ({"argv": ["x" * 131_071] * 9}, "argv and env", "1179657",
                                "1048576"),
    "a variable without a name": ({"env": {"": "x"}}, "env[b'']", "b''", "without '='"),
    "a variable with =": ({"env": {"A=B": "x"}}, "env[b'A=B']", "A=B", "without '='"),
    "a variable with NUL": ({"env": {"A": "x\0y"}}, "env[b'A']", r"\x00", "without NUL"),
    "a variable of a number": ({"env": {"A": 5}}, "env", "", "text"),
    # What stands in an environment is never sent back.
    "an environment of an array": ({"env": ["A=5"]}, "env", "", "object"),
    "a NUL in the name": ({"name": "a\0b"}, "name", r"\x00", "at most 64 letters"),
    "an empty name": ({"name": ""}, "name", "''", "at most 64 letters"),
    "a name of 65": ({"name": "x" * 65}, "name", "xxx", "at most 64 letters"),
    "a path for a name": ({"name": "../../etc"}, "name", "../", "at most 64 letters"),
    "an option for a name": ({"name": "-rf"}, "name", "-rf", "at most 64 letters"),
    "a name of two lines": ({"name": "a\nb"}, "name", r"\n", "at most 64 letters"),
    "a name that ends in a line": ({"name": "a\n"}, "name", r"\n", "at most 64 letters"),
    "a umask of five digits": ({"umask": 0o1000}, "umask", "512", "0 to 511"),
    "a network of one's own": ({"network": "bridge"}, "network", "bridge",
                               "none, host or private"),
    "a user that does not exist": ({"user": "nobody-here"}, "user", "nobody-here",
                                   "a user of this host"),
    "a number that no user has": ({"user": 99_999}, "user", "99999", "a user of this host"),
    "the number that means nobody": ({"user": 2**32 - 1}, "user", "4294967295", "0 to"),
    "a user with NUL": ({"user": "alice\0root"}, "user", r"\x00", "a user of this host"),
    "a user of 5,000 digits": ({"user": "9" * 5000}, "user", "999", ""),
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "field", "given", "allowed"), REFUSED.values(), ids=REFUSED.keys()
)
def test_the_impossible_is_refused_by_field_given_and_allowed_before_anything_is_created(
    daemon: Daemon, asked: dict[str, Any], field: str, given: str, allowed: str
) -> None:
    with Wire(daemon) as wire:
        error = wire.error("submit", {**submission(), **asked})
        assert error["code"] == "invalid-argument"
        assert error["field"].startswith(field), error
        assert given in error["given"], error
        assert allowed in error["allowed"], error
        assert len(error["given"]) < 200
    assert existing(daemon) == ([], [], 0)


def test_a_required_field_that_is_missing_is_named(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        for field in ("argv", "cwd"):
            args = submission()
            del args[field]
            error = wire.error("submit", args)
            assert (error["code"], error["field"]) == ("invalid-argument", field)
            assert error["allowed"] == "it is required"
    assert existing(daemon) == ([], [], 0)


@pytest.mark.usefixtures("bystander")
def test_an_argument_of_10_mb_is_refused_by_the_library_and_dropped_by_the_daemon(
    daemon: Daemon,
) -> None:
    with daemon.client() as client, pytest.raises(RequestRefused) as refused:
        client.submit(["echo", "x" * 10_000_000])
    assert refused.value.field == "argv[1]"
    assert "10000000" in str(refused.value)
    assert "131071" in str(refused.value)
    with Wire(daemon) as wire, memory_grows_less_than(daemon, 16):
        _send_as_far_as_taken(wire, framed(packed({"argv": ["echo", "x" * 10_000_000]})))
        assert wire.last_words()[-1]["error"]["code"] == "bad-frame"
    assert existing(daemon) == ([], [], 0)


# --- runctl ---

RUNCTL_REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "12Q": (["run", "--mem", "12Q", "--", "true"], ["--mem", "12Q", "256M"]),
    "1K": (["run", "--mem", "1K", "--", "true"], ["--mem", "1 KiB", "4 MiB"]),
    "no CPU": (["run", "--cpus", "0", "--", "true"], ["--cpus", "0"]),
    "negative timeout": (["run", "--timeout", "-5", "--", "true"], ["--timeout", "-5"]),
    "negative pids": (["run", "--pids", "-1", "--", "true"], ["--pids", "-1", "1 to 4194304"]),
    "io without rate": (["run", "--io-write", "/", "--", "true"], ["--io-write", "/"]),
    "net": (["run", "--net", "moon", "--", "true"], ["--net", "moon", "none", "private"]),
    "cwd": (["run", "--cwd", "/nowhere", "--", "true"], ["--cwd", "/nowhere", "No such file"]),
    "name": (["run", "--name", "a b", "--", "true"], ["--name", "a b", "at most 64 letters"]),
    "user": (["run", "--user", "nobody-here", "--", "true"], ["--user", "nobody-here"]),
    "env": (["run", "--env", "=x", "--", "true"], ["--env", "=x", "NAME"]),
    "no command": (["run"], ["COMMAND"]),
    "empty command": (["run", "--", ""], ["argv[0]", "a command"]),
    "option": (["run", "--memory", "5M", "--", "true"], ["--memory"]),
    "verb": (["explode"], ["explode"]),
    "no job": (["logs"], ["JOB"]),
    "an update of nothing": (["update", "no-such-job"], ["no limit given", "--help"]),
    "an update of no job": (["update", "--mem", "64M"], ["JOB"]),
    "an update of an unknown job": (["update", "no-such-job", "--mem", "64M"], ["no-such-job"]),
    "an update that cannot be read": (["update", "x", "--mem", "12Q"], ["--mem", "12Q"]),
    "a pause of an unknown job": (["pause", "no-such-job"], ["no-such-job", "runctl ps"]),
    "a resume of no job": (["resume"], ["JOB"]),
    "unknown job": (["status", "no-such-job"], ["no-such-job", "runctl ps"]),
    "odd job": (["stop", "\x1b[2J"], ["ps"]),
    "cursor": (["logs", "--cursor", "-1", "x"], ["--cursor"]),
}


@pytest.mark.parametrize(("words", "said"), RUNCTL_REFUSED.values(), ids=RUNCTL_REFUSED.keys())
def test_runctl_says_what_is_wrong_and_what_would_be_right(
    daemon: Daemon, words: list[str], said: list[str]
) -> None:
    done = daemon.runctl(*words, user="alice")
    assert done.returncode == 125
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    assert "\x1b" not in done.stderr
    for part in said:
        assert part in done.stderr, done.stderr
    assert existing(daemon) == ([], [], 0)


def test_without_a_daemon_every_verb_says_so_and_what_to_do(own_daemon: Daemon) -> None:
    os.makedirs(os.path.dirname(own_daemon.socket))
    for words in (["ps"], ["run", "--", "true"], ["logs", "-f", "abcd"], ["wait", "abcd"]):
        done = own_daemon.runctl(*words, user="alice")
        assert done.returncode == 125
        assert done.stdout == ""
        assert "runnerd is not running" in done.stderr
        assert "sudo runnerd" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_socket_that_nobody_serves_and_a_file_in_its_place_are_told_apart(
    own_daemon: Daemon,
) -> None:
    os.makedirs(os.path.dirname(own_daemon.socket))
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(own_daemon.socket)
    done = own_daemon.runctl("ps")
    assert done.returncode == 125
    assert "which an earlier one left" in done.stderr
    os.unlink(own_daemon.socket)
    with open(own_daemon.socket, "wb"):
        pass
    done = own_daemon.runctl("ps")
    assert done.returncode == 125
    assert "not a socket" in done.stderr


# --- chance ---


def test_random_frames_are_answered_or_dropped_and_nothing_else_happens(
    daemon: Daemon, bystander: Wire
) -> None:
    chance = random.Random(20261122)
    until = time.monotonic() + 5
    frames = 0
    with memory_grows_less_than(daemon, 40):
        while time.monotonic() < until:
            frames += _one_fuzzed_connection(daemon, chance)
        assert bystander.ok("list")["jobs"] == []
    assert frames > 100


def _one_fuzzed_connection(daemon: Daemon, chance: random.Random) -> int:
    """Up to 30 frames; ends early when the daemon has had enough."""
    sent = 0
    sock = connected(daemon, "alice")
    with sock:
        try:
            sock.sendall(framed(packed({"id": 1, "op": "hello", "args": {"protocol": 1}})))
            for _ in range(chance.randrange(30)):
                sock.sendall(_fuzzed(chance))
                sent += 1
            sock.settimeout(0.05)
            while sock.recv(65536):
                pass
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
    return sent


OPS = ["hello", "submit", "list", "status", "logs", "stop", "wait", "remove", "doctor",
       "update", "pause", "resume", "credit", "cancel", "", "x"]  # fmt: skip
FIELDS = [
    "protocol", "argv", "cwd", "env", "name", "umask", "network", "user", "limits", "io",
    "memory_max_bytes", "timeout_seconds", "sandbox", "net", "group", "binds", "source", "target",
    "publish", "host_port", "rlimits", "preset", "filesystem", "seccomp", "secrets", "path",
    "job", "cursor", "follow", "credit",
    "events", "grace_seconds", "kill", "ended", "limit", "before", "x`y", "a.b[0]", "$",
]  # fmt: skip


def _fuzzed(chance: random.Random) -> bytes:
    """A request of random parts, now and then with bytes flipped or cut off."""
    args = {chance.choice(FIELDS): _value(chance, 0) for _ in range(chance.randrange(5))}
    # Nothing that could be run: what is tested is the way to it.
    args.pop("argv", None)
    if chance.random() < 0.3:
        args = {**submission("true"), **args, "cwd": _value(chance, 0)}
    request = {"id": chance.randrange(1, 90), "op": chance.choice(OPS), "args": args}
    body = bytearray(packed(request))
    if chance.random() < 0.2:
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
    frame = framed(bytes(body))
    return frame[: chance.randrange(len(frame))] if chance.random() < 0.02 else frame


def _value(chance: random.Random, depth: int) -> Any:
    simple = [
        None, True, 0, -1, 1, 7, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, -(2**63), 0.0, -0.5, 1e308,
        math.nan, math.inf, "", "abcd", "x" * 70, "a\0b", "/", "/tmp", "\U0010ffff", "`$.limits`",
        b"", b"\xff\xfe", b"/root", "0000-0000", "none", "host", "root", "4002",
    ]  # fmt: skip
    if depth < 3 and chance.random() < 0.3:
        count = chance.randrange(4)
        if chance.random() < 0.5:
            return [_value(chance, depth + 1) for _ in range(count)]
        keys = [*FIELDS, 7, b"k", None]
        return {chance.choice(keys): _value(chance, depth + 1) for _ in range(count)}
    return chance.choice(simple)
