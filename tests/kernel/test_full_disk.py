"""A disk that is full: each job's output waits, is dropped and counted, or ends the job.

Whatever the policy, a reader can account for every byte, the daemon lives, and other jobs
go on. How the daemon's own records get along with such a disk is in test_survival.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

from client.errors import RequestRefused
from client.logstream import LogGap
from client.units import format_size, in_units
from tests.kernel import inside
from tests.kernel.disks import fill_up, make_room, small_disk
from tests.kernel.harness import wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here
from tests.kernel.test_load import check_account, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.api import Client
    from client.logstream import LogChunk
    from client.records import JobResult, Logs
    from tests.kernel.harness import Daemon

KIB = 1024
MIB = 1024 * 1024
HOME = "/home/alice"
GATE = f"{HOME}/gate"

# What jobs of these tests are made of. A line says at which offset it stands; what a job has
# printed has been read when its pipe is empty (FIONREAD, which either end answers).
PARTS = """
import array, fcntl, os, sys, termios, time
HOME, at = "/home/alice", 0
def say(size, chunk=8192):
    global at
    for start in range(at, at + size, chunk):
        text = b"".join(b"%015d\\n" % line for line in range(start, start + chunk, 16))
        while text:
            text = text[os.write(1, text):]
    at += size
def taken():
    left = array.array("i", [1])
    while left[0]:
        fcntl.ioctl(1, termios.FIONREAD, left)
        time.sleep(0.01)
def tell(name):
    open(f"{HOME}/{name}", "wb").close()
def await_gate(name):
    while not os.path.exists(f"{HOME}/{name}"):
        time.sleep(0.01)
"""


@contextmanager
def marks(*names: str) -> Iterator[Callable[[str], None]]:
    """Files by which test and job tell each other how far they are; call it to make one."""

    def make(name: str) -> None:
        with open(f"{HOME}/{name}", "wb"):
            pass

    try:
        yield make
    finally:
        for name in names:
            if os.path.exists(f"{HOME}/{name}"):
                os.unlink(f"{HOME}/{name}")


def is_there(name: str) -> Callable[[], bool]:
    return lambda: os.path.exists(f"{HOME}/{name}")


class Account(NamedTuple):
    """All that a reader is given of an ended job, and its result."""

    items: list[LogChunk | LogGap]
    result: JobResult

    @property
    def gaps(self) -> list[LogGap]:
        """What is missing; what follows upon each other as one."""
        found: list[LogGap] = []
        for item in self.items:
            if isinstance(item, LogGap):
                gap = item
                if found and found[-1].offset + gap.gap_bytes == gap.offset:
                    gap = gap._replace(gap_bytes=gap.gap_bytes + found.pop().gap_bytes)
                found.append(gap)
        return found

    def check(self) -> None:
        """Every byte is at its place or in a gap, and the gaps are what the result says."""
        check_account(self.items, self.result["log_bytes"] or 0)
        dropped = sum(gap.gap_bytes for gap in self.gaps if gap.why == "dropped")
        assert dropped == self.result["log_dropped_bytes"]


def account(client: Client, job: str) -> Account:
    result = client.wait(job, timeout_seconds=60)["result"]
    assert result is not None
    return Account(list(client.logs(job)), result)


# --- drop ---

BEFORE, LOST, AFTER = 64 * KIB, 3 * MIB, 128 * KIB
DROPPING = f"""
say({BEFORE}); taken(); tell("full-before"); await_gate("full-go")
say({LOST}); taken(); tell("full-lost"); await_gate("full-room")
# Longer than the disk is left alone between two tries.
time.sleep(0.5)
say({AFTER}); sys.exit(6)
"""


@pytest.mark.parametrize(
    "logs",
    [
        {"on_full": "drop"},
        {"on_full": "drop", "segment_bytes": 16 * KIB},
        {"on_full": "drop", "segment_bytes": 16 * KIB, "compression": "zstd"},
    ],
    ids=["plain", "small segments", "compressed"],
)
def test_a_job_that_may_drop_output_goes_on_and_the_gap_is_exact(
    own_daemon: Daemon, logs: Logs
) -> None:
    with (
        small_disk(own_daemon, "12m"),
        marks("full-before", "full-go", "full-lost", "full-room", "gate") as mark,
    ):
        own_daemon.start()
        with own_daemon.client() as client:
            other = inside.submit(client, "sh", "-c", f"until [ -e {GATE} ]; do :; done; exit 5")
            wait_until(lambda: client.status(other)["state"] == "running")
            job = inside.submit(client, *inside.python(PARTS + DROPPING), logs=logs)
            wait_until(is_there("full-before"))
            fill_up(own_daemon)
            mark("full-go")
            wait_until(is_there("full-lost"))
            # It lives, answers, and another job ends as it should.
            assert client.status(job)["state"] == "running"
            mark("gate")
            make_room(own_daemon)
            assert (account(client, other).result["exit_code"]) == 5
            mark("full-room")
            found = account(client, job)
            after = inside.submit(client, "echo", "after")
            assert inside.output(client, after) == (b"after\n", b"")
        said = own_daemon.runctl("wait", job)
    found.check()
    assert found.gaps == [LogGap(LOST, BEFORE + LOST, "dropped")]
    assert (found.result["reason"], found.result["exit_code"]) == ("exit", 6)
    assert found.result["log_bytes"] == BEFORE + LOST + AFTER
    assert found.result["log_dropped_bytes"] == LOST
    assert (said.returncode, said.stdout.partition(" ")[2]) == (
        6,
        (
            f"ended with exit code 6; {format_size(LOST)} of its output was dropped "
            "for want of room on the disk\n"
        ),
    )


def test_output_that_is_dropped_last_is_a_gap_at_the_end(own_daemon: Daemon) -> None:
    ending = f'say({BEFORE}); taken(); tell("full-before"); await_gate("full-go"); say({LOST})'
    with small_disk(own_daemon, "12m"), marks("full-before", "full-go") as mark:
        own_daemon.start()
        with own_daemon.client() as client:
            # runctl's own line about it, in the foreground.
            program = inside.python(PARTS + ending)
            runner = own_daemon.spawn_runctl("run", "--log-full", "drop", "--", *program,
                                             user="alice")  # fmt: skip
            wait_until(is_there("full-before"))
            (job,) = [each["job"] for each in client.jobs()]
            fill_up(own_daemon)
            mark("full-go")
            stdout, stderr = runner.communicate(timeout=60)
            found = account(client, job)
            make_room(own_daemon)
    found.check()
    assert found.gaps == [LogGap(LOST, BEFORE + LOST, "dropped")]
    assert isinstance(found.items[-1], LogGap)
    assert runner.returncode == 0
    assert stdout == lines(0, BEFORE)
    assert f"{format_size(LOST)} of its output was dropped".encode() in stderr


def test_a_disk_that_is_full_again_and_again_leaves_exact_gaps(own_daemon: Daemon) -> None:
    # No faster than the disk is large, and counting what it wrote.
    program = f"""
tell("full-count"); count = open(f"{{HOME}}/full-count", "ab", 0)
while not os.path.exists("{GATE}"): say(8192); count.write(b"x"); time.sleep(0.002)
"""
    counted = f"{HOME}/full-count"
    logs: Logs = {"on_full": "drop", "segment_bytes": 64 * KIB, "keep_segments": 4096}
    with small_disk(own_daemon, "64m"), marks("full-count", "gate") as mark:
        own_daemon.start()
        with own_daemon.client() as client:
            job = inside.submit(client, *inside.python(PARTS + program), logs=logs)
            wait_until(is_there("full-count"))
            for _ in range(4):
                fill_up(own_daemon)
                # More than the pipe holds, so some of it was read.
                enough = os.path.getsize(counted) + 200
                wait_until(lambda size=enough: os.path.getsize(counted) > size)  # type: ignore[misc]
                stored = stored_bytes(own_daemon, job)
                make_room(own_daemon)
                # A new name is no sign of room: an empty segment takes no page.
                wait_until(lambda seen=stored: stored_bytes(own_daemon, job) > seen)  # type: ignore[misc]
            mark("gate")
            found = account(client, job)
    found.check()
    assert len(found.gaps) >= 4
    assert (found.result["reason"], found.result["exit_code"]) == ("exit", 0)


def stored_bytes(daemon: Daemon, job: str) -> int:
    """How much output is on the disk."""
    log = f"{daemon.state_dir}/jobs/{job}/log"
    return sum(
        os.path.getsize(f"{log}/{name}") for name in os.listdir(log) if name.endswith(".log")
    )


# --- end ---

ENDING = f"""
import signal
signal.signal(signal.SIGTERM, {{handler}})
say({BEFORE}); taken(); tell("full-before"); await_gate("full-go")
while True: say(8192); time.sleep(0.001)
"""
OBEYING = "lambda *_: (say(8192), taken(), sys.exit(3))"


@pytest.mark.parametrize(
    ("handler", "code", "number"), [(OBEYING, 3, None), ("signal.SIG_IGN", None, 9)]
)
def test_a_job_whose_log_must_be_whole_is_ended_with_a_log_error(
    own_daemon: Daemon, handler: str, code: int | None, number: int | None
) -> None:
    own_daemon.config.write_text('[jobs]\nstop_grace_seconds = 1\n[logs]\non_full = "end"\n')
    with small_disk(own_daemon, "12m"), marks("full-before", "full-go") as mark:
        own_daemon.start()
        with own_daemon.client() as client:
            program = PARTS + ENDING.format(handler=handler)
            job = inside.submit(client, *inside.python(program))
            wait_until(is_there("full-before"))
            fill_up(own_daemon)
            mark("full-go")
            found = account(client, job)
            make_room(own_daemon)
        said = own_daemon.runctl("wait", job)
    found.check()
    dropped = found.result["log_dropped_bytes"] or 0
    assert dropped > 0
    assert found.gaps == [LogGap(dropped, BEFORE + dropped, "dropped")]
    assert (found.result["reason"], found.result["exit_status"]) == ("log-error", 125)
    assert (found.result["exit_code"], found.result["signal"]) == (code, number)
    why = f"its output could not be stored: No space left on device; {dropped} bytes were dropped"
    assert found.result["detail"] == why
    assert (said.returncode, said.stdout.partition(" ")[2]) == (125, f"ended: {in_units(why)}\n")


def test_who_stopped_a_job_first_stays_the_reason_when_its_disk_is_full(
    own_daemon: Daemon,
) -> None:
    program = (
        PARTS
        + f"""
import signal
def stop(*_):
    tell("full-stopped"); await_gate("full-go"); say({LOST}); taken(); sys.exit(4)
signal.signal(signal.SIGTERM, stop)
say({BEFORE}); taken(); tell("full-before"); await_gate("never")
"""
    )
    names = ("full-before", "full-stopped", "full-go")
    with small_disk(own_daemon, "12m"), marks(*names) as mark:
        own_daemon.start()
        with own_daemon.client() as client:
            job = inside.submit(client, *inside.python(program), logs={"on_full": "end"})
            wait_until(is_there("full-before"))
            client.stop(job, grace_seconds=60)
            wait_until(is_there("full-stopped"))
            fill_up(own_daemon)
            mark("full-go")
            found = account(client, job)
            make_room(own_daemon)
    found.check()
    assert (found.result["reason"], found.result["exit_code"]) == ("stopped", 4)
    assert found.result["log_dropped_bytes"] == LOST


# --- wait ---

# Of x86-64. Some looks, because a job is in its write most of the time.
WRITE, LOOKS = "1", 15

ROUNDS, FIRST, THEN = 3, 512 * KIB, 3 * MIB
WAITING = f"""
for turn in range({ROUNDS}):
    say({FIRST}); taken(); tell(f"full-round-{{turn}}")
    await_gate(f"full-go-{{turn}}"); say({THEN})
sys.exit(7)
"""


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_job_that_waits_loses_nothing_however_often_the_disk_is_full(
    own_daemon: Daemon, compression: Literal["none", "zstd"]
) -> None:
    """The compressor finds no room either, in the middle of its work."""
    logs: Logs = {"segment_bytes": 128 * KIB, "compression": compression}
    names = [f"full-{what}-{turn}" for what in ("round", "go") for turn in range(ROUNDS)]
    with small_disk(own_daemon, "24m"), marks(*names) as mark:
        own_daemon.start()
        with own_daemon.client() as client:
            job = inside.submit(client, *inside.python(PARTS + WAITING), logs=logs)
            for turn in range(ROUNDS):
                wait_until(is_there(f"full-round-{turn}"))
                fill_up(own_daemon)
                mark(f"full-go-{turn}")
                wait_until(waits_in_its_write(own_daemon, job))
                assert client.status(job)["state"] == "running"
                make_room(own_daemon)
            found = account(client, job)
            files = os.listdir(f"{own_daemon.state_dir}/jobs/{job}/log")
    found.check()
    assert found.gaps == []
    size = ROUNDS * (FIRST + THEN)
    assert (found.result["exit_code"], found.result["log_bytes"]) == (7, size)
    assert found.result["log_dropped_bytes"] == 0
    assert not [name for name in files if name.endswith(".tmp")]
    assert any(name.endswith(".zst") for name in files) == (compression == "zstd")


def waits_in_its_write(daemon: Daemon, job: str) -> Callable[[], bool]:
    """Whether each of the last looks found the job in write(2) to its stdout (proc(5))."""
    (pid,) = inside.pids(inside.payload_cgroup(daemon, job))
    in_a_row = 0

    def look() -> bool:
        nonlocal in_a_row
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            number, *arguments = file.read().split()
        in_a_row = in_a_row + 1 if number == WRITE and arguments[0] == "0x1" else 0
        return in_a_row > LOOKS

    return look


def test_compression_makes_room_where_the_plain_output_has_none(own_daemon: Daemon) -> None:
    size = 32 * MIB
    logs: Logs = {"segment_bytes": 256 * KIB, "compression": "zstd", "on_full": "end"}
    with small_disk(own_daemon, "16m"):
        own_daemon.start()
        with own_daemon.client() as client:
            job = inside.submit(client, *inside.python(PARTS + f"say({size})"), logs=logs)
            found = account(client, job)
            taken = sum(disk_bytes(own_daemon, job))
    found.check()
    assert (found.result["reason"], found.result["exit_code"]) == ("exit", 0)
    assert (found.result["log_bytes"], found.result["log_dropped_bytes"]) == (size, 0)
    assert taken < size / 3


def disk_bytes(daemon: Daemon, job: str) -> Iterator[int]:
    for entry in os.scandir(f"{daemon.state_dir}/jobs/{job}/log"):
        found = entry.stat()
        assert stat.S_ISREG(found.st_mode)
        yield found.st_blocks * 512


# --- jobs that wait to be started ---


def test_a_full_disk_ends_no_job_that_waits_and_it_starts_when_there_is_room(
    own_daemon: Daemon,
) -> None:
    with small_disk(own_daemon, "12m"):
        own_daemon.start()
        with own_daemon.client() as client:
            held = [client.submit(["true"], user="alice", cwd="/", hold=True) for _ in range(3)]
            ended = inside.submit(client, "true")
            client.wait(ended, timeout_seconds=60)
            fill_up(own_daemon)
            for job in held:
                client.release(job)
            with pytest.raises(RequestRefused, match="no free space"):
                client.retry(ended)
            wait_until(lambda: short_of_room(own_daemon))
            wait_until(lambda: {client.status(job)["state"] for job in held} == {"queued"})
            # More than one look at the disk.
            assert client.wait(held[0], timeout_seconds=3)["result"] is None
            assert "runctl doctor" in own_daemon.runctl("why", held[0]).stdout
            tries = own_daemon.log_text().count("is queued again")
            assert 1 <= tries <= 4
            left = os.listdir(f"{own_daemon.state_dir}/jobs")
            assert left == [ended]
            make_room(own_daemon)
            for job in held:
                result = client.wait(job, timeout_seconds=60)["result"]
                assert result is not None
                assert (result["reason"], result["exit_code"]) == ("exit", 0)
            assert client.status(ended)["attempt"] == 1
            assert not short_of_room(own_daemon)


def short_of_room(daemon: Daemon) -> bool:
    return "none can be started" in daemon.runctl("doctor").stdout
